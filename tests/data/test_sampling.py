import numpy as np
import pytest

from hypjax.data.errors import DataError
from hypjax.data.sampling import ClassBalanced, mixed, permutation, walk


def test_hashes_are_pinned():
    # The first output of SplitMix64 for state 0, as published with its reference implementation.
    assert mixed(0) == 0xE220A8397B1DCDAF
    assert permutation(8, 1, 2).tolist() == permutation(8, 1, 2).tolist()
    assert permutation(8, 1, 2).tolist() != permutation(8, 2, 1).tolist()
    assert sorted(permutation(100, 5)) == list(range(100))


def test_permutations_are_uniform():
    places = np.array([np.argsort(permutation(6, 9, key)) for key in range(6000)])
    counts = np.array([np.bincount(places[:, item], minlength=6) for item in range(6)])
    assert abs(counts - 1000).max() < 150  # 5 standard deviations


@pytest.mark.parametrize(
    ("count", "take"), [(1, 1), (1, 4), (2, 2), (2, 4), (3, 2), (4, 4), (5, 3), (6, 3), (7, 3), (19, 10), (60, 9)]
)
def test_walks_visit_all_and_pieces_repeat_nothing(count, take):
    walks = [walk(count, take, pass_, 11) for pass_ in range(40)]
    assert all(sorted(w) == list(range(count)) for w in walks)
    stream = np.concatenate(walks)
    pieces = stream[: len(stream) // take * take].reshape(-1, take)
    assert all(len(set(piece.tolist())) == min(take, count) for piece in pieces)
    if count > 4:
        assert len({tuple(w) for w in walks}) >= 4


LABELS = np.random.default_rng(0).permutation(np.repeat(np.arange(11), [2, 3, 4, 5, 6, 2, 3, 9, 1, 2, 12]))


@pytest.mark.slow
@pytest.mark.parametrize(("classes", "samples"), [(1, 1), (4, 2), (6, 3), (11, 4), (5, 12)])
def test_batches_are_class_major_and_balanced(classes, samples):
    sampler = ClassBalanced(LABELS, classes_per_batch=classes, samples_per_class=samples, seed=5)
    assert sampler.batch_size == classes * samples
    seen = []
    for step in range(200):
        batch = sampler[step].reshape(classes, samples)
        labels = LABELS[batch]
        assert (labels == labels[:, :1]).all()
        assert len(set(labels[:, 0].tolist())) == classes
        for row in batch:
            have = int(np.sum(LABELS[row[0]] == LABELS))
            assert len(set(row.tolist())) == min(samples, have)
        seen.append(batch)
    visits = np.bincount(LABELS[np.concatenate(seen)][:, 0], minlength=11)
    assert np.ptp(visits) <= 1
    images = np.bincount(np.concatenate(seen).ravel(), minlength=len(LABELS))
    assert all(np.ptp(images[label == LABELS]) <= 1 for label in range(11))


def test_random_access_is_pure():
    make = lambda seed: ClassBalanced(LABELS, classes_per_batch=4, samples_per_class=2, seed=seed)  # noqa: E731
    forward = [make(1)[step] for step in range(12)]
    sampler = make(1)
    for step in reversed(range(12)):
        np.testing.assert_array_equal(sampler[step], forward[step])
    assert any((make(2)[step] != forward[step]).any() for step in range(3))
    assert sampler.steps_per_epoch == 3


def test_bad_sizes():
    with pytest.raises(DataError, match="a batch of 12 classes is larger than the data allows: there are 11"):
        ClassBalanced(LABELS, classes_per_batch=12, samples_per_class=2, seed=0)
    with pytest.raises(ValueError, match="samples_per_class=0"):
        ClassBalanced(LABELS, classes_per_batch=2, samples_per_class=0, seed=0)
