import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from hypjax.losses import margin, triplet
from hypjax.losses.memory import create_memory, recall, remember


def nearest(distances, labels):
    """The nearest positive and the nearest negative of each anchor, unguarded as a user might write it."""
    n = labels.shape[0]
    same = labels[:, None] == labels[None, :]
    positive = jnp.argmin(jnp.where(same & ~jnp.eye(n, dtype=bool), distances, jnp.inf), axis=1)
    negative = jnp.argmin(jnp.where(~same, distances, jnp.inf), axis=1)
    return jax.nn.one_hot(positive, n), jax.nn.one_hot(negative, n)


def drawn(distances, labels):
    """All positives; a negative drawn from all of them, given by the probabilities of the draw."""
    same = labels[:, None] == labels[None, :]
    negative = (~same).astype(distances.dtype)
    return jnp.ones_like(distances), negative / jnp.maximum(negative.sum(1, keepdims=True), 1)


def fill(memory, *batches):
    for points, labels in batches:
        memory = remember(memory, points, labels)
    return memory


@functools.partial(jax.jit, static_argnames=("loss", "miner", "distance"))
def plain(x, labels, *, loss, miner, distance):
    return jax.value_and_grad(lambda x: loss(x, labels, distance=distance, miner=miner))(x)


@functools.partial(jax.jit, static_argnames=("loss", "miner", "distance"))
def with_memory(x, labels, memory, *, loss, miner, distance):
    def value(x, points):
        every, every_label, remembering = recall(memory._replace(points=points), x, labels, miner)
        return loss(every, every_label, distance=distance, miner=remembering)

    return jax.value_and_grad(value, (0, 1))(x, memory.points)


def loop(loss, anchors, labels, others, other_labels, choose_nearest, oracle_distance, alpha=0.2, beta=1.2):
    """Every triplet whose anchor is of the batch; `others` are what the memory holds, without empty slots."""
    every, every_label = np.concatenate([anchors, others]), np.concatenate([labels, other_labels])
    distances = oracle_distance(anchors, every)
    total = count = 0.0
    for a in range(len(anchors)):
        positives = [p for p in range(len(every)) if p != a and every_label[p] == labels[a]]
        negatives = [n for n in range(len(every)) if every_label[n] != labels[a]]
        if choose_nearest:
            positives, negatives = (sorted(side, key=lambda j: distances[a, j])[:1] for side in (positives, negatives))
        for p in positives:
            for n in negatives:
                if loss is triplet:
                    hinges = [distances[a, p] - distances[a, n] + alpha]
                else:
                    hinges = [distances[a, p] - beta + alpha, beta - distances[a, n] + alpha]
                total += sum(h for h in hinges if h > 0)
                count += sum(h > 0 for h in hinges)
    return total / count if count else 0.0


LABELS = np.array([0, 1, 0, 2, 1])
OLD_LABELS = np.array([1, 2, 3])


def test_the_ring_goes_round():
    """Size 5, batches of 3, 3 and 5: the oldest go first, in the order they came."""
    memory = create_memory(5, 2)
    put = jax.jit(remember)
    for first, count in ((0, 3), (3, 3), (6, 5)):
        labels = jnp.arange(first, first + count)
        memory = put(memory, jnp.stack([labels, -labels], axis=1).astype(float), labels)
        if first == 3:
            np.testing.assert_array_equal(memory.labels, [5, 1, 2, 3, 4])
            assert memory.cursor == 1
    np.testing.assert_array_equal(memory.labels, [10, 6, 7, 8, 9])
    np.testing.assert_array_equal(memory.points, [[10, -10], [6, -6], [7, -7], [8, -8], [9, -9]])
    assert memory.cursor == 1
    assert [leaf.dtype for leaf in memory] == [jnp.float32, jnp.int32, jnp.int32]


CASES = [
    (triplet, nearest),
    pytest.param(margin, None, marks=pytest.mark.slow),
    pytest.param(triplet, None, marks=pytest.mark.slow),
    pytest.param(margin, nearest, marks=pytest.mark.slow),
]


@pytest.mark.parametrize(("loss", "miner"), CASES)
def test_an_empty_memory_changes_nothing(loss, miner, distance, points, float64):
    x, labels = points(5), jnp.array(LABELS)
    bound = {"loss": loss, "miner": miner, "distance": distance}
    value, gradient = plain(x, labels, **bound)
    remembered, (by_x, by_memory) = with_memory(x, labels, create_memory(7, 3, jnp.float64), **bound)
    assert value > 0
    np.testing.assert_allclose(remembered, value, rtol=1e-14)
    np.testing.assert_allclose(by_x, gradient, atol=1e-15)
    np.testing.assert_array_equal(by_memory, np.zeros((7, 3)))


@pytest.mark.parametrize(("loss", "miner"), CASES)
def test_images_of_the_batch_are_anchors_against_both(
    loss, miner, distance, oracle_distance, points, numeric_gradient, float64
):
    """A memory that is partly filled, value and gradient; an image of the batch lies in it, too."""
    x, old = points(5), points(3, seed=1)
    old[0] = x[1] + (0.01 if miner else 0)  # which of two equally near ones moves, finite differences cannot tell
    memory = fill(create_memory(7, 3, jnp.float64), (jnp.array(old), jnp.array(OLD_LABELS)))
    value, (by_x, by_memory) = with_memory(x, jnp.array(LABELS), memory, loss=loss, miner=miner, distance=distance)

    def expected(x):
        return loop(loss, x, LABELS, old, OLD_LABELS, miner is nearest, oracle_distance)

    np.testing.assert_allclose(value, expected(x), atol=1e-12)
    np.testing.assert_allclose(by_x, numeric_gradient(expected, x), atol=1e-7)
    np.testing.assert_array_equal(by_memory, np.zeros((7, 3)))


def test_an_empty_slot_is_never_chosen(distance, points):
    """It lies at the origin, nearer to every image than any other; the miner given sees it far away, but finite."""

    @jax.jit
    def mine(x, labels):
        seen = []

        def watched(distances, labels):
            seen.append(distances)
            return nearest(distances, labels)

        every, every_label, miner = recall(create_memory(6, 3), x, labels, watched)
        return miner(distance(every, every), every_label), every_label, seen[0]

    (positive, negative), labels, seen = mine(jnp.array(0.5 + np.abs(points(4)), jnp.float32), jnp.array([0, 0, 1, 1]))
    for weights in map(np.asarray, (positive, negative)):
        np.testing.assert_array_equal(weights[:4, :4].sum(1), np.ones(4))
        assert weights.sum() == 4
    assert len(np.unique(labels[4:])) == 6
    assert np.all(np.asarray(labels)[4:] < 0)
    seen = np.asarray(seen)
    assert np.all(np.isfinite(seen**4))
    assert seen[:4, 4:].min() > 1e6 * seen[:4, :4].max()


def test_a_draw_is_one_of_what_is_there(distance, points):
    """Three slots of seven are filled: two classes of the batch and one of its own."""

    @jax.jit
    def mine(x, old):
        memory = remember(create_memory(7, 3), old, jnp.array(OLD_LABELS))
        every, every_label, miner = recall(memory, x, jnp.array(LABELS), drawn)
        return miner(distance(every, every), every_label)

    positive, negative = mine(jnp.array(points(5), jnp.float32), jnp.array(points(3, seed=1), jnp.float32))
    other = LABELS[:, None] != np.concatenate([LABELS, OLD_LABELS])[None]
    np.testing.assert_allclose(negative[:5, :8], other / other.sum(1, keepdims=True), rtol=1e-6)
    np.testing.assert_array_equal(positive[:5, :8], np.ones((5, 8)))
    for weights in (positive, negative):
        assert not np.any(weights[5:])
        assert not np.any(weights[:, 8:])


def test_a_batch_without_positives_finds_them_in_the_memory(distance, points):
    x = jnp.array(points(5), jnp.float32)
    memory = fill(create_memory(7, 3), (jnp.array(points(3) + 0.1, jnp.float32), jnp.array([0, 1, 2])))
    bound = {"loss": margin, "miner": None, "distance": distance}
    assert with_memory(x, jnp.arange(5), create_memory(7, 3), **bound)[0] == 0
    value, (gradient, _) = with_memory(x, jnp.arange(5), memory, **bound)
    assert value > 0
    assert np.any(np.asarray(gradient) != 0)


def test_what_has_diverged_is_not_hidden(distance, points):
    x, labels = jnp.array(points(5), jnp.float32), jnp.array(LABELS)
    memory = fill(create_memory(7, 3), (jnp.full((3, 3), jnp.nan), jnp.array(OLD_LABELS)))
    assert jnp.isnan(with_memory(x, labels, memory, loss=margin, miner=None, distance=distance)[0])
    fresh = create_memory(7, 3)
    diverged = with_memory(x.at[0, 0].set(jnp.nan), labels, fresh, loss=margin, miner=None, distance=distance)
    assert jnp.isnan(diverged[0])


def test_remembering_stops_gradients(points):
    x = jnp.array(points(3), jnp.float32)
    slope = jax.grad(lambda x: remember(create_memory(4, 3), 2 * x, jnp.arange(3)).points.sum())(x)
    np.testing.assert_array_equal(slope, jnp.zeros((3, 3)))


def test_bad_shapes_are_named():
    with pytest.raises(ValueError, match="a memory of 0 points"):
        create_memory(0, 3)
    with pytest.raises(ValueError, match="batch of 4 does not fit a memory of 3"):
        remember(create_memory(3, 2), jnp.zeros((4, 2)), jnp.zeros(4, int))
    with pytest.raises(ValueError, match="points of 3 coordinates do not go with a memory of 2"):
        recall(create_memory(3, 2), jnp.zeros((2, 3)), jnp.zeros(2, int))
