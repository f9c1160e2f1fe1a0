import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from hypjax import losses
from hypjax.data.errors import UsageError
from hypjax.geometry import poincare
from hypjax.geometry.manifold import NAMED
from hypjax.training.objective import create_objective, learned_space
from hypjax.training.parts import LOSSES, MINERS, create_miner
from hypjax.training.space import UNCERTAINTIES
from tests.training.objectives import (
    ANCESTORS,
    DOUBT,
    HIER,
    LABELS,
    REGULARIZERS,
    SETTINGS,
    assert_alive,
    gradients,
    objective,
    output,
    space,
)


class Row(NamedTuple):
    """An objective by the names of its parts."""

    loss: str
    geometry: str
    distance: str = "geodesic"
    uncertainty: str = "radius"
    miner: str = "all"
    memory: int = 0
    regularizer: str = "none"


# Not the products, which take minutes to compile: each part at least once, losses of pairs after a miner and with a
# memory, those that heed an uncertainty with each. HIER in the ball is below.
ROWS = (
    Row("pairwise_cross_entropy", "poincare", "hybrid", "radius", "easy_positive", 20),
    Row("nt_xent", "sphere", "geodesic", "radius", "semihard_negative", 20),
    Row("supcon", "euclidean", "geodesic", "radius", "distance_weighted_negative", 20),
    Row("contrastive", "lorentz", "geodesic", "radius", "multi_similarity", 20, "hier"),
    Row("triplet", "sphere", "hybrid", "radius", "easy_positive+semihard_negative", 20, "hier"),
    Row("margin", "euclidean", "hybrid", "radius", "hard_positive", 20),
    Row("multi_similarity", "poincare", "geodesic", "radius", "hard_negative", 20),
    Row("uncertainty_contrastive", "lorentz", "hybrid", "learned", memory=20),
    Row("uncertainty_contrastive", "euclidean", "geodesic", "distance", "hard_positive+hard_negative"),
    Row("uncertainty_contrastive", "poincare"),
    Row("uncertainty_margin", "poincare", "geodesic", "learned", "easy_positive+distance_weighted_negative", 20),
    Row("uncertainty_margin", "lorentz", "geodesic", "distance"),
    Row("uncertainty_margin", "sphere"),
    Row("proxy_softmax", "lorentz"),
    Row("proxy_anchor", "sphere"),
    Row("proxy_nca", "euclidean"),
    Row("soft_triple", "poincare"),
)


def of(row, **options):
    boundary = LOSSES[row.loss].boundary and row.memory > 0
    settings = SETTINGS | {"learn_beta": boundary, "beta": 1.0, "form": "margin" if boundary else "triplet"}
    where = space(row.geometry, distance=row.distance, uncertainty=row.uncertainty)
    parts = {"miner": row.miner, "memory_size": row.memory, "regularizer": row.regularizer, "settings": settings}
    return objective(row.loss, where, **(parts | options))


created = functools.cache(of)


def doubt_of(row):
    return DOUBT if row.uncertainty == "learned" else None


def gradients_of(row, made, memory=None):
    """With what another batch left in the memory, if no other is given, and a doubt where one is asked for."""
    if row.memory and memory is None:
        points = space(row.geometry).manifold.embed(output(1).tangent)
        memory = losses.remember(losses.create_cross_batch_memory(20, points.shape[1], jnp.float32), points, LABELS)
    return gradients(made, memory=memory, doubt=doubt_of(row))


@pytest.mark.slow
@pytest.mark.parametrize("row", ROWS, ids=lambda row: f"{row.loss} {row.geometry} {row.uncertainty}")
def test_parts_compose(row):
    value, grads = gradients_of(row, created(row))
    assert_alive(value, grads)
    assert ("beta" in grads[2]) == (row.loss in ("margin", "uncertainty_margin") and row.memory > 0)
    assert ("hier_proxies" in grads[2]) == (row.regularizer == "hier")


@pytest.mark.parametrize(("form", "learned"), [("triplet", set()), ("margin", {"beta"})])
def test_only_a_boundary_that_is_used_is_learned(form, learned):
    row = Row("uncertainty_margin", "sphere")
    made = of(row, settings=SETTINGS | {"learn_beta": True, "beta": 1.0, "form": form})
    assert set(made.initial(jax.random.key(0), 4)) == learned


def test_every_part_is_among_them():
    assert {row.loss for row in ROWS} == set(LOSSES)
    assert {row.loss for row in ROWS if row.memory} == {name for name, part in LOSSES.items() if not part.proxies}
    assert {word for row in ROWS for word in row.miner.split("+")} == {"all", *MINERS}
    assert {(row.geometry, row.distance) for row in ROWS} == {(g, d) for g in NAMED for d in ("geodesic", "hybrid")}
    aware = {(row.loss, row.uncertainty) for row in ROWS if LOSSES[row.loss].aware}
    assert aware == {(name, u) for name, part in LOSSES.items() if part.aware for u in UNCERTAINTIES}


MEASURED = next(row for row in ROWS if row.miner == "easy_positive+distance_weighted_negative")


@pytest.mark.slow
@pytest.mark.parametrize("loss", ["multi_similarity", "uncertainty_margin"])
def test_a_memory_that_is_empty_changes_nothing(loss):
    row = next(row for row in ROWS if row.loss == loss and row.memory)
    empty, own = losses.create_cross_batch_memory(20, 5, jnp.float32), created(row).initial(jax.random.key(1), 5)
    without = jax.jit(lambda says: of(row, memory_size=0)(says, LABELS, params=own)[0])
    np.testing.assert_allclose(
        gradients_of(row, created(row), empty)[0], without(output(doubt=doubt_of(row))), rtol=1e-5
    )


@pytest.mark.slow
def test_a_batch_that_comes_in_blocks_of_rows_gives_the_same(monkeypatch):
    """What is measured of the whole batch is measured before; settings and doubts are each anchor's own."""
    whole = gradients_of(MEASURED, created(MEASURED))
    monkeypatch.setattr("hypjax.training.comparing._BLOCK", 5 * 32)
    monkeypatch.setattr("hypjax.training.comparing._LEAST", 32)
    in_blocks = gradients_of(MEASURED, of(MEASURED))
    jax.tree.map(functools.partial(np.testing.assert_allclose, rtol=1e-5, atol=1e-7), in_blocks, whole)


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

    @jax.jit
    def values(says):
        kept, alone = (objective("supcon", memory_size=size, **options) for size in (20, 0))
        return kept(says, LABELS, memory=empty)[0], alone(says, LABELS)[0]

    np.testing.assert_allclose(*values(output()), rtol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("geometry", "loss", "regularizer", "decay", "levels"),
    [
        ("lorentz", "proxy_anchor", "cones+nodes", 0.0, 1),
        ("sphere", "proxy_softmax", "nodes", 0.5, 2),
        ("euclidean", "margin", "nodes", 0.0, 2),
    ],
)
def test_a_tree_composes_with_geometries_and_losses(geometry, loss, regularizer, decay, levels):
    """Proxies of the loss that are points are those of the tree."""
    settings = SETTINGS | {"proxies_as": "points"}
    known = {"ancestors": ANCESTORS[:, :levels], "level_names": ("kind", "all")[:levels], "decay": decay}
    made = objective(loss, space(geometry), settings=settings, regularizer=regularizer, **known)
    value, grads = gradients(made)
    assert_alive(value, grads[0])
    assert grads[2]["node_proxies"].shape == (4 + levels, 6 if geometry == "lorentz" else 5)
    assert "class_proxies" not in grads[2]
    assert (np.abs(grads[2]["node_proxies"]).max(axis=1) > 0)[
        :5
    ].all()  # the sixth, the only one of its level, may rest


@pytest.mark.slow
def test_the_failure_loss_is_added_by_its_weight():

    @jax.jit
    def run(says, prior):
        return [objective("triplet", failure_weight=w)(says, LABELS, prior=prior) for w in (0.0, 1.0, 3.0)]

    none, one, three = run(output(doubt=jnp.asarray(DOUBT)), np.ones(12, np.float32))
    failure = three[1][0]["failure_loss"]
    np.testing.assert_allclose(three[0], none[0] + 3 * failure, rtol=1e-6)
    np.testing.assert_allclose(one[0], none[0] + failure, rtol=1e-6)


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


def nodes_with(**changed):
    changed = REGULARIZERS | {"nodes": REGULARIZERS["nodes"] | changed}
    return objective("triplet", regularizer="nodes", ancestors=ANCESTORS, regularizers=changed)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: objective("arcface"), "loss 'arcface' is unknown; there are: pairwise_cross_entropy"),
        (lambda: objective("triplet", samples_per_class=1), "at least 2"),
        (lambda: objective("triplet", miner="easy"), "miner 'easy' is unknown; there are: all, easy_positive"),
        (lambda: objective("triplet", regularizer="l2"), "regularizer 'l2' is unknown; there are: none, alone, hier"),
        (lambda: objective("proxy_nca", miner="easy_positive"), "compares images with proxies"),
        (lambda: objective("proxy_nca", memory_size=8), "compares images with proxies"),
        (
            lambda: objective("uncertainty_margin", settings=SETTINGS | {"form": "hinge"}),
            "loss.form 'hinge' is unknown",
        ),
        (lambda: objective("triplet", regularizer="nodes+nodes"), "names nodes twice; nodes.weight says"),
        (lambda: objective("triplet", regularizer="nodes+none"), "'none' is unknown; there are: none, alone, hier"),
        (
            lambda: objective("triplet", regularizer="nodes+l2"),
            "regularizer 'l2' is unknown; there are: none, alone, hier",
        ),
        (lambda: objective("triplet", regularizer="nodes"), "need a tree, and the data has classes alone: nest"),
        (lambda: objective("triplet", decay=0.5, ancestors=ANCESTORS[:, :0]), "need a tree"),
        (lambda: objective("triplet", decay=-0.5, ancestors=ANCESTORS), "decay must be at least 0"),
        (lambda: nodes_with(temperature=0.0), "nodes.temperature must be above 0, not 0"),
        (lambda: nodes_with(weight=-1.0), "nodes.weight must be at least 0, not -1"),
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
