"""Which predictor foretells retrieval failures best: targets and regressions compared on frozen features [ours].

An embedding's uncertainty should say, before any search, that its nearest neighbor will be wrong. Failures of training
classes teach it, if they are honest: of a head that never saw the class. Four targets on the training images

    pretrained          the nearest other image by the bare features' cosine is wrong (0 or 1)
    level               the same, or the level of a degradation where that is larger: `configs/hyp_uml.py`
    cross-fitted        heads are trained on three quarters of the classes; is the nearest image of the rest wrong
    cross-fitted margin by how much: distance to the nearest right image − distance to the nearest wrong one

are learned by the regressions of `predictors.py` (linear, networks of two hidden layers, kernel ridge) on the images as
they are and one degraded view of each; by some of them from the encoder's earlier stages, too. The retrieval head is a
plain Hyp-ViT head, which no predictor touches: recall cannot suffer. `spread` learns nothing: it is how far, in the
mean, an embedding lies from those of the same image turned, cropped and recolored at random. The last row adds the
ranks of the last predictor and of the distance to the nearest neighbor, which needs a search.

    python evidence/failure_regression.py --split validation --seeds 5 --out runs/failure_regression.json
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import jax
import numpy as np
import optax
import scipy.stats
from failure_data import Data, load, own
from predictors import REGRESSIONS

from hypjax import losses
from hypjax.encoders.head import Head, calibrate
from hypjax.geometry import poincare
from hypjax.retrieval import auroc, distance_ratio

FOLDS, ROUNDS = 4, 3
STEPS, CLASSES, SAMPLES = 420, 48, 3
DISTANCE = partial(poincare.pairwise_dist, c=0.1)
# What learns, and what it is shown; the last is added to the distance.
REGRESSORS = {f"{name} of all stages": (REGRESSIONS[name], np.asarray) for name in ("ridge", "kernel ridge")}
REGRESSORS |= {name: (regression, own) for name, regression in REGRESSIONS.items()}
HEAD = Head(dim=256, clip_radius=2.3, kernel_init="pca", dropout=0.2, start_radius=1.15)
OPTIMIZER = optax.chain(
    optax.clip_by_global_norm(3.0),
    optax.adamw(optax.warmup_cosine_decay_schedule(0.0, 1e-3, STEPS // 20, STEPS), weight_decay=0.01),
)


@jax.jit
def embed(params: dict, features: jax.Array) -> jax.Array:
    """Features to points of the ball."""
    return poincare.expmap0(HEAD.apply(params, own(features)), c=0.1)


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
    params = calibrate(HEAD, HEAD.init(key, own(data.views[0, :2])), own(data.views[0][rows][::6]))
    state, average = OPTIMIZER.init(params), params
    for number, batch in enumerate(batches(rows, data.labels, rng)):
        x = own(data.views[rng.integers(len(data.views), size=len(batch)), batch])
        params, state, average = step(params, state, average, x, data.labels[batch], jax.random.fold_in(key, number))
    return average


def search(
    queries: np.ndarray,
    items: np.ndarray,
    labels: np.ndarray,
    item_labels: np.ndarray,
    itself: np.ndarray,
    **options: Callable,
) -> tuple[np.ndarray, np.ndarray]:
    """Distance to the nearest right minus to the nearest wrong item [n], and to the two nearest [n, 2]."""
    distances = np.array(jax.jit(options.get("distance", DISTANCE))(queries, items))
    distances[np.arange(len(queries)), itself] = np.inf
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
            who = (data.labels[rest], data.labels[rest], np.arange(len(rest)))
            items = embed(params, data.views[0][rest])
            clean[number, rest] = search(items, items, *who)[0]
            degraded[number, rest] = search(embed(params, data.degraded[rest]), items, *who)[0]
    return clean, degraded


def targets(data: Data, seed: int) -> dict[str, np.ndarray]:
    """What each target says of the training images, then of their degraded views [2 n]."""
    unit = [x / np.linalg.norm(x, axis=1, keepdims=True) for x in map(own, (data.views[0], data.degraded))]
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
    items = embed(params, data.queries["clean"].features)
    rows: dict[str, dict[str, float]] = {name: {} for name in ("head", "nearest distance", "distance ratio", "spread")}
    wrong, nearest = {}, {}
    for kind, (of, features, views) in data.queries.items():
        points = embed(params, features)
        margin, found = search(points, items, data.held_labels[of], data.held_labels, of)
        wrong[kind], nearest[kind] = margin > 0, found[:, 0]
        rows["head"][kind] = 1 - float(wrong[kind].mean())
        rows["nearest distance"][kind] = auroc(found[:, 0], wrong[kind])
        rows["distance ratio"][kind] = auroc(distance_ratio(found), wrong[kind])
        spread = np.mean([poincare.dist(points, embed(params, view), c=0.1) for view in views], axis=0)
        rows["spread"][kind] = auroc(spread, wrong[kind])
    seen = np.concatenate([data.views[0], data.degraded]).astype(np.float64)
    wanted = targets(data, seed)
    for name, (regression, known) in REGRESSORS.items():
        fit = regression(known(seen))
        for target, values in wanted.items():
            predict = fit(values)
            told = {kind: predict(known(query.features)) for kind, query in data.queries.items()}
            rows[f"{name}, {target}"] = {kind: auroc(score, wrong[kind]) for kind, score in told.items()}
    rank = scipy.stats.rankdata
    both = {kind: auroc(rank(score) + rank(nearest[kind]), wrong[kind]) for kind, score in told.items()}
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
