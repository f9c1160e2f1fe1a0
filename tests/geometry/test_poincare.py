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


def test_coincident_points_are_at_distance_0_with_gradient_0(ball_points):
    x = ball_points(0, 5, 4, c=0.7)
    twice = np.concatenate([x, x])
    distances = np.asarray(ball.pairwise_dist(twice, twice, c=0.7))
    np.testing.assert_array_equal(np.diagonal(distances), 0)
    np.testing.assert_array_equal(np.diagonal(distances, 5), 0)

    def to_themselves(x):
        return jnp.sum(poincare.dist(x, 1 * x, c=0.7)) + jnp.trace(poincare.pairwise_dist(x, x, c=0.7))

    np.testing.assert_array_equal(jax.jit(jax.grad(to_themselves))(x), 0)


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


def test_projection_leaves_inner_points_alone(points, c):
    x, *_ = points
    np.testing.assert_array_equal(ball.project(x, c=c), x)


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


def test_vmap_over_curvature_with_gradients(ball_points):
    x = ball_points(0, 5, 3, c=2.0)
    curvatures = np.float32([0.1, 0.5, 2.0])
    mean = lambda c: jnp.mean(poincare.pairwise_dist(x, x, c=c))  # noqa: E731
    slopes = np.asarray(jax.jit(jax.vmap(jax.grad(mean)))(curvatures))
    for c, slope in zip((0.1, 0.5, 2.0), slopes, strict=True):
        high, low = (np.mean(pairwise_literal(x, x, c + h)) for h in (1e-5, -1e-5))
        np.testing.assert_allclose(slope, (high - low) / 2e-5, rtol=1e-3)


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
