import functools
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from hypjax import losses
from hypjax.mining import easy_positive, hard_negative, hard_positive
from tests.losses import table

LABELS = np.array([2, 0, 1, 0, 2, 2, 1, 0, 5], np.int32)


@jax.jit
def triplets(distances, pairs, alpha):
    """Totals and counts of each anchor, and the gradient of the mean."""

    def loss(distances, alpha):
        terms = losses.triplet(distances, pairs, margin=alpha)
        return losses.mean(terms), terms

    return jax.grad(loss, (0, 1), has_aux=True)(distances, alpha)


@pytest.mark.slow
@pytest.mark.parametrize(
    "miner",
    [
        easy_positive,
        hard_positive,
        hard_negative,
        table.chain(easy_positive, hard_negative),
        table.chain(hard_positive, hard_negative),
    ],
    ids=["easy positive", "hard positive", "hard negative", "easy and hard", "batch hard"],
)
@pytest.mark.parametrize("weighed", [False, True], ids=["", "weighed"])
def test_chosen_triplets_are_those_that_all_triplets_are_sorted_for(miner, weighed, uneven, float64):
    """Ties too: margins and distances are multiples of a half."""
    d = np.random.default_rng(0).integers(0, 6, size=(9, 9)) / 2
    alpha = np.array([0.5, 1.0, 0.0] * 3)
    pairs = table.pairs(LABELS)
    if weighed:
        pairs = pairs.weigh(*map(jnp.array, uneven(9, 9)))
    chosen = jax.jit(miner)(d, pairs)
    assert chosen.one_positive or chosen.one_negative
    of_all = replace(chosen, one_positive=False, one_negative=False)
    found, expected = triplets(d, chosen, alpha), triplets(d, of_all, alpha)
    jax.tree.map(functools.partial(np.testing.assert_allclose, atol=1e-12), found, expected)
    assert np.abs(expected[0][0]).max() > 0


@pytest.mark.parametrize("form", [losses.triplet, losses.margin])
def test_satisfied_margins_give_zero(form):
    pairs = table.pairs(np.repeat(np.arange(3), 2))
    value, gradient = jax.jit(jax.value_and_grad(lambda d: losses.mean(form(d, pairs))))(
        np.where(pairs.is_negative, np.float32(9.0), np.float32(0.0))
    )
    assert value == 0
    np.testing.assert_array_equal(gradient, 0)


def test_a_tie_is_no_violation():
    """Hinges that are exactly 0 must not dilute the mean."""
    x, pairs = np.float32([0.0, 1.0, 1.0, 3.0]), table.pairs(np.array([0, 0, 1, 1]))
    # Anchor 0 ties (1 − 1). Anchor 1: 1 − 0. Anchor 2: 2 − 1 and 2 − 0. Anchor 3: 2 − 3, and a tie.
    terms = losses.triplet(jnp.abs(x[:, None] - x[None]), pairs, margin=0.0)
    np.testing.assert_allclose(losses.mean(terms), 4 / 3)
    np.testing.assert_array_equal(terms[0].counted, [0, 1, 2, 0])


@pytest.mark.parametrize(("form", "matrices"), [("triplet", 24), ("margin", 10)])
@pytest.mark.slow
def test_memory_is_a_few_distance_matrices(form, matrices):
    """At 900 images one b·b·b array would be 2.9 GB; 24 matrices are 78 MB."""
    n = 900

    def loss(x, labels):
        pairs = losses.pairs(labels)
        return losses.mean(getattr(losses, form)(-jnp.matmul(x, x.T), pairs))

    compiled = jax.jit(jax.grad(loss)).lower(jnp.zeros((n, 8)), jnp.arange(n) // 9).compile()
    assert compiled.memory_analysis().temp_size_in_bytes < matrices * 4 * n * n


@pytest.mark.slow
def test_float32_agrees_with_float64_at_300_images(points):
    """The running sums of the sorted form lose nothing that matters over hundreds of terms."""
    x, labels = points(300, d=8), np.repeat(np.arange(60, dtype=np.int32), 5)

    def run(x):
        def loss(x):
            distances = 3 + jnp.abs(x[:, None, 0] - x[None, :, 0])
            return losses.mean(losses.triplet(distances, table.pairs(labels)))

        return jax.jit(jax.value_and_grad(loss))(x)

    value, gradient = run(jnp.array(x, jnp.float32))
    with jax.enable_x64(True):
        exact_value, exact_gradient = run(jnp.array(x))
    np.testing.assert_allclose(value, exact_value, rtol=1e-5)
    np.testing.assert_allclose(gradient, exact_gradient, rtol=1e-3, atol=1e-7)
