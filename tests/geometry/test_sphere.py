import jax
import jax.numpy as jnp
import numpy as np

from hypjax.geometry import sphere


def unit_vectors(seed, n, d):
    x = np.random.default_rng(seed).normal(size=(n, d))
    return (x / np.linalg.norm(x, axis=1, keepdims=True)).astype(np.float32)


def test_angles_are_the_loop():
    x, y = unit_vectors(0, 5, 6), unit_vectors(1, 4, 6)
    expected = [[np.arccos(np.dot(a.astype(np.float64), b)) for b in y] for a in x]
    np.testing.assert_allclose(sphere.pairwise_dist(jnp.asarray(x), jnp.asarray(y)), expected, rtol=1e-5)
    np.testing.assert_allclose(sphere.dist(jnp.asarray(x[:4]), jnp.asarray(y)), np.diagonal(expected), rtol=1e-5)


def test_small_angles_keep_their_digits():
    angle = 1e-3
    x = jnp.array([[1.0, 0.0], [np.cos(angle), np.sin(angle)]], jnp.float32)
    np.testing.assert_allclose(sphere.pairwise_dist(x, x)[0, 1], angle, rtol=1e-4)


def test_cosine_distance_is_one_minus_the_inner_product():
    x, y = unit_vectors(0, 5, 6), unit_vectors(1, 4, 6)
    expected = 1 - x.astype(np.float64) @ y.T
    np.testing.assert_allclose(sphere.pairwise_cosine_distance(jnp.asarray(x), jnp.asarray(y)), expected, rtol=1e-5)


def test_projection_and_exponential_map_give_unit_vectors():
    x = 1e20 * jnp.asarray(np.random.default_rng(0).normal(size=(3, 4)).astype(np.float32))
    for direction in (sphere.project(x, c=1.0), sphere.expmap0(1e-30 * x, c=0.1)):
        np.testing.assert_allclose(np.linalg.norm(direction, axis=1), np.ones(3), rtol=1e-6)
    np.testing.assert_array_equal(sphere.project(jnp.zeros((2, 3))), np.zeros((2, 3)))


def test_exponential_map_walks_the_arc():
    x, v = jnp.asarray(unit_vectors(0, 5, 6)), jnp.asarray(unit_vectors(1, 5, 6))
    tangent = sphere.egrad2rgrad(x, v)
    np.testing.assert_allclose(jnp.sum(tangent * x, axis=1), np.zeros(5), atol=1e-6)
    arrived = sphere.expmap(x, tangent)
    np.testing.assert_allclose(sphere.dist(x, arrived), np.linalg.norm(tangent, axis=1), rtol=1e-5)
    np.testing.assert_allclose(sphere.expmap(x, 0 * tangent), x, rtol=1e-6)


def test_weighted_midpoint_is_the_middle_of_the_arc():
    midpoint = sphere.weighted_midpoint(jnp.eye(2), c=1.0)
    np.testing.assert_allclose(midpoint, [np.sqrt(0.5)] * 2, rtol=1e-6)
    np.testing.assert_array_equal(sphere.weighted_midpoint(jnp.eye(2), jnp.zeros(2)), np.zeros(2))


def test_gradients_are_finite_at_hard_points():
    x = jnp.array([[0.0, 0.0], [1.0, 0.0], [1.0, 0.0], [-1.0, 0.0], [0.0, 1.0]])

    def total(x):
        z = sphere.project(x)
        return jnp.sum(sphere.pairwise_dist(z, z)) + jnp.sum(sphere.dist(z, z)) + jnp.sum(sphere.expmap(z, 0 * z))

    value, gradient = jax.jit(jax.value_and_grad(total))(x)
    assert jnp.isfinite(value)
    assert jnp.all(jnp.isfinite(gradient))
    np.testing.assert_allclose(sphere.dist(x[1], x[3]), np.pi, rtol=1e-6)
    slope = jax.jit(jax.grad(lambda y: sphere.dist(x[1], sphere.project(y))))(x[4])
    np.testing.assert_allclose(slope, [-1.0, 0.0], atol=1e-6)
