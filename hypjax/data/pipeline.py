"""From a source to batches of arrays: a Grain pipeline, deterministic, resumable, cut by process."""

import functools
import logging
import math
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from hypjax.data.sampling import ClassBalanced
from hypjax.data.source import Source
from hypjax.data.transforms import RandomDegradation
from hypjax.data.workers import Threads, Transform, Views, Workers


def _is_news(record: logging.LogRecord) -> bool:
    """Grain says at import that a profiler of its worker processes is missing; we have others."""
    return "worker profiling" not in record.getMessage()


logging.getLogger("absl").addFilter(_is_news)
import grain  # noqa: E402

logging.getLogger("absl").removeFilter(_is_news)

Batch = dict[str, np.ndarray]
Places = Callable[[int], tuple[range, np.ndarray, np.ndarray]]
"""A step to positions in the global batch, indices in the source and which of them are valid; those come first."""
CHUNK = 2**21  # bytes of the views that are asked for at once, at most


class Batches:
    """Batches of one process in order, of which some chunks are made ahead: two batches, or two chunks a worker.

    Grain maps chunks of a batch, each by a worker, and batches them. The position is that of the next batch, whatever
    chunks there are, so that other workers go on from it.

    Args:
      places: what a batch is made of.
      steps: after how many it ends.
      views: how views are made.
      seed: of the views.
      workers: who makes them; threads of this process by default.
      keep: whether decoded images are kept.
    """

    def __init__(
        self, places: Places, steps: int, views: Views, *, seed: int, workers: Workers | None, keep: bool
    ) -> None:
        self._places = functools.lru_cache(maxsize=16)(places)  # asked for by each chunk of a batch
        self._steps, self._seed, self._step = steps, seed, 0
        self._labels, self._size = np.asarray(views.source.labels, np.int32), views.transform.size
        self._fill, self._workers = (workers or Threads()).open(views, keep=keep)
        batch = len(places(0)[0])
        self._chunk = max(1, min(math.ceil(batch / self._workers), CHUNK // (3 * self._size**2)))
        self._chunks = math.ceil(batch / self._chunk)
        self._lock = threading.Lock()
        self._made: grain.DatasetIterator | None = None

    def __iter__(self) -> Iterator[Batch]:
        return self

    def __next__(self) -> Batch:
        if self._made is None:
            chunks = grain.MapDataset.range(self._step * self._chunks, self._steps * self._chunks).map(self._load)
            ahead = 2 * max(self._chunks, self._workers)
            options = grain.ReadOptions(num_threads=self._workers, prefetch_buffer_size=ahead)
            self._made = iter(chunks.to_iter_dataset(options).batch(self._chunks, batch_fn=_joined))
        batch: Batch = next(self._made)
        self._step += 1
        return batch

    def get_state(self) -> dict[str, int]:
        """The position, as JSON can hold it."""
        return {"next_index": self._step}

    def set_state(self, state: Mapping[str, int]) -> None:
        """Goes on from a position that `get_state` told."""
        self.close()
        self._step = state["next_index"]

    def close(self) -> None:
        """Lets go of what is made ahead; the next batch has it made again."""
        if self._made is not None:
            self._made.close()
            self._made = None

    def _load(self, number: int) -> Batch:
        step, part = divmod(number, self._chunks)
        with self._lock:
            positions, indices, valid = self._places(step)
        chosen = slice(part * self._chunk, (part + 1) * self._chunk)
        positions, indices, valid = positions[chosen], indices[chosen], valid[chosen]
        read = int(valid.sum())
        views, levels = np.zeros((len(valid), self._size, self._size, 3), np.uint8), np.zeros(len(valid), np.float32)
        seeds = [(self._seed, step, position) for position in positions[:read]]
        levels[:read] = self._fill(seeds, indices[:read].tolist(), views[:read])
        return {
            "image": views,
            "label": self._labels[indices],
            "index": indices.astype(np.int32),
            "level": levels,
            "valid": valid,
        }


def _joined(chunks: Sequence[Any]) -> Batch:
    return {name: np.concatenate([chunk[name] for chunk in chunks]) for name in chunks[0]}


def local_slice(batch_size: int, process_index: int, process_count: int) -> range:
    """The positions of the global batch that a process makes: the process_index-th of equal contiguous parts.

    >>> local_slice(8, 1, 2)
    range(4, 8)

    Raises:
      ValueError: the batch does not divide by the processes, or there is no such process.
    """
    if not 0 <= process_index < process_count:
        raise ValueError(f"process_index must lie in [0, {process_count}); got {process_index}")
    if batch_size < 1 or batch_size % process_count:
        raise ValueError(f"a batch of {batch_size} does not divide by {process_count} processes")
    part = batch_size // process_count
    return range(process_index * part, (process_index + 1) * part)


def train_batches(
    source: Source,
    sampler: ClassBalanced,
    transform: Transform,
    *,
    seed: int,
    process_index: int = 0,
    process_count: int = 1,
    degradation: RandomDegradation | None = None,
    workers: Workers | None = None,
) -> Batches:
    """Endless training batches of this process, made ahead.

    Each is a dict of `image` uint8 [b, size, size, 3], `label` int32 [b], `index` int32 [b], `level` float32 [b] (that
    of a degradation) and `valid` bool [b], with b = K·m / process_count: the process's contiguous part of the
    class-major global batch. A view depends on (seed, step, position in the global batch) alone, so the parts that
    any number of processes make are the same batch when put together.

    The iterator's `get_state()` is a small dict that JSON can hold; `set_state` resumes exactly there.

    Args:
      source: where the images are.
      sampler: which images make the batch of a step.
      transform: from an image and a generator to a view of fixed size.
      seed: of the views; a non-negative integer.
      process_index: which of the processes this is.
      process_count: how many there are.
      degradation: what damages a share of the views, if anything.
      workers: who makes the views; threads of this process by default.

    Raises:
      ValueError: the batch does not divide by the processes.
      DataError: from `next`, when an image does not decode.
    """
    part = local_slice(sampler.batch_size, process_index, process_count)
    valid = np.ones(len(part), bool)

    def places(step: int) -> tuple[range, np.ndarray, np.ndarray]:
        return part, sampler[step][part.start : part.stop], valid

    views = Views(source, transform, degradation)
    return Batches(places, sys.maxsize // 2**20, views, seed=seed, workers=workers, keep=True)


def evaluation_batches(
    source: Source,
    batch_size: int,
    transform: Transform,
    *,
    seed: int = 0,
    process_index: int = 0,
    process_count: int = 1,
    workers: Workers | None = None,
) -> Batches:
    """Every image once and in order, in batches of one shape.

    Batches are as in `train_batches`, with b = batch_size / process_count; the last global batch is filled up with
    black, where `valid` is false. A degradation depends on seed, batch and position in it alone.

    Args:
      source: where the images are.
      batch_size: of the global batch.
      transform: from an image and a generator to a view of fixed size.
      seed: of the transform's generator.
      process_index: which of the processes this is.
      process_count: how many there are.
      workers: who makes the views; threads of this process by default.

    Raises:
      ValueError: the batch does not divide by the processes.
      DataError: from `next`, when an image does not decode.
    """
    part = local_slice(batch_size, process_index, process_count)

    def places(step: int) -> tuple[range, np.ndarray, np.ndarray]:
        wanted = step * batch_size + np.arange(part.start, part.stop)
        return part, np.minimum(wanted, len(source) - 1), wanted < len(source)

    steps = math.ceil(len(source) / batch_size)
    return Batches(places, steps, Views(source, transform), seed=seed, workers=workers, keep=False)
