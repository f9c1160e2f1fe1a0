import jax
import jax.numpy as jnp
import numpy as np
import pytest

from hypjax import losses
from tests.losses import loops, table

LABELS = np.array([0, 0, 1, 1, 1, 2, 3, 3], np.int32)  # class 2 has a single image
GIVEN = {"prior": np.linspace(1.0, 0.0, 8), "level": np.array([0, 0.9, 0.2, 0, 1, 0.3, 0, 0.6])}


def distances(seed=4):
    x = np.random.default_rng(seed).normal(size=(8, 3))
    return np.linalg.norm(x[:, None] - x[None], axis=2)


@pytest.mark.slow
@pytest.mark.parametrize("known", [(), ("prior",), ("level",), ("prior", "level")])
def test_matches_a_float64_loop(known, float64):
    d, doubt = distances(), np.linspace(0.1, 0.9, 8)
    given = {name: GIVEN[name] for name in known}

    @jax.jit
    def run(pairs):
        arrays = {name: jnp.array(values) for name, values in given.items()}
        return losses.mean(losses.failure_cross_entropy(jnp.array(doubt), jnp.array(d), pairs, **arrays))

    for labels in (LABELS, np.zeros(8, int), np.arange(8), np.repeat(np.arange(4), 2)):
        expected = loops.failure_cross_entropy(doubt, d, loops.pairs(labels), **given)
        np.testing.assert_allclose(run(table.pairs(labels)), expected, atol=1e-12)


def test_who_is_wrong_and_who_can_be_asked():
    d = distances().astype(np.float32)
    wrong, asked = map(np.asarray, jax.jit(losses.nearest_is_wrong)(d, table.pairs(LABELS)))
    others = np.where(np.eye(8, dtype=bool), np.inf, d)
    np.testing.assert_array_equal(asked, LABELS != 2)
    np.testing.assert_array_equal(wrong, LABELS[others.argmin(1)] != LABELS)
    assert 0 < wrong[asked].sum() < 7


def test_only_the_doubt_learns_and_only_where_it_can_be_asked():
    def value(doubt, d):
        return losses.mean(losses.failure_cross_entropy(doubt, d, table.pairs(LABELS)))

    to_doubt, to_distances = jax.jit(jax.grad(value, (0, 1)))(
        np.full(8, 0.5, np.float32), distances().astype(np.float32)
    )
    assert (np.abs(to_doubt) > 0).tolist() == (LABELS != 2).tolist()
    np.testing.assert_array_equal(to_distances, 0)


@jax.jit
@jax.value_and_grad
def with_slope(doubt, distances, pairs):
    return losses.mean(losses.failure_cross_entropy(doubt, distances, pairs))


@pytest.mark.parametrize("extreme", [0.0, 1.0])
def test_finite_where_the_doubt_is_sure(extreme):
    value, grad = with_slope(np.full(8, extreme, np.float32), distances().astype(np.float32), table.pairs(LABELS))
    assert np.isfinite(value)
    assert np.isfinite(grad).all()


@pytest.mark.slow
def test_the_best_doubt_is_the_share_of_failures():
    d, pairs = distances().astype(np.float32), table.pairs(LABELS)
    wrong, asked = map(np.asarray, jax.jit(losses.nearest_is_wrong)(d, pairs))
    candidates = np.linspace(0.05, 0.95, 181, dtype=np.float32)
    values, _ = jax.jit(jax.vmap(with_slope, (0, None, None)))(np.repeat(candidates[:, None], 8, axis=1), d, pairs)
    assert abs(candidates[int(np.argmin(values))] - wrong[asked].mean()) < 0.006


@jax.jit
def mean_loss(*given, **known):
    return losses.mean(losses.failure_cross_entropy(*given, **known))


@pytest.mark.parametrize("pair", [(0, 1), (0, 3)], ids=["positive", "negative"])
def test_a_diverged_distance_is_not_hidden(pair):
    d, ones = distances().astype(np.float32), np.ones(8, np.float32)
    d[pair] = np.nan
    for given in ({}, {"prior": ones}, {"level": ones}):
        assert np.isnan(mean_loss(ones / 2, d, table.pairs(LABELS), **given))
