import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType, NamedSharding, PartitionSpec

from hypjax import losses
from hypjax.config.settings import default_settings
from hypjax.data.errors import UsageError
from hypjax.encoders.model import ModelOutput
from hypjax.geometry import poincare
from hypjax.geometry.manifold import NAMED
from hypjax.run.rehearsal import hlo
from hypjax.run.rehearsal.collectives import KINDS
from hypjax.training.objective import create_objective, learned_space
from hypjax.training.parts import LOSSES, MINERS, create_miner
from hypjax.training.space import UNCERTAINTIES, create_space

SETTINGS = default_settings().loss.to_dict() | {"temperature": 0.2, "strength": 1.0}
HIER = {
    "weight": 0.5,
    "proxies": 6,
    "proxies_as": "points",
    "margin": 0.1,
    "neighbors": 5,
    "triplets": 4,
    "temperature": 0.1,
    "anchor": 0.0,
}
REGULARIZERS = {"hier": HIER, "nodes": {"weight": 0.7, "decay": 0.5, "temperature": 0.2}}
REGULARIZERS["cones"] = {"weight": 1.5, "k": 0.1, "margin": 0.2}
ANCESTORS = np.array([[0, 0], [1, 0], [1, 0]])
LABELS = jnp.asarray(np.repeat(np.arange(3), 4))
DOUBT = np.linspace(0.1, 0.9, 12, dtype=np.float32)
MINED = [name for name, part in LOSSES.items() if not part.proxies]


def output(seed=0, doubt=None):
    tangent = jnp.asarray((0.5 * np.random.default_rng(seed).normal(size=(12, 5))).astype(np.float32))
    return ModelOutput(features=tangent, tangent=tangent, doubt=doubt)


def space(geometry="poincare", **options):
    chosen = {"c": 0.3, "distance": "geodesic", "uncertainty": "radius", "clip_radius": 2.3, **options}
    return create_space(geometry, **chosen)


def objective(loss, where=None, **options):
    where = where or space()
    chosen = {
        "samples_per_class": 4,
        "settings": SETTINGS,
        "regularizers": REGULARIZERS,
        "classes": 3,
        "dimension": 5,
        **options,
    }
    return create_objective(lambda params: where, loss, **chosen)


@functools.cache
def with_gradients(made):
    @jax.jit
    def run(tangent, doubt, own, memory):
        def value(tangent, doubt, own):
            says = ModelOutput(tangent, tangent, doubt)
            return made(says, LABELS, params=own, key=jax.random.key(2), memory=memory)[0]

        return jax.value_and_grad(value, argnums=(0, 1, 2))(tangent, doubt, own)

    return run


def gradients(made, *, memory=None):
    """Value and gradients of an objective by tangent, doubt and its own parameters."""
    own = made.initial(jax.random.key(1), 5)

    return with_gradients(made)(output().tangent, DOUBT, own, memory)


def assert_alive(value, grads):
    assert value > 0
    for leaf in jax.tree.leaves(grads):
        assert np.isfinite(leaf).all()
        assert np.abs(leaf).max() > 0


# Not the products, which take minutes to compile: here each loss in two geometries and each geometry with half of them.
ROTATED = [(loss, list(NAMED)[(i + j) % 4]) for i, loss in enumerate(LOSSES) for j in range(2)]


@pytest.mark.slow
@pytest.mark.parametrize(("loss", "geometry"), ROTATED)
def test_losses_compose_with_geometries(loss, geometry):
    assert_alive(*gradients(objective(loss, space(geometry))))


@pytest.mark.slow
@pytest.mark.parametrize("geometry", ["lorentz", "euclidean"])
@pytest.mark.parametrize("loss", [name for name, part in LOSSES.items() if part.aware])
@pytest.mark.parametrize("uncertainty", [name for name in UNCERTAINTIES if name != "radius"])
def test_aware_losses_compose_with_every_uncertainty(geometry, loss, uncertainty):
    assert_alive(*gradients(objective(loss, space(geometry, uncertainty=uncertainty))))


# Likewise: every geometry with both distances, and with them miners and losses in turn, which see no more of it.
MIXTURES = [
    (miner, list(NAMED)[i % 4], ("geodesic", "hybrid")[i // 4 % 2], MINED[i % len(MINED)])
    for i, miner in enumerate([*MINERS, "easy_positive+semihard_negative", "hard_positive+hard_negative"])
]


@pytest.mark.slow
@pytest.mark.parametrize(("miner", "geometry", "distance", "loss"), MIXTURES)
def test_miners_and_hier_compose_with_geometries_distances_and_losses(miner, geometry, distance, loss):
    where = space(geometry, distance=distance)
    settings = SETTINGS | {"learn_beta": True, "beta": 1.0}
    value, grads = gradients(objective(loss, where, settings=settings, miner=miner, regularizer="hier"))
    assert np.isfinite(value)
    for leaf in jax.tree.leaves(grads):
        assert np.isfinite(leaf).all()
    assert np.abs(grads[0]).max() > 0
    assert np.abs(grads[2]["hier_proxies"]).max() > 0


@pytest.mark.slow
@pytest.mark.parametrize("loss", MINED)
def test_a_memory_serves_every_loss_of_pairs(loss):
    made = objective(loss, memory_size=20)
    points = space().manifold.embed(output(1).tangent)
    memory = jax.jit(losses.remember)(losses.create_cross_batch_memory(20, 5, jnp.float32), points, LABELS)
    assert_alive(*gradients(made, memory=memory))
    empty = losses.create_cross_batch_memory(20, 5, jnp.float32)
    plain = jax.jit(lambda says, own: objective(loss)(says, LABELS, params=own)[0])
    expected = plain(output(doubt=DOUBT), made.initial(jax.random.key(1), 5))
    np.testing.assert_allclose(gradients(made, memory=empty)[0], expected, rtol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("loss", "miner"),
    [("uncertainty_contrastive", "easy_positive"), ("margin", "easy_positive+distance_weighted_negative")],
)
def test_a_batch_that_comes_in_blocks_of_rows_gives_the_same(loss, miner, monkeypatch):
    """What is measured of the whole batch is measured before."""
    points = space().manifold.embed(output(1).tangent)
    memory = jax.jit(losses.remember)(losses.create_cross_batch_memory(20, 5, jnp.float32), points, LABELS)
    whole = gradients(objective(loss, miner=miner, memory_size=20), memory=memory)
    monkeypatch.setattr("hypjax.training.comparing._BLOCK", 5 * 32)
    monkeypatch.setattr("hypjax.training.comparing._LEAST", 32)
    in_blocks = gradients(objective(loss, miner=miner, memory_size=20), memory=memory)
    jax.tree.map(functools.partial(np.testing.assert_allclose, rtol=1e-5, atol=1e-7), in_blocks, whole)


@pytest.mark.slow
def test_devices_make_blocks_of_their_own_and_send_nothing_in_between(monkeypatch):
    """Points of all before, their gradient after; a learned curvature and boundary come along."""
    mesh = jax.make_mesh((8,), ("data",), axis_types=(AxisType.Auto,))
    where = learned_space(lambda c: space(c=c), 0.05, 2.0)
    made = create_objective(
        where,
        "margin",
        samples_per_class=4,
        settings=SETTINGS | {"learn_beta": True},
        curvature=-0.8,
        failure_weight=2.0,
    )
    params = made.initial(jax.random.key(1), 5)

    def on_mesh(tangent, doubt, params):
        with jax.sharding.use_abstract_mesh(mesh.abstract_mesh):
            return made(ModelOutput(tangent, tangent, doubt), LABELS, params=params)[0]

    given, places = (output().tangent, DOUBT, params), NamedSharding(mesh, PartitionSpec())
    expected = jax.jit(jax.value_and_grad(on_mesh, (0, 1, 2)))(*given)
    monkeypatch.setattr("hypjax.training.comparing._BLOCK", 5)
    monkeypatch.setattr("hypjax.training.comparing._LEAST", 12)
    compiled = (
        jax.jit(jax.value_and_grad(on_mesh, (0, 1, 2)), in_shardings=places, out_shardings=places)
        .lower(*given)
        .compile()
    )
    found = compiled(*jax.device_put(given, places))
    jax.tree.map(functools.partial(np.testing.assert_allclose, rtol=1e-5, atol=1e-7), found, expected)
    lines = hlo.parse(compiled.as_text()).steps(fused=True)
    assert {times for line, _, times in lines if line.opcode in KINDS} == {1}


@pytest.mark.slow
def test_hyp_uml_is_the_loss_one_would_write_by_hand():

    @jax.jit
    def by_hand(tangent):
        points = poincare.expmap0(tangent, c=0.3)
        distances = poincare.pairwise_dist(points, points, c=0.3)
        tau = losses.anchor_temperature(losses.radial_uncertainty(points, c=0.3), 0.2, strength=1.0)
        return losses.mean(losses.pairwise_cross_entropy(distances, losses.pairs(LABELS), temperature=tau))

    made = jax.jit(lambda says: objective("uncertainty_contrastive")(says, LABELS)[0])
    np.testing.assert_allclose(made(output()), by_hand(output().tangent), rtol=1e-6)


@pytest.mark.slow
def test_hier_as_its_authors_train_it_scales_what_reaches_head_and_proxies():
    """The same loss from tangent vectors; head and proxies get (1 − c‖x‖²)²/4 of the points' gradient."""
    theirs = objective(
        "proxy_anchor",
        regularizer="hier",
        gradient="riemannian",
        regularizers={"hier": HIER | {"proxies_as": "tangent"}},
    )
    ours, key, c = objective("proxy_anchor", regularizer="hier"), jax.random.key(2), 0.3
    own = theirs.initial(jax.random.key(1), 5)
    tangents = np.asarray(own["hier_tangents"]) / 3  # all shorter than the clip
    proxies = jax.jit(poincare.expmap0)(tangents, c=c)
    points = {"class_proxies": own["class_proxies"], "hier_proxies": proxies}

    def loss(tangents):
        return theirs(output(), LABELS, params=own | {"hier_tangents": tangents}, key=key)[0]

    def loss_of_points(proxies):
        return ours(output(), LABELS, params=points | {"hier_proxies": proxies}, key=key)[0]

    value, slope = jax.jit(jax.value_and_grad(loss))(tangents)
    same, by_points = jax.jit(jax.value_and_grad(loss_of_points))(points["hier_proxies"])
    np.testing.assert_allclose(value, same, rtol=1e-6)
    scaled = by_points * (1 - c * np.sum(np.square(proxies), axis=1, keepdims=True)) ** 2 / 4
    expected = jax.jit(lambda v, scaled: jax.vjp(lambda v: poincare.expmap0(v, c=c), v)[1](scaled)[0])(tangents, scaled)
    np.testing.assert_allclose(slope, expected, rtol=1e-4, atol=1e-7)
    with pytest.raises(UsageError, match=r"hier\.proxies_as 'cones' is unknown; there are: points, tangent"):
        objective("triplet", regularizer="hier", regularizers={"hier": HIER | {"proxies_as": "cones"}})


@pytest.mark.slow
def test_a_loss_by_the_labels_of_all_levels_is_the_weighted_sum_of_each():
    made = objective("supcon", ancestors=ANCESTORS, level_names=("kind", "all"), decay=0.3)
    by_level = [LABELS, np.array([0, 1, 1])[LABELS], np.zeros(12, np.int32)]
    run = jax.jit(lambda says, labels: objective("supcon")(says, labels)[0])
    expected = sum(0.3**level * run(output(), labels) for level, labels in enumerate(by_level))
    np.testing.assert_allclose(jax.jit(lambda says: made(says, LABELS)[0])(output()), expected, rtol=1e-5)


@pytest.mark.slow
def test_a_memory_knows_the_levels_too():
    """Slots that are empty are nobody at every level."""
    options = {"ancestors": ANCESTORS, "level_names": ("kind", "all"), "decay": 0.3}
    empty = losses.create_cross_batch_memory(20, 5, jnp.float32)
    values = [
        gradients(objective("supcon", memory_size=size, **options), memory=memory)[0]
        for size, memory in ((20, empty), (0, None))
    ]
    np.testing.assert_allclose(*values, rtol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("geometry", "loss", "regularizer"),
    [("lorentz", "proxy_anchor", "cones+hier"), ("sphere", "proxy_softmax", "nodes"), ("euclidean", "margin", "nodes")],
)
def test_a_tree_composes_with_geometries_and_losses(geometry, loss, regularizer):
    """Proxies of the loss that are points are those of the tree."""
    settings, known = SETTINGS | {"proxies_as": "points"}, {"ancestors": ANCESTORS, "level_names": ("kind", "all")}
    made = objective(loss, space(geometry), settings=settings, regularizer=regularizer, decay=0.5, **known)
    value, grads = gradients(made)
    assert_alive(value, grads[0])
    assert grads[2]["node_proxies"].shape == (6, 6 if geometry == "lorentz" else 5)
    assert "class_proxies" not in grads[2]
    assert (np.abs(grads[2]["node_proxies"]).max(axis=1) > 0)[
        :5
    ].all()  # the sixth, the only one of its level, may rest


@pytest.mark.slow
def test_the_failure_loss_is_added_by_its_weight():
    doubt = jnp.asarray(DOUBT)
    values = {}
    for weight in (0.0, 1.0, 3.0):
        made = objective("triplet", failure_weight=weight)
        run = jax.jit(lambda says, prior, made=made: made(says, LABELS, prior=prior))
        values[weight], (figures, _) = run(output(doubt=doubt), np.ones(12, np.float32))
    np.testing.assert_allclose(values[3.0], values[0.0] + 3 * figures["failure_loss"], rtol=1e-6)
    np.testing.assert_allclose(values[1.0], values[0.0] + figures["failure_loss"], rtol=1e-6)


@pytest.mark.slow
def test_a_learned_curvature_is_bounded_logged_and_has_a_gradient():
    where = learned_space(lambda c: space(c=c), 0.05, 2.0)
    made = create_objective(where, "pairwise_cross_entropy", samples_per_class=4, settings=SETTINGS, curvature=0.3)
    run = jax.jit(jax.value_and_grad(lambda own: made(output(), LABELS, params=own), has_aux=True))
    for raw in (-30.0, 0.3, 30.0):
        (_, (figures, _)), slope = run({"curvature": jnp.float32(raw)})
        assert 0.0499 < figures["curvature"] < 2.001
        assert np.isfinite(slope["curvature"])
        assert (abs(slope["curvature"]) > 1e-6) == (abs(raw) < 1)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: objective("arcface"), "loss 'arcface' is unknown; there are: pairwise_cross_entropy"),
        (lambda: objective("triplet", samples_per_class=1), "at least 2"),
        (lambda: objective("triplet", miner="easy"), "miner 'easy' is unknown; there are: all, easy_positive"),
        (lambda: objective("triplet", regularizer="l2"), "regularizer 'l2' is unknown; there are: none, hier"),
        (lambda: objective("proxy_nca", miner="easy_positive"), "compares images with proxies"),
        (lambda: objective("proxy_nca", memory_size=8), "compares images with proxies"),
        (
            lambda: objective("uncertainty_margin", settings=SETTINGS | {"form": "hinge"}),
            "loss.form 'hinge' is unknown",
        ),
        (lambda: objective("triplet", regularizer="nodes+l2"), "regularizer 'l2' is unknown; there are: none, hier"),
        (lambda: objective("triplet", regularizer="nodes"), "need a tree, and the data has classes alone: nest"),
        (lambda: objective("triplet", decay=0.5, ancestors=ANCESTORS[:, :0]), "need a tree"),
        (lambda: objective("triplet", decay=-0.5, ancestors=ANCESTORS), "decay must be at least 0"),
        (
            lambda: objective("triplet", space("sphere"), regularizer="cones", ancestors=ANCESTORS),
            "'cones' needs hyperbolic space, geometry=poincare or lorentz; Sphere has",
        ),
        (
            lambda: objective("soft_triple", settings=SETTINGS | {"proxies_as": "points"}),
            "loss 'soft_triple' has several: directions",
        ),
        (lambda: create_miner("hard_negative+easy_positive", dimension=4, margin=0.2), "one for positives"),
    ],
)
def test_what_does_not_exist_or_makes_no_sense_is_refused_in_a_line(call, words):
    with pytest.raises(UsageError, match=words) as caught:
        call()
    assert "\n" not in str(caught.value)
