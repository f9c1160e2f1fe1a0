"""The ring buffer; what its points do to each loss is asked in `test_masks` and `test_losses`."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from hypjax import losses
from tests.losses import loops, table

LABELS = np.array([0, 1, 0, 2, 1], np.int32)
OLD_LABELS = np.array([1, 2, 3], np.int32)
U = np.linspace(0.2, 0.8, 5)


put = jax.jit(losses.remember)


def test_the_ring_goes_round():
    """Size 5, batches of 3, 3 and 5: the oldest go first, in the order they came."""
    memory = losses.create_cross_batch_memory(5, 2)
    for first, count in ((0, 3), (3, 3), (6, 5)):
        labels = np.arange(first, first + count, dtype=np.int32)
        memory = put(memory, np.stack([labels, -labels], axis=1).astype(np.float32), labels)
        if first == 3:
            np.testing.assert_array_equal(memory.labels, [5, 1, 2, 3, 4])
            assert memory.cursor == 1
    np.testing.assert_array_equal(memory.labels, [10, 6, 7, 8, 9])
    np.testing.assert_array_equal(memory.points, [[10, -10], [6, -6], [7, -7], [8, -8], [9, -9]])
    assert memory.cursor == 1
    assert [leaf.dtype for leaf in memory] == [jnp.float32, jnp.int32, jnp.int32]


def test_a_masked_image_takes_a_slot_and_is_nobody():
    memory, ones = losses.create_cross_batch_memory(4, 1), np.ones((3, 1), np.float32)
    memory = put(memory, ones, np.array([255, 7, -1], np.int16), where=np.array([1, 0, 1]))
    np.testing.assert_array_equal(memory.labels, [255, -1, -1, -1])
    assert memory.cursor == 3
    memory = put(memory, ones[:1], np.array([255], np.uint8))
    np.testing.assert_array_equal(memory.labels, [255, -1, -1, 255])


@pytest.fixture(scope="module")
def with_memory():
    """Values and gradients of all losses, by the batch's points and the memory's, and the pairs."""

    @jax.jit
    def run(x, labels, memory):
        def values(x, points):
            known = losses.references(memory._replace(points=points), x, labels)
            pairs = losses.pairs(labels, known.labels, ids=known.ids[:5], reference_ids=known.ids)
            distances = jnp.log1p(jnp.square(x[:, None] - known.points[None]).sum(-1)) / 0.3
            return table.values(distances, pairs, jnp.array(U, x.dtype))

        return table.with_gradients(values, x, memory.points)

    return run


def filled(old, size=7):
    memory = losses.create_cross_batch_memory(size, 3, old.dtype)
    return put(memory, old, OLD_LABELS)


@pytest.mark.slow
def test_images_of_the_batch_are_anchors_against_both(with_memory, oracle_distance, points, numeric_gradient, float64):
    """A memory that is partly filled, value and gradient; an image of the batch lies in it, too."""
    x, old = points(5), points(3, seed=1)
    old[0] = x[1]
    values, (by_x, by_memory) = jax.tree.map(np.asarray, with_memory(x, LABELS, filled(old)))
    known = loops.pairs(LABELS, [*LABELS, *OLD_LABELS], ids=range(5), reference_ids=range(8))
    for i, (name, loop) in enumerate(table.LOOPS.items()):

        def expected(x, loop=loop):
            return loop(oracle_distance(x, np.concatenate([x, old])), known, U)

        np.testing.assert_allclose(values[i], expected(x), atol=1e-12, err_msg=name)
        if name != "failure_cross_entropy":
            np.testing.assert_allclose(by_x[i], numeric_gradient(expected, x), atol=1e-7, err_msg=name)
    np.testing.assert_array_equal(by_memory, np.zeros((len(table.LOSSES), 7, 3)))


def test_an_empty_slot_is_never_chosen(points):
    """It lies at the origin, nearer to every image than any other."""
    x, labels = (0.5 + np.abs(points(4))).astype(np.float32), np.array([0, 0, 1, 1], np.int32)

    @jax.jit
    def choose(x, labels):
        known = losses.references(losses.create_cross_batch_memory(6, 3), x, labels)
        pairs = losses.pairs(labels, known.labels, ids=known.ids[:4], reference_ids=known.ids)
        return table.MINERS["easy and hard"](jnp.square(x[:, None] - known.points[None]).sum(-1), pairs)

    chosen = choose(x, labels)
    for weights in map(np.asarray, (chosen.positive, chosen.negative)):
        np.testing.assert_array_equal(weights[:, :4].sum(1), np.ones(4))
        assert weights.sum() == 4


@pytest.mark.slow
def test_a_draw_is_one_of_what_is_there(points):
    """Three slots of seven are filled: two classes of the batch and one of its own; all are drawn alike from 1.4 on."""

    @jax.jit
    def draw(x, memory):
        known = losses.references(memory, x, jnp.asarray(LABELS))
        pairs = losses.pairs(LABELS, known.labels, ids=known.ids[:5], reference_ids=known.ids)
        return table.MINERS["distance_weighted_negative"](jnp.full((5, 12), 2.0), pairs)

    drawn = draw(points(5).astype(np.float32), filled(points(3, seed=1).astype(np.float32)))
    negative = np.asarray(drawn.negative)
    other = LABELS[:, None] != np.concatenate([LABELS, OLD_LABELS])[None]
    np.testing.assert_allclose(negative[:, :8], other / other.sum(1, keepdims=True), rtol=1e-6)
    assert not negative[:, 8:].any()
    np.testing.assert_array_equal(np.sum(drawn.positive, axis=1), [1, 2, 1, 1, 2])


@pytest.mark.slow
def test_a_batch_without_positives_finds_them_in_the_memory(with_memory, points):
    x, labels = points(5).astype(np.float32), np.arange(5)
    at = list(table.LOSSES).index("triplet")
    empty = losses.create_cross_batch_memory(7, 3)
    assert np.asarray(with_memory(x, labels, empty)[0])[at] == 0
    values, (gradients, _) = with_memory(x, labels, filled((points(3) + 0.1).astype(np.float32)))
    assert np.asarray(values)[at] > 0
    assert np.any(np.asarray(gradients)[at] != 0)


@pytest.mark.slow
def test_what_has_diverged_is_not_hidden(with_memory, points):
    x = points(5).astype(np.float32)
    assert np.isnan(with_memory(x, LABELS, filled(np.full((3, 3), np.nan, np.float32)))[0]).all()
    x[0, 0] = np.nan
    assert np.isnan(with_memory(x, LABELS, losses.create_cross_batch_memory(7, 3))[0]).all()


def test_remembering_stops_gradients(points):
    empty = losses.create_cross_batch_memory(4, 3)
    slope = jax.jit(jax.grad(lambda x: losses.remember(empty, 2 * x, jnp.arange(3)).points.sum()))
    np.testing.assert_array_equal(slope(points(3).astype(np.float32)), np.zeros((3, 3)))


def test_who_is_masked_is_nobody_among_the_references():
    memory = losses.remember(losses.create_cross_batch_memory(3, 1), jnp.ones((2, 1)), np.array([5, 6], np.uint8))
    known = losses.references(memory, jnp.zeros((3, 1)), np.array([5, 7, 5]), where=np.array([True, False, True]))
    assert known.labels.tolist() == [5, -1, 5, 5, 6, -1]


def test_labels_that_are_no_classes_are_named():
    memory, points = losses.create_cross_batch_memory(3, 1), jnp.ones((2, 1))
    for ask in (losses.remember, losses.references):
        with pytest.raises(ValueError, match="labels from 0 to 4294967296 do not fit 32 bits"):
            ask(memory, points, np.array([0, 2**32]))
        with pytest.raises(ValueError, match="type float64: give a vector of integers"):
            ask(memory, points, np.array([0.7, 1.2]))


def test_bad_shapes_are_named():
    with pytest.raises(ValueError, match="a memory of 0 points"):
        losses.create_cross_batch_memory(0, 3)
    small = losses.create_cross_batch_memory(3, 2)
    with pytest.raises(ValueError, match="batch of 4 does not fit a memory of 3"):
        losses.remember(small, jnp.zeros((4, 2)), jnp.zeros(4, int))
    with pytest.raises(ValueError, match="points of 3 coordinates do not go with a memory of 2"):
        losses.references(small, jnp.zeros((2, 3)), jnp.zeros(2, int))
