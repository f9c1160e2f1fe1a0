"""Features of a frozen encoder, computed once and kept on disk: heads, losses and geometries compared in seconds."""

from __future__ import annotations

import hashlib
import os
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jaxtyping import Float, Int

from hypjax.data import atomic
from hypjax.data.pipeline import Batch, local_slice
from hypjax.data.sampling import ClassBalanced
from hypjax.data.source import Source, own_features, own_file
from hypjax.training import sharding

Transform = Callable[[np.ndarray, np.random.Generator], tuple[np.ndarray, float]]
"""An image and a generator to a view and the level of its degradation."""


def digest_of_source(source: Source) -> str:
    """A digest of all that a source holds: names, labels and every decoded pixel, in order.

    Args:
      source: any source; its images are decoded once, in threads.
    """
    digest = hashlib.sha256(np.ascontiguousarray(source.labels).tobytes())
    with ThreadPoolExecutor(max_workers=min(16, os.cpu_count() or 2)) as pool:
        for index, image in enumerate(pool.map(source.image, range(len(source)))):
            digest.update(f"{source.name(index)}:{image.shape}".encode())
            digest.update(np.ascontiguousarray(image).tobytes())
    return digest.hexdigest()


def identity(source: Source) -> str:
    """A digest by which a source is known again: names, labels, sizes and times of its files; else every pixel."""
    if len(source) and own_file(source, 0) == (0, 0):
        return digest_of_source(source)
    digest = hashlib.sha256(np.ascontiguousarray(source.labels).tobytes())
    for index in range(len(source)):
        digest.update(f"{source.name(index)}:{own_file(source, index)}".encode("utf-8", "surrogateescape"))
    return digest.hexdigest()


def digest_of(tree: Any) -> str:
    """A digest of the names, shapes, types and values of a tree of arrays."""
    digest = hashlib.sha256()
    for path, leaf in jax.tree_util.tree_flatten_with_path(tree)[0]:
        value = np.ascontiguousarray(leaf)
        digest.update(f"{jax.tree_util.keystr(path)}:{value.shape}:{value.dtype}".encode())
        digest.update(value.tobytes())
    return digest.hexdigest()


def kept(directory: Path, words: str, compute: Callable[[], dict[str, np.ndarray]]) -> dict[str, np.ndarray]:
    """Arrays from a file that is named by all that they depend on; computed where it is not there or damaged.

    Args:
      directory: where the files are; made if it is not there.
      words: what they depend on, of which the file's name is a digest.
      compute: makes them.
    """
    path = directory / f"{hashlib.sha256(words.encode()).hexdigest()[:32]}.npz"
    if path.exists():
        # Opened here, since np.load would leave a damaged file open.
        damage = suppress(ValueError, KeyError, EOFError, zipfile.BadZipFile, zlib.error)
        with damage, path.open("rb") as opened, np.load(opened) as held:
            return {name: held[name] for name in held}
    arrays = compute()
    with atomic.writing(path) as file:
        np.savez(file, **arrays)  # type: ignore[arg-type]
    return arrays


class FeatureCache:
    """The features that one encoder gives, each array in a file named by all that it depends on.

    The name is a digest of the encoder's variables and description, of the data, pixel by pixel, of the transform and
    of the seed of its randomness. A killed run leaves no half of a file.

    Args:
      directory: where the files are; made if it is not there.
      encode: images uint8 [b, h, w, 3] to features [b, features].
      key: of the encoder: its variables' digest and whatever else changes `encode`.
      batch: images at a time.
    """

    def __init__(self, directory: Path, encode: Callable[[np.ndarray], jax.Array], *, key: str, batch: int) -> None:
        self._directory, self._encode, self._key, self._batch = directory, encode, key, batch
        self._digests: dict[int, tuple[Source, str]] = {}  # the source is held, so that its id stays its own

    def features(
        self, source: Source, transform: Transform, *, seed: int = 0
    ) -> tuple[Float[np.ndarray, "n features"], Float[np.ndarray, " n"]]:
        """Features of one view of each image, from the disk where they are already there.

        Args:
          source: where the images are.
          transform: makes the view; its `repr` must say all its settings.
          seed: the view of image i is drawn by a generator of (seed, i).

        Returns:
          Features, and the level of degradation of each view.
        """
        words = f"{self._key}|{self._digest(source)}|{transform!r}|{seed}"

        def compute() -> dict[str, np.ndarray]:
            features, levels = self._compute(source, transform, seed)
            return {"features": features, "levels": levels}

        held = kept(self._directory, words, compute)
        return held["features"], held["levels"]

    def _digest(self, source: Source) -> str:
        if id(source) not in self._digests:
            self._digests[id(source)] = source, digest_of_source(source)
        return self._digests[id(source)][1]

    def _compute(self, source: Source, transform: Transform, seed: int) -> tuple[np.ndarray, np.ndarray]:
        def view(index: int) -> tuple[np.ndarray, float]:
            return transform(source.image(index), np.random.default_rng((seed, index)))

        rows: list[np.ndarray] = []
        levels: list[float] = []
        with ThreadPoolExecutor(max_workers=2) as pool:
            for start in range(0, len(source), self._batch):
                count = min(self._batch, len(source) - start)
                views = list(pool.map(view, range(start, start + count)))
                images = np.stack([image for image, _ in views])
                padding = ((0, self._batch - count), (0, 0), (0, 0), (0, 0))  # one shape, one compilation
                rows.append(np.asarray(self._encode(np.pad(images, padding)))[:count])
                levels.extend(level for _, level in views)
        return np.concatenate(rows), np.array(levels, np.float32)


class FeatureBatches:
    """Endless class-major training batches of features; like a Grain iterator it tells and takes its position.

    Batch `step` depends on (seed, step) alone: the sampler picks the images, a generator one of the views of each.

    Args:
      read: views [b] and images [b] to their features [b, features].
      levels: of degradation of each view and image.
      labels: of the images.
      sampler: which images make the batch of a step.
      seed: of the choice among views.
      process_index: which of the processes this is.
      process_count: how many there are; each makes its contiguous part of the batch.

    Raises:
      ValueError: the batch does not divide by the processes.
    """

    def __init__(
        self,
        read: Callable[[np.ndarray, np.ndarray], Float[np.ndarray, "b features"]],
        levels: Float[np.ndarray, "views n"],
        labels: Int[np.ndarray, " n"],
        sampler: ClassBalanced,
        *,
        seed: int,
        process_index: int = 0,
        process_count: int = 1,
    ) -> None:
        self._read, self._levels, self._labels = read, levels, np.asarray(labels, np.int32)
        self._sampler, self._seed, self._step = sampler, seed, 0
        part = local_slice(sampler.batch_size, process_index, process_count)
        self._part = slice(part.start, part.stop)

    def __next__(self) -> Batch:
        indices = self._sampler[self._step]
        views = np.random.default_rng((self._seed, self._step)).integers(len(self._levels), size=len(indices))
        indices, views = indices[self._part], views[self._part]
        self._step += 1
        return {
            "features": self._read(views, indices),
            "label": self._labels[indices],
            "index": indices.astype(np.int32),
            "level": self._levels[views, indices],
            "valid": np.ones(len(indices), bool),
        }

    def __iter__(self) -> Iterator[Batch]:
        return self

    def get_state(self) -> dict[str, int]:
        """The position, as JSON can hold it."""
        return {"step": self._step}

    def set_state(self, state: Mapping[str, int]) -> None:
        """Goes on from a position that `get_state` told."""
        self._step = state["step"]

    def close(self) -> None:
        """Nothing is made ahead."""


def row_batches(
    source: Source, *, batch_size: int, degradation: str | None = None, level: float = 0.0
) -> Iterator[Batch]:
    """Every row of a source of features once and in order, this process's part of each batch.

    Args:
      source: one that holds features, see `hypjax.data.source.own_features`.
      batch_size: of the global batch; the last one is filled up with its last row, where `valid` is false.
      degradation: None, since nothing damages features.
      level: of it.

    Raises:
      ValueError: a degradation is asked for, the source has images, or the batch does not divide by the processes.
      DataError: from `next`, when a row is not finite.
    """
    read = own_features(source)
    if degradation or read is None:
        raise ValueError(f"features have no {degradation!r} at {level}" if degradation else "the source has images")
    part = local_slice(batch_size, jax.process_index(), jax.process_count())
    for start in range(0, len(source), batch_size):
        wanted = start + np.arange(part.start, part.stop)
        yield {"features": read(np.minimum(wanted, len(source) - 1)), "valid": wanted < len(source)}


def one_batch(features: Float[np.ndarray, "n features"], devices: int) -> Batch:
    """Features that every process has as one batch of this process's part, filled up with zeros to be shared out."""
    part = local_slice(sharding.shareable(len(features), devices), jax.process_index(), jax.process_count())
    wanted = np.arange(part.start, part.stop)
    own = features[part.start : part.stop]
    if len(own) < len(part):
        own = np.pad(own, ((0, len(part) - len(own)), (0, 0)))
    return {"features": own, "valid": wanted < len(features)}


def evaluation_batches(features: Float[np.ndarray, "n features"], batch: int) -> Iterator[Batch]:
    """Every row once and in order, in batches of one shape, padded with zeros where `valid` is false.

    >>> [b["valid"].sum() for b in evaluation_batches(np.ones((5, 2), np.float32), 4)]
    [np.int64(4), np.int64(1)]
    """
    for start in range(0, len(features), batch):
        rows = features[start : start + batch]
        missing = batch - len(rows)
        yield {"features": np.pad(rows, ((0, missing), (0, 0))), "valid": np.arange(batch) < len(rows)}
