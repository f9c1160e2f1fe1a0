import jax
import jax.numpy as jnp
import numpy as np

from hypjax.geometry import euclidean
from tests.geometry.jitted import jitted

flat = jitted(euclidean)


def test_pairwise_is_the_loop():
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(5, 7)).astype(np.float32), rng.normal(size=(4, 7)).astype(np.float32)
    expected = [[np.linalg.norm(a.astype(np.float64) - b) for b in y] for a in x]
    np.testing.assert_allclose(flat.pairwise_dist(x, y), expected, rtol=1e-6)
    np.testing.assert_allclose(flat.dist(x[:4], y), np.diagonal(expected), rtol=1e-6)


def test_near_points_far_from_the_origin_keep_their_distance():
    """Where one matrix product has no digit left."""
    x = np.float32([[1000.0, 1000.0], [1000.0, 1000.01]])
    expected = float(np.float32(1000.01)) - 1000.0
    np.testing.assert_allclose(np.asarray(flat.pairwise_dist(x, x))[0, 1], expected, rtol=1e-6)


def test_the_maps_are_those_of_flat_space_and_ignore_c():
    x, y = np.float32([[1.0, 2.0]]), np.float32([[0.5, -1.0]])
    for same in (flat.project, flat.expmap0, flat.logmap0):
        np.testing.assert_array_equal(same(x, c=0.3), x)
    np.testing.assert_array_equal(flat.expmap(x, flat.logmap(x, y)), y)
    np.testing.assert_array_equal(flat.egrad2rgrad(x, y, c=None), y)
    np.testing.assert_array_equal(flat.parallel_transport(x, y, 2 * x, c=0.3), 2 * x)
    np.testing.assert_allclose(flat.dist0(x, c=2.0), [np.sqrt(5)], rtol=1e-6)
    np.testing.assert_array_equal(flat.pairwise_dist(x, y, c=0.3), flat.pairwise_dist(x, y))


def test_weighted_midpoint_is_the_mean():
    x = np.float32([[1.0, 0.0], [0.0, 1.0], [4.0, 4.0]])
    np.testing.assert_allclose(flat.weighted_midpoint(x), [5 / 3, 5 / 3], rtol=1e-6)
    weights = np.float32([[1.0, 3.0, 0.0], [0.0, 0.0, 0.0]])
    midpoint = flat.weighted_midpoint(np.stack([x, x]), weights)
    np.testing.assert_allclose(midpoint, [[0.25, 0.75], [0.0, 0.0]], rtol=1e-6)


def test_gradients_at_coincident_and_distant_points():
    x = np.float32([[0.0, 0.0], [1.0, 1.0], [1.0, 1.0], [1e30, 0.0]])
    gradient = jax.jit(jax.grad(lambda x: jnp.sum(euclidean.dist(x, x[jnp.array([0, 2, 1, 1])]))))(x)
    assert np.all(np.isfinite(gradient))
    every = jax.jit(jax.grad(lambda x: jnp.sum(euclidean.pairwise_dist(x, x))))(x[:3])
    np.testing.assert_allclose(np.asarray(every)[0], [-2 * np.sqrt(2), -2 * np.sqrt(2)], rtol=1e-6)
    assert np.all(np.isfinite(every))
