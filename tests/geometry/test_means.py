"""Fréchet means against a minimization by SciPy, by their identities, and where they are hard."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import optimize

from hypjax.geometry import Euclidean, Lorentz, Poincare, Product, Sphere, poincare, sphere

SPACES = {
    "poincare": Poincare(0.7),
    "lorentz": Lorentz(0.7),
    "euclidean": Euclidean(),
    "sphere": Sphere(),
}
QUICK = [pytest.param(name, marks=() if name == "poincare" else pytest.mark.slow) for name in SPACES]
HYPERBOLIC = {name: SPACES[name] for name in ("poincare", "lorentz")}


def spread(space, seed, n=6, scale=1.5):
    """Points of the space [n, e] in float64, on the sphere within a cap, and weights with a zero among them."""
    rng = np.random.default_rng(seed)
    tangent, weights = scale * rng.normal(size=(n, 5)), rng.random(n)
    if isinstance(space, Sphere):
        tangent[:, 3] += 6.0
    weights[0] = 0
    return space.embed(jnp.asarray(tangent)), jnp.asarray(weights)


@pytest.mark.slow
@pytest.mark.parametrize("name", QUICK)
def test_the_mean_is_where_scipy_finds_the_least_sum_of_squares(name):
    space = SPACES[name]
    with jax.enable_x64(True):
        x, weights = spread(space, 0)
        mean = space.frechet_mean(x, weights)

        @jax.jit
        @functools.partial(jax.value_and_grad, has_aux=True)
        def objective(v):
            m = space.expmap(x[1], space.project_tangent(x[1], v))
            sums = [jnp.sum(weights * space.sqdist(jnp.broadcast_to(m, x.shape), x)) for m in (m, mean)]
            return sums[0], (sums[1], space.dist(mean, m))

        def sum_and_slope(v):
            (value, _), slope = objective(v)
            return np.asarray(value), np.asarray(slope)

        found = optimize.minimize(sum_and_slope, np.zeros(x.shape[1]), jac=True, tol=1e-14)
        (_, (at_mean, apart)), _ = objective(found.x)
        np.testing.assert_allclose(apart, 0, atol=2e-6)
        assert at_mean <= found.fun * (1 + 1e-14)


@pytest.mark.slow
@pytest.mark.parametrize("name", QUICK)
def test_the_derivative_is_the_finite_difference_in_both_modes(name):
    space = SPACES[name]
    with jax.enable_x64(True):
        x, weights = spread(space, 0)
        rng = np.random.default_rng(5)
        dx, dw = jnp.asarray(rng.normal(size=x.shape)), rng.normal(size=weights.shape) * (np.arange(len(x)) > 0)

        def along(t):
            mean = space.frechet_mean(space.retract(x, t * space.project_tangent(x, dx)), weights + t * dw)
            return jnp.sum(jnp.cos(mean + jnp.arange(mean.size)))

        @jax.jit
        def value_and_slopes(t):
            value, forward = jax.linearize(along, t)
            return value, forward(1.0), jax.linear_transpose(forward, t)(1.0)[0]

        numeric = (value_and_slopes(2e-6)[0] - value_and_slopes(-2e-6)[0]) / 4e-6
        np.testing.assert_allclose(value_and_slopes(0.0)[1:], [numeric, numeric], rtol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("name", HYPERBOLIC)
def test_the_derivative_in_the_curvature_and_twice(name):
    with jax.enable_x64(True):
        x, weights = spread(HYPERBOLIC[name], 1, scale=0.5)
        ball = HYPERBOLIC[name].to_poincare(x)

        def of_curvature(c):
            space = type(HYPERBOLIC[name])(c)
            return jnp.sum(space.dist0(space.frechet_mean(space.embed(ball), weights)))

        @jax.jit
        def with_derivatives(c):
            (value, slope), (_, curve) = jax.jvp(jax.value_and_grad(of_curvature), (c,), (1.0,))
            return value, slope, curve

        ahead, behind = (with_derivatives(0.7 + step) for step in (1e-5, -1e-5))
        _, slope, curve = with_derivatives(0.7)
        np.testing.assert_allclose(slope, (ahead[0] - behind[0]) / 2e-5, rtol=1e-6)
        np.testing.assert_allclose(curve, (ahead[1] - behind[1]) / 2e-5, rtol=1e-5)


def test_the_mean_moves_with_its_points():
    with jax.enable_x64(True):
        space = Poincare(0.7)
        x, weights = spread(space, 4)
        by = space.embed(jnp.asarray(np.array([0.3, -0.5, 0.2, 0.1, 0.9])))
        turn = np.linalg.qr(np.random.default_rng(5).normal(size=(5, 5)))[0]

        @jax.jit
        def moved(x):
            return poincare.mobius_add(jnp.broadcast_to(by, x.shape), x @ turn.T, c=0.7)

        np.testing.assert_allclose(
            space.frechet_mean(moved(x), weights), moved(space.frechet_mean(x, weights)), rtol=1e-9, atol=1e-10
        )


@pytest.mark.slow
@pytest.mark.parametrize("name", QUICK)
def test_batches_masks_and_order(name):
    space = SPACES[name]
    with jax.enable_x64(True):
        (x, w), (y, v) = (map(np.asarray, spread(space, k)) for k in (6, 7))
        frechet_mean = jax.jit(space.frechet_mean)
        mean = frechet_mean(x, w)
        np.testing.assert_allclose(frechet_mean(x[[1, 1, 2, 3, 4, 5]], w), mean, atol=1e-10)  # it has no weight
        np.testing.assert_allclose(frechet_mean(x[::-1], 7 * w[::-1]), mean, atol=1e-10)
        both = np.asarray(frechet_mean(np.stack([x, y])[:, None], np.stack([w, v])[:, None]))
        assert both.shape == (2, 1, x.shape[1])
        np.testing.assert_allclose(both[0, 0], mean, atol=1e-10)
        mapped = np.asarray(jax.jit(jax.vmap(lambda x: space.frechet_mean(x)))(np.stack([x, y])))
        np.testing.assert_allclose(frechet_mean(x, np.ones_like(w)), mapped[0], atol=1e-10)
        np.testing.assert_allclose(frechet_mean(y, np.ones_like(w)), mapped[1], atol=1e-10)


@pytest.mark.slow
def test_the_mean_of_a_product_has_the_means_of_its_parts():
    space = Product((Lorentz(1.3), Sphere()), (2, 2), (0.5, 2.0))
    with jax.enable_x64(True):
        rng = np.random.default_rng(8)
        x = space.embed(jnp.asarray(1.0 + rng.normal(size=(2, 6, 4))))
        weights = jnp.asarray(rng.random((2, 6)))
        means = [part.frechet_mean(y, weights) for part, y in zip(space.manifolds, space.split(x), strict=True)]
        np.testing.assert_allclose(space.frechet_mean(x, weights), np.concatenate(means, axis=-1), rtol=1e-12)


@pytest.mark.slow
@pytest.mark.parametrize("name", HYPERBOLIC)
def test_points_on_one_geodesic_have_the_mean_of_their_places(name):
    """With distances up to 24 between them, where a step of 1 would not descend."""
    space = HYPERBOLIC[name]
    with jax.enable_x64(True):
        places = np.array([-4.0, -4.0, 0.0, 1.0, 8.0])[:, None] / 2
        mean = space.frechet_mean(space.embed(jnp.asarray(places * [1.0, 0.0])))
        np.testing.assert_allclose(space.logmap0(mean), [0.1, 0], atol=1e-7)


@pytest.mark.slow
@pytest.mark.parametrize("name", QUICK)
def test_coincident_far_and_weightless_points_are_finite_with_gradients(name):
    space = SPACES[name]
    tangent = np.float32([[1.0, 0.5, 0.2, 0.7, 0.1], [30.0, 1.0, 1.0, 30.0, 1.0], [0.0, 0.0, 0.0, 0.0, 0.0]])
    sets = [[0, 0, 0], [1, 1, 1], [2, 2, 2], [0, 1, 2], [0, 0, 1]]

    @jax.jit
    def total(tangent, weights):
        means = space.frechet_mean(space.embed(tangent)[np.array(sets)], weights)
        return jnp.sum(means**2), means

    step = jax.jit(jax.value_and_grad(total, argnums=(0, 1), has_aux=True))
    ones, first = np.ones((5, 3), np.float32), np.asarray(space.embed(jnp.asarray(tangent)))[0]
    for weights in (ones, 0 * ones, ones * np.float32([1, 0, 1])):
        (value, means), gradients = step(tangent, weights)
        assert np.isfinite(value)
        assert all(np.isfinite(gradient).all() for gradient in gradients), gradients
        if weights[0, 0] == 1:
            np.testing.assert_allclose(np.asarray(means)[0], first, rtol=1e-5, atol=1e-6)
    tangent[0, 0] = np.nan
    (_, means), _ = step(tangent, ones)
    assert np.isnan(np.asarray(means)[0]).any()


def test_a_circle_of_means_is_told_by_a_zero_vector():
    np.testing.assert_array_equal(jax.jit(sphere.frechet_mean)(np.float32([[1.0, 0.0], [-1.0, 0.0]])), np.zeros(2))
