import jax
import jax.numpy as jnp
import numpy as np
import pytest

from hypjax import losses
from hypjax.mining import easy_positive, multi_similarity_pairs
from tests.losses import table


@pytest.mark.slow
@pytest.mark.parametrize("mined", [False, True], ids=["alone", "only singletons, mined"])
def test_without_any_pair_it_is_zero_and_so_is_its_gradient(mined, points):
    """An image alone, and singletons to a miner that keeps a negative only beside a positive."""
    x = jnp.array(points(5 if mined else 1), jnp.float32)

    def loss(x):
        pairs = losses.pairs(jnp.arange(len(x)))
        pairs = multi_similarity_pairs(-x @ x.T, pairs) if mined else pairs
        return losses.mean(losses.multi_similarity(x @ x.T, pairs))

    value, gradient = jax.jit(jax.value_and_grad(loss))(x)
    assert value == 0
    np.testing.assert_array_equal(gradient, 0)


def test_a_miner_sees_what_is_alike_as_near():
    """On the circle, the easy positive of 0° is 20° and not 170°."""
    angles = np.deg2rad([0.0, 170.0, 20.0])
    x = jnp.array(np.stack([np.cos(angles), np.sin(angles)], axis=1), jnp.float32)
    nearest = np.cos(np.deg2rad([20, 150, 20]))

    @jax.jit
    def run(s):
        return losses.mean(losses.multi_similarity(s, easy_positive(-s, losses.pairs(np.zeros(3, int)))))

    value = run(x @ x.T)
    np.testing.assert_allclose(value, np.mean(np.log1p(np.exp(-2 * (nearest - 0.5))) / 2), rtol=1e-5)


def test_it_stays_finite_where_exponentials_do_not(points):
    x, pairs = (100 * points(8)).astype(np.float32), table.pairs(np.arange(8) // 2)
    value, gradient = jax.jit(jax.value_and_grad(lambda x: losses.mean(losses.multi_similarity(x @ x.T, pairs))))(x)
    assert np.isfinite(value)
    assert np.isfinite(gradient).all()
    assert np.abs(gradient).max() > 0


def test_its_defaults_are_the_authors(float64):
    """α 2, β 50, λ 0.5, for one anchor by hand."""
    s = jnp.array([[1.0, 0.7, 0.4]])
    pairs = table.pairs(np.array([0]), np.array([0, 0, 1]), ids=np.array([0]), reference_ids=np.arange(3))
    expected = np.log1p(np.exp(-2 * 0.2)) / 2 + np.log1p(np.exp(50 * -0.1)) / 50
    value = jax.jit(lambda s, pairs: losses.mean(losses.multi_similarity(s, pairs)))(s, pairs)
    np.testing.assert_allclose(value, expected, rtol=1e-12)
