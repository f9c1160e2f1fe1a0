import jax
import jax.numpy as jnp
import numpy as np
import pytest

from hypjax.losses.pairs import (
    anchor_column,
    check_batch,
    class_masks,
    masked_logsumexp,
    masked_mean,
    pair_weights,
    safe_ratio,
)


def test_masks_leave_out_the_image_itself_and_nothing_else():
    positive, negative = class_masks(jnp.array([0, 1, 0, 2]))
    np.testing.assert_array_equal(positive, np.array([[0, 0, 1, 0], [0] * 4, [1, 0, 0, 0], [0] * 4], bool))
    np.testing.assert_array_equal(negative, np.array([[0, 1, 0, 1], [1, 0, 1, 1], [0, 1, 0, 1], [1, 1, 1, 0]], bool))


def test_a_miner_is_confined_to_its_classes_and_carries_no_gradient(uneven_miner):
    labels = jnp.array([0, 0, 1, 1])
    distances = jnp.arange(16.0).reshape(4, 4)
    positive, negative = class_masks(labels)
    weights = pair_weights(distances, labels, uneven_miner)
    raw = uneven_miner(distances, labels)
    np.testing.assert_array_equal(weights[0], np.where(positive, raw[0], 0))
    np.testing.assert_array_equal(weights[1], np.where(negative, raw[1], 0))

    def by_distance(distances, labels):
        return (jnp.exp(distances), distances**2)

    gradient = jax.grad(lambda x: sum(w.sum() for w in pair_weights(x, labels, by_distance)))(distances)
    np.testing.assert_array_equal(gradient, 0)


def test_all_pairs_weigh_one_without_a_miner():
    labels = jnp.array([3, 3, 5])
    positive, negative = pair_weights(jnp.ones((3, 3)), labels)
    np.testing.assert_array_equal(positive, class_masks(labels)[0].astype(float))
    np.testing.assert_array_equal(negative, class_masks(labels)[1].astype(float))


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


def test_a_ratio_of_nothing_is_zero_but_nan_stays():
    assert safe_ratio(jnp.array(0.0), jnp.array(0)) == 0
    assert safe_ratio(jnp.array(3.0), jnp.array(0.5)) == 6
    assert jnp.isnan(safe_ratio(jnp.array(np.nan), jnp.array(0)))


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


def test_a_setting_for_each_anchor_is_a_column():
    assert anchor_column(0.2, 3, "margin").shape == (1, 1)
    assert anchor_column(jnp.ones(3), 3, "margin").shape == (3, 1)
    with pytest.raises(ValueError, match=r"margin has shape \(2,\).*3 anchors"):
        anchor_column(jnp.ones(2), 3, "margin")


@pytest.mark.parametrize("shapes", [((4, 2), (3,)), ((4,), (4,)), ((4, 2), (4, 1))])
def test_labels_that_do_not_fit_are_named(shapes):
    with pytest.raises(ValueError, match="do not go together"):
        check_batch(jnp.zeros(shapes[0]), jnp.zeros(shapes[1], int))
