"""Anchors in blocks give what all of them at once give, one device or eight."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType, NamedSharding, PartitionSpec

from hypjax import geometry, losses, mining
from tests.losses import loops, table

LABELS = np.array([2, 0, 1, 0, 2, 2, 1, 0, 5, -1, 1, 2, 4, 4, 0, 3], np.int32)
N = len(LABELS)
U = np.linspace(0.15, 0.9, N)


def in_blocks(function, x, u, size):
    """A function of distances, pairs and u, with the batch as references of its own rows."""
    labels, ids = jnp.array(LABELS), jnp.arange(N) * 3

    def rows(block):
        pairs = losses.pairs(block["labels"], labels, ids=block["ids"], reference_ids=ids)
        return function(geometry.Poincare(0.7).pairwise_dist(block["x"], x), pairs, block["u"])

    return losses.in_blocks(rows, {"x": x, "labels": labels, "ids": ids, "u": u}, size=size)


def at_once(function, x, u):
    return function(geometry.Poincare(0.7).pairwise_dist(x, x), table.pairs(LABELS), u)


def all_terms(miners):
    """Of all losses; after a miner of those alone that ask how pairs were chosen, where others see but weights."""

    def terms(distances, pairs, u):
        chosen = {name: table.MINERS[name](distances, pairs) for name in miners}
        of = {name: table.LOSSES if name == "none" else ("triplet", "margin") for name in miners}
        return [[table.LOSSES[loss](distances, chosen[name], u) for loss in of[name]] for name in miners]

    return terms


def means(terms):
    return jnp.stack([losses.mean(each) for of_miner in terms for each in of_miner])


CHOSEN = ("none", "easy and semi-hard")
EAGER = ("triplet", "supcon", "failure_cross_entropy")  # every loss is run eagerly by its own example


def run(size=None):
    """Values and gradients by points and u of all terms, in one program."""

    def values(x, u):
        function = all_terms(CHOSEN)
        return means(at_once(function, x, u) if size is None else in_blocks(function, x, u, size))

    return jax.jit(lambda x, u: table.with_gradients(values, x, u))


@pytest.mark.slow
def test_jit_vmap_blocks_and_eight_devices_change_neither_value_nor_gradient(points, hyperbolic, float64):
    """All losses, two batches at once or one in blocks, shared out over devices; their values alone are the loops'."""
    oracle_distance = hyperbolic[1]
    x = np.stack([points(N, d=4, seed=seed) for seed in (0, 1)])
    u = np.stack([U, np.random.default_rng(0).random(N)])
    mesh = jax.make_mesh((8,), ("data",), axis_types=(AxisType.Auto,))
    rows, of_two = (NamedSharding(mesh, PartitionSpec(*axes)) for axes in (["data"], [None, "data"]))
    values, gradients = jax.jit(jax.vmap(run()))(*jax.device_put((x, u), of_two))
    in_turn, by_each = run(3)(*jax.device_put((x[1], u[1]), rows))
    assert len(values.sharding.device_set) == len(in_turn.sharding.device_set) == 8

    for batch in 0, 1:
        d, known = oracle_distance(x[batch], x[batch]), loops.pairs(LABELS.tolist())
        expected = [loop(d, known, u[batch]) for loop in table.LOOPS.values()]
        np.testing.assert_allclose(values[batch, : len(expected)], expected, rtol=1e-10, atol=1e-10)
    eager = at_once(lambda *given: table.values(*given, EAGER), jnp.asarray(x[0]), jnp.asarray(u[0]))
    np.testing.assert_allclose(values[0, [list(table.LOSSES).index(name) for name in EAGER]], eager, rtol=1e-10)
    np.testing.assert_allclose(in_turn, values[1], rtol=1e-10, atol=1e-10)
    for found, alone in zip(by_each, gradients, strict=True):
        np.testing.assert_allclose(found, alone[1], rtol=1e-10, atol=1e-10)
    # All but the failures' have a gradient by the points.
    assert (np.abs(by_each[0]).max(axis=(1, 2)) > 0).sum() >= len(in_turn) - 1


@pytest.mark.slow
def test_miners_choose_the_same_in_blocks(points, float64):
    """An anchor at a time; but for a scale that is measured, which has to be measured before, in any blocks."""
    x, u = jnp.array(points(N, d=4)), jnp.array(U)

    def weights(distances, pairs, u):
        chosen = table.every_miner(distances, pairs)
        del chosen["measured scale"]
        return {name: (pairs.positive, pairs.negative) for name, pairs in chosen.items()}

    def measured(distances, pairs, u):
        return mining.negative_distance(distances, pairs)

    @jax.jit
    def both(x):
        scales = [losses.mean(in_blocks(measured, x, u, size)) for size in (1, 3, N + 5)]
        found = in_blocks(weights, x, u, 1), scales
        return found, (at_once(weights, x, u), losses.mean(at_once(measured, x, u)))

    (found, scales), (expected, scale) = both(x)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-14), found, expected)
    np.testing.assert_allclose(scales, [scale] * 3, rtol=1e-14)


@pytest.mark.slow
def test_nor_do_they_change_losses_of_proxies(points):
    """HIER with them: its draws go by place, so that they are the same however it is run."""
    x = np.stack([points(N, d=4, seed=seed) for seed in (0, 1)]).astype(np.float32)
    proxies, distance = points(5, d=4, seed=2).astype(np.float32), geometry.Poincare(0.7).pairwise_dist

    def of_proxies(to_proxies):
        own = table.pairs(LABELS, np.arange(5))
        terms = (
            losses.proxy_anchor(-to_proxies, own, alpha=2.0),
            losses.proxy_nca(-to_proxies, own),
            losses.soft_triple(-jnp.stack([to_proxies, to_proxies / 2], axis=2), own, scale=2.0),
        )
        return jnp.stack([losses.mean(each) for each in terms])

    def values(x, proxies):
        given = distance(x, x), distance(x, proxies), distance(proxies, proxies), table.pairs(LABELS)
        hier = losses.hier(*given, jax.random.key(0), neighbors=4, triplets_per_anchor=5)
        return jnp.append(of_proxies(given[1]), losses.mean(hier))

    run = jax.jit(lambda x, proxies: table.with_gradients(values, x, proxies))
    found, gradients = jax.tree.map(np.asarray, jax.vmap(run, (0, None))(x, proxies))
    assert (found > 0).all()
    eager = of_proxies(distance(jnp.asarray(x[0]), jnp.asarray(proxies)))
    np.testing.assert_allclose(found[0, :3], eager, rtol=1e-5)

    rows = NamedSharding(jax.make_mesh((8,), ("data",), axis_types=(AxisType.Auto,)), PartitionSpec("data"))
    sharded, by_each = run(jax.device_put(x[1], rows), proxies)
    assert len(sharded.sharding.device_set) == 8
    np.testing.assert_allclose(sharded, found[1], rtol=1e-5)
    for one, alone in zip(by_each, gradients, strict=True):
        np.testing.assert_allclose(one, alone[1], rtol=1e-4, atol=2e-6)


@pytest.mark.slow
def test_blocks_keep_no_distance_matrix():
    """4096 × 4096 distances are 67 MB; a block of 64 anchors has 1 MB."""
    n, labels = 4096, np.arange(4096) // 4

    def loss(x):
        def rows(block):
            distances = geometry.Euclidean().pairwise_dist(block["x"], x)
            pairs = losses.pairs(block["labels"], labels, ids=block["ids"], reference_ids=np.arange(n))
            return losses.triplet(distances, mining.easy_positive(distances, pairs))

        anchors = {"x": x, "labels": jnp.array(labels), "ids": jnp.arange(n)}
        return losses.mean(losses.in_blocks(rows, anchors, size=64))

    compiled = jax.jit(jax.grad(loss)).lower(jnp.zeros((n, 8))).compile()
    assert compiled.memory_analysis().temp_size_in_bytes < 4 * n * n / 2


def test_where_a_mesh_is_set_devices_share_anchors_that_each_of_them_has():
    mesh = jax.make_mesh((8,), ("data",), axis_types=(AxisType.Auto,))
    whole = NamedSharding(mesh, PartitionSpec())
    x = jax.ShapeDtypeStruct((256, 32), jnp.float32, sharding=whole)

    def value(x):
        return losses.in_blocks(lambda rows: (rows @ x.T).sum(1), x, size=64).sum()

    def on_mesh(x):
        with jax.sharding.use_abstract_mesh(mesh.abstract_mesh):
            return value(x)

    alone, shared = (
        jax.jit(jax.grad(f), out_shardings=whole).lower(x).compile().cost_analysis()["flops"] for f in (value, on_mesh)
    )
    assert shared < 0.2 * alone
