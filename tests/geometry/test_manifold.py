"""Identities that every manifold has to satisfy, in float64."""

import dataclasses
import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from hypjax.geometry import Euclidean, Lorentz, Poincare, Product, Sphere
from tests.geometry.jitted import agree

MANIFOLDS = {
    "poincare": Poincare(0.7),
    "lorentz": Lorentz(0.7),
    "euclidean": Euclidean(),
    "sphere": Sphere(),
    "product": Product((Product((Lorentz(1.3), Euclidean()), (2, 1), (1.5, 0.7)), Sphere()), (3, 3), (0.5, 2.0)),
}
STEP, SMALL, TIMES = 1e-5, 1e-4, np.array([0.0, 0.3, 0.5, 1.0])
SUM = Product((Poincare(0.4), Euclidean()), (2, 3), (0.5, 2.0), combine="sum")


@pytest.fixture(autouse=True)
def _float64():
    with jax.enable_x64(True):
        yield


def dimensions(space):
    return sum(space.dimensions) if isinstance(space, Product) else 4


def points(space, n=5, seed=0):
    tangent = 0.6 * np.random.default_rng(seed).normal(size=(n, dimensions(space)))
    return space.embed(jnp.asarray(tangent))


def close(a, b, tolerance=1e-8):
    np.testing.assert_allclose(a, b, rtol=tolerance, atol=tolerance)


def stacked(*pairs):
    """Arguments of one call in the place of several: each method is compiled once."""
    return [jnp.stack(arguments) for arguments in zip(*pairs, strict=True)]


@jax.jit
def everything(space):
    """What each method makes of points x, y and of tangent vectors u, v at x."""
    rng = np.random.default_rng(7)
    x, y = space.embed(0.6 * jnp.asarray(rng.normal(size=(2, 5, dimensions(space)))))
    u, v = space.project_tangent(*stacked(*[(x, jnp.asarray(0.5 * rng.normal(size=x.shape))) for _ in range(2)]))
    origin = space.origin(dimensions(space), jnp.float64)
    assert origin.shape == x.shape[1:]
    velocity, near = space.logmap(x, y), space.retract(x, SMALL * u)
    ends = space.expmap(*stacked(*[(x, w) for w in (velocity, STEP * u, -STEP * u, SMALL * u)]))
    path = space.geodesic(TIMES[:, None], *stacked(*[(x, y)] * len(TIMES)))
    pairs = {
        "x to y": (x, y),
        "on the way": (x, path[1]),
        "from the origin": (jnp.broadcast_to(origin, x.shape), x),
        "retracted": (near, ends[3]),
        "small": (x, near),
    }
    carried = space.transport(*stacked((x, y, u), (x, y, v)))
    gradient = space.egrad2rgrad(x, jax.grad(lambda x: space.sqdist(x, y).sum())(x))
    products = {"before": (x, u, v), "after": (y, *carried), "slope": (x, gradient, u)}
    tangent = {"velocity": (x, velocity), "carried": (y, carried[0]), "gradient": (x, gradient)}
    return {
        "x": x,
        "y": y,
        "u": u,
        "velocity": velocity,
        "length": space.norm(x, velocity),
        "carried": carried[0],
        "gradient": gradient,
        "tangent": dict(zip(tangent, space.project_tangent(*stacked(*tangent.values())), strict=True)),
        "embedded again": space.embed(space.logmap0(x)),
        "projected": space.project(x),
        "dist0": space.dist0(x),
        "all distances": space.pairwise_dist(x, y),
        "middle": space.midpoint(jnp.stack([x, y], axis=1)),
        "arrived": ends[0],
        "path": path,
        "dist": dict(zip(pairs, space.dist(*stacked(*pairs.values())), strict=True)),
        "sqdist": space.sqdist(*stacked((x, y), (ends[1], y), (ends[2], y))),
        "inner": dict(zip(products, space.inner(*stacked(*products.values())), strict=True)),
    }


@pytest.fixture(
    scope="module", params=[pytest.param(n, marks=() if n == "product" else pytest.mark.slow) for n in MANIFOLDS]
)
def found(request):
    """Of one program for each manifold, in which each method is traced and compiled once."""
    with jax.enable_x64(True):
        return jax.tree.map(np.asarray, everything(MANIFOLDS[request.param]))


@pytest.mark.slow
def test_embed_and_logmap0_are_inverse(found):
    close(found["embedded again"], found["x"])
    close(found["projected"], found["x"])
    close(found["dist0"], found["dist"]["from the origin"])


@pytest.mark.slow
def test_maps_are_inverse_and_as_long_as_the_distance(found):
    distances = found["dist"]["x to y"]
    close(found["arrived"], found["y"])
    close(found["tangent"]["velocity"], found["velocity"])
    close(found["length"], distances)
    close(found["sqdist"][0], distances**2)
    close(np.diagonal(found["all distances"]), distances)


def test_geodesics_run_evenly_from_end_to_end(found):
    start, _, middle, end = found["path"]
    close(start, found["x"])
    close(end, found["y"])
    close(found["dist"]["on the way"], 0.3 * found["dist"]["x to y"], 1e-7)
    close(middle, found["middle"], 1e-7)


def test_transport_keeps_inner_products(found):
    close(found["inner"]["after"], found["inner"]["before"])
    close(found["tangent"]["carried"], found["carried"])


def test_the_riemannian_gradient_gives_every_directional_derivative(found):
    _, ahead, behind = found["sqdist"]
    close(found["inner"]["slope"], (ahead - behind) / (2 * STEP), 1e-6)
    close(found["gradient"], -2 * found["velocity"], 1e-6)  # of the squared distance, a closed form
    close(found["tangent"]["gradient"], found["gradient"])


def test_a_retraction_agrees_to_first_order(found):
    assert np.max(found["dist"]["retracted"]) < 1e-6
    assert np.min(found["dist"]["small"]) > 1e-6


SIMPLE = {name: MANIFOLDS[name] for name in ("poincare", "lorentz", "euclidean", "sphere")}
SIMPLE["product"] = Product((Sphere(), Euclidean()), (3, 2), (0.5, 2.0))


@pytest.mark.slow
@pytest.mark.parametrize("name", SIMPLE)
def test_the_squared_distance_is_smooth_at_equal_points(name):
    space = SIMPLE[name]

    @jax.jit
    def derivatives(space):
        x = points(space, 1)[0]
        v = space.project_tangent(x, jnp.asarray(0.5 * np.random.default_rng(7).normal(size=x.shape)))

        def squares(y):
            return space.sqdist(x, y)

        def twice(along):
            return jax.jvp(lambda t: jax.jvp(along, (t,), (1.0,))[1], (0.0,), (1.0,))[1]

        # Where the slope is 0 the second derivative along any curve tells of the metric alone.
        second = jax.hessian(squares)(x) if name == "poincare" else twice(lambda t: squares(space.retract(x, t * v)))
        return x, jax.grad(squares)(x), second, space.inner(x, v, v)

    x, slope, second, square = derivatives(space)
    close(slope, np.zeros_like(x))
    if name == "poincare":
        close(second, 2 * (2 / (1 - space.c * np.sum(np.square(x)))) ** 2 * np.eye(4), 1e-6)
    else:
        close(second, 2 * square, 1e-5)


@pytest.mark.slow
def test_one_tangent_vector_is_one_point_in_both_models():
    def claims(*spaces):
        tangent = jnp.asarray(0.5 * np.random.default_rng(3).normal(size=(6, 4)))
        return [[space.pairwise_dist(*[space.embed(tangent)] * 2) for space in spaces]]

    agree(claims, Poincare(0.7), Lorentz(0.7))


@pytest.mark.slow
def test_lengths_on_the_sheet_keep_their_digits_far_out():
    """At radius 8 −u_0² + ‖u_s‖² is a difference of millions; the length of log_x(y) is known to be d(x, y)."""
    sheet = Lorentz(1.0)
    x, y = sheet.embed(jnp.array([[4.0, 0.0], [3.75, 1e-4]], jnp.float32))
    np.testing.assert_allclose(sheet.norm(x, sheet.logmap(x, y)), sheet.dist(x, y), rtol=1e-2)


@pytest.mark.slow
def test_curvature_is_a_leaf_that_is_traced_learned_and_mapped():
    x, y = np.random.default_rng(0).normal(size=(2, 4)) / 4

    def known(c):
        return 2 / np.sqrt(c) * np.arcsinh(np.sqrt(c * (x - y) @ (x - y) / (1 - c * x @ x) / (1 - c * y @ y)))

    @jax.jit
    @jax.vmap
    @jax.value_and_grad
    def distance(space):
        return space.dist(x, y)

    curvatures = np.array([0.3, 0.7])
    mapped, slope = distance(Poincare(jnp.asarray(curvatures)))
    close(mapped, [known(c) for c in curvatures])
    close(slope.c, [(known(c + 1e-6) - known(c - 1e-6)) / 2e-6 for c in curvatures], 1e-6)


def test_manifolds_are_frozen_and_equal_by_value():
    assert Poincare(0.7) == Poincare(0.7) != Poincare(0.5)
    assert Poincare(0.7) != Lorentz(0.7)
    with pytest.raises(dataclasses.FrozenInstanceError):
        Poincare(0.7).c = 1.0
    assert jax.tree.leaves(MANIFOLDS["product"]) == [1.3, 1.5, 0.7, 0.5, 2.0]


@pytest.mark.slow
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
