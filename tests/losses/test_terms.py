import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from hypjax import losses
from hypjax.losses.terms import Term, anchor_column, hinge, masked_logsumexp, masked_mean, safe_log, safe_ratio

TERMS = (
    Term(jnp.array([1.0, 0.0, 5.0, 2.0]), jnp.array([2.0, 0.0, 1.0, 4.0])),
    Term(jnp.array([3.0, 0.0, 0.0, 1.0]), jnp.array([1.5, 0.0, 0.0, 0.5])),
)


def test_a_mean_adds_up_the_ratios():
    np.testing.assert_allclose(losses.mean(TERMS), 8 / 7 + 4 / 2)
    np.testing.assert_allclose(losses.mean(TERMS[:1]), 8 / 7)


def test_a_mean_of_weighed_anchors():
    np.testing.assert_allclose(losses.mean(TERMS, jnp.array([2.0, 9.0, 0.0, 0.5])), 3 / 6 + 6.5 / 3.25)
    np.testing.assert_array_equal(losses.mean(TERMS, jnp.ones(4)), losses.mean(TERMS))
    np.testing.assert_array_equal(losses.mean(TERMS, jnp.array([0.0, 1.0, 0.0, 0.0])), 0)
    with pytest.raises(ValueError, match=r"weights of shape \(3,\) for anchors of shape \(4,\); give one for each"):
        losses.mean(TERMS, jnp.ones(3))


def test_each_anchor_alone():
    np.testing.assert_allclose(losses.per_anchor(TERMS), [0.5 + 2, 0, 5, 0.5 + 2])


def test_terms_that_count_nothing_are_zero_with_zero_gradient_and_nan_stays():
    nothing = (Term(jnp.zeros(3), jnp.zeros(3)),)
    for function in (losses.mean, lambda terms: losses.per_anchor(terms).sum()):
        value, gradient = jax.value_and_grad(function)(nothing)
        assert value == 0
        assert np.isfinite(gradient[0].total).all()
        np.testing.assert_array_equal(gradient[0].counted, 0)
    diverged = (Term(jnp.array([0.0, jnp.nan]), jnp.zeros(2)),)
    assert jnp.isnan(losses.mean(diverged))
    np.testing.assert_array_equal(jnp.isnan(losses.per_anchor(diverged)), [False, True])


def test_a_ratio_of_nothing_is_zero_but_nan_stays():
    assert safe_ratio(jnp.array(0.0), jnp.array(0)) == 0
    assert safe_ratio(jnp.array(3.0), jnp.array(0.5)) == 6
    assert jnp.isnan(safe_ratio(jnp.array(np.nan), jnp.array(0)))


def test_an_empty_mean_is_zero_with_zero_gradient():
    values, mask = jnp.array([1.0, 2.0]), jnp.zeros(2, bool)
    value, gradient = jax.value_and_grad(masked_mean)(values, mask)
    assert value == 0
    np.testing.assert_array_equal(gradient, 0)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_mean_shows_what_is_bad_under_its_mask_and_only_there(bad):
    values = jnp.array([bad, 2.0, 4.0])
    assert not jnp.isfinite(masked_mean(values, jnp.array([True, True, False])))
    assert masked_mean(values, jnp.array([False, True, True])) == 3


def test_masked_logsumexp_is_that_of_the_chosen(float64):
    rng = np.random.default_rng(0)
    values, mask = rng.normal(size=(5, 7)), rng.random((5, 7)) < 0.5
    mask[:, 0] = True
    expected = [np.log(np.exp(v[m]).sum()) for v, m in zip(values, mask, strict=True)]
    np.testing.assert_allclose(masked_logsumexp(jnp.array(values), jnp.array(mask), axis=1), expected, 1e-12)


def test_masked_logsumexp_survives_huge_and_empty_rows():
    values = jnp.array([[1000.0, 1000.0], [-1000.0, 3000.0], [1.0, 2.0]])
    mask = jnp.array([[True, True], [True, False], [False, False]])
    np.testing.assert_allclose(masked_logsumexp(values, mask, axis=1)[:2], [1000 + np.log(2), -1000])

    def total(x):
        return jnp.logaddexp(masked_logsumexp(x, mask, axis=1), jnp.zeros(3)).sum()

    np.testing.assert_allclose(jax.grad(total)(values), [[0.5, 0.5], [0, 0], [0, 0]])


def test_the_logarithm_of_nothing_has_no_slope_and_a_hinge_has_none_at_its_tie():
    x = jnp.array([0.0, 2.0])
    np.testing.assert_allclose(safe_log(x), [-np.inf, np.log(2)])
    np.testing.assert_allclose(jax.grad(lambda x: safe_log(x)[1] + jnp.exp(safe_log(x)[0]))(x), [0, 0.5])
    x = jnp.array([-1.0, 0.0, 2.0, np.nan])
    np.testing.assert_array_equal(hinge(x), [0, 0, 2, np.nan])
    np.testing.assert_array_equal(jax.grad(lambda x: hinge(x).sum())(x)[:3], [0, 0, 1])


def test_a_setting_for_each_anchor_is_a_column():
    assert anchor_column(0.2, 3, "margin").shape == (1, 1)
    assert anchor_column(jnp.ones(3), 3, "margin").shape == (3, 1)
    with pytest.raises(ValueError, match=r"margin has shape \(2,\).*3 anchors"):
        anchor_column(jnp.ones(2), 3, "margin")


def test_rows_come_back_in_their_order_and_trees_in_their_shape():
    x = {"a": jnp.arange(7.0), "b": jnp.arange(14).reshape(7, 2)}

    def rows(block, seen):
        seen.append(block["a"].shape[0])
        return block["b"], (block["a"] * 2, jnp.outer(block["a"], jnp.ones(3)))

    for size, of_block in {3: 3, 5: 4, 99: 7}.items():
        seen = []
        out = losses.in_blocks(functools.partial(rows, seen=seen), x, size=size)
        jax.tree.map(np.testing.assert_array_equal, out, rows(x, []))
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
