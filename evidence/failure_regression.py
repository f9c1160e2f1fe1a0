"""Which predictor foretells retrieval failures best: targets and regressions compared on frozen features [ours].

An embedding's uncertainty should say, before any search, that its nearest neighbor will be wrong. Failures of training
classes teach it, if they are honest: of a head that never saw the class. Four targets on the training images

    pretrained          the nearest other image by the bare features' cosine is wrong (0 or 1)
    level               the same, or the level of a degradation where that is larger: `configs/hyp_uml.py`
    cross-fitted        heads are trained on three quarters of the classes; is the nearest image of the rest wrong
    cross-fitted margin by how much: distance to the nearest right image − distance to the nearest wrong one

are learned by the regressions of `predictors.py` (linear, networks of two hidden layers, kernel ridge) on the images as
they are and one degraded view of each. The retrieval head is a plain Hyp-ViT head, which no predictor touches: recall
cannot suffer. The last row adds the ranks of the last predictor and of the distance to the nearest neighbor, which
needs a search.

    python evidence/failure_regression.py --split validation --seeds 5 --out runs/failure_regression.json
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
import scipy.stats
from predictors import REGRESSIONS

from hypjax import encoders, losses
from hypjax.data.emoji import Emoji
from hypjax.data.transforms import DEGRADATIONS, DRAWINGS, EvaluationTransform, RandomDegradation, TrainTransform
from hypjax.encoders.head import Head, calibrate
from hypjax.geometry import poincare
from hypjax.retrieval import auroc, distance_ratio
from hypjax.training.features import FeatureStore

PIXELS, LEVELS, QUERIES, FOLDS, ROUNDS = 96, (0.25, 0.5, 0.75, 1.0), 384, 4, 3
STEPS, CLASSES, SAMPLES = 420, 48, 3
DISTANCE = partial(poincare.pairwise_dist, c=0.1)
HEAD = Head(dim=256, clip_radius=2.3, kernel_init="pca", dropout=0.2, start_radius=1.15)
OPTIMIZER = optax.chain(
    optax.clip_by_global_norm(3.0),
    optax.adamw(optax.warmup_cosine_decay_schedule(0.0, 1e-3, STEPS // 20, STEPS), weight_decay=0.01),
)


class Data(NamedTuple):
    """Frozen features of training and scored images, as they are and degraded.

    Attributes:
      labels: of the training images [n].
      views: of the training images, as they are first [views, n, features].
      degraded: one degraded view of each training image [n, features].
      level: of its degradation [n].
      held_labels: of the scored images [m].
      held: their features [m, features].
      chosen: which of them are degraded [q].
      queries: features of those, by kind of degradation, level after level [4 q, features].
    """

    labels: np.ndarray
    views: np.ndarray
    degraded: np.ndarray
    level: np.ndarray
    held_labels: np.ndarray
    held: np.ndarray
    chosen: np.ndarray
    queries: dict[str, np.ndarray]


class _View(NamedTuple):
    transform: TrainTransform
    share: float

    def __call__(self, image: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, float]:
        return RandomDegradation(self.share)(self.transform(image, rng), rng)


class _Clean(NamedTuple):
    transform: EvaluationTransform

    def __call__(self, image: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, float]:
        return self.transform(image, rng), self.transform.level


def load(split: str, directory: Path) -> Data:
    """Features of the packaged encoder, computed once and kept in `directory`."""
    encoder = encoders.create("efficientnet_lite0")
    weights = encoders.load_weights(encoders.packaged_weights("efficientnet_lite0"), encoder, image_size=PIXELS)
    expected = encoders.preprocessing("efficientnet_lite0")
    mean, std = (jnp.asarray(x)[None, None, None] for x in (expected.mean, expected.std))
    encode = jax.jit(lambda images: encoder.apply(weights, (images / 255.0 - mean) / std, train=False))
    store = FeatureStore(directory, encode, key="failure_regression", batch=128)
    train, held = Emoji("train"), Emoji(split)
    augment = TrainTransform(PIXELS, **DRAWINGS)
    views = [store.features(train, _Clean(EvaluationTransform(PIXELS)))[0]]
    views += [store.features(train, _View(augment, 0.0), seed=seed)[0] for seed in (1, 2, 3)]
    degraded, level = store.features(train, _View(augment, 1.0), seed=4)
    chosen = np.unique(np.linspace(0, len(held) - 1, min(QUERIES, len(held))).astype(int))

    def damaged(kind: str) -> np.ndarray:
        transforms = [EvaluationTransform(PIXELS, degradation=kind, level=level) for level in LEVELS]
        return np.concatenate([store.features(held, _Clean(transform))[0][chosen] for transform in transforms])

    clean = store.features(held, _Clean(EvaluationTransform(PIXELS)))[0]
    queries = {kind: damaged(kind) for kind in DEGRADATIONS}
    return Data(train.labels, np.stack(views), degraded, level, held.labels, clean, chosen, queries)


@jax.jit
def embed(params: dict, features: jax.Array) -> jax.Array:
    """Features to points of the ball."""
    return poincare.expmap0(HEAD.apply(params, features), c=0.1)


def batches(rows: np.ndarray, labels: np.ndarray, rng: np.random.Generator) -> Iterator[np.ndarray]:
    """Class-major batches of row numbers."""
    members = {label: rows[labels[rows] == label] for label in np.unique(labels[rows])}
    names = np.array(list(members))
    for _ in range(STEPS):
        drawn = [members[label] for label in rng.choice(names, CLASSES, replace=False)]
        yield np.concatenate([rng.choice(own, SAMPLES, replace=len(own) < SAMPLES) for own in drawn])


@jax.jit
def step(params: dict, state: optax.OptState, average: dict, x: jax.Array, y: jax.Array, key: jax.Array) -> tuple:
    """One step of the plain pairwise cross-entropy, and the running average of the weights."""

    def value(params: dict) -> jax.Array:
        points = poincare.expmap0(HEAD.apply(params, x, train=True, rngs={"dropout": key}), c=0.1)
        distances = DISTANCE(points, points)
        return losses.mean(losses.pairwise_cross_entropy(distances, losses.pairs(y), temperature=0.1))

    update, state = OPTIMIZER.update(jax.grad(value)(params), state, params)
    params = optax.apply_updates(params, update)
    return params, state, optax.incremental_update(params, average, 0.02)


def train_head(data: Data, rows: np.ndarray, seed: int) -> dict:
    """Trains a head on some of the training images; returns its averaged weights."""
    key, rng = jax.random.key(seed), np.random.default_rng(seed)
    params = calibrate(HEAD, HEAD.init(key, data.views[0, :2]), data.views[0][rows][::6])
    state, average = OPTIMIZER.init(params), params
    for number, batch in enumerate(batches(rows, data.labels, rng)):
        x = data.views[rng.integers(len(data.views), size=len(batch)), batch]
        params, state, average = step(params, state, average, x, data.labels[batch], jax.random.fold_in(key, number))
    return average


def search(
    queries: np.ndarray,
    items: np.ndarray,
    labels: np.ndarray,
    item_labels: np.ndarray,
    own: np.ndarray,
    **options: Callable,
) -> tuple[np.ndarray, np.ndarray]:
    """Distance to the nearest right minus to the nearest wrong item [n], and to the two nearest [n, 2]."""
    distances = np.array(jax.jit(options.get("distance", DISTANCE))(queries, items))
    distances[np.arange(len(queries)), own] = np.inf
    right = labels[:, None] == item_labels[None]
    margin = np.where(right, distances, np.inf).min(1) - np.where(right, np.inf, distances).min(1)
    return margin, np.partition(distances, 1, axis=1)[:, :2]


def cross_fitted_margins(data: Data, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Margins of the training images, and of their degraded views, by heads that never saw their classes.

    The mean of `ROUNDS` divisions of the classes into `FOLDS`.
    """
    clean, degraded = np.zeros((ROUNDS, len(data.labels))), np.zeros((ROUNDS, len(data.labels)))
    for number in range(ROUNDS):
        folds = np.random.default_rng((seed, number)).integers(0, FOLDS, data.labels.max() + 1)[data.labels]
        for fold in range(FOLDS):
            params = train_head(data, np.flatnonzero(folds != fold), seed=1000 * (seed + 1) + FOLDS * number + fold)
            rest = np.flatnonzero(folds == fold)
            own, labels = np.arange(len(rest)), data.labels[rest]
            items = embed(params, data.views[0][rest])
            clean[number, rest] = search(items, items, labels, labels, own)[0]
            degraded[number, rest] = search(embed(params, data.degraded[rest]), items, labels, labels, own)[0]
    return clean, degraded


def targets(data: Data, seed: int) -> dict[str, np.ndarray]:
    """What each target says of the training images, then of their degraded views [2 n]."""
    unit = [x / np.linalg.norm(x, axis=1, keepdims=True) for x in (data.views[0], data.degraded)]
    everything = (unit[0], data.labels, data.labels, np.arange(len(data.labels)))
    bare = [search(x, *everything, distance=lambda x, y: 1 - x @ y.T)[0] > 0 for x in unit]
    margins = cross_fitted_margins(data, seed)
    mean = np.concatenate([each.mean(0) for each in margins])
    return {
        "pretrained": np.concatenate(bare).astype(float),
        "level": np.concatenate([bare[0], np.maximum(bare[1], data.level)]),
        "cross-fitted": np.concatenate([(each > 0).mean(0) for each in margins]),
        "cross-fitted margin": np.clip(mean / mean[: len(data.labels)].std(), -3, 3),
    }


def measure(data: Data, seed: int) -> dict[str, dict[str, float]]:
    """AUROC of every predictor and baseline, by row and column; the row `head` has the recall."""
    params = train_head(data, np.arange(len(data.labels)), seed)
    items = embed(params, data.held)
    margin, nearest = search(items, items, data.held_labels, data.held_labels, np.arange(len(items)))
    questions = {"clean": (data.held, margin > 0, nearest)}
    for kind, features in data.queries.items():
        own = np.tile(data.chosen, len(LEVELS))
        margin_of_kind, nearest = search(embed(params, features), items, data.held_labels[own], data.held_labels, own)
        questions[kind] = (features, margin_of_kind > 0, nearest)
    rows = {"head": {kind: 1 - float(wrong.mean()) for kind, (_, wrong, _) in questions.items()}}
    rows["nearest distance"] = {kind: auroc(d[:, 0], wrong) for kind, (_, wrong, d) in questions.items()}
    rows["distance ratio"] = {kind: auroc(distance_ratio(d), wrong) for kind, (_, wrong, d) in questions.items()}
    seen = np.concatenate([data.views[0], data.degraded]).astype(np.float64)
    wanted = targets(data, seed)
    for name, regression in REGRESSIONS.items():
        fit = regression(seen)
        for target, values in wanted.items():
            predict = fit(values)
            rows[f"{name}, {target}"] = {
                kind: auroc(predict(features), wrong) for kind, (features, wrong, _) in questions.items()
            }
    both = {}
    for kind, (features, wrong, nearest) in questions.items():
        ranks = [scipy.stats.rankdata(values) for values in (predict(features), nearest[:, 0])]
        both[kind] = auroc(ranks[0] + ranks[1], wrong)
    return rows | {f"{name}, {target}, and nearest distance": both}


def main() -> None:
    """Measures every seed; writes figures and a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--split", choices=("validation", "test"), default="validation")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--features", type=Path, default=Path("runs/features"))
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    data = load(options.split, options.features)
    found = []
    for seed in range(options.seeds):
        found.append(measure(data, seed))
        print(f"seed {seed}: Recall@1 {found[-1]['head']['clean']:.3f}", flush=True)
    for row in found[0]:
        columns = (np.array([figures[row][kind] for figures in found]) for kind in found[0][row])
        spread = [f"{v.mean():.3f} ± {v.std(ddof=1) if len(v) > 1 else 0:.3f}" for v in columns]
        print(f"| {row} | {' | '.join(spread)} |")
    options.out.write_text(json.dumps({"split": options.split, "seeds": found}, indent=1) + "\n")


if __name__ == "__main__":
    main()
