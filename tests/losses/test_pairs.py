import jax
import jax.numpy as jnp
import numpy as np
import pytest

from hypjax import losses
from tests.losses import loops


def assert_same(pairs, known):
    """Ranks count only where somebody is."""
    np.testing.assert_array_equal(pairs.positive, known.positive)
    np.testing.assert_array_equal(pairs.negative, known.negative)
    np.testing.assert_array_equal(pairs.somebody, known.somebody)
    somebody = np.array(known.somebody)
    np.testing.assert_array_equal(np.array(pairs.rank)[somebody], np.array(known.rank)[somebody])
    seen = (known.positive + known.negative).any(axis=0)
    np.testing.assert_array_equal(np.array(pairs.reference_rank)[seen], np.array(known.reference_rank)[seen])


def test_they_leave_out_the_image_itself_and_nothing_else():
    both = jax.jit(losses.pairs)(np.array([0, 1, 0, 2]))
    np.testing.assert_array_equal(both.positive, np.array([[0, 0, 1, 0], [0] * 4, [1, 0, 0, 0], [0] * 4], bool))
    np.testing.assert_array_equal(both.negative, np.array([[0, 1, 0, 1], [1, 0, 1, 1], [0, 1, 0, 1], [1, 1, 1, 0]]))
    np.testing.assert_array_equal(both.rank, [0, 0, 1, 0])
    assert np.all(both.somebody)
    assert not both.one_positive
    assert not both.one_negative


CASES = {
    "a batch": {},
    "masked": {"where": [1, 1, 0, 1, 1, 0, 1]},
    "two views of an image share an id": {"ids": [5, 5, 3, 1, 9, 1, 9]},
    "against a gallery": {"references": [3, 0, 0, -1, 2, 0, 3, 3, 2]},
    "against a gallery, some of it masked": {
        "references": [3, 0, 0, -1, 2, 0, 3, 3, 2],
        "where": [1, 0, 1, 1, 1, 1, 1],
        "reference_where": [1, 0, 1, 1, 1, 1, 1, 0, 1],
    },
    "rows of a larger batch": {
        "references": [2, 0, 3, 0, 2, 0, -1, 3, 0],
        "ids": [8, 6, 1, 3, 0, 2, 2],
        "reference_ids": [7, 3, 2, 1, 8, 6, 4, 0, 5],
    },
    "rows of which some are masked on one side only": {
        "references": [2, 0, 3, 0, 2, 0, -1, 3, 0],
        "ids": [8, 6, 1, 3, 0, 2, 2],
        "reference_ids": [7, 3, 2, 1, 8, 6, 4, 0, 5],
        "where": [1, 1, 1, 1, 0, 1, 1],
        "reference_where": [1, 0, 1, 1, 1, 1, 1, 1, 1],
    },
    "an id that two references have, the first of them masked": {
        "references": [0, 0, 0, 3, 0, 2, 2],
        "ids": [0, 1, 2, 3, 4, 5, 6],
        "reference_ids": [3, 1, 3, 0, 2, 5, 5],
        "reference_where": [0, 1, 1, 1, 1, 1, 1],
    },
}


@pytest.mark.slow
@pytest.mark.parametrize("name", CASES)
def test_they_are_those_of_the_loop(name):
    labels = [2, 0, 0, 0, 3, -1, 3]
    given = {key: np.array(value, bool if "where" in key else int) for key, value in CASES[name].items()}
    assert_same(jax.jit(losses.pairs)(np.array(labels), **given), loops.pairs(labels, **CASES[name]))


def test_a_masked_reference_does_not_move_the_rank_of_its_image():
    """Its own row is masked, and another nobody before it changes nothing."""
    given = {"references": np.array([0, 0, 1, 1]), "ids": np.array([2, 3]), "reference_ids": np.arange(4)}
    for where in ([True, True, True, False], [False, True, True, False]):
        rank = jax.jit(losses.pairs)(np.array([1, 1]), reference_where=np.array(where), **given).rank
        np.testing.assert_array_equal(rank, [0, 1])


def test_a_batch_is_its_own_references():
    labels = np.array([2, 0, 0, 0, 3, -1, 3])
    ids = np.array([4, 2, 7, 1, 0, 9, 3])

    @jax.jit
    def both():
        return losses.pairs(labels), losses.pairs(labels, labels, ids=ids, reference_ids=ids)

    alone, given = both()
    for one, other in zip(jax.tree.leaves(alone), jax.tree.leaves(given), strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.slow
@pytest.mark.parametrize("dtype", [np.uint8, np.int8, np.int16, np.uint16, np.int32, np.uint32, np.int64, np.uint64])
def test_labels_of_any_integers_are_classes(dtype):
    """Neither does 255 of 8 bits wrap to −1, nobody, nor do 250 and −6 meet."""
    labels = np.array([120, 5, 120, 0, 5]) if dtype == np.int8 else np.array([255, 250, 255, 0, 250])
    labels = labels.astype(dtype)
    expected = loops.pairs(labels.tolist())
    assert_same(losses.pairs(labels), expected)
    assert_same(losses.pairs(jnp.array(labels)), expected)
    assert_same(losses.pairs(labels, labels, ids=np.arange(5), reference_ids=np.arange(5)), expected)


def test_ids_of_64_bits_are_taken_where_jax_has_them(float64):
    labels = [2, 0, 0, 0, 3, -1, 3]
    given = jnp.asarray(np.array(labels)), jnp.asarray(np.arange(7) * 2**40)
    assert_same(jax.jit(lambda labels, ids: losses.pairs(labels, ids=ids))(*given), loops.pairs(labels))


def test_labels_that_are_known_are_looked_at_while_something_is_traced():
    labels = jnp.array([0, 0, 1], jnp.uint32)
    assert_same(jax.jit(lambda: losses.pairs(labels))(), loops.pairs([0, 0, 1]))


ZEROS = np.zeros(4, int)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"labels": np.zeros(4)}, r"labels of shape \(4,\) and type float64: give a vector of integers"),
        ({"labels": np.zeros(4, bool)}, "labels of shape .* and type bool: give a vector of integers"),
        ({"labels": np.zeros((4, 1), int)}, r"labels of shape \(4, 1\)"),
        ({"labels": np.array([0, 2**31, 0, 1])}, "labels from 0 to 2147483648 do not fit 32 bits"),
        ({"labels": np.array([0, -(2**32), 0, 1])}, "labels from -4294967296 to 1 do not fit 32 bits"),
        ({"labels": jnp.array([0, 2**31], jnp.uint32)}, "labels from 0 to 2147483648 do not fit 32 bits"),
        ({"references": np.zeros(3)}, r"references of shape \(3,\) and type float64"),
        ({"references": np.array([2**33])}, "references from 8589934592 to 8589934592 do not fit 32 bits"),
        ({"where": np.ones(3, bool)}, r"where has shape \(3,\) and its labels \(4,\); give one for each image"),
        ({"references": ZEROS, "reference_where": np.ones((4, 1), bool)}, r"reference_where has shape \(4, 1\)"),
        ({"ids": np.arange(5)}, r"ids has shape \(5,\)"),
        ({"ids": np.arange(4.0)}, "ids of shape .* and type float64: give a vector of integers"),
        ({"ids": np.array([0, 1, 2, 2**32])}, "ids from 0 to 4294967296 do not fit 32 bits"),
        ({"references": ZEROS, "ids": np.arange(4), "reference_ids": np.arange(3)}, r"reference_ids has shape \(3,\)"),
        ({"references": ZEROS, "ids": np.arange(4)}, "give both ids and reference_ids, or neither"),
        ({"references": ZEROS, "reference_ids": np.arange(4)}, "give both ids and reference_ids, or neither"),
        ({"reference_ids": np.arange(4)}, "belong to references"),
        ({"reference_where": np.ones(4, bool)}, "belong to references"),
    ],
)
def test_bad_arguments_are_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        losses.pairs(**({"labels": ZEROS} | arguments))


def test_weights_stay_within_their_pairs_and_carry_a_gradient(uneven):
    both = jax.jit(losses.pairs)(np.array([0, 0, 1, -1]))
    weights = [jnp.asarray(w.astype(np.float32)) for w in uneven(4, 4)]
    weighed = both.weigh(*weights)
    np.testing.assert_array_equal(weighed.positive, np.where(both.positive, weights[0], 0))
    np.testing.assert_array_equal(weighed.negative, np.where(both.negative, weights[1], 0))
    one_side = both.weigh(negative=weights[1])
    assert one_side.positive is both.positive
    np.testing.assert_array_equal(one_side.negative, weighed.negative)
    # What weighs 0 is no pair, and so cannot be weighed again.
    again = weighed.weigh(*map(jnp.asarray, np.ones((2, 4, 4), np.float32)))
    np.testing.assert_array_equal(again.positive, np.asarray(weighed.positive) > 0)
    gradient = jax.jit(jax.grad(lambda w: both.weigh(positive=w).positive.sum()))(weights[0])
    np.testing.assert_array_equal(gradient, both.positive)


@pytest.mark.slow
def test_chosen_are_one_of_a_side_at_most_and_only_of_its_pairs():
    both = losses.pairs(jnp.array([0, 0, 0, 1])).weigh(jnp.full((4, 4), 0.3))
    chosen = both.choose(positive=jnp.array([2, 3, 2, 0]), negative=jnp.array([3, 3, 1, 2]))
    np.testing.assert_array_equal(chosen.positive, np.array([[0, 0, 1, 0], [0] * 4, [0] * 4, [0] * 4]))
    np.testing.assert_array_equal(chosen.negative, np.array([[0, 0, 0, 1], [0, 0, 0, 1], [0] * 4, [0, 0, 1, 0]]))
    assert chosen.one_positive
    assert chosen.one_negative
    assert both.choose(negative=jnp.zeros(4, int)).positive is both.positive


@pytest.mark.slow
def test_they_are_a_tree_of_arrays():
    both = losses.pairs(jnp.array([0, 0, 1])).choose(negative=jnp.zeros(3, int))
    out = jax.jit(lambda pairs: pairs)(both)
    assert (out.one_positive, out.one_negative) == (False, True)
    for one, other in zip(jax.tree.leaves(out), jax.tree.leaves(both), strict=True):
        np.testing.assert_array_equal(one, other)
