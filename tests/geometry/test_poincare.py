"""The ball's functions: the textbook's formulas and their identities."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from hypjax.geometry import poincare
from tests.geometry.jitted import jitted

REACH = 4.0
ball = jitted(poincare)


@pytest.fixture
def points(seed, dtype, c, ball_points):
    """Three sets of points and two of tangent vectors, [6, 5] each."""
    sets = [ball_points(10 * seed + k, 6, 5, c=c, dtype=dtype, reach=REACH) for k in range(3)]
    rng = np.random.default_rng(seed)
    lengths = 0.5 / np.asarray(ball.conformal_factor(sets[0], c=c))[:, None]
    return *sets, *(jnp.asarray((rng.normal(size=(6, 5)) * lengths).astype(dtype)) for _ in range(2))


def mobius_add_literal(x, y, c):
    """The textbook formula for one pair, in float64."""
    xy, xx, yy = c * x @ y, c * x @ x, c * y @ y
    return ((1 + 2 * xy + yy) * x + (1 - xx) * y) / (1 + 2 * xy + xx * yy)


def dist_literal(x, y, c):
    return 2 / np.sqrt(c) * np.arctanh(np.sqrt(c) * np.linalg.norm(mobius_add_literal(-x, y, c)))


def pairwise_literal(x, y, c):
    x, y = np.asarray(x, np.float64), np.asarray(y, np.float64)
    return np.array([[dist_literal(a, b, c) for b in y] for a in x])


def test_mobius_add_is_the_textbook_formula(points, c, tolerance):
    x, y, *_ = points
    expected = [mobius_add_literal(a, b, c) for a, b in zip(*np.asarray([x, y], np.float64), strict=True)]
    np.testing.assert_allclose(ball.mobius_add(x, y, c=c), expected, **tolerance)


def test_gyrogroup(points, c, tolerance):
    x, y, *_ = points
    zero = np.zeros_like(x)
    np.testing.assert_allclose(ball.mobius_add(-np.asarray(x), ball.mobius_add(x, y, c=c), c=c), y, **tolerance)
    np.testing.assert_allclose(ball.mobius_add(x, zero, c=c), x, **tolerance)
    np.testing.assert_allclose(ball.mobius_add(zero, x, c=c), x, **tolerance)
    np.testing.assert_allclose(ball.mobius_add(-np.asarray(x), x, c=c), zero, **tolerance)


def test_scalar_multiples(points, c, tolerance):
    x, *_ = points
    doubled = ball.mobius_add(x, x, c=c)
    np.testing.assert_allclose(ball.mobius_scalar_mul(2.0, x, c=c), doubled, **tolerance)
    steps = ball.mobius_scalar_mul(np.linspace(-1, 1, 6, dtype=x.dtype), x, c=c)
    lengths = np.abs(np.linspace(-1, 1, 6)) * np.asarray(ball.dist0(x, c=c))
    np.testing.assert_allclose(ball.dist0(steps, c=c), lengths, **tolerance)


def test_matvec_of_a_rotation_is_the_rotation_and_of_a_multiple_the_multiple(points, c, tolerance):
    x, *_ = points
    rotation = np.linalg.qr(np.random.default_rng(0).normal(size=(5, 5)))[0].astype(x.dtype)
    np.testing.assert_allclose(ball.mobius_matvec(rotation, x, c=c), x @ rotation.T, **tolerance)
    half = 0.5 * np.eye(5, dtype=x.dtype)
    expected = ball.mobius_scalar_mul(0.5, x, c=c)
    np.testing.assert_allclose(ball.mobius_matvec(half, x, c=c), expected, **tolerance)


@pytest.mark.slow
def test_exp_and_log_are_inverse(points, c, tolerance):
    x, y, _, u, _ = points
    np.testing.assert_allclose(ball.expmap0(ball.logmap0(x, c=c), c=c), x, **tolerance)
    np.testing.assert_allclose(ball.expmap(x, ball.logmap(x, y, c=c), c=c), y, **tolerance)
    scale = np.asarray(ball.conformal_factor(x, c=c))[:, None]
    there_and_back = ball.logmap(x, ball.expmap(x, u, c=c), c=c)
    np.testing.assert_allclose(there_and_back * scale, u * scale, **tolerance)
    at_zero = ball.expmap(np.zeros_like(u), u, c=c)
    np.testing.assert_allclose(ball.expmap0(u, c=c), at_zero, **tolerance)


def test_distance_to_the_origin_is_twice_the_tangent_length(points, c, tolerance):
    *_, u, _ = points
    u = np.asarray(u) / np.linalg.norm(u, axis=-1, keepdims=True) / np.sqrt(c, dtype=u.dtype)
    z = ball.expmap0(u, c=c)
    np.testing.assert_allclose(ball.dist0(z, c=c), np.full(6, 2 / np.sqrt(c)), **tolerance)
    np.testing.assert_allclose(ball.dist(z, np.zeros_like(z), c=c), ball.dist0(z, c=c), **tolerance)


def test_the_logarithm_is_as_long_as_the_distance(points, c, tolerance):
    x, y, *_ = points
    length = ball.conformal_factor(x, c=c) * np.linalg.norm(ball.logmap(x, y, c=c), axis=-1)
    np.testing.assert_allclose(length, ball.dist(x, y, c=c), **tolerance)


def test_translations_are_isometries(points, c, tolerance):
    x, y, z, *_ = points
    moved = ball.dist(ball.mobius_add(z, x, c=c), ball.mobius_add(z, y, c=c), c=c)
    loose = {"rtol": 5e-3, "atol": 5e-3} if x.dtype == jnp.float32 else {"rtol": 1e-7, "atol": 1e-7}
    np.testing.assert_allclose(moved, ball.dist(x, y, c=c), **loose)


def test_distance_is_a_metric(points, c):
    x, y, z, *_ = points
    xy, yz, xz = (np.asarray(ball.dist(*pair, c=c)) for pair in ((x, y), (y, z), (x, z)))
    assert np.all(xz <= (xy + yz) * (1 + 1e-5))
    assert np.all(xy > 0)
    np.testing.assert_allclose(xy, ball.dist(y, x, c=c), rtol=1e-6)


def test_parallel_transport_keeps_the_riemannian_inner_product(points, c, tolerance):
    x, y, _, u, v = points
    carried_u, carried_v = (np.asarray(ball.parallel_transport(x, y, w, c=c)) for w in (u, v))
    before = np.asarray(ball.conformal_factor(x, c=c)) ** 2 * np.sum(np.asarray(u) * np.asarray(v), axis=-1)
    after = np.asarray(ball.conformal_factor(y, c=c)) ** 2 * np.sum(carried_u * carried_v, axis=-1)
    np.testing.assert_allclose(after, before, **tolerance)


def test_parallel_transport_carries_the_direction_of_the_geodesic(points, c, tolerance):
    x, y, *_ = points
    scale = np.asarray(ball.conformal_factor(y, c=c))[:, None]
    carried = ball.parallel_transport(x, y, ball.logmap(x, y, c=c), c=c)
    np.testing.assert_allclose(carried * scale, -ball.logmap(y, x, c=c) * scale, **tolerance)


def test_parallel_transport_from_the_origin(points, c, tolerance):
    _, y, _, u, _ = points
    from_zero = ball.parallel_transport(np.zeros_like(y), y, u, c=c)
    np.testing.assert_allclose(ball.parallel_transport0(y, u, c=c), from_zero, **tolerance)


@pytest.mark.slow
def test_geodesics_hit_their_ends_at_constant_speed(points, c, tolerance):
    x, y, *_ = points
    np.testing.assert_allclose(ball.geodesic(0.0, x, y, c=c), x, rtol=1e-6)
    np.testing.assert_allclose(ball.geodesic(1.0, x, y, c=c), y, rtol=1e-6)
    times = np.linspace(-0.25, 1.25, 6).astype(x.dtype)
    path = ball.geodesic(times[:, None], x, y, c=c)
    whole = np.asarray(ball.dist(x, y, c=c))
    travelled = ball.dist(path, np.broadcast_to(x, path.shape), c=c)
    np.testing.assert_allclose(travelled, np.abs(times)[:, None] * whole, **tolerance)


def test_geodesic_of_a_point_to_itself_stays(points, c):
    x, *_ = points
    np.testing.assert_allclose(ball.geodesic(0.3, x, x, c=c), x, rtol=1e-6)


slope_of_distance = jax.jit(jax.grad(lambda x, y, c: jnp.sum(poincare.dist(x, y, c=c))))


def test_riemannian_gradient_of_the_distance_has_unit_length(points, c, tolerance):
    x, y, *_ = points
    gradient = slope_of_distance(x, y, c)
    riemannian = ball.egrad2rgrad(x, gradient, c=c)
    length = ball.conformal_factor(x, c=c) * np.linalg.norm(riemannian, axis=-1)
    np.testing.assert_allclose(length, np.ones(6), **tolerance)


def test_midpoint_minimizes_squared_distances_of_two_and_is_the_middle(points, c, tolerance):
    x, y, *_ = points
    middle = ball.weighted_midpoint(np.stack([x, y], axis=-2), c=c)
    np.testing.assert_allclose(middle, ball.geodesic(0.5, x, y, c=c), **tolerance)


def test_midpoint_is_the_textbook_formula_and_moves_with_its_points(points, c, tolerance):
    x, _, z, *_ = points
    weights = np.random.default_rng(0).uniform(0.1, 2, size=6).astype(x.dtype)
    x64, w64 = np.asarray(x, np.float64), np.asarray(weights, np.float64)
    factors = 2 / (1 - c * np.sum(x64**2, axis=1))
    m = (w64 * factors) @ x64 / (w64 @ (factors - 1))
    expected = m / (1 + np.sqrt(1 - c * m @ m))
    midpoint = ball.weighted_midpoint(x, weights, c=c)
    np.testing.assert_allclose(midpoint, expected, **tolerance)
    first = np.asarray(z)[0]
    moved = ball.weighted_midpoint(ball.mobius_add(np.broadcast_to(first, x.shape), x, c=c), weights, c=c)
    np.testing.assert_allclose(moved, ball.mobius_add(first, midpoint, c=c), **tolerance)


def test_midpoint_far_out_keeps_its_digits():
    """At radius 10, where the Klein model has none left in float32."""
    x = np.full((3, 2), np.tanh(5) / np.sqrt(2), np.float32)
    midpoint = ball.weighted_midpoint(x, c=1.0)
    np.testing.assert_allclose(ball.dist0(midpoint, c=1.0), ball.dist0(x[0], c=1.0), rtol=1e-4)


@pytest.mark.slow
def test_midpoint_of_weightless_points_is_the_origin():
    x = np.full((2, 3, 4), 0.3, np.float32)
    weights = np.float32([[0.0, 0.0, 0.0], [0.0, 2.0, 0.0]])
    midpoint = jax.jit(functools.partial(ball.weighted_midpoint, c=1.0))
    np.testing.assert_allclose(midpoint(x, weights), [[0.0] * 4, [0.3] * 4], rtol=1e-6)
    gradient = jax.jit(jax.grad(lambda w: jnp.sum(midpoint(x, w))))(weights)
    assert np.all(np.isfinite(gradient))


def test_pairwise_is_the_loop(points, c):
    x, y, *_ = points
    rtol = 1e-4 if x.dtype == jnp.float32 else 1e-10
    np.testing.assert_allclose(ball.pairwise_dist(x, y, c=c), pairwise_literal(x, y, c), rtol=rtol)
    elementwise = ball.dist(np.asarray(x)[:, None], np.asarray(y)[None], c=c)
    np.testing.assert_allclose(ball.pairwise_dist(x, y, c=c), elementwise, rtol=rtol)


def test_projection_leaves_inner_points_alone(points, c):
    x, *_ = points
    np.testing.assert_array_equal(ball.project(x, c=c), x)


def test_vmap_over_curvature_with_gradients(ball_points):
    x = ball_points(0, 5, 3, c=2.0)
    curvatures = np.float32([0.1, 0.5, 2.0])
    mean = lambda c: jnp.mean(poincare.pairwise_dist(x, x, c=c))  # noqa: E731
    slopes = np.asarray(jax.jit(jax.vmap(jax.grad(mean)))(curvatures))
    for c, slope in zip((0.1, 0.5, 2.0), slopes, strict=True):
        high, low = (np.mean(pairwise_literal(x, x, c + h)) for h in (1e-5, -1e-5))
        np.testing.assert_allclose(slope, (high - low) / 2e-5, rtol=1e-3)


@pytest.mark.parametrize("c", [0, -1.0, float("nan"), np.float32(-1), np.int64(0), np.array(-1.0), jnp.array(-1.0)])
def test_a_curvature_that_is_not_positive_is_refused(c):
    with pytest.raises(ValueError, match="c must be positive"):
        poincare.dist0(jnp.zeros((2, 3)), c=c)


def test_wrong_arguments_are_refused():
    x = jnp.zeros((2, 3))
    with pytest.raises(ValueError, match="c must be a scalar"):
        poincare.dist0(x, c=jnp.ones(2))
    with pytest.raises(ValueError, match="float32 or float64"):
        poincare.project(x.astype(jnp.bfloat16), c=1.0)
