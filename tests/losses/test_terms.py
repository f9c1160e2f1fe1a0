import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from hypjax import losses
from hypjax.losses.terms import Term, anchor_column, hinge, masked_logsumexp, masked_mean, safe_log, safe_ratio

TERMS = (
    Term(*np.float32([[1.0, 0.0, 5.0, 2.0], [2.0, 0.0, 1.0, 4.0]])),
    Term(*np.float32([[3.0, 0.0, 0.0, 1.0], [1.5, 0.0, 0.0, 0.5]])),
)
mean, per_anchor = jax.jit(losses.mean), jax.jit(losses.per_anchor)


def test_a_mean_adds_up_the_ratios():
    np.testing.assert_allclose(mean(TERMS), 8 / 7 + 4 / 2)
    np.testing.assert_allclose(mean(TERMS[:1]), 8 / 7)


def test_a_mean_of_weighed_anchors():
    np.testing.assert_allclose(mean(TERMS, np.float32([2.0, 9.0, 0.0, 0.5])), 3 / 6 + 6.5 / 3.25)
    np.testing.assert_array_equal(mean(TERMS, np.ones(4, np.float32)), mean(TERMS))
    np.testing.assert_array_equal(mean(TERMS, np.float32([0.0, 1.0, 0.0, 0.0])), 0)
    with pytest.raises(ValueError, match=r"weights of shape \(3,\) for anchors of shape \(4,\); give one for each"):
        mean(TERMS, np.ones(3, np.float32))


def test_each_anchor_alone():
    np.testing.assert_allclose(per_anchor(TERMS), [0.5 + 2, 0, 5, 0.5 + 2])


def test_terms_that_count_nothing_are_zero_with_zero_gradient_and_nan_stays():
    nothing = (Term(*np.zeros((2, 3), np.float32)),)
    for function in (losses.mean, lambda terms: losses.per_anchor(terms).sum()):
        value, gradient = jax.jit(jax.value_and_grad(function))(nothing)
        assert value == 0
        assert np.isfinite(gradient[0].total).all()
        np.testing.assert_array_equal(gradient[0].counted, 0)
    diverged = (Term(*np.float32([[0.0, np.nan], [0.0, 0.0]])),)
    assert np.isnan(mean(diverged))
    np.testing.assert_array_equal(np.isnan(per_anchor(diverged)), [False, True])


def test_a_ratio_of_nothing_is_zero_but_nan_stays():
    ratio = jax.jit(safe_ratio)
    assert ratio(0.0, 0) == 0
    assert ratio(3.0, 0.5) == 6
    assert np.isnan(ratio(np.nan, 0))


def test_an_empty_mean_is_zero_with_zero_gradient():
    value, gradient = jax.jit(jax.value_and_grad(masked_mean))(np.float32([1.0, 2.0]), np.zeros(2, bool))
    assert value == 0
    np.testing.assert_array_equal(gradient, 0)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_mean_shows_what_is_bad_under_its_mask_and_only_there(bad):
    values, chosen_mean = np.float32([bad, 2.0, 4.0]), jax.jit(masked_mean)
    assert not np.isfinite(chosen_mean(values, np.array([True, True, False])))
    assert chosen_mean(values, np.array([False, True, True])) == 3


of_chosen = jax.jit(functools.partial(masked_logsumexp, axis=1))


def test_masked_logsumexp_is_that_of_the_chosen(float64):
    rng = np.random.default_rng(0)
    values, mask = rng.normal(size=(5, 7)), rng.random((5, 7)) < 0.5
    mask[:, 0] = True
    expected = [np.log(np.exp(v[m]).sum()) for v, m in zip(values, mask, strict=True)]
    np.testing.assert_allclose(of_chosen(values, mask), expected, 1e-12)


def test_masked_logsumexp_survives_huge_and_empty_rows():
    values = np.float32([[1000.0, 1000.0], [-1000.0, 3000.0], [1.0, 2.0]])
    mask = np.array([[True, True], [True, False], [False, False]])
    np.testing.assert_allclose(np.asarray(of_chosen(values, mask))[:2], [1000 + np.log(2), -1000])

    @jax.jit
    @jax.grad
    def slope(x):
        return jnp.logaddexp(masked_logsumexp(x, jnp.asarray(mask), axis=1), jnp.zeros(3)).sum()

    np.testing.assert_allclose(slope(values), [[0.5, 0.5], [0, 0], [0, 0]])


def test_the_logarithm_of_nothing_has_no_slope_and_a_hinge_has_none_at_its_tie():
    logarithms = jax.jit(lambda x: (safe_log(x), jax.grad(lambda x: safe_log(x)[1] + jnp.exp(safe_log(x)[0]))(x)))
    value, slope = logarithms(np.float32([0.0, 2.0]))
    np.testing.assert_allclose(value, [-np.inf, np.log(2)])
    np.testing.assert_allclose(slope, [0, 0.5])
    value, slope = jax.jit(jax.vmap(jax.value_and_grad(hinge)))(np.float32([-1.0, 0.0, 2.0, np.nan]))
    np.testing.assert_array_equal(value, [0, 0, 2, np.nan])
    np.testing.assert_array_equal(np.asarray(slope)[:3], [0, 0, 1])


def test_a_setting_for_each_anchor_is_a_column():
    assert anchor_column(0.2, 3, "margin").shape == (1, 1)
    assert anchor_column(jnp.ones(3), 3, "margin").shape == (3, 1)
    with pytest.raises(ValueError, match=r"margin has shape \(2,\).*3 anchors"):
        anchor_column(jnp.ones(2), 3, "margin")


def test_rows_come_back_in_their_order_and_trees_in_their_shape():
    x = {"a": np.arange(7, dtype=np.float32), "b": np.arange(14, dtype=np.int32).reshape(7, 2)}

    def rows(block, seen):
        seen.append(block["a"].shape[0])
        return block["b"], (block["a"] * 2, jnp.outer(block["a"], jnp.ones(3)))

    expected = x["b"], (x["a"] * 2, np.outer(x["a"], np.ones(3)))
    for size, of_block in {3: 3, 5: 4, 99: 7}.items():
        seen = []
        out = jax.jit(lambda x, size=size, seen=seen: losses.in_blocks(lambda b: rows(b, seen), x, size=size))(x)
        jax.tree.map(np.testing.assert_array_equal, out, expected)
        assert set(seen) == {of_block}


@pytest.mark.parametrize(
    ("anchors", "size", "message"),
    [
        (jnp.ones(3), 0, "size=0 of 1 arrays: give at least one anchor, and a size of at least 1"),
        (jnp.ones((0, 2)), 4, "size=4 of 1 arrays"),
        ({}, 4, "size=4 of 0 arrays"),
    ],
)
def test_blocks_of_nothing_are_named(anchors, size, message):
    with pytest.raises(ValueError, match=message):
        losses.in_blocks(lambda x: x, anchors, size=size)


def test_what_is_no_row_for_each_anchor_is_named():
    x = jnp.ones(8)
    with pytest.raises(ValueError, match=r"an array of shape \(4,\) of 2 anchors; give one row for each"):
        losses.in_blocks(lambda rows: jnp.ones(4), x, size=2)
    with pytest.raises(ValueError, match=r"anchors of \[8, 4\] rows"):
        losses.in_blocks(lambda rows: rows[0], (x, x[:4]), size=2)
    with pytest.raises(ValueError, match="not over the same anchors; `mean` is of them all"):
        losses.per_anchor((Term(x, x), Term(x[:4], x[:4])))
