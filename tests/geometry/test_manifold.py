"""Identities that every manifold has to satisfy, in float64."""

import dataclasses
import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from hypjax.geometry import Euclidean, Lorentz, Poincare, Product, Sphere, poincare

MANIFOLDS = {
    "poincare": Poincare(0.7),
    "lorentz": Lorentz(0.7),
    "euclidean": Euclidean(),
    "sphere": Sphere(),
    "product": Product((Poincare(0.4), Lorentz(1.3)), (2, 3), (0.5, 2.0)),
    "nested": Product((Product((Lorentz(1.0), Euclidean()), (2, 1)), Sphere()), (3, 3)),
}
SUM = Product((Poincare(0.4), Euclidean()), (2, 3), (0.5, 2.0), combine="sum")


@pytest.fixture(autouse=True)
def _float64():
    with jax.enable_x64(True):
        yield


@pytest.fixture(params=MANIFOLDS)
def space(request):
    return MANIFOLDS[request.param]


def dimensions(space):
    return sum(space.dimensions) if isinstance(space, Product) else 4


@functools.partial(jax.jit, static_argnames="n")
def points(space, n=5, seed=0):
    return space.embed(0.6 * jax.random.normal(jax.random.key(seed), (n, dimensions(space)), jnp.float64))


@jax.jit
def tangents(space, x, seed=7):
    return space.project_tangent(x, 0.5 * jax.random.normal(jax.random.key(seed), x.shape, jnp.float64))


def close(a, b, tolerance=1e-8):
    np.testing.assert_allclose(a, b, rtol=tolerance, atol=tolerance)


def test_embed_and_logmap0_are_inverse(space):
    x = points(space)
    close(space.embed(space.logmap0(x)), x)
    close(space.project(x), x)
    assert space.origin(dimensions(space), jnp.float64).shape == x.shape[1:]
    close(space.dist0(x), jax.vmap(lambda y: space.dist(space.origin(dimensions(space), jnp.float64), y))(x))


def test_maps_are_inverse_and_as_long_as_the_distance(space):
    x, y = points(space), points(space, seed=1)
    velocity = space.logmap(x, y)
    close(space.expmap(x, velocity), y)
    close(space.project_tangent(x, velocity), velocity)
    close(space.norm(x, velocity), space.dist(x, y))
    close(space.sqdist(x, y), space.dist(x, y) ** 2)
    close(jnp.diagonal(space.pairwise_dist(x, y)), space.dist(x, y))


def test_geodesics_run_evenly_from_end_to_end(space):
    x, y = points(space), points(space, seed=1)
    close(space.geodesic(0.0, x, y), x)
    close(space.geodesic(1.0, x, y), y)
    close(space.dist(x, space.geodesic(0.3, x, y)), 0.3 * space.dist(x, y), 1e-7)
    close(space.geodesic(0.5, x, y), space.midpoint(jnp.stack([x, y], axis=1)), 1e-7)


def test_transport_keeps_inner_products(space):
    x, y = points(space), points(space, seed=1)
    u, v = tangents(space, x), tangents(space, x, seed=8)
    close(space.inner(y, space.transport(x, y, u), space.transport(x, y, v)), space.inner(x, u, v))
    moved = space.transport(x, y, u)
    close(space.project_tangent(y, moved), moved)


def test_the_riemannian_gradient_gives_every_directional_derivative(space):
    x, y = points(space), points(space, seed=1)
    u = tangents(space, x)
    slope = jax.jit(jax.grad(lambda x: space.sqdist(x, y).sum()))(x)
    gradient = space.egrad2rgrad(x, slope)
    step = 1e-5
    ahead, behind = (space.sqdist(space.expmap(x, sign * step * u), y) for sign in (1, -1))
    close(space.inner(x, gradient, u), (ahead - behind) / (2 * step), 1e-6)
    close(gradient, -2 * space.logmap(x, y), 1e-6)  # of the squared distance, a closed form


def test_a_retraction_agrees_to_first_order(space):
    x = points(space)
    u = 1e-4 * tangents(space, x)
    error = space.dist(space.retract(x, u), space.expmap(x, u))
    assert float(error.max()) < 1e-6
    assert float(space.dist(x, space.retract(x, u)).min()) > 1e-6


SIMPLE = {name: MANIFOLDS[name] for name in ("poincare", "lorentz", "euclidean", "sphere")}
SIMPLE["product"] = Product((Sphere(), Euclidean()), (3, 2), (0.5, 2.0))


@pytest.mark.parametrize("name", SIMPLE)
def test_the_squared_distance_is_smooth_at_equal_points(name):
    space = SIMPLE[name]
    x = points(space, n=1)[0]

    @jax.jit
    def derivatives(x, v):
        def squares(y):
            return space.sqdist(x, y)

        y = space.expmap(x, v)
        along = jax.jacfwd(jax.jacfwd(lambda t: squares(space.geodesic(t, x, y))))(0.0)
        return jax.grad(squares)(x), along, space.inner(x, v, v), jax.hessian(squares)(x) if name == "poincare" else 0

    slope, along, square, hessian = derivatives(x, tangents(space, x))
    close(slope, jnp.zeros_like(x))
    close(along, 2 * square, 1e-5)
    if name == "poincare":
        close(hessian, 2 * poincare.conformal_factor(x, c=space.c) ** 2 * np.eye(4), 1e-6)


def test_one_tangent_vector_is_one_point_in_both_models():
    tangent = 0.5 * jax.random.normal(jax.random.key(3), (6, 4), jnp.float64)
    ball, sheet = Poincare(0.7), Lorentz(0.7)
    close(ball.pairwise_dist(*[ball.embed(tangent)] * 2), sheet.pairwise_dist(*[sheet.embed(tangent)] * 2))


def test_lengths_on_the_sheet_keep_their_digits_far_out():
    """At radius 8 −u_0² + ‖u_s‖² is a difference of millions; the length of log_x(y) is known to be d(x, y)."""
    sheet = Lorentz(1.0)
    x, y = sheet.embed(jnp.array([[4.0, 0.0], [3.75, 1e-4]], jnp.float32))
    np.testing.assert_allclose(sheet.norm(x, sheet.logmap(x, y)), sheet.dist(x, y), rtol=1e-2)


def test_curvature_is_a_leaf_that_is_traced_learned_and_mapped():
    x, y = points(Poincare(0.7))[:2]

    @jax.jit
    def distance(space):
        return space.dist(x, y)

    for c in (0.3, 0.7):
        close(distance(Poincare(c)), poincare.dist(x, y, c=c))
    mapped = jax.vmap(lambda space: space.dist(x, y))(Poincare(jnp.array([0.3, 0.7])))
    close(mapped, [poincare.dist(x, y, c=c) for c in (0.3, 0.7)])
    slope = jax.grad(lambda space: space.dist(x, y))(Poincare(0.7))
    ends = [poincare.dist(x, y, c=c) for c in (0.7 + 1e-6, 0.7 - 1e-6)]
    close(slope.c, (ends[0] - ends[1]) / 2e-6, 1e-6)


def test_manifolds_are_frozen_and_equal_by_value():
    assert Poincare(0.7) == Poincare(0.7) != Poincare(0.5)
    assert Poincare(0.7) != Lorentz(0.7)
    with pytest.raises(dataclasses.FrozenInstanceError):
        Poincare(0.7).c = 1.0
    assert jax.tree.leaves(MANIFOLDS["product"]) == [0.4, 1.3, 0.5, 2.0]


def test_a_products_distances_are_its_parts_combined():
    x, y = points(SUM), points(SUM, seed=1)
    parts = [m.dist(a, b) for m, a, b in zip(SUM.manifolds, SUM.split(x), SUM.split(y), strict=True)]
    close(SUM.dist(x, y), 0.5 * parts[0] + 2 * parts[1])
    close(jnp.diagonal(SUM.pairwise_dist(x, y)), SUM.dist(x, y))
    squares = dataclasses.replace(SUM, combine="squares")
    close(squares.dist(x, y), jnp.sqrt(0.5 * parts[0] ** 2 + 2 * parts[1] ** 2))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Poincare(-1.0), "c must be positive"),
        (lambda: Lorentz(0), "c must be positive"),
        (lambda: Lorentz(np.float32(-1)), "c must be positive, got -1.0; the curvature is −c"),
        (lambda: Poincare(jnp.array(-1.0)), "c must be positive"),
        (lambda: Poincare(jnp.array([0.5, -1.0])), "c must be positive"),
        (lambda: Product((Euclidean(),), (2,), (np.float32(0),)), "a weight must be positive, got 0.0"),
        (lambda: Product((), ()), "give one for each"),
        (lambda: Product((Euclidean(),), (2, 3)), "give one for each"),
        (lambda: Product((Euclidean(),), (2,), (1.0, 2.0)), "2 weights for 1 manifolds"),
        (lambda: Product((Euclidean(),), (2,), combine="max"), "combine must be one of squares, sum"),
        (lambda: Product((Euclidean(),), (2,)).embed(jnp.zeros(3)), "3 coordinates do not divide into"),
        (lambda: Product((Euclidean(),), (2,)).origin(3), "has 2 dimensions, not 3"),
    ],
)
def test_what_makes_no_sense_is_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()


@pytest.mark.parametrize("name", ["poincare", "lorentz", "euclidean", "sphere", "product"])
def test_everything_is_finite_at_hard_points(name):
    space = MANIFOLDS[name]

    @jax.jit
    @functools.partial(jax.vmap, in_axes=(None, 0))
    def at(tangents, pair):
        x = space.embed(tangents)[pair]
        return [jax.value_and_grad(function, argnums=(0, 1))(*x) for function in (space.dist, space.sqdist)]

    some, far, zero = (np.full(dimensions(space), length, np.float32) for length in (0.4, 30, 0))
    tangents = np.stack([some * (-1) ** np.arange(len(some)), far, zero])
    chex.assert_tree_all_finite(at(tangents, np.array([[0, 0], [0, 2], [2, 2], [1, 1], [0, 1]])))
