import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType, NamedSharding, PartitionSpec

from hypjax.losses import hierarchy
from hypjax.losses.hierarchy import ancestors, anchor_losses, reciprocal_neighbors, sample_triplets, triplet_losses
from hypjax.run.rehearsal import hlo
from hypjax.run.rehearsal.collectives import KINDS
from tests.losses.hier_loops import StraightThrough, mutual_neighbors, softmax

STEP = 1e-7  # where duplicates tie in a maximum, central differences are off by as much as the step


def test_triplets_and_their_straight_through_gradients_are_those_of_the_loop(numeric_gradient, float64):
    rng = np.random.default_rng(0)
    t, p = 12, 4
    rows = rng.uniform(0, 0.6, size=(3, t, p))
    rows[1, 0] = rows[0, 0]  # duplicates tie in every maximum
    noise = rng.gumbel(size=(2, t, p))
    weights = rng.normal(size=t)

    def loss(rows, margin, temperature):
        return (weights * triplet_losses(*rows, jnp.array(noise), margin=margin, temperature=temperature)).sum()

    arguments = rows, np.array(0.1), np.array(0.3)
    value, gradients = jax.jit(jax.value_and_grad(loss, (0, 1, 2)))(*arguments)
    single = [StraightThrough(noise[:, s]) for s in range(t)]

    def expected(rows, margin, temperature):
        return sum(weights[s] * single[s](rows[:, s], margin, temperature) for s in range(t))

    np.testing.assert_allclose(value, expected(*arguments), atol=1e-12)
    assert 3 <= sum(one.chosen[0] != one.chosen[1] for one in single) < t
    for place, gradient in enumerate(gradients):

        def along(argument, place=place):
            return expected(*arguments[:place], argument, *arguments[place + 1 :])

        np.testing.assert_allclose(gradient, numeric_gradient(along, arguments[place], STEP), atol=1e-7)


def test_draws_are_uniform_and_only_among_those_allowed():
    related = np.zeros((4, 4), bool)
    related[0, [1, 3]] = related[1, [0, 2, 3]] = related[2, [1]] = True
    unrelated = ~related & ~np.eye(4, dtype=bool)
    t = 30000
    draw = jax.jit(functools.partial(sample_triplets, triplets_per_anchor=t))
    near, far, valid = map(np.asarray, draw(related, unrelated, jax.random.split(jax.random.key(0), 4)))
    # Anchor 1 has no unrelated point, anchor 2 one related point, anchor 3 none.
    np.testing.assert_array_equal(valid, [True, False, False, False])
    for drawn, mask in ((near, related), (far, unrelated)):
        for i in range(4):
            share = np.bincount(drawn[i], minlength=4) / t
            if mask[i].any():
                expected = mask[i] / mask[i].sum()
                assert (np.abs(share - expected) <= 4 * np.sqrt(expected * (1 - expected) / t)).all()


def test_neighbors_are_reciprocal_without_the_point_itself():
    similarity = np.exp(-np.random.default_rng(0).uniform(size=(9, 9)))
    np.fill_diagonal(similarity, 2)
    similarity[3] = similarity[7] = 0.5  # all equal, the diagonal too: the lower index first
    find = jax.jit(reciprocal_neighbors, static_argnums=1)
    for k in (2, 4):
        mutual = find(similarity.astype(np.float32), k)
        np.testing.assert_array_equal(
            mutual, [np.isin(range(9), near) for near in mutual_neighbors(similarity.astype(np.float32), k)]
        )
    np.testing.assert_array_equal(find(similarity, 100), ~np.eye(9, dtype=bool))


@pytest.mark.slow
def test_ancestors_are_one_of_the_proxies_and_learn_as_a_soft_choice():
    farthest = np.float32([[0.1, 0.5, 0.2], [0.3, 0.3, 0.3]])
    noise = np.float32([[0.0, 3.9, -2.0], [0.1, 0.1, 0.0]])

    @jax.jit
    def with_jacobian(farthest, noise):
        slope = jax.jacobian(lambda m: ancestors(m, noise, 0.1)[0][0])(farthest)
        return *ancestors(farthest, noise, 0.1), slope

    rho, index, slope = with_jacobian(farthest, noise)
    np.testing.assert_array_equal(index, [0, 0])
    np.testing.assert_array_equal(rho, [[1, 0, 0], [1, 0, 0]])
    soft = softmax(noise[0] - farthest[0] / 0.1)
    jacobian = -(np.diag(soft) - np.outer(soft, soft)) / 0.1
    np.testing.assert_allclose(np.asarray(slope)[:, 0], jacobian, rtol=1e-4)


@pytest.mark.slow
def test_devices_look_up_anchors_of_their_own_and_send_nothing_in_between(monkeypatch):
    """Values and gradients are those of one device; only before and after the loop does anything cross the network."""
    n, t, p = 13, 3, 4
    monkeypatch.setattr(hierarchy, "_BLOCK", 2 * t * p)  # one anchor at a time
    rng = np.random.default_rng(0)
    rows, weights = rng.uniform(0, 0.6, size=(n, p)).astype(np.float32), rng.normal(size=n).astype(np.float32)
    near, far = jnp.array(rng.integers(0, n, size=(2, n, t), dtype=np.int32))
    mesh = jax.make_mesh((8,), ("data",), axis_types=(AxisType.Auto,))

    def loss(rows, key):
        found = anchor_losses(rows, near, far, jax.random.split(key, n), margin=0.1, temperature=0.3)
        return (weights * found).sum(), found

    def on_mesh(rows, key):
        with jax.sharding.use_abstract_mesh(mesh.abstract_mesh):
            return loss(rows, key)

    key, spread = jax.random.key(0), NamedSharding(mesh, PartitionSpec())
    (_, expected), slope = jax.jit(jax.value_and_grad(loss, has_aux=True))(rows, key)
    shared = jax.jit(jax.value_and_grad(on_mesh, has_aux=True), in_shardings=spread).lower(rows, key).compile()
    (_, found), by_rows = shared(*jax.device_put((rows, key), spread))
    np.testing.assert_allclose(found, expected, rtol=1e-6)
    np.testing.assert_allclose(by_rows, slope, rtol=1e-5, atol=1e-7)
    lines = hlo.parse(shared.as_text()).steps(fused=True)
    sent = [(times, array.size) for line, _, times in lines if line.opcode in KINDS for array in line.arrays]
    assert {times for times, _ in sent} == {1}
    assert max(size for _, size in sent) < 2 * rows.size  # and none is [n, t, p]
