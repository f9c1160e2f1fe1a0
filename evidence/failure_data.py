"""Features from which failures of a retrieval are to be foretold: of frozen images as they are, damaged and turned.

The columns are the means over each map of channels: of the stages of the encoder from the outermost inward, then of its
last one, the encoder's own features, which a head takes.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from hypjax import encoders
from hypjax.data.emoji import Emoji
from hypjax.data.transforms import DEGRADATIONS, DRAWINGS, EvaluationTransform, RandomDegradation, TrainTransform
from hypjax.training.features import FeatureCache

PIXELS, LEVELS, QUERIES, VIEWS = 96, (0.25, 0.5, 0.75, 1.0), 384, 4
STAGES = tuple(f"block_{last}" for last in (0, 2, 4, 7, 10, 14, 15))  # the last block of each
WIDTH = 1280  # of the encoder's own features


class Query(NamedTuple):
    """Images that ask.

    Attributes:
      rows: which of the scored images they are [q].
      features: theirs [q, features].
      views: of each, turned, cropped and recolored at random [VIEWS, q, features].
    """

    rows: np.ndarray
    features: np.ndarray
    views: np.ndarray


class Data(NamedTuple):
    """Features of training and scored images, as they are and degraded.

    Attributes:
      labels: of the training images [n].
      views: of the training images, as they are first [views, n, features].
      degraded: one degraded view of each training image [n, features].
      level: of its degradation [n].
      held_labels: of the scored images [m].
      queries: `clean`, all the scored images, and some of them by kind of degradation, level after level.
    """

    labels: np.ndarray
    views: np.ndarray
    degraded: np.ndarray
    level: np.ndarray
    held_labels: np.ndarray
    queries: dict[str, Query]


class _View(NamedTuple):
    transform: TrainTransform
    share: float

    def __call__(self, image: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, float]:
        return RandomDegradation(self.share)(self.transform(image, rng), rng)


class _Seen(NamedTuple):
    """An image as it is evaluated, then perhaps turned."""

    transform: EvaluationTransform
    turn: TrainTransform | None = None

    def __call__(self, image: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, float]:
        view = self.transform(image, rng)
        return view if self.turn is None else self.turn(view, rng), self.transform.level


def own(features: np.ndarray) -> np.ndarray:
    """The encoder's own features, without those of its earlier stages."""
    return features[..., -WIDTH:]


def load(split: str, directory: Path) -> Data:
    """Features of the packaged encoder, computed once and kept in `directory`."""
    store = FeatureCache(directory, _encoder(), key="failure_regression of all stages", batch=128)
    train, held = Emoji("train"), Emoji(split)
    augment, clean = TrainTransform(PIXELS, **DRAWINGS), EvaluationTransform(PIXELS)
    views = [store.features(train, _Seen(clean))[0]]
    views += [store.features(train, _View(augment, 0.0), seed=seed)[0] for seed in (1, 2, 3)]
    degraded, level = store.features(train, _View(augment, 1.0), seed=4)
    chosen = np.unique(np.linspace(0, len(held) - 1, min(QUERIES, len(held))).astype(int))

    def asked(transform: EvaluationTransform, rows: np.ndarray) -> Query:
        turned = [store.features(held, _Seen(transform, augment), seed=seed)[0][rows] for seed in range(VIEWS)]
        return Query(rows, store.features(held, _Seen(transform))[0][rows], np.stack(turned))

    def damaged(kind: str) -> Query:
        each = [asked(EvaluationTransform(PIXELS, degradation=kind, level=level), chosen) for level in LEVELS]
        rows, features, views = zip(*each, strict=True)
        return Query(np.concatenate(rows), np.concatenate(features), np.concatenate(views, axis=1))

    queries = {"clean": asked(clean, np.arange(len(held)))} | {kind: damaged(kind) for kind in DEGRADATIONS}
    return Data(train.labels, np.stack(views), degraded, level, held.labels, queries)


def _encoder() -> Callable[[jax.Array], jax.Array]:
    encoder = encoders.create("efficientnet_lite0")
    weights = encoders.load_weights(encoders.packaged_weights("efficientnet_lite0"), encoder, image_size=PIXELS)
    expected = encoders.preprocessing("efficientnet_lite0")
    mean, std = (jnp.asarray(x)[None, None, None] for x in (expected.mean, expected.std))

    @jax.jit
    def encode(images: jax.Array) -> jax.Array:
        taken = {"capture_intermediates": lambda module, _: module.name in STAGES, "mutable": ["intermediates"]}
        features, state = encoder.apply(weights, (images / 255.0 - mean) / std, train=False, **taken)
        maps = [state["intermediates"][stage]["__call__"][0] for stage in STAGES]
        return jnp.concatenate([*(x.astype(jnp.float32).mean(axis=(1, 2)) for x in maps), features], axis=1)

    return encode
