"""Where batches are degenerate every loss is finite in value and gradient, and what has diverged shows."""

import jax
import numpy as np
import pytest

from hypjax import geometry
from tests.losses import table

LABELS = np.array([2, 0, 1, 0, 2, 2, 1, 0, 5], np.int32)
BATCHES = {
    "uneven classes": LABELS,
    "one class": np.zeros(9, int),
    "only singletons": np.arange(9),
    "an image alone": np.array([3, *[-1] * 8]),
    "all masked": np.full(9, -1),
}


def hard_points(points):
    """Points of the ball with a duplicate of each kind, its center and one on its boundary."""
    x = points(9).astype(np.float32)
    x[3], x[8], x[2], x[4] = x[1], x[0], 0, x[4] / np.linalg.norm(x[4]) / 0.7**0.5
    return {"hard": x, "all at one point": np.tile(x[:1], (9, 1)), "all at the center": np.zeros_like(x)}


distance = jax.jit(geometry.Poincare(0.7).pairwise_dist)
mined = jax.jit(table.every_miner)


@jax.jit
def to_points(x, by_distances):
    """What a gradient by the distances is one by the points, as miners let none through."""
    return jax.vjp(lambda x: geometry.Poincare(0.7).pairwise_dist(x, x), x)[1](by_distances)[0]


@pytest.mark.slow
@pytest.mark.parametrize("name", BATCHES)
def test_every_loss_is_finite_and_of_nothing_zero(name, points):
    u = np.linspace(0.0, 1.0, 9, dtype=np.float32)
    for where, x in hard_points(points).items():
        distances = distance(x, x)
        for miner, pairs in mined(distances, table.pairs(BATCHES[name])).items():
            for loss, (value, by_distances, by_u) in table.run(distances, pairs, u).items():
                found = value, to_points(x, by_distances), by_u
                assert all(np.isfinite(leaf).all() for leaf in found), (where, miner, loss)
                if name in ("all masked", "an image alone"):
                    assert not any(np.any(leaf) for leaf in found), (where, miner, loss)
                if name == "uneven classes":
                    assert value > 0, (where, miner, loss)


POSITIVE, NEGATIVE = (0, 4), (0, 1)


@pytest.mark.slow
@pytest.mark.parametrize("pair", [POSITIVE, NEGATIVE], ids=["positive", "negative"])
def test_a_diverged_distance_of_a_pair_that_counts_is_not_hidden(pair):
    """In no loss after any miner: what compares as neither near nor far is taken."""
    distances = np.random.default_rng(0).uniform(0.4, 0.6, (9, 9)).astype(np.float32)
    distances[pair] = np.nan
    for miner, pairs in mined(distances, table.pairs(LABELS)).items():
        for loss, (value, _, _) in table.run(distances, pairs, np.full(9, 0.5, np.float32)).items():
            assert np.isnan(value), (miner, loss)


@pytest.mark.slow
@pytest.mark.parametrize("image", [0, 8], ids=["with a classmate", "singleton"])
def test_a_diverged_image_is_not_hidden(image, points):
    x = points(9).astype(np.float32)
    x[image, 0] = np.nan
    distances = distance(x, x)
    for miner, pairs in mined(distances, table.pairs(LABELS)).items():
        for loss, (value, _, _) in table.run(distances, pairs, np.full(9, 0.5, np.float32)).items():
            assert np.isnan(value), (miner, loss)
