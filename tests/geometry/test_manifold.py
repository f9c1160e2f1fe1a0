"""Identities that every manifold has to satisfy, in float64."""

import dataclasses
import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from hypjax.geometry import Euclidean, Lorentz, Poincare, Product, Sphere, poincare
from tests.geometry.jitted import agree

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


def points(space, n=5, seed=0):
    tangent = 0.6 * np.random.default_rng(seed).normal(size=(n, dimensions(space)))
    return space.embed(jnp.asarray(tangent))


def tangents(space, x, seed=7):
    return space.project_tangent(x, jnp.asarray(0.5 * np.random.default_rng(seed).normal(size=x.shape)))


def close(a, b, tolerance=1e-8):
    np.testing.assert_allclose(a, b, rtol=tolerance, atol=tolerance)


@pytest.mark.slow
def test_embed_and_logmap0_are_inverse(space):
    def claims(space, x):
        origin = space.origin(dimensions(space), jnp.float64)
        assert origin.shape == x.shape[1:]
        to_origin = jax.vmap(lambda y: space.dist(origin, y))(x)
        return [(space.embed(space.logmap0(x)), x), (space.project(x), x), (space.dist0(x), to_origin)]

    agree(claims, space, points(space))


@pytest.mark.slow
def test_maps_are_inverse_and_as_long_as_the_distance(space):
    def claims(space, x, y):
        velocity, distances = space.logmap(x, y), space.dist(x, y)
        return [
            (space.expmap(x, velocity), y),
            (space.project_tangent(x, velocity), velocity),
            (space.norm(x, velocity), distances),
            (space.sqdist(x, y), distances**2),
            (jnp.diagonal(space.pairwise_dist(x, y)), distances),
        ]

    agree(claims, space, points(space), points(space, seed=1))


@pytest.mark.slow
def test_geodesics_run_evenly_from_end_to_end(space):
    x, y = points(space), points(space, seed=1)
    start, some, middle, end = (space.geodesic(t, x, y) for t in (0.0, 0.3, 0.5, 1.0))
    close(start, x)
    close(end, y)
    close(space.dist(x, some), 0.3 * np.asarray(space.dist(x, y)), 1e-7)
    close(middle, space.midpoint(jnp.asarray(np.stack([x, y], axis=1))), 1e-7)


def test_transport_keeps_inner_products(space):
    def claims(space, x, y):
        u, v = tangents(space, x), tangents(space, x, seed=8)
        moved, other = jax.vmap(lambda w: space.transport(x, y, w))(jnp.stack([u, v]))
        inner = space.inner(y, moved, other)
        return [(inner, space.inner(x, u, v)), (space.project_tangent(y, moved), moved)]

    agree(claims, space, points(space), points(space, seed=1))


@pytest.mark.slow
def test_the_riemannian_gradient_gives_every_directional_derivative(space):
    def claims(space, x, y):
        u, step = tangents(space, x), 1e-5
        gradient = space.egrad2rgrad(x, jax.grad(lambda x: space.sqdist(x, y).sum())(x))
        ends = space.expmap(jnp.stack([x, x]), jnp.stack([step * u, -step * u]))
        ahead, behind = space.sqdist(ends, jnp.stack([y, y]))
        return [
            (space.inner(x, gradient, u), (ahead - behind) / (2 * step)),
            (gradient, -2 * space.logmap(x, y)),  # of the squared distance, a closed form
        ]

    agree(claims, space, points(space), points(space, seed=1), tolerance=1e-6)


def test_a_retraction_agrees_to_first_order(space):
    @jax.jit
    def distances(space, x):
        u = 1e-4 * tangents(space, x)
        moved = space.retract(x, u)
        return space.dist(moved, space.expmap(x, u)), space.dist(x, moved)

    error, length = distances(space, points(space))
    assert np.max(error) < 1e-6
    assert np.min(length) > 1e-6


SIMPLE = {name: MANIFOLDS[name] for name in ("poincare", "lorentz", "euclidean", "sphere")}
SIMPLE["product"] = Product((Sphere(), Euclidean()), (3, 2), (0.5, 2.0))


@pytest.mark.slow
@pytest.mark.parametrize("name", SIMPLE)
def test_the_squared_distance_is_smooth_at_equal_points(name):
    space = SIMPLE[name]

    @jax.jit
    def derivatives(space, x):
        v = tangents(space, x)

        def squares(y):
            return space.sqdist(x, y)

        y = space.expmap(x, v)
        along = jax.jacfwd(jax.jacfwd(lambda t: squares(space.geodesic(t, x, y))))(0.0)
        hessian = jax.hessian(squares)(x) if name == "poincare" else 0
        return jax.grad(squares)(x), along, space.inner(x, v, v), hessian

    x = points(space)[0]
    slope, along, square, hessian = derivatives(space, x)
    close(slope, np.zeros_like(x))
    close(along, 2 * square, 1e-5)
    if name == "poincare":
        close(hessian, 2 * (2 / (1 - space.c * np.sum(np.square(x)))) ** 2 * np.eye(4), 1e-6)


def test_one_tangent_vector_is_one_point_in_both_models():
    def claims(*spaces):
        tangent = jnp.asarray(0.5 * np.random.default_rng(3).normal(size=(6, 4)))
        return [[space.pairwise_dist(*[space.embed(tangent)] * 2) for space in spaces]]

    agree(claims, Poincare(0.7), Lorentz(0.7))


def test_lengths_on_the_sheet_keep_their_digits_far_out():
    """At radius 8 −u_0² + ‖u_s‖² is a difference of millions; the length of log_x(y) is known to be d(x, y)."""
    sheet = Lorentz(1.0)
    x, y = sheet.embed(jnp.array([[4.0, 0.0], [3.75, 1e-4]], jnp.float32))
    np.testing.assert_allclose(sheet.norm(x, sheet.logmap(x, y)), sheet.dist(x, y), rtol=1e-2)


def test_curvature_is_a_leaf_that_is_traced_learned_and_mapped():
    x, y = jax.jit(points)(Poincare(0.7))[:2]
    known = jax.jit(lambda c: poincare.dist(x, y, c=c))

    @jax.jit
    def distance(space):
        return space.dist(x, y)

    for c in (0.3, 0.7):
        close(distance(Poincare(c)), known(c))
    mapped = jax.vmap(distance)(Poincare(jnp.asarray(np.array([0.3, 0.7]))))
    close(mapped, [known(c) for c in (0.3, 0.7)])
    slope = jax.grad(distance)(Poincare(0.7))
    close(slope.c, (known(0.7 + 1e-6) - known(0.7 - 1e-6)) / 2e-6, 1e-6)


def test_manifolds_are_frozen_and_equal_by_value():
    assert Poincare(0.7) == Poincare(0.7) != Poincare(0.5)
    assert Poincare(0.7) != Lorentz(0.7)
    with pytest.raises(dataclasses.FrozenInstanceError):
        Poincare(0.7).c = 1.0
    assert jax.tree.leaves(MANIFOLDS["product"]) == [0.4, 1.3, 0.5, 2.0]


def test_a_products_distances_are_its_parts_combined():
    def claims(whole):
        x, y = points(whole), points(whole, seed=1)
        one, other = (m.dist(a, b) for m, a, b in zip(whole.manifolds, whole.split(x), whole.split(y), strict=True))
        squares = dataclasses.replace(whole, combine="squares")
        return [
            (whole.dist(x, y), 0.5 * one + 2 * other),
            (jnp.diagonal(whole.pairwise_dist(x, y)), whole.dist(x, y)),
            (squares.dist(x, y), jnp.sqrt(0.5 * one**2 + 2 * other**2)),
        ]

    agree(claims, SUM)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Poincare(-1.0), "c must be positive"),
        (lambda: Lorentz(0), "c must be positive"),
        (lambda: Lorentz(np.float32(-1)), "c must be positive, got -1.0; the curvature is −c"),
        (lambda: Poincare(jnp.array(-1.0)), "c must be positive"),
        (lambda: Poincare(jnp.asarray([0.5, -1.0])), "c must be positive"),
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


@pytest.mark.slow
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
