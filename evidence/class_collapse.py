"""Class collapse on digits: train on parity, retrieve by digit; all positives against easy ones, in several losses.

A network of two layers sees scikit-learn's 8 × 8 digits with two labels, even and odd. What it was never told, which
of the five digits of its class an image shows, is asked of it: Recall@1 by digit on images it never saw. Where a loss
pulls all of a class together, digits collapse onto each other; the easy positive (EPS) lets them be.

    python evidence/class_collapse.py --out evidence/results/class_collapse.json
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
from sklearn.datasets import load_digits

from hypjax import geometry, losses, mining
from hypjax.geometry import sphere
from hypjax.retrieval import knn, recall_at_k

CURVATURE, DIM, RADIUS = 0.1, 16, 2.3
STEPS, BATCH, RATE = 600, 128, 3e-3
SPACES: dict[str, geometry.Manifold] = {
    "euclidean": geometry.Euclidean(),
    "sphere": geometry.Sphere(),
    "poincare": geometry.Poincare(CURVATURE),
}
LOSSES: dict[str, Callable] = {
    "contrastive": partial(losses.contrastive, neg_margin=1.0),
    "triplet": partial(losses.triplet, margin=0.2),
    "margin": partial(losses.margin, margin=0.2, beta=1.0),
    "multi_similarity": losses.multi_similarity,
}
MINERS: dict[str, Callable] = {
    "all positives": lambda distances, pairs: pairs,
    "easy positives": mining.easy_positive,
}


class Network(nn.Module):
    """Two layers and a soft clip, images [n, 64] to tangent vectors [n, DIM]."""

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Maps images to tangent vectors at the origin."""
        x = nn.relu(nn.Dense(128)(x))
        v = nn.Dense(DIM)(x)
        length = jnp.sqrt(jnp.sum(jnp.square(v), axis=1, keepdims=True) + 1e-12)
        return v * (RADIUS * jnp.tanh(length / RADIUS) / length)


def train(space: str, loss: str, miner: str, seed: int) -> dict[str, float]:
    """Trains on parity and scores by digit.

    Args:
      space: a key of `SPACES`.
      loss: a key of `LOSSES`.
      miner: a key of `MINERS`.
      seed: of weights, split and batches.

    Returns:
      Recall@1 by digit and by parity on the images that were held out.
    """
    digits = load_digits()
    order = np.random.default_rng(seed).permutation(len(digits.data))
    images = (digits.data[order] / 16).astype(np.float32)
    labels = digits.target[order].astype(np.int32)
    half = len(order) // 2
    manifold = SPACES[space]
    network = Network()
    optimizer = optax.adam(RATE)

    def value(params: dict, batch: jax.Array, parity: jax.Array) -> jax.Array:
        points = manifold.embed(network.apply(params, batch))
        compared = distances = manifold.pairwise_dist(points, points)
        if loss == "multi_similarity":
            cosine = space == "sphere"
            compared = 1 - sphere.pairwise_cosine_distance(points, points) if cosine else jnp.exp(-distances)
            distances = -compared
        return losses.mean(LOSSES[loss](compared, MINERS[miner](distances, losses.pairs(parity))))

    @jax.jit
    def run(key: jax.Array) -> dict:
        params = network.init(key, jnp.zeros((1, 64)))

        def step(carry: tuple, step_key: jax.Array) -> tuple:
            params, state = carry
            chosen = jax.random.choice(step_key, half, (BATCH,), replace=False)
            gradient = jax.grad(value)(params, jnp.asarray(images)[chosen], jnp.asarray(labels)[chosen] % 2)
            update, state = optimizer.update(gradient, state)
            return (optax.apply_updates(params, update), state), None

        keys = jax.random.split(jax.random.fold_in(key, 1), STEPS)
        return jax.lax.scan(step, (params, optimizer.init(params)), keys)[0][0]

    points = manifold.embed(network.apply(run(jax.random.key(seed)), images[half:]))
    held = labels[half:]
    neighbors, _ = knn(points, points, k=1, distance=manifold.pairwise_dist, exclude=np.arange(len(held)))
    return {
        "digit": float(recall_at_k(held[np.asarray(neighbors)], held, k=1)),
        "parity": float(recall_at_k(held[np.asarray(neighbors)] % 2, held % 2, k=1)),
    }


def main() -> None:
    """Runs every combination and writes figures and a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seeds", type=int, default=5)
    options = parser.parse_args()
    rows = []
    for space in SPACES:
        for loss in LOSSES:
            start, found = time.monotonic(), {}
            for miner in MINERS:
                figures = [train(space, loss, miner, seed) for seed in range(options.seeds)]
                found[miner] = {name: [f[name] for f in figures] for name in figures[0]}
            every, easy = (np.array(found[miner]["digit"]) for miner in MINERS)
            gain = easy - every
            rows.append({"space": space, "loss": loss, "figures": found})
            columns = [f"{v.mean():.3f} ± {v.std(ddof=1):.3f}" for v in (every, easy, gain)]
            print(f"| {space} | {loss} | {' | '.join(columns)} |  {time.monotonic() - start:.0f} s", flush=True)
    options.out.write_text(json.dumps({"seeds": options.seeds, "steps": STEPS, "rows": rows}, indent=1) + "\n")


if __name__ == "__main__":
    main()
