import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.spatial.distance import cdist

from hypjax.geometry import lorentz, poincare
from tests import compiling
from tests.geometry.jitted import jitted

sheet, ball = jitted(lorentz), jitted(poincare)


def inner(x, y):
    x, y = np.asarray(x, np.float64), np.asarray(y, np.float64)
    return np.sum(x[..., 1:] * y[..., 1:], axis=-1) - x[..., 0] * y[..., 0]


@pytest.fixture
def points(seed, dtype, c, ball_points):
    """Two sets of points on the sheet [6, 5] and the same points in the ball [6, 4]."""
    x, y = (ball_points(10 * seed + k, 6, 4, c=c, dtype=dtype, reach=3.0) for k in (0, 1))
    return sheet.from_poincare(x, c=c), sheet.from_poincare(y, c=c), x, y


def test_points_lie_on_the_sheet(points, c, tolerance):
    x, *_ = points
    np.testing.assert_allclose(c * inner(x, x), np.full(6, -1.0), **tolerance)
    np.testing.assert_allclose(sheet.minkowski_inner(x, x), inner(x, x), rtol=1e-4)
    drifted = np.asarray(x) * np.array([1.5, 1, 1, 1, 1], x.dtype)
    np.testing.assert_allclose(sheet.project(drifted, c=c), x, rtol=1e-6)


@pytest.mark.slow
def test_both_models_agree(points, c, tolerance):
    x, y, ball_x, ball_y = points
    np.testing.assert_allclose(sheet.to_poincare(x, c=c), ball_x, rtol=1e-6)
    np.testing.assert_allclose(sheet.dist(x, y, c=c), ball.dist(ball_x, ball_y, c=c), **tolerance)
    np.testing.assert_allclose(sheet.dist0(x, c=c), ball.dist0(ball_x, c=c), **tolerance)
    both = sheet.pairwise_dist(x, y, c=c), ball.pairwise_dist(ball_x, ball_y, c=c)
    np.testing.assert_allclose(*both, **tolerance)


def test_distance_is_the_textbook_formula(points, c, tolerance):
    x, y, *_ = points
    expected = np.arccosh(-c * inner(np.asarray(x)[:, None], np.asarray(y)[None])) / np.sqrt(c)
    np.testing.assert_allclose(sheet.pairwise_dist(x, y, c=c), expected, **tolerance)


@pytest.mark.slow
def test_exp_and_log_are_inverse_and_keep_lengths(points, c, tolerance):
    x, y, *_ = points
    velocity = sheet.logmap(x, y, c=c)
    np.testing.assert_allclose(inner(x, velocity), np.zeros(6), atol=1e-3 if x.dtype == jnp.float32 else 1e-9)
    length = np.sqrt(inner(velocity, velocity))
    loose = {"rtol": 3e-3, "atol": 3e-3} if x.dtype == jnp.float32 else tolerance
    np.testing.assert_allclose(length, sheet.dist(x, y, c=c), **loose)
    np.testing.assert_allclose(sheet.expmap(x, velocity, c=c), y, **loose)
    np.testing.assert_allclose(sheet.expmap0(sheet.logmap0(y, c=c), c=c), y, **tolerance)
    np.testing.assert_allclose(np.linalg.norm(sheet.logmap0(y, c=c), axis=-1), sheet.dist0(y, c=c), **tolerance)


def test_expmap_is_the_textbook_formula(points, c, tolerance):
    x, y, *_ = points
    velocity = np.asarray(sheet.logmap(x, y, c=c), np.float64) / 2
    length = np.sqrt(c * inner(velocity, velocity))[:, None]
    expected = np.cosh(length) * np.asarray(x) + np.sinh(length) / length * velocity
    loose = {"rtol": 3e-3, "atol": 3e-3} if x.dtype == jnp.float32 else tolerance
    np.testing.assert_allclose(sheet.expmap(x, jnp.asarray(velocity.astype(x.dtype)), c=c), expected, **loose)


def test_parallel_transport_is_the_textbook_formula(points, c, tolerance):
    x, y, *_ = points
    v = np.asarray(sheet.logmap(x, np.asarray(x)[::-1], c=c), np.float64)
    x64, y64 = np.asarray(x, np.float64), np.asarray(y, np.float64)
    expected = v + (c * inner(y64, v) / (1 - c * inner(x64, y64)))[:, None] * (x64 + y64)
    carried = sheet.parallel_transport(x, y, v.astype(x.dtype), c=c)
    loose = {"rtol": 1e-2, "atol": 1e-2} if x.dtype == jnp.float32 else tolerance
    np.testing.assert_allclose(carried, expected, **loose)
    np.testing.assert_allclose(inner(carried, carried), inner(v, v), **loose)


def test_parallel_transport_from_the_origin(points, c, tolerance):
    _, y, ball_x, _ = points
    origin = np.zeros_like(y) + np.array([1 / np.sqrt(c), 0, 0, 0, 0], y.dtype)
    at_origin = np.pad(ball_x, ((0, 0), (1, 0)))
    expected = sheet.parallel_transport(origin, y, at_origin, c=c)
    np.testing.assert_allclose(sheet.parallel_transport0(y, ball_x, c=c), expected, **tolerance)


@pytest.mark.slow
def test_geodesics_and_midpoints_agree_with_the_ball(points, c, tolerance):
    x, y, ball_x, ball_y = points
    both = sheet.geodesic(0.3, x, y, c=c), sheet.from_poincare(ball.geodesic(0.3, ball_x, ball_y, c=c), c=c)
    np.testing.assert_allclose(*both, **tolerance)
    weights = np.random.default_rng(0).uniform(0.1, 2, size=6).astype(x.dtype)
    total = np.asarray(weights, np.float64) @ np.asarray(x, np.float64)
    centroid = total / np.sqrt(-c * inner(total, total))
    np.testing.assert_allclose(sheet.weighted_midpoint(x, jnp.asarray(weights), c=c), centroid, **tolerance)


slope_of_distance = jax.jit(jax.grad(lambda x, y, c: jnp.sum(lorentz.dist(x, y, c=c))))


def test_riemannian_gradient_is_tangent_and_of_unit_length(points, c, tolerance):
    x, y, *_ = points
    gradient = slope_of_distance(x, y, c)
    riemannian = sheet.egrad2rgrad(x, gradient, c=c)
    loose = {"rtol": 1e-2, "atol": 1e-2} if x.dtype == jnp.float32 else tolerance
    np.testing.assert_allclose(inner(x, riemannian), np.zeros(6), **loose)
    np.testing.assert_allclose(inner(riemannian, riemannian), np.ones(6), **loose)


fully_compiled = compiling.fully(lorentz.pairwise_dist)


@pytest.mark.slow
@pytest.mark.parametrize("d", [2, 128])
def test_float32_accuracy_up_to_radius_6(d):
    """Against float64 on the same float32 points, separations from 0.1 on: 5e-4, where ⟨x, y⟩_L loses all."""
    rng = np.random.default_rng(0)
    unit = rng.normal(size=(100, d))
    unit /= np.linalg.norm(unit, axis=1, keepdims=True)
    radii = rng.uniform(0, 6, size=(100, 1))
    turned = unit + rng.normal(size=unit.shape) / np.sqrt(d) * 0.15 / np.sinh(radii + 0.1)
    turned /= np.linalg.norm(turned, axis=1, keepdims=True)
    space = np.concatenate([np.sinh(r) * u for r, u in ((radii, unit), (radii + 0.1, unit), (radii, turned))])
    x = np.asarray(sheet.project(np.concatenate([0 * space[:, :1], space], axis=1).astype(np.float32), c=1.0))
    s = np.asarray(x, np.float64)[:, 1:]
    time = np.sqrt(1 + np.sum(s**2, axis=1))
    half = s / (1 + time)[:, None]
    squares = cdist(half, half, "sqeuclidean")
    expected = 2 * np.arcsinh(np.sqrt(squares * (1 + time)[:, None] * (1 + time)[None, :]) / 2)
    apart = expected >= 0.099
    errors = np.abs(np.asarray(fully_compiled(x, x, c=1.0)) / np.where(apart, expected, 1) - 1)
    assert np.max(errors[apart]) <= 5e-4
    bare = np.float32(-1) * (x[:, 1:] @ x[:, 1:].T - np.outer(x[:, 0], x[:, 0]))
    bare_errors = np.abs(np.arccosh(np.maximum(bare, 1)) / np.where(apart, expected, 1) - 1)
    assert np.max(bare_errors[apart]) > 0.1


def every_pair(function):
    return lambda x, c: function(jnp.repeat(x, len(x), axis=0), jnp.tile(x, (len(x), 1)), c=c)


AT_HARD_POINTS = {
    "pairwise_dist": lambda x, c: lorentz.pairwise_dist(x, x, c=c),
    "expmap0": lambda x, c: lorentz.expmap0(x[:, 1:], c=c),
    "logmap0": lambda x, c: lorentz.logmap0(x, c=c),
    "project": lambda x, c: lorentz.project(x, c=c),
    "midpoint": lambda x, c: lorentz.weighted_midpoint(x, c=c),
    "dist": every_pair(lorentz.dist),
    "logmap": every_pair(lorentz.logmap),
    "expmap": every_pair(lorentz.expmap),
}


@pytest.mark.slow
def test_values_and_gradients_are_finite_at_hard_points():
    space = np.array([[0, 0], [0, 0], [1, 2], [1, 2], [1, 2 + 1e-6], [1e5, 0], [1e8, 1e8], [-1e5, 1]], np.float32)
    x = jnp.asarray(np.concatenate([0 * space[:, :1] + 1, space], axis=1))

    @jax.jit
    def totals(x, c):
        sums = {name: lambda x, c, f=f: jnp.sum(f(x, c)) for name, f in AT_HARD_POINTS.items()}
        return {name: jax.value_and_grad(total, argnums=(0, 1))(x, c) for name, total in sums.items()}

    for c in (0.1, 1.0):
        found = totals(x, c)
        assert list(found) == sorted(AT_HARD_POINTS)
        chex.assert_tree_all_finite(found)


def test_huge_tangent_vectors_stay_on_the_sheet():
    u = np.random.default_rng(0).normal(size=(5, 8)).astype(np.float32)
    for length in (10.0, 1e3, 1e30):
        z = sheet.expmap0(np.float32(length) * u, c=0.5)
        assert np.all(np.isfinite(z))
        np.testing.assert_allclose(sheet.dist0(z, c=0.5), np.full(5, np.log(2e5 - 1) / np.sqrt(0.5)), rtol=1e-5)


@pytest.mark.slow
def test_jit_eager_and_vmap_agree(ball_points):
    x = sheet.from_poincare(ball_points(0, 4, 3, c=1.0), c=1.0)
    eager = lorentz.pairwise_dist(x, x, c=1.0)
    np.testing.assert_allclose(fully_compiled(x, x, c=1.0), eager, rtol=1e-6)
    batched = jax.jit(jax.vmap(functools.partial(lorentz.pairwise_dist, c=1.0)))
    np.testing.assert_allclose(*batched(*[np.asarray(x)[None]] * 2), eager, rtol=1e-6)
