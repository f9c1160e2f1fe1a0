import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from hypjax.geometry import sphere
from tests.geometry.jitted import jitted

each = jitted(sphere)


def unit_vectors(seed, n, d):
    x = np.random.default_rng(seed).normal(size=(n, d))
    return (x / np.linalg.norm(x, axis=1, keepdims=True)).astype(np.float32)


def test_angles_are_the_loop():
    x, y = unit_vectors(0, 5, 6), unit_vectors(1, 4, 6)
    expected = [[np.arccos(np.dot(a.astype(np.float64), b)) for b in y] for a in x]
    np.testing.assert_allclose(each.pairwise_dist(x, y), expected, rtol=1e-5)
    np.testing.assert_allclose(each.dist(x[:4], y), np.diagonal(expected), rtol=1e-5)


def test_small_angles_keep_their_digits():
    angle = 1e-3
    x = np.float32([[1.0, 0.0], [np.cos(angle), np.sin(angle)]])
    np.testing.assert_allclose(np.asarray(each.pairwise_dist(x, x))[0, 1], angle, rtol=1e-4)


def test_cosine_distance_is_one_minus_the_inner_product():
    x, y = unit_vectors(0, 5, 6), unit_vectors(1, 4, 6)
    expected = 1 - x.astype(np.float64) @ y.T
    np.testing.assert_allclose(each.pairwise_cosine_distance(x, y), expected, rtol=1e-5)


@pytest.mark.parametrize("scale", [1e-30, 1e-3, 1.0, 1e30])
def test_cosine_distance_does_not_depend_on_lengths(scale):
    x, y = unit_vectors(0, 5, 6), unit_vectors(1, 4, 6)
    lengths = scale * np.array([[1], [2], [3], [0.5], [1]], np.float32)
    expected = 1 - x.astype(np.float64) @ y.T
    np.testing.assert_allclose(each.pairwise_cosine_distance(lengths * x, y), expected, rtol=1e-5)


@jax.jit
@functools.partial(jax.value_and_grad, has_aux=True)
def weighed_cosine_distances(x):
    distances = sphere.pairwise_cosine_distance(x, x)
    return jnp.sum(distances * jnp.arange(25.0).reshape(5, 5)), distances


@pytest.mark.parametrize("scale", [1e-30, 1.0, 1e15])
def test_cosine_distance_and_its_gradient_at_zero_equal_and_opposite_vectors(scale):
    x = np.float32([[0.0, 0.0], [3.0, 4.0], [6.0, 8.0], [-3.0, -4.0], [4.0, -3.0]]) * np.float32(scale)
    expected = [[1, 1, 1, 1, 1], [1, 0, 0, 2, 1], [1, 0, 0, 2, 1], [1, 2, 2, 0, 1], [1, 1, 1, 1, 0]]

    (_, distances), gradient = jax.tree.map(np.asarray, weighed_cosine_distances(x))
    np.testing.assert_allclose(distances, expected, atol=1e-6)
    assert np.all(np.isfinite(gradient))
    np.testing.assert_array_equal(gradient[0], 0)
    np.testing.assert_allclose(
        np.sum(gradient / np.max(gradient) * x / np.float32(scale), axis=1), np.zeros(5), atol=1e-5
    )


@pytest.mark.slow
def test_the_gradient_of_cosine_distance_is_the_finite_difference():
    with jax.enable_x64(True):
        x, y = 3 * unit_vectors(0, 5, 6).astype(np.float64), jnp.asarray(unit_vectors(1, 4, 6).astype(np.float64))
        step = np.random.default_rng(2).normal(size=x.shape)
        along = jax.jit(lambda t: jnp.sum(jnp.cos(sphere.pairwise_cosine_distance(jnp.asarray(x + t * step), y))))
        np.testing.assert_allclose(jax.grad(along)(0.0), (along(1e-6) - along(-1e-6)) / 2e-6, rtol=1e-7)


def test_projection_and_exponential_map_give_unit_vectors():
    x = (1e20 * np.random.default_rng(0).normal(size=(3, 4))).astype(np.float32)
    for direction in (each.project(x, c=1.0), each.expmap0(np.float32(1e-30) * x, c=0.1)):
        np.testing.assert_allclose(np.linalg.norm(direction, axis=1), np.ones(3), rtol=1e-6)
    np.testing.assert_array_equal(each.project(np.zeros((2, 3), np.float32)), 0)


def test_exponential_map_walks_the_arc():
    x, v = unit_vectors(0, 5, 6), unit_vectors(1, 5, 6)
    tangent = np.asarray(each.egrad2rgrad(x, v))
    np.testing.assert_allclose(np.sum(tangent * x, axis=1), np.zeros(5), atol=1e-6)
    arrived = each.expmap(x, tangent)
    np.testing.assert_allclose(each.dist(x, arrived), np.linalg.norm(tangent, axis=1), rtol=1e-5)
    np.testing.assert_allclose(each.expmap(x, 0 * tangent), x, rtol=1e-6)


def test_weighted_midpoint_is_the_middle_of_the_arc():
    midpoint = each.weighted_midpoint(np.eye(2, dtype=np.float32), c=1.0)
    np.testing.assert_allclose(midpoint, [np.sqrt(0.5)] * 2, rtol=1e-6)
    np.testing.assert_array_equal(each.weighted_midpoint(np.eye(2, dtype=np.float32), np.zeros(2, np.float32)), 0)


@pytest.mark.slow
def test_gradients_are_finite_at_hard_points():
    x = np.float32([[0, 0], [1, 0], [1, 0], [-1, 0], [0, 1]])

    def total(x):
        z = sphere.project(x)
        return jnp.sum(sphere.pairwise_dist(z, z)) + jnp.sum(sphere.dist(z, z)) + jnp.sum(sphere.expmap(z, 0 * z))

    value, gradient = jax.jit(jax.value_and_grad(total))(x)
    assert np.isfinite(value)
    assert np.all(np.isfinite(gradient))
    np.testing.assert_allclose(each.dist(x[1], x[3]), np.pi, rtol=1e-6)
    slope = jax.jit(jax.grad(lambda y: sphere.dist(jnp.asarray(x[1]), sphere.project(y))))(x[4])
    np.testing.assert_allclose(slope, [-1.0, 0.0], atol=1e-6)


def test_logarithm_undoes_the_exponential_map_and_keeps_small_angles():
    with jax.enable_x64(True):
        x, v = (jnp.asarray(unit_vectors(seed, 6, 4).astype(np.float64)) for seed in (0, 1))
        lengths = np.array([3.0, 1.0, 0.1, 1e-5, 1e-12, 0.0])[:, None]

        @jax.jit
        def there_and_back(x, v):
            x = sphere.project(x)
            tangent = lengths * sphere.project(sphere.egrad2rgrad(x, v))
            return tangent, sphere.logmap(x, sphere.expmap(x, tangent))

        tangent, back = there_and_back(x, v)
        np.testing.assert_allclose(back, tangent, rtol=1e-7, atol=1e-15)


def test_transport_keeps_lengths_and_points_along_the_arc():
    with jax.enable_x64(True):

        @jax.jit
        def carry(x, y, v):
            x, y = sphere.project(x), sphere.project(y)
            v = sphere.egrad2rgrad(x, v)
            along = sphere.parallel_transport(x, y, sphere.logmap(x, y)), sphere.logmap(y, x)
            return y, v, sphere.parallel_transport(x, y, v), along, sphere.parallel_transport(x, -x, v)

        vectors = (unit_vectors(seed, 5, 4).astype(np.float64) for seed in range(3))
        found = jax.tree.map(np.asarray, carry(*map(jnp.asarray, vectors)))
        y, v, carried, (along, backward), antipodal = found
        np.testing.assert_allclose(np.sum(carried * y, axis=1), np.zeros(5), atol=1e-14)
        np.testing.assert_allclose(np.sum(carried**2, axis=1), np.sum(v**2, axis=1), rtol=1e-12)
        # The velocity of the arc is carried into the velocity of the arc.
        np.testing.assert_allclose(along, -backward, rtol=1e-9, atol=1e-12)
        np.testing.assert_array_equal(antipodal, v)


def test_gradients_of_logarithm_and_transport_are_finite_at_hard_points():
    x = np.float32([[1, 0], [1, 0], [1, 0]])
    y = np.float32([[1, 0], [-1, 0], [0, 1]])

    @jax.jit
    def both(x, y, v):
        def total(x, y):
            logarithm = sphere.logmap(x, y)
            return jnp.sum(jnp.square(logarithm)) + jnp.sum(sphere.parallel_transport(x, y, v)), logarithm

        return jax.value_and_grad(total, (0, 1), has_aux=True)(x, y)

    (value, logarithm), gradients = both(x, y, x[:, ::-1])
    assert np.isfinite(value)
    assert all(np.all(np.isfinite(gradient)) for gradient in gradients)
    np.testing.assert_allclose(logarithm, [[0, 0], [0, 0], [0, np.pi / 2]], rtol=1e-6)
    assert np.all(np.isnan(both(x, np.full_like(y, np.nan), x)[0][1]))
