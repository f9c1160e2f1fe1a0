"""Fréchet means against a minimization by SciPy, by their identities, and where they are hard."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import optimize

from hypjax.geometry import Euclidean, Lorentz, Poincare, Product, Sphere, sphere
from hypjax.geometry.means import shares

C, STEPS = 0.7, np.array([0.0, 2e-6, -2e-6, 1e-5, -1e-5])
SPACES = {
    "poincare": Poincare(C),
    "lorentz": Lorentz(C),
    "euclidean": Euclidean(),
    "sphere": Sphere(),
}
HYPERBOLIC = ("poincare", "lorentz")
QUICK = [pytest.param(name, marks=() if name == "poincare" else pytest.mark.slow) for name in SPACES]


def rescaled(v, function):
    """Of tangent vectors at the origin of the ball their points with tanh, and back with artanh."""
    length = np.sqrt(C) * np.linalg.norm(v, axis=-1, keepdims=True)
    return v * function(length) / length


def translated(u):
    """Tangent vectors of the points that an isometry of the ball makes of those of u."""
    x = rescaled(u, np.tanh) @ np.linalg.qr(np.random.default_rng(5).normal(size=(5, 5)))[0].T
    by = np.array([0.25, -0.4, 0.15, 0.1, 0.6])
    xy, xx, yy = C * np.sum(by * x, axis=-1, keepdims=True), C * by @ by, C * np.sum(x * x, axis=-1, keepdims=True)
    return rescaled(((1 + 2 * xy + yy) * by + (1 - xx) * x) / (1 + 2 * xy + xx * yy), np.arctanh)


def spread(name):
    """Tangent vectors of six sets of six points [6, 6, 5], on the sphere within a cap, and weights with zeros."""
    rng = np.random.default_rng(6)
    (u, v), (w, s) = 0.8 * rng.normal(size=(2, 6, 5)), rng.random((2, 6))
    if name == "sphere":
        u[:, 3], v[:, 3] = u[:, 3] + 3, v[:, 3] + 3
    w[0] = s[3] = 0
    line = np.array([-4.0, -4.0, 0.0, 1.0, 8.0, 3.0])[:, None] / 2 * [1.0, 0, 0, 0, 0]
    sets = u, v, u[[1, 1, 2, 3, 4, 5]], u[::-1], translated(u), line
    return np.stack(sets), np.stack([w, s, w, 7 * w[::-1], w, np.arange(6) < 5])


@pytest.fixture(scope="module", params=QUICK)
def solved(request):
    """The sets, their means, and a number made of these with derivatives along a line, all of it from one program."""
    name = request.param
    space, (tangent, weights) = SPACES[name], spread(name)
    rng = np.random.default_rng(5)
    dx, dw = rng.normal(size=(2, 6, 5)), rng.normal(size=(2, 6)) * (weights[:2] > 0)

    def along(t, tangent, weights):
        """Points, weights and curvature change."""
        moving = type(space)(C + t) if name in HYPERBOLIC else space
        x = moving.embed(tangent)
        changes = jnp.zeros_like(x).at[:2, :, :5].set(t * dx)
        x, weights = moving.retract(x, moving.project_tangent(x, changes)), weights.at[:2].add(t * dw)
        means = moving.frechet_mean(x[:, None], weights[:, None])
        return jnp.sum(jnp.cos(means[:2] + jnp.arange(means[:2].size).reshape(means[:2].shape))), (x, means)

    @jax.jit
    @jax.vmap
    def everything(t):
        arguments = jnp.asarray(tangent), jnp.asarray(weights)
        with_slope = jax.value_and_grad(lambda t: along(t, *arguments), has_aux=True)
        if name in HYPERBOLIC:
            ((value, found), slope), ((forward, _), curve) = jax.jvp(with_slope, (t,), (1.0,))
            return value, (slope, forward), curve, found
        value, forward, found = jax.jvp(lambda t: along(t, *arguments), (t,), (1.0,), has_aux=True)
        return value, (with_slope(t)[1], forward), None, found

    with jax.enable_x64(True):
        value, slopes, curve, (x, means) = jax.tree.map(np.asarray, everything(STEPS))
    assert means.shape == (len(STEPS), 6, 1, x.shape[-1])
    return name, x[0], weights, means[0, :, 0], (value, slopes, curve)


def drawn(name, x):
    """The points as their manifold has no others: any vector stands for one. The sheet's are taken to the ball."""
    if name == "lorentz":
        return x[..., 1:] / (1 + np.sqrt(C) * x[..., :1])
    return x / np.linalg.norm(x, axis=-1, keepdims=True) if name == "sphere" else x


def closed_form(name, m, x):
    """Distances of a point as `drawn` gives it to others."""
    squares = np.sum((x - m) ** 2, axis=-1)
    if name == "euclidean":
        return np.sqrt(squares)
    if name == "sphere":
        return 2 * np.arcsin(np.sqrt(squares) / 2)
    return 2 * np.arcsinh(np.sqrt(C * squares / (1 - C * m @ m) / (1 - C * np.sum(x * x, axis=-1)))) / np.sqrt(C)


@pytest.mark.slow
def test_the_mean_is_where_scipy_finds_the_least_sum_of_squares(solved):
    name, x, weights, means, _ = solved
    for points, w, mean in zip(drawn(name, x[:2]), weights[:2], drawn(name, means[:2]), strict=True):

        def sum_of_squares(m, points=points, w=w):
            return np.sum(w * closed_form(name, m, points) ** 2)

        def at(v):
            return rescaled(v, np.tanh) if name in HYPERBOLIC else drawn(name, v)

        found = optimize.minimize(lambda v, of=sum_of_squares: of(at(v)), 0.9 * points[1], jac="3-point", tol=1e-9)
        np.testing.assert_allclose(closed_form(name, mean, at(found.x)), 0, atol=2e-6)
        assert sum_of_squares(mean) <= found.fun * (1 + 1e-14)


@pytest.mark.slow
def test_derivatives_are_finite_differences_in_both_modes_and_twice(solved):
    """In the points, their weights, and the curvature where there is one; the second derivative there."""
    value, slopes, curve = solved[-1]
    numeric = (value[1] - value[2]) / 4e-6
    np.testing.assert_allclose([slope[0] for slope in slopes], [numeric, numeric], rtol=1e-6)
    if curve is not None:
        np.testing.assert_allclose(curve[0], (slopes[0][3] - slopes[0][4]) / 2e-5, rtol=1e-5)


def test_weightless_points_order_and_multiples_do_not_matter(solved):
    _, _, _, (mean, _, replaced, turned, *_), _ = solved
    np.testing.assert_allclose([replaced, turned], [mean, mean], atol=1e-10)


def test_the_mean_moves_with_its_points(solved):
    name, _, _, means, _ = solved
    if name == "poincare":
        expected = rescaled(translated(rescaled(means[0], np.arctanh)), np.tanh)
        np.testing.assert_allclose(means[4], expected, rtol=1e-9, atol=1e-10)


def test_points_on_one_geodesic_have_the_mean_of_their_places(solved):
    """With distances up to 24 between them, where a step of 1 would not descend."""
    name, *_, means, _ = solved
    if name != "sphere":
        with jax.enable_x64(True):
            np.testing.assert_allclose(SPACES[name].logmap0(means[5]), [0.1, 0, 0, 0, 0], atol=1e-7)


@pytest.mark.slow
def test_the_mean_of_a_product_has_the_means_of_its_parts():
    space = Product((Lorentz(1.3), Euclidean()), (2, 2), (0.5, 2.0))

    @jax.jit
    def whole_and_parts(tangent, weights):
        x = space.embed(tangent)
        means = [part.frechet_mean(y, weights) for part, y in zip(space.manifolds, space.split(x), strict=True)]
        return space.frechet_mean(x, weights), jnp.concatenate(means, axis=-1)

    with jax.enable_x64(True):
        rng = np.random.default_rng(8)
        np.testing.assert_allclose(*whole_and_parts(1.0 + rng.normal(size=(2, 6, 4)), rng.random((2, 6))), rtol=1e-12)


@pytest.mark.slow
@pytest.mark.parametrize("name", QUICK)
def test_coincident_far_and_weightless_points_are_finite_with_gradients(name):
    space = SPACES[name]
    tangent = np.float32([[1.0, 0.5, 0.2, 0.7, 0.1], [30.0, 1.0, 1.0, 30.0, 1.0], [0.0, 0.0, 0.0, 0.0, 0.0]])
    sets = [[0, 0, 0], [1, 1, 1], [2, 2, 2], [0, 1, 2], [0, 0, 1]]

    @jax.jit
    def step(tangent, weights):
        def total(tangent, weights):
            means = space.frechet_mean(space.embed(tangent)[np.array(sets)], weights)
            return jnp.sum(means**2), means

        return jax.value_and_grad(total, argnums=(0, 1), has_aux=True)(tangent, weights), space.embed(tangent)[0]

    ones = np.ones((5, 3), np.float32)
    for weights in (ones, 0 * ones, ones * np.float32([1, 0, 1])):
        ((value, means), gradients), first = step(tangent, weights)
        assert np.isfinite(value)
        assert all(np.isfinite(gradient).all() for gradient in gradients), gradients
        if weights[0, 0] == 1:
            np.testing.assert_allclose(np.asarray(means)[0], first, rtol=1e-5, atol=1e-6)
    tangent[0, 0] = np.nan
    ((_, means), _), _ = step(tangent, ones)
    assert np.isnan(np.asarray(means)[0]).any()


@pytest.mark.slow
def test_without_weights_all_count_the_same():
    x = jnp.zeros((2, 4, 3))
    for weights in (None, jnp.full((2, 4), 7.0)):
        np.testing.assert_array_equal(shares(x, weights), np.full((2, 4), 0.25))
    for space in (SPACES["lorentz"], SPACES["euclidean"]):
        assert jax.eval_shape(space.frechet_mean, x).shape == (2, 3)


@pytest.mark.slow
def test_a_circle_of_means_is_told_by_a_zero_vector():
    np.testing.assert_array_equal(jax.jit(sphere.frechet_mean)(np.float32([[1.0, 0.0], [-1.0, 0.0]])), np.zeros(2))
