"""How exact the ball's functions are: digits, hard points, derivatives, and the same however they are compiled."""

import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.spatial.distance import cdist

from hypjax.geometry import poincare
from tests import compiling
from tests.geometry.jitted import jitted

ball = jitted(poincare)
fully_compiled = compiling.fully(poincare.pairwise_dist)


@pytest.mark.slow
@pytest.mark.parametrize("d", [2, 128])
@pytest.mark.parametrize("seed", [0, 1])
def test_float32_accuracy_up_to_radius_6(d, seed):
    """Relative error at most 5e-6 for distances to the origin up to 6 and separations from 0.1 on."""
    rng = np.random.default_rng(seed)
    unit = rng.normal(size=(200, d))
    unit /= np.linalg.norm(unit, axis=1, keepdims=True)
    radii = np.concatenate([np.full(60, 6.0), rng.uniform(0, 6, size=140)])[:, None]
    near = 2 * np.arctanh(np.linalg.norm(np.tanh(radii / 2) * unit, axis=1, keepdims=True)) - 0.1
    turned = unit + rng.normal(size=unit.shape) / np.sqrt(d) * 0.15 / np.sinh(radii + 0.1)
    turned /= np.linalg.norm(turned, axis=1, keepdims=True)
    x64 = np.concatenate([np.tanh(radii / 2) * unit, np.tanh(near / 2) * unit, np.tanh(radii / 2) * turned])
    x = jnp.asarray(x64.astype(np.float32))
    held = np.asarray(x, np.float64)
    gaps = 1 - np.sum(held**2, axis=1)
    squares = cdist(held, held, "sqeuclidean")
    expected = 2 * np.arcsinh(np.sqrt(squares / (gaps[:, None] * gaps[None, :])))
    apart = expected >= 0.099
    errors = np.abs(np.asarray(fully_compiled(x, x, c=1.0)) / np.where(apart, expected, 1) - 1)
    assert np.sum(apart & (expected < 0.2)) > 300
    assert np.max(errors[apart]) <= 5e-6
    to_origin = 2 * np.arctanh(np.linalg.norm(held, axis=1))
    np.testing.assert_allclose(np.asarray(ball.dist0(x, c=1.0))[:200], to_origin[:200], rtol=5e-6)


def hard_points(dtype, c):
    """Zero, a duplicate, a near duplicate, the boundary, and far beyond it."""
    edge = 1 / np.sqrt(c)
    x = np.array([[0, 0], [0.3, 0.1], [0.3, 0.1], [0.3, 0.1 + 1e-7], [1, 0], [1, 1e-6], [-0.8, 0.6], [3, 4], [-30, 40]])
    return jnp.asarray((x * edge).astype(dtype))


def every_pair(function):
    """The function of two sets of points, on all pairs of one set."""

    def on_pairs(x, c):
        every = jnp.broadcast_to(x, (len(x), *x.shape))
        return function(every.swapaxes(0, 1), every, c=c)

    return on_pairs


AT_HARD_POINTS = {
    "pairwise_dist": lambda x, c: poincare.pairwise_dist(x, x, c=c),
    "dist": every_pair(poincare.dist),
    "dist0": lambda x, c: poincare.dist0(x, c=c),
    "project": lambda x, c: poincare.project(x, c=c),
    "conformal_factor": lambda x, c: poincare.conformal_factor(x, c=c),
    "mobius_add": every_pair(poincare.mobius_add),
    "mobius_scalar_mul": lambda x, c: poincare.mobius_scalar_mul(3.0, x, c=c),
    "mobius_matvec": lambda x, c: poincare.mobius_matvec(x[3:6], x, c=c),
    "expmap": every_pair(poincare.expmap),
    "logmap": every_pair(poincare.logmap),
    "expmap0": lambda x, c: poincare.expmap0(100 * x, c=c),
    "logmap0": lambda x, c: poincare.logmap0(x, c=c),
    "parallel_transport": every_pair(lambda x, y, *, c: poincare.parallel_transport(x, y, x - y, c=c)),
    "parallel_transport0": every_pair(poincare.parallel_transport0),
    "egrad2rgrad": every_pair(poincare.egrad2rgrad),
    "geodesic": every_pair(functools.partial(poincare.geodesic, 0.3)),
    "weighted_midpoint": lambda x, c: poincare.weighted_midpoint(x, c=c),
}


@pytest.mark.parametrize("wide", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_values_and_gradients_are_finite_at_hard_points(wide):
    """Of all functions in one program, where what several of them start with is compiled once."""
    with jax.enable_x64(wide):
        dtype = "float64" if wide else "float32"

        @jax.jit
        def totals(x, c):
            sums = {name: lambda x, c, f=f: jnp.sum(f(x, c)) for name, f in AT_HARD_POINTS.items()}
            return {name: jax.value_and_grad(total, argnums=(0, 1))(x, c) for name, total in sums.items()}

        for c in (0.1, 1.0, 2.5):
            found = totals(hard_points(dtype, c), jnp.asarray(c, dtype))
            assert list(found) == sorted(AT_HARD_POINTS)
            chex.assert_tree_all_finite(found)


@pytest.mark.slow
def test_coincident_points_are_at_distance_0_with_gradient_0(ball_points):
    x = ball_points(0, 5, 4, c=0.7)
    twice = np.concatenate([x, x])
    distances = np.asarray(ball.pairwise_dist(twice, twice, c=0.7))
    np.testing.assert_array_equal(np.diagonal(distances), 0)
    np.testing.assert_array_equal(np.diagonal(distances, 5), 0)

    def to_themselves(x):
        return jnp.sum(poincare.dist(x, 1 * x, c=0.7)) + jnp.trace(poincare.pairwise_dist(x, x, c=0.7))

    np.testing.assert_array_equal(jax.jit(jax.grad(to_themselves))(x), 0)


@pytest.mark.slow
def test_huge_tangent_vectors_stay_strictly_inside():
    u = np.random.default_rng(0).normal(size=(7, 16)).astype(np.float32)

    @jax.jit
    @functools.partial(jax.grad, argnums=(0, 1))
    def gradients(u, c):
        z = poincare.expmap0(u, c=c)
        return jnp.sum(poincare.pairwise_dist(z, z, c=c))

    for length in (5.0, 8.0, 9.0, 50.0, 1e4, 1e18, 1e30):
        for c in (0.1, 1.0, 2.5):
            far = np.float32(length) * u
            z = ball.expmap0(far, c=c)
            assert np.all(c * np.sum(np.asarray(z, np.float64) ** 2, axis=1) < 1 - 1e-6)
            np.testing.assert_allclose(ball.project(z, c=c), z, rtol=1e-6)
            assert all(np.all(np.isfinite(g)) for g in gradients(far, c))


@pytest.mark.slow
@pytest.mark.parametrize("name", ["pairwise_dist", "logmap", "expmap", "parallel_transport", "geodesic", "midpoint"])
def test_gradients_are_finite_differences(name, ball_points):
    functions = {
        "pairwise_dist": poincare.pairwise_dist,
        "logmap": poincare.logmap,
        "expmap": poincare.expmap,
        "parallel_transport": lambda x, y, *, c: poincare.parallel_transport(x, y, x, c=c),
        "geodesic": functools.partial(poincare.geodesic, 0.3),
        "midpoint": lambda x, y, *, c: poincare.weighted_midpoint(x, y[:, 0] ** 2, c=c),
    }
    with jax.enable_x64(True):
        x, y = (ball_points(k, 4, 3, c=0.7, dtype="float64", reach=3.0) for k in (0, 1))
        rng = np.random.default_rng(0)
        dx, dy, dc = rng.normal(size=(4, 3)), rng.normal(size=(4, 3)), 1.0

        def along(step):
            value = functions[name](x + step * dx, y + step * dy, c=0.7 + step * dc)
            return jnp.sum(value * jnp.cos(jnp.arange(value.size)).reshape(value.shape))

        @jax.jit
        def value_and_slopes(step):
            value, forward = jax.linearize(along, step)
            return value, forward(1.0), jax.linear_transpose(forward, step)(1.0)[0]

        numeric = (value_and_slopes(1e-6)[0] - value_and_slopes(-1e-6)[0]) / 2e-6
        np.testing.assert_allclose(value_and_slopes(0.0)[1:], [numeric, numeric], rtol=1e-6)


@pytest.mark.slow
def test_second_derivatives_of_pairwise_distances(ball_points):
    with jax.enable_x64(True):
        x = ball_points(0, 3, 2, c=1.0, dtype="float64", reach=2.0)
        y = ball_points(1, 3, 2, c=1.0, dtype="float64", reach=2.0)
        functions = (
            lambda x: jnp.sum(jnp.cos(poincare.pairwise_dist(x, y, c=1.0))),
            lambda x: jnp.sum(jnp.cos(poincare.dist(x[:, None, :], y[None, :, :], c=1.0))),
        )

        @jax.jit
        def curves(x, twice):
            among_each_other = jax.hessian(lambda x: jnp.sum(poincare.pairwise_dist(x, x, c=1.0)))
            return [jax.hessian(function)(x) for function in functions], among_each_other(twice)

        both, curved = curves(x, np.concatenate([x, x]))
        np.testing.assert_allclose(*both, rtol=1e-8, atol=1e-10)
        assert np.all(np.isfinite(curved))


def test_exact_derivatives_at_the_origin_and_at_coincidence():
    """The maps are smooth where their formulas divide 0 by 0: exp0 and log0 at 0, log_x at x."""

    @jax.jit
    def slopes(zero, x):
        exp0, log0 = (jax.jacobian(functools.partial(f, c=1.0))(zero) for f in (poincare.expmap0, poincare.logmap0))
        return exp0, log0, jax.jacobian(lambda y: poincare.logmap(x, y, c=1.0))(x)

    exp0, log0, at_itself = slopes(np.zeros(3, np.float32), np.float32([0.3, 0.2, -0.4]))
    np.testing.assert_allclose(exp0, np.eye(3))
    np.testing.assert_allclose(log0, np.eye(3))
    np.testing.assert_allclose(at_itself, np.eye(3), atol=1e-6)


@pytest.mark.slow
def test_jit_eager_and_vmap_agree(ball_points):
    x, y = (ball_points(k, 5, 3, c=1.0) for k in (0, 1))
    eager = poincare.pairwise_dist(x, y, c=0.5)
    np.testing.assert_allclose(fully_compiled(x, y, c=0.5), eager, rtol=1e-6)
    batched = jax.jit(jax.vmap(functools.partial(poincare.pairwise_dist, c=0.5)))
    batch = np.asarray(batched(np.stack([x, y]), np.stack([y, x])))
    np.testing.assert_allclose(batch[0], eager, rtol=1e-6)
    np.testing.assert_allclose(batch[1], np.asarray(eager).T, rtol=1e-6)
    one_by_one = jax.jit(jax.vmap(lambda a: jax.vmap(lambda b: poincare.dist(a, b, c=0.5))(y)))(x)
    np.testing.assert_allclose(one_by_one, eager, rtol=1e-5)


@pytest.mark.slow
def test_a_batch_over_eight_devices_gives_the_same_distances_and_gradients(ball_points):
    mesh = jax.make_mesh((8,), ("data",), axis_types=(jax.sharding.AxisType.Auto,))
    spread = jax.NamedSharding(mesh, jax.P("data"))
    x = ball_points(0, 24, 10, c=1.0)
    function = jax.jit(jax.value_and_grad(lambda x: jnp.mean(jnp.tanh(poincare.pairwise_dist(x, x, c=1.0)))))
    value, gradient = function(x)
    spread_value, spread_gradient = function(jax.device_put(x, spread))
    np.testing.assert_allclose(spread_value, value, rtol=1e-6)
    np.testing.assert_allclose(spread_gradient, gradient, rtol=1e-5, atol=1e-6)
