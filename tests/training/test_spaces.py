"""Objectives of several spaces on one encoder: in each the loss on its own share, and all summed."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from hypjax import losses
from hypjax.data.errors import UsageError
from hypjax.encoders.model import ModelOutput
from hypjax.training.comparing import hier_points, split_params
from hypjax.training.objective import create_objective, learned_space
from hypjax.training.space import create_space
from tests.training.objectives import ANCESTORS, LABELS, REGULARIZERS, SETTINGS, objective, output, space

SHARED = "poincare:3+sphere:2@0.5"
TREE = {"ancestors": ANCESTORS[:, :1], "level_names": ["kind"]}
PLACED = SETTINGS | {"proxies_as": "points"}
TANGENT_HIER = REGULARIZERS | {"hier": REGULARIZERS["hier"] | {"proxies_as": "tangent"}}


def run(*chosen):
    """Values, figures and gradients by tangent vectors and own parameters of objectives, in one program."""

    def one(made, tangent, own, memory=None):
        says = ModelOutput(tangent, tangent, None)
        total, (figures, _) = made(says, LABELS, params=own, key=jax.random.key(2), memory=memory)
        return total, figures

    made, given = zip(*((one[0], one[1:]) for one in chosen), strict=True)
    graded = jax.value_and_grad(one, argnums=(1, 2), has_aux=True)
    return jax.jit(lambda given: [graded(each, *own) for each, own in zip(made, given, strict=True)])(given)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("loss", "options"),
    [
        ("margin", {"miner": "easy_positive+distance_weighted_negative", "memory_size": 12, "gradient": "riemannian"}),
        ("proxy_nca", {}),
        ("proxy_anchor", {"settings": PLACED, "regularizer": "nodes", **TREE}),
    ],
)
def test_the_objective_is_the_weighted_sum_of_those_of_each_space(loss, options):
    whole = objective(loss, space(SHARED), **options)
    parts = (
        objective(loss, space("poincare"), dimension=3, **options),
        objective(loss, space("sphere"), dimension=2, **options),
    )
    tangent, own = output().tangent, whole.initial(jax.random.key(1), 5)
    product, memory, memories = space(SHARED).manifold, None, [None, None]
    if whole.memory_size:
        filled = losses.create_cross_batch_memory(12, 5)
        memory = losses.remember(filled, product.embed(output(seed=3).tangent), LABELS)
        memories = [memory._replace(points=points) for points in product.split(memory.points)]
    split = product.split_tangent(tangent), split_params(own, product)
    found = run((whole, tangent, own, memory), *zip(parts, *split, memories, strict=True))
    ((value, figures), (by_tangent, by_own)), (ball, (ball_tangent, ball_own)), (sphere, of_sphere) = found
    sphere_tangent, sphere_own = of_sphere
    assert value == pytest.approx(float(ball[0] + 0.5 * sphere[0]), rel=1e-6)
    expected = np.concatenate([ball_tangent, 0.5 * sphere_tangent], axis=1)
    np.testing.assert_allclose(by_tangent, expected, atol=1e-6)
    for name, gradient in by_own.items():
        of_each = np.concatenate([ball_own[name], 0.5 * sphere_own[name]], axis=-1)
        np.testing.assert_allclose(gradient, of_each, atol=1e-6)
        assert np.abs(of_each).max() > 0
    assert figures.get("radius_order") == ball[1].get("radius_order")


@pytest.mark.slow
def test_a_learned_curvature_gets_a_gradient_and_is_that_of_what_is_hyperbolic():
    def at(c):
        return create_space(SHARED, c=c, distance="geodesic", uncertainty="radius", clip_radius=2.3)

    where = learned_space(at, 0.01, 2.0)
    made = create_objective(where, "contrastive", samples_per_class=4, settings=SETTINGS, curvature=0.3)
    (((_, figures), (_, by_own)),) = run((made, output().tangent, {"curvature": jnp.float32(0.3)}))
    assert abs(by_own["curvature"]) > 0
    assert float(figures["curvature"]) == pytest.approx(float(where({"curvature": jnp.float32(0.3)}).curvature))


@pytest.mark.slow
def test_proxies_start_as_long_in_each_space_as_in_one():
    regularizers = TANGENT_HIER | {"hier": TANGENT_HIER["hier"] | {"proxies": 2000}}
    made = objective("supcon", space("poincare:4+lorentz:1"), regularizer="hier", regularizers=regularizers)
    drawn = made.initial(jax.random.key(1), 5)
    ball, sheet = space("poincare:4+lorentz:1").manifold.split_tangent(drawn["hier_tangents"])
    for part in (ball, sheet):
        assert np.sqrt(np.square(part).sum(axis=1).mean()) == pytest.approx(0.9 * 2.3, rel=0.05)
    points = hier_points(drawn, space("poincare:4+lorentz:1"), 2.3)
    assert points.shape == (2000, 6)


@pytest.mark.slow
def test_points_are_compared_by_the_sum_and_the_uncertainty_is_of_the_hyperbolic_part():
    shared, ball, sphere = space("sphere:2@0.5+poincare:3"), space(), space("sphere")
    says = output()
    points = shared.manifold.embed(says.tangent)
    own = sphere.manifold.embed(says.tangent[:, :2]), ball.manifold.embed(says.tangent[:, 2:])
    expected = 0.5 * sphere.distance(own[0], own[0]) + ball.distance(own[1], own[1])
    np.testing.assert_allclose(shared.distance(points, points), expected, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(
        shared.uncertainty(says), ball.uncertainty(says._replace(tangent=says.tangent[:, 2:])), rtol=1e-6
    )


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"geometry": "euclidean:3+sphere:2"}, "uncertainty 'radius' is of hyperbolic space"),
        ({"geometry": SHARED, "distance": "cosine"}, r"'cosine' is unknown; there are: geodesic"),
        ({"geometry": SHARED, "distance": "hybrid"}, r"'hybrid' is unknown; there are: geodesic"),
        ({"geometry": "poincare+sphere"}, "leaves open how many dimensions"),
    ],
)
def test_what_several_spaces_do_not_have_is_refused(options, message):
    with pytest.raises(UsageError, match=message):
        space(**options)


@pytest.mark.slow
def test_cones_are_of_the_hyperbolic_spaces_alone_and_need_one():
    options = {"regularizer": "cones", **TREE}
    shared, ball = space(SHARED), space()
    made = objective("contrastive", shared, **options), objective("contrastive", ball, dimension=3, **options)
    own, tangent = made[0].initial(jax.random.key(1), 5), output().tangent

    @jax.jit
    def cones(own):
        given = (tangent, own), (tangent[:, :3], split_params(own, shared.manifold)[0])
        says = [(ModelOutput(v, v, None), params) for v, params in given]
        return [each(says, LABELS, params=p)[1][0]["cones"] for each, (says, p) in zip(made, says, strict=True)]

    whole, alone = cones(own)
    assert float(whole) == pytest.approx(float(alone), rel=1e-6)
    flat = space("euclidean:3+sphere:2", uncertainty="distance")
    with pytest.raises(UsageError, match="'cones' needs hyperbolic space"):
        objective("contrastive", flat, **options)
