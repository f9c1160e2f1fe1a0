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
    x, pairs = np.float32([0.0, 1.0, 3.0, 1.1, 3.1]), table.pairs(np.array([0, 0, 0, 1, 1]))
    distances = np.abs(x[:, None] - x[None])
    for positive, expected in (mining.easy_positive, [0, 0, 0, 1, 0]), (mining.hard_positive, [0, 0, 0, 0, 1]):
        chosen = jax.jit(positive)(distances, pairs)
        mined = jax.jit(mining.semihard_negative)(distances, chosen)
        np.testing.assert_array_equal(np.asarray(mined.negative)[0], expected)
        np.testing.assert_array_equal(mined.positive, chosen.positive)
        assert mined.one_positive


multi_similarity = jax.jit(mining.multi_similarity_pairs)


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
        given = chosen if weight is None else chosen * np.float32(weight)
        pairs = table.pairs(labels).weigh(positive=jnp.asarray(given))
        mined = multi_similarity(distances, pairs, epsilon=epsilon)
        np.testing.assert_array_equal(mined.positive, (weight or 1) * expected[0])
        np.testing.assert_array_equal(mined.negative, expected[1])


@pytest.fixture(scope="module")
def of_the_ball():
    """Distances of points with a duplicate, the center and one on the boundary."""
    v = np.random.default_rng(0).normal(size=(9, 3))
    norm = np.linalg.norm(v, axis=1, keepdims=True)
    x = (v / norm * np.tanh(0.4 * norm) / np.sqrt(0.7)).astype(np.float32)
    x[1], x[2], x[3] = x[0], 0, x[3] / np.linalg.norm(x[3]) / 0.7**0.5
    return Poincare(0.7).pairwise_dist(*[jnp.asarray(x)] * 2)


def weights(distances, pairs):
    return {name: (mined.positive, mined.negative) for name, mined in table.every_miner(distances, pairs).items()}


@pytest.mark.slow
def test_every_miner_takes_some_of_its_pairs(of_the_ball):
    """Compiled, two batches at once, and row by row: the same."""
    pairs = table.pairs(LABELS)
    found = jax.jit(weights)(of_the_ball, pairs)
    for name, sides in found.items():
        for side, allowed in zip(sides, (pairs.positive, pairs.negative), strict=True):
            side = np.array(side, float)
            assert np.isfinite(side).all(), name
            assert (side >= 0).all(), name
            assert not side[~np.array(allowed)].any(), name
            assert side.any(), name
    both = jax.jit(jax.vmap(lambda d: weights(d, pairs)))(np.stack([of_the_ball, np.asarray(of_the_ball).T]))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(np.asarray(a)[0], b, rtol=1e-5, atol=1e-6), both, found)


@pytest.mark.slow
def test_compiled_and_eager_miners_agree(of_the_ball):
    pairs = table.pairs(LABELS)
    compiled, eager = compiling.fully(weights)(of_the_ball, pairs), weights(of_the_ball, pairs)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6), compiled, eager)


def test_choosing_carries_no_gradient(of_the_ball):
    def total(distances):
        mined = weights(distances, table.pairs(LABELS))
        return sum((w * jnp.arange(9.0)[None]).sum() for sides in mined.values() for w in sides)

    np.testing.assert_array_equal(jax.jit(jax.grad(total))(of_the_ball), 0)


@pytest.mark.slow
@pytest.mark.parametrize("pair", [(0, 4), (0, 8)], ids=["positive", "negative"])
def test_a_diverged_distance_is_taken_and_leaves_numbers(pair):
    """Neither near nor far, it would vanish if a miner asked which it is."""
    distances = np.full((9, 9), 0.5, np.float32)
    distances[pair] = np.nan
    pairs = table.pairs(LABELS)
    # Nor is the scale that it measures an error.
    mining.distance_weighted_negative(jnp.asarray(distances), pairs, scale=None)
    for name, sides in jax.jit(weights)(distances, pairs).items():
        assert all(np.isfinite(np.array(side, float)).all() for side in sides), name
        assert any(np.asarray(side)[pair] > 0 for side in sides), name


@pytest.mark.slow
@pytest.mark.parametrize("name", table.MINERS)
def test_memory_is_a_few_distance_matrices(name):
    """At 900 images one b·b·b array would be 2.9 GB."""
    n = 900

    def loss(x, labels):
        distances, pairs = -jnp.matmul(x, x.T), losses.pairs(labels)
        return losses.mean(losses.triplet(distances, table.MINERS[name](distances, pairs)))

    compiled = jax.jit(jax.grad(loss)).lower(np.zeros((n, 8), np.float32), np.arange(n) // 9).compile()
    assert compiled.memory_analysis().temp_size_in_bytes < 24 * 4 * n * n
