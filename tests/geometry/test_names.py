import jax.numpy as jnp
import numpy as np
import pytest

from hypjax.geometry import Euclidean, Lorentz, Poincare, Product, Sphere, divided, name_of, named, radial


def test_a_name_and_a_curvature_say_all_of_a_product():
    space = named("poincare:2+sphere:3", 0.1)
    assert space == Product((Poincare(0.1), Sphere()), (2, 3), combine="sum")
    assert name_of(space) == "poincare:2+sphere:3"
    weighted = named("sphere:2+lorentz:2@0.25", 1.3)
    assert (weighted.weights, name_of(weighted)) == ((1.0, 0.25), "sphere:2+lorentz:2@0.25")
    assert [name_of(m) for m in (Poincare(0.1), Euclidean())] == ["poincare", "euclidean"]
    x, y = weighted.embed(jnp.asarray(np.random.default_rng(0).normal(size=(2, 4)), jnp.float32))
    apart = Sphere().dist(x[:2], y[:2]) + 0.25 * Lorentz(1.3).dist(x[2:], y[2:])
    np.testing.assert_allclose(weighted.dist(x, y), apart, rtol=1e-6)


def test_the_dimensions_of_a_head_are_shared_out():
    assert divided("poincare+sphere@0.5+euclidean", 9) == "poincare:3+sphere:3@0.5+euclidean:3"
    assert divided("poincare:5+sphere", 9) == "poincare:5+sphere:4"
    assert divided("poincare:5+sphere:4", 9) == "poincare:5+sphere:4"
    assert divided("lorentz", 9) == "lorentz"


@pytest.mark.parametrize(("name", "part"), [("sphere:2+lorentz:2", 1), ("sphere:2+euclidean:2", 1), ("sphere:2", 0)])
def test_the_radius_is_of_the_first_hyperbolic_or_flat_space(name, part):
    space = named(f"{name}+sphere:1", 0.1)
    points = np.arange(7.0)[None, : sum(space.sizes)]
    edges = np.cumsum((0, *space.sizes))
    manifold, own = radial(space, points)
    assert manifold is space.manifolds[part]
    np.testing.assert_array_equal(own, points[:, edges[part] : edges[part + 1]])


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: named("poincare+klein", 0.1), "unknown; there are: poincare, .* several joined by"),
        (lambda: named("poincare:2+sphere:0", 0.1), "unknown"),
        (lambda: named("poincare:2+sphere:2@0", 0.1), "unknown"),
        (lambda: named("poincare:2", 0.1), "a single space, which has all dimensions: poincare"),
        (lambda: named("poincare+sphere", 0.1), "leaves open how many dimensions"),
        (lambda: named("poincare:2+sphere:2"), "needs a curvature parameter"),
        (lambda: divided("poincare+sphere", 9), "cannot share 9 dimensions"),
        (lambda: divided("poincare:5+sphere:5", 9), "cannot share 9 dimensions"),
        (lambda: divided("poincare:9+sphere", 9), "cannot share 9 dimensions"),
        (lambda: name_of(Product((Euclidean(),), (2,))), "has no name"),
    ],
)
def test_names_of_nothing_are_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()
