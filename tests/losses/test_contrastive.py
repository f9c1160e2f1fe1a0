import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from hypjax import losses
from tests.losses import loops, table

CLASS_MAJOR = {
    "four classes of three": (np.repeat([0, 1, 2, 3], 3), 3),
    "six classes of two": (np.repeat([4, 1, 0, 7, 3, 2], 2), 2),
    "one class": (np.zeros(12, int), 12),
    "only singletons": (np.arange(12), 1),
}


@jax.jit
def with_gradients(distances, pairs, tau):
    return jax.value_and_grad(
        lambda distances, tau: losses.mean(losses.pairwise_cross_entropy(distances, pairs, temperature=tau)), (0, 1)
    )(distances, tau)


def random_distances(n, m, seed=0):
    return np.random.default_rng(seed).uniform(0, 3, size=(n, m))


TAU = 0.3 + 0.05 * np.arange(12)


@pytest.mark.slow
@pytest.mark.parametrize("name", CLASS_MAJOR)
def test_class_after_class_it_is_the_authors(name, numeric_gradient, float64):
    labels, m = CLASS_MAJOR[name]
    d = random_distances(12, 12)
    value, (by_d, by_tau) = with_gradients(jnp.array(d), table.pairs(labels), jnp.array(TAU))

    def expected(d, tau):
        return loops.class_major_cross_entropy(d, labels, tau, m)

    np.testing.assert_allclose(value, expected(d, TAU), atol=1e-12)
    np.testing.assert_allclose(by_d, numeric_gradient(lambda d: expected(d, TAU), d), atol=1e-7)
    np.testing.assert_allclose(by_tau, numeric_gradient(lambda tau: expected(d, tau), TAU), atol=1e-7)


def test_weighed_it_is_the_authors_with_weights(uneven, float64):
    labels, m = CLASS_MAJOR["four classes of three"]
    d, weights = random_distances(12, 12), uneven(12, 12)
    value, _ = with_gradients(jnp.array(d), table.pairs(labels).weigh(*map(jnp.array, weights)), jnp.array(TAU))
    np.testing.assert_allclose(value, loops.class_major_cross_entropy(d, labels, TAU, m, *weights), atol=1e-12)


@pytest.mark.parametrize("name", ["four classes of three", "six classes of two"])
def test_images_may_come_in_any_order(name, float64):
    """As long as those of a class keep theirs, by which they have their ranks."""
    labels, _ = CLASS_MAJOR[name]
    d = random_distances(12, 12)
    rng = np.random.default_rng(1)
    value, (by_d, by_tau) = with_gradients(jnp.array(d), table.pairs(labels), jnp.array(TAU))
    for _ in range(3):
        order = rng.permutation(12)
        for label in set(labels):
            order[labels[order] == label] = np.flatnonzero(labels == label)
        found = with_gradients(jnp.array(d[np.ix_(order, order)]), table.pairs(labels[order]), jnp.array(TAU[order]))
        np.testing.assert_allclose(found[0], value, atol=1e-12)
        np.testing.assert_allclose(found[1][0], np.array(by_d)[np.ix_(order, order)], atol=1e-12)
        np.testing.assert_allclose(found[1][1], np.array(by_tau)[order], atol=1e-12)


def test_classes_and_slots_may_come_in_any_order(float64):
    d, grid = random_distances(12, 12), np.arange(12).reshape(4, 3)
    for order in (grid[[2, 0, 3, 1]].ravel(), grid[:, [2, 0, 1]].ravel()):
        found, expected = (
            with_gradients(jnp.array(d[np.ix_(each, each)]), table.pairs(each // 3), jnp.array(TAU[each]))[0]
            for each in (order, np.arange(12))
        )
        np.testing.assert_allclose(found, expected, atol=1e-12)


def test_a_class_of_more_images_than_others_meets_who_reaches_so_far(float64):
    """Class 0 has ranks 0, 1, 2 and class 1 only 0: the pair of ranks 1 and 2 has no opponent, others have one."""
    d = np.array([[0.0, 1, 2, 3], [4, 0, 5, 6], [7, 8, 0, 9], [1, 1, 1, 0]])
    run = jax.jit(functools.partial(losses.pairwise_cross_entropy, temperature=2.0))
    terms = run(jnp.array(d), table.pairs(np.array([0, 0, 0, 1])))
    meets = np.log1p(np.exp((np.array([[1, 3], [2, 3], [4, 6], [7, 9]]) @ [1, -1]) / 2))
    expected = [meets[0] + meets[1], meets[2], meets[3], 0]
    np.testing.assert_allclose(terms[0].total, expected, rtol=1e-12)
    np.testing.assert_array_equal(terms[0].counted, [2, 2, 2, 0])


@pytest.mark.slow
def test_it_stays_finite_at_tiny_temperatures():
    value, gradients = with_gradients(
        jnp.array(random_distances(8, 8), jnp.float32), table.pairs(np.arange(8) // 2), jnp.full(8, 1e-4)
    )
    assert jnp.isfinite(value)
    assert jnp.isfinite(gradients[0]).all()
    assert jnp.abs(gradients[0]).max() > 0


def test_fulfilled_margins_give_zero_and_a_tie_is_no_violation():
    pairs = table.pairs(np.array([0, 0, 1, 1]))
    x = jnp.array([0.0, 0.0, 1.0, 1.0])

    def loss(x):
        return losses.mean(losses.contrastive(jnp.abs(x[:, None] - x[None]), pairs))

    run = jax.jit(jax.value_and_grad(loss))
    value, gradient = run(x)
    assert value == 0
    np.testing.assert_array_equal(gradient, 0)
    np.testing.assert_allclose(run(x.at[1].set(0.25))[0], 0.25 + 0.25)


@pytest.mark.slow
@pytest.mark.parametrize(("name", "matrices"), [("pairwise_cross_entropy", 12), ("nt_xent", 6), ("supcon", 6)])
def test_memory_is_a_few_distance_matrices(name, matrices):
    n = 900

    def loss(x, labels):
        pairs = losses.pairs(labels)
        return losses.mean(getattr(losses, name)(-jnp.matmul(x, x.T), pairs, temperature=0.2))

    compiled = jax.jit(jax.grad(loss)).lower(jnp.zeros((n, 8)), jnp.arange(n) // 9).compile()
    assert compiled.memory_analysis().temp_size_in_bytes < matrices * 4 * n * n
