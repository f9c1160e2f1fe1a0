import jax
import jax.numpy as jnp
import numpy as np
import pytest

from hypjax import losses, mining
from hypjax.geometry import Poincare
from tests import compiling
from tests.losses import table

LABELS = np.array([2, 0, 1, 0, 2, 2, 1, 0, 5], np.int32)


def test_semihard_negatives_depend_on_who_chose_the_positives():
    x, pairs = jnp.array([0.0, 1.0, 3.0, 1.1, 3.1]), losses.pairs(np.array([0, 0, 0, 1, 1]))
    distances = jnp.abs(x[:, None] - x[None])
    for positive, expected in (mining.easy_positive, [0, 0, 0, 1, 0]), (mining.hard_positive, [0, 0, 0, 0, 1]):
        chosen = positive(distances, pairs)
        mined = mining.semihard_negative(distances, chosen)
        np.testing.assert_array_equal(mined.negative[0], expected)
        np.testing.assert_array_equal(mined.positive, chosen.positive)
        assert mined.one_positive


@pytest.mark.parametrize("share", [1.0, 0.6])
def test_multi_similarity_keeps_what_the_loop_keeps(share, distances, labels):
    epsilon = 0.5
    same = (labels[:, None] == labels[None]) & ~np.eye(9, dtype=bool)
    chosen = same & (np.random.default_rng(3).random((9, 9)) < share)
    expected = np.zeros((2, 9, 9))
    for i in range(9):
        positives, negatives = np.flatnonzero(chosen[i]), np.flatnonzero(labels != labels[i])
        for p in positives:
            expected[0, i, p] = any(distances[i, p] > distances[i, n] - epsilon for n in negatives)
        for n in negatives:
            expected[1, i, n] = any(distances[i, n] < distances[i, p] + epsilon for p in positives)
    for weight in None, 0.5:
        given = jnp.array(chosen) if weight is None else weight * jnp.array(chosen, jnp.float32)
        pairs = losses.pairs(labels).weigh(positive=given)
        mined = jax.jit(mining.multi_similarity_pairs)(jnp.array(distances), pairs, epsilon=epsilon)
        np.testing.assert_array_equal(mined.positive, (weight or 1) * expected[0])
        np.testing.assert_array_equal(mined.negative, expected[1])


@pytest.fixture(scope="module")
def of_the_ball():
    """Distances of points with a duplicate, the center and one on the boundary."""
    v = np.random.default_rng(0).normal(size=(9, 3))
    norm = np.linalg.norm(v, axis=1, keepdims=True)
    x = jnp.array(v / norm * np.tanh(0.4 * norm) / np.sqrt(0.7), jnp.float32)
    x = x.at[1].set(x[0]).at[2].set(0).at[3].set(x[3] / jnp.linalg.norm(x[3]) / 0.7**0.5)
    return Poincare(0.7).pairwise_dist(x, x)


def weights(distances, pairs):
    return {name: (mined.positive, mined.negative) for name, mined in table.every_miner(distances, pairs).items()}


def test_every_miner_takes_some_of_its_pairs(of_the_ball):
    """Compiled, two batches at once, and row by row: the same."""
    pairs = losses.pairs(LABELS)
    found = jax.jit(weights)(of_the_ball, pairs)
    for name, sides in found.items():
        for side, allowed in zip(sides, (pairs.positive, pairs.negative), strict=True):
            side = np.array(side, float)
            assert np.isfinite(side).all(), name
            assert (side >= 0).all(), name
            assert not side[~np.array(allowed)].any(), name
            assert side.any(), name
    both = jax.jit(jax.vmap(lambda d: weights(d, pairs)))(jnp.stack([of_the_ball, of_the_ball.T]))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a[0], b, rtol=1e-5, atol=1e-6), both, found)


@pytest.mark.slow
def test_compiled_and_eager_miners_agree(of_the_ball):
    pairs = losses.pairs(LABELS)
    compiled, eager = compiling.fully(weights)(of_the_ball, pairs), weights(of_the_ball, pairs)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6), compiled, eager)


def test_choosing_carries_no_gradient(of_the_ball):
    def total(distances):
        mined = weights(distances, losses.pairs(LABELS))
        return sum((w * jnp.arange(9.0)[None]).sum() for sides in mined.values() for w in sides)

    np.testing.assert_array_equal(jax.jit(jax.grad(total))(of_the_ball), 0)


@pytest.mark.parametrize("pair", [(0, 4), (0, 8)], ids=["positive", "negative"])
def test_a_diverged_distance_is_taken_and_leaves_numbers(pair):
    """Neither near nor far, it would vanish if a miner asked which it is."""
    distances = jnp.full((9, 9), 0.5).at[pair].set(jnp.nan)
    pairs = losses.pairs(LABELS)
    mining.distance_weighted_negative(distances, pairs, scale=None)  # nor is the scale that it measures an error
    for name, sides in jax.jit(weights)(distances, pairs).items():
        assert all(np.isfinite(np.array(side, float)).all() for side in sides), name
        assert any(side[pair] > 0 for side in sides), name


@pytest.mark.slow
@pytest.mark.parametrize("name", table.MINERS)
def test_memory_is_a_few_distance_matrices(name):
    """At 900 images one b·b·b array would be 2.9 GB."""
    n = 900

    def loss(x, labels):
        distances, pairs = -jnp.matmul(x, x.T), losses.pairs(labels)
        return losses.mean(losses.triplet(distances, table.MINERS[name](distances, pairs)))

    compiled = jax.jit(jax.grad(loss)).lower(jnp.zeros((n, 8)), jnp.arange(n) // 9).compile()
    assert compiled.memory_analysis().temp_size_in_bytes < 24 * 4 * n * n
