import numpy as np
import pytest

from hypjax.data.sampling import ClassBalanced
from hypjax.training.features import FeatureBatches, FeatureCache, digest_of, digest_of_source, evaluation_batches
from tests.data.toy import Toy


class Counting:
    """An encoder that counts how often it is asked."""

    def __init__(self):
        self.calls = 0

    def __call__(self, images):
        self.calls += 1
        return images.reshape(len(images), -1)[:, :4].astype(np.float32)


class Plain:
    def __init__(self, name="plain"):
        self.name = name

    def __call__(self, image, rng):
        return image[:2, :2], rng.random()

    def __repr__(self):
        return self.name


def test_features_are_computed_once_and_named_by_all_that_they_depend_on(tmp_path):
    encode, source = Counting(), Toy()
    first, levels = FeatureCache(tmp_path, encode, key="a", batch=3).features(source, Plain())
    calls = encode.calls
    assert calls == -(-len(source) // 3)
    np.testing.assert_array_equal(first[1], source.image(1)[:2, :2].ravel()[:4])
    again, same_levels = FeatureCache(tmp_path, encode, key="a", batch=3).features(Toy(), Plain())
    np.testing.assert_array_equal(first, again)
    np.testing.assert_array_equal(levels, same_levels)
    assert encode.calls == calls
    others = [
        (FeatureCache(tmp_path, encode, key="b", batch=3), source, Plain(), 0),
        (FeatureCache(tmp_path, encode, key="a", batch=3), source, Plain("other"), 0),
        (FeatureCache(tmp_path, encode, key="a", batch=3), source, Plain(), 1),
        (FeatureCache(tmp_path, encode, key="a", batch=3), Toy(brightness=1), Plain(), 0),
    ]
    for count, (store, data, transform, seed) in enumerate(others, 1):
        store.features(data, transform, seed=seed)
        assert encode.calls == calls * (count + 1)
    assert not list(tmp_path.glob("*.tmp"))


@pytest.mark.parametrize("spoil", [lambda whole: whole[: len(whole) // 2], lambda whole: b"", lambda whole: b"text"])
def test_a_damaged_file_is_made_again(spoil, tmp_path):
    store = FeatureCache(tmp_path, Counting(), key="a", batch=3)
    expected = store.features(Toy(), Plain())
    (path,) = tmp_path.iterdir()
    whole = path.read_bytes()
    path.write_bytes(spoil(whole))
    for found, value in zip(store.features(Toy(), Plain()), expected, strict=True):
        np.testing.assert_array_equal(found, value)
    assert path.read_bytes() == whole


def test_a_pixel_changes_the_digest_of_a_source_and_a_weight_the_digest():
    assert digest_of_source(Toy()) == digest_of_source(Toy())
    assert digest_of_source(Toy()) != digest_of_source(Toy(brightness=1))
    assert digest_of({"a": np.zeros(2)}) == digest_of({"a": np.zeros(2)})
    assert len({digest_of(t) for t in ({"a": np.zeros(2)}, {"b": np.zeros(2)}, {"a": np.array([0, 1e-9])})}) == 3


def batches(seed=0):
    labels = np.repeat(np.arange(5), 3)
    features = np.arange(2 * 15 * 2, dtype=np.float32).reshape(2, 15, 2)
    sampler = ClassBalanced(labels, classes_per_batch=2, samples_per_class=2, seed=seed)
    levels = np.stack([np.zeros(15), np.ones(15)])
    read = lambda view, image: features[view, image]  # noqa: E731
    return FeatureBatches(read, levels, labels, sampler, seed=seed), features, sampler


def test_batches_are_those_of_the_sampler_and_resume_exactly():
    stream, features, sampler = batches()
    seen = [next(stream) for _ in range(4)]
    for step, batch in enumerate(seen):
        np.testing.assert_array_equal(batch["index"], sampler[step])
        np.testing.assert_array_equal(batch["features"], features[batch["level"].astype(int), batch["index"]])
    assert {level for batch in seen for level in batch["level"]} == {0.0, 1.0}
    other = batches()[0]
    other.set_state({"step": 2})
    np.testing.assert_array_equal(next(other)["features"], seen[2]["features"])
    assert other.get_state() == {"step": 3}


@pytest.mark.parametrize("count", [1, 4, 9])
def test_evaluation_sees_every_row_once(count):
    rows = np.arange(count * 2, dtype=np.float32).reshape(count, 2)
    made = list(evaluation_batches(rows, 4))
    assert {batch["features"].shape for batch in made} == {(4, 2)}
    np.testing.assert_array_equal(np.concatenate([b["features"][b["valid"]] for b in made]), rows)
