import json

import numpy as np
import pytest

from hypjax.data.errors import DataError
from hypjax.data.pipeline import evaluation_batches, local_slice, train_batches
from hypjax.data.sampling import ClassBalanced
from hypjax.data.transforms import EvaluationTransform, TrainTransform
from hypjax.data.workers import Cached, Threads
from tests.data.toy import Toy

TRANSFORM = TrainTransform(8, jitter=0.2)


def stream(source=None, seed=3, **options):
    source = source or Toy()
    sampler = ClassBalanced(source.labels, classes_per_batch=4, samples_per_class=2, seed=1)
    return train_batches(source, sampler, TRANSFORM, seed=seed, **options)


def take(iterator, count):
    return [next(iterator) for _ in range(count)]


def same(one, other):
    return all(np.array_equal(one[key], other[key]) for key in one)


def test_batches_hold_what_the_sampler_says():
    sampler = ClassBalanced(Toy().labels, classes_per_batch=4, samples_per_class=2, seed=1)
    for step, batch in enumerate(take(stream(), 5)):
        np.testing.assert_array_equal(batch["index"], sampler[step])
        np.testing.assert_array_equal(batch["label"], Toy().labels[sampler[step]])
        assert batch["image"].shape == (8, 8, 8, 3)
        assert batch["image"].dtype == np.uint8
        assert batch["label"].dtype == batch["index"].dtype == np.int32
        assert batch["valid"].all()


def test_same_seed_same_batches_whatever_threads_and_cache():
    expected = take(stream(workers=Threads(1)), 6)
    assert all(map(same, expected, take(stream(workers=Threads(4)), 6)))
    assert all(map(same, expected, take(stream(workers=Threads(2, cache_bytes=0)), 6)))
    assert not all(map(same, expected, take(stream(seed=4), 6)))


@pytest.mark.parametrize("processes", [2, 4, 8])
def test_slices_of_processes_make_up_the_global_batch(processes):
    whole = take(stream(), 3)
    parts = [take(stream(process_index=p, process_count=processes), 3) for p in range(processes)]
    for step, batch in enumerate(whole):
        for key, value in batch.items():
            np.testing.assert_array_equal(np.concatenate([part[step][key] for part in parts]), value)


def test_resumes_exactly_from_json():
    unbroken = take(stream(), 9)
    iterator = stream()
    take(iterator, 4)
    state = json.loads(json.dumps(iterator.get_state()))
    resumed = stream()
    resumed.set_state(state)
    assert all(map(same, unbroken[4:], take(resumed, 5)))


@pytest.mark.parametrize("processes", [1, 2])
def test_evaluation_covers_everything_once_in_order(processes):
    source = Toy()
    parts = [
        list(
            evaluation_batches(
                source, 4, EvaluationTransform(8), process_index=p, process_count=processes, workers=Threads(2)
            )
        )
        for p in range(processes)
    ]
    batches = [
        {key: np.concatenate([part[step][key] for part in parts]) for key in parts[0][step]} for step in range(4)
    ]
    assert all(batch["image"].shape == (4, 8, 8, 3) for batch in batches)
    valid = np.concatenate([batch["valid"] for batch in batches])
    assert valid.tolist() == [True] * 14 + [False] * 2
    index = np.concatenate([batch["index"] for batch in batches])
    np.testing.assert_array_equal(index[valid], np.arange(14))
    label = np.concatenate([batch["label"] for batch in batches])
    np.testing.assert_array_equal(label[valid], source.labels)
    values = np.concatenate([batch["image"] for batch in batches])[valid][:, 0, 0, 0]
    np.testing.assert_array_equal(values, [source.image(i)[0, 0, 0] for i in range(14)])


class Counting(Toy):
    def __init__(self):
        super().__init__()
        self.read = []

    def image(self, index):
        self.read.append(index)
        return super().image(index)


def test_what_fills_the_last_batch_is_read_once():
    source = Counting()
    (batch,) = evaluation_batches(source, 100, EvaluationTransform(8), workers=Threads(2))
    assert (len(batch["image"]), batch["valid"].sum()) == (100, 14)
    assert source.read == list(range(14))


class Broken(Toy):
    def image(self, index):
        if index == 6:
            raise DataError("birds/6.png: cannot decode this image")
        return super().image(index)


def test_undecodable_image_is_named_through_the_threads():
    with pytest.raises(DataError) as caught:
        take(stream(Broken(), workers=Threads(2)), 20)
    assert str(caught.value) == "birds/6.png: cannot decode this image"
    with pytest.raises(DataError, match=r"birds/6\.png"):
        list(evaluation_batches(Broken(), 4, EvaluationTransform(8), workers=Threads(2)))


def test_cache_keeps_to_its_limit():
    class Counting(Toy):
        reads = 0

        def image(self, index):
            self.reads += 1
            return super().image(index)

    source = Counting()
    first = source.image(0).nbytes
    source.reads = 0
    cached = Cached(source, limit=first)
    for _ in range(3):
        cached.image(0)
        cached.image(1)
    assert source.reads == 1 + 3
    with pytest.raises(ValueError, match="read-only"):
        cached.image(0)[:] = 0


def test_bad_process_counts():
    with pytest.raises(ValueError, match="a batch of 8 does not divide by 3 processes"):
        stream(process_count=3)
    with pytest.raises(ValueError, match=r"\[0, 2\); got 2"):
        local_slice(8, 2, 2)
