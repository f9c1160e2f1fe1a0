"""From a source to batches of arrays: a Grain pipeline in threads, deterministic, resumable, cut by process."""

import dataclasses
import logging
import os
import sys
import threading
from collections.abc import Callable, Iterator

import numpy as np
from jaxtyping import UInt8

from hypjax.data.sampling import ClassBalanced
from hypjax.data.source import Source
from hypjax.data.transforms import RandomDegradation


def _is_news(record: logging.LogRecord) -> bool:
    """Grain says at import that a profiler of worker processes is missing; we use threads."""
    return "worker profiling" not in record.getMessage()


logging.getLogger("absl").addFilter(_is_news)
import grain  # noqa: E402

logging.getLogger("absl").removeFilter(_is_news)

Transform = Callable[[np.ndarray, np.random.Generator], np.ndarray]
Batch = dict[str, np.ndarray]


class Cached:
    """A source that keeps decoded images until they take `limit` bytes, and decodes the others anew each time.

    Args:
      source: what to read.
      limit: bytes of pixels to keep at most; 0 keeps none.
    """

    def __init__(self, source: Source, *, limit: int) -> None:
        self._source, self._room = source, limit
        self._kept: dict[int, np.ndarray] = {}
        self._lock = threading.Lock()
        self.labels, self.class_names = source.labels, source.class_names
        self.ancestors, self.level_names = source.ancestors, source.level_names
        self.ancestor_names = source.ancestor_names

    def __len__(self) -> int:
        return len(self._source)

    def image(self, index: int) -> UInt8[np.ndarray, "h w 3"]:
        """The image, from memory if it is there."""
        kept = self._kept.get(index)
        if kept is not None:
            return kept
        image = self._source.image(index)
        image.flags.writeable = False
        with self._lock:
            if index not in self._kept and image.nbytes <= self._room:
                self._kept[index] = image
                self._room -= image.nbytes
        return image

    def name(self, index: int) -> str:
        """The name that the underlying source gives it."""
        return self._source.name(index)


@dataclasses.dataclass(frozen=True)
class _Loader:
    """Batch `step` of one process: `places(step)` are (position in the global batch, index in the source, valid).

    Valid places come first; what fills up the others is a copy that nobody looks at.
    """

    source: Source
    transform: Transform
    seed: int
    places: Callable[[int], tuple[range, np.ndarray, np.ndarray]]
    degradation: RandomDegradation | None = None

    def __call__(self, step: int) -> Batch:
        positions, indices, valid = self.places(step)
        read = max(1, int(valid.sum()))
        each = [self._view(step, positions[i], int(indices[i])) for i in range(read)]
        views, levels = zip(*each, *each[-1:] * (len(indices) - read), strict=True)
        labels = np.asarray(self.source.labels, np.int32)[indices]
        return {
            "image": np.stack(views),
            "label": labels,
            "index": indices.astype(np.int32),
            "level": np.array(levels, np.float32),
            "valid": valid,
        }

    def _view(self, step: int, position: int, index: int) -> tuple[np.ndarray, float]:
        # A generator for each place, so that a view depends on nothing but seed, step and place.
        rng = np.random.default_rng((self.seed, step, position))
        view = self.transform(self.source.image(index), rng)
        return (view, 0.0) if self.degradation is None else self.degradation(view, rng)


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


def _batches(loader: _Loader, steps: int, threads: int | None) -> grain.DatasetIterator:
    # At least two: one decodes while the other waits for the lock or the disk.
    workers = threads or max(2, min(16, len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 4))
    options = grain.ReadOptions(num_threads=workers, prefetch_buffer_size=workers + 1)
    return iter(grain.MapDataset.range(steps).map(loader).to_iter_dataset(options))


def train_batches(
    source: Source,
    sampler: ClassBalanced,
    transform: Transform,
    *,
    seed: int,
    process_index: int = 0,
    process_count: int = 1,
    degradation: RandomDegradation | None = None,
    threads: int | None = None,
    cache_bytes: int = 2**30,
) -> grain.DatasetIterator:
    """Endless training batches of this process, prefetched in threads.

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
      threads: how many load; `None` for one a core, 2 to 16.
      cache_bytes: decoded images are kept up to this many bytes.

    Raises:
      ValueError: the batch does not divide by the processes.
      DataError: from `next`, when an image does not decode.
    """
    part = local_slice(sampler.batch_size, process_index, process_count)
    valid = np.ones(len(part), bool)

    def places(step: int) -> tuple[range, np.ndarray, np.ndarray]:
        return part, sampler[step][part.start : part.stop], valid

    return _batches(
        _Loader(Cached(source, limit=cache_bytes), transform, seed, places, degradation), sys.maxsize, threads
    )


def evaluation_batches(
    source: Source,
    batch_size: int,
    transform: Transform,
    *,
    seed: int = 0,
    process_index: int = 0,
    process_count: int = 1,
    threads: int | None = None,
) -> Iterator[Batch]:
    """Every image once and in order, in batches of one shape.

    Batches are as in `train_batches`, with b = batch_size / process_count; the last global batch is filled up with the
    last view, where `valid` is false. A degradation depends on seed, batch and position in it alone.

    Args:
      source: where the images are.
      batch_size: of the global batch.
      transform: from an image and a generator to a view of fixed size.
      seed: of the transform's generator.
      process_index: which of the processes this is.
      process_count: how many there are.
      threads: how many load; `None` for one a core, 2 to 16.

    Raises:
      ValueError: the batch does not divide by the processes.
      DataError: from `next`, when an image does not decode.
    """
    part = local_slice(batch_size, process_index, process_count)

    def places(step: int) -> tuple[range, np.ndarray, np.ndarray]:
        wanted = step * batch_size + np.arange(part.start, part.stop)
        return part, np.minimum(wanted, len(source) - 1), wanted < len(source)

    return _batches(_Loader(source, transform, seed, places), -(-len(source) // batch_size), threads)
