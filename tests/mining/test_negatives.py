import jax
import jax.numpy as jnp
import numpy as np
import pytest

from hypjax import losses
from hypjax.mining import distance_weighted_negative, hard_negative, negative_distance, semihard_negative
from tests.losses import table

weighted_negative = jax.jit(distance_weighted_negative, static_argnames="dimension")
semihard, mean_negative_distance = jax.jit(semihard_negative), jax.jit(negative_distance)


def anchors(labels):
    """Each anchor with its positives and its negatives, by index."""
    n = range(len(labels))
    for i in n:
        yield i, [j for j in n if j != i and labels[j] == labels[i]], [j for j in n if labels[j] != labels[i]]


def semihard_loop(distances, labels, margin, chosen):
    weights = np.zeros_like(distances)
    for i, positives, negatives in anchors(labels):
        begins = [distances[i, p] for p in positives if chosen[i, p] > 0]
        semihard = [n for n in negatives if any(d < distances[i, n] < d + margin[i] for d in begins)]
        for n in semihard or negatives:
            weights[i, n] = 1 / len(semihard or negatives)
    return weights


def distance_weighted_loop(distances, labels, n, scale):
    weights = np.zeros_like(distances)
    for i, _, negatives in anchors(labels):
        d = {j: max(distances[i, j] / scale, 0.5) for j in negatives}
        unnormalized = {j: d[j] ** (2 - n) * (1 - d[j] ** 2 / 4) ** (-(n - 3) / 2) for j in negatives if d[j] < 1.4}
        unnormalized = unnormalized or dict.fromkeys(negatives, 1.0)
        for j, weight in unnormalized.items():
            weights[i, j] = weight / sum(unnormalized.values())
    return weights


def test_the_hardest_is_the_first_of_the_nearest(distances, labels):
    mined = jax.jit(hard_negative)(distances, table.pairs(labels))
    expected = np.zeros_like(distances)
    for i, _, negatives in anchors(labels):
        if negatives:
            expected[i, min(negatives, key=lambda j: distances[i, j])] = 1
    np.testing.assert_array_equal(mined.negative, expected)
    np.testing.assert_array_equal(mined.positive, (labels[:, None] == labels[None]) & ~np.eye(9, dtype=bool))
    assert (mined.one_positive, mined.one_negative) == (False, True)


@pytest.mark.parametrize("share", [1.0, 0.5])
def test_semihard_is_semihard_for_a_chosen_positive(share, distances, labels):
    """Distances and margins are multiples of 0.25: both ends of the open intervals are met exactly."""
    chosen = np.where(np.random.default_rng(2).random((9, 9)) < share, 0.7, 0).astype(np.float32)
    margin = np.array([0.5, 0.25, 1.0] * 3, np.float32)
    pairs = table.pairs(labels).weigh(positive=jnp.asarray(chosen))
    mined = semihard(distances, pairs, margin=margin)
    np.testing.assert_allclose(mined.negative, semihard_loop(distances, labels, margin, chosen), rtol=1e-6)
    same = (labels[:, None] == labels[None]) & ~np.eye(9, dtype=bool)
    np.testing.assert_array_equal(mined.positive, np.where(same, chosen, 0))


def test_both_the_semihard_and_the_fallback_are_there(distances):
    """Lest the loop above agree on fallbacks alone."""
    labels = np.array([2, 0, 1, 0, 2, 2, 1, 0, 5])
    mined = semihard(distances, table.pairs(labels), margin=0.5)
    allowed = (labels[:, None] != labels[None]).sum(1)
    taken = (np.asarray(mined.negative) > 0).sum(1)
    assert (taken == allowed).any()
    assert (taken < allowed).any()


@pytest.mark.parametrize(("dimension", "scale"), [(2, 1.0), (3, 1.5), (16, 1.5), (16, None)])
def test_distance_weights_are_the_inverse_of_the_density(dimension, scale, distances, labels):
    mined = weighted_negative(distances, table.pairs(labels), dimension=dimension, scale=scale)
    if scale is None:
        other = labels[:, None] != labels[None]
        scale = distances[other].mean() / np.sqrt(2) if other.any() else 1.0
    np.testing.assert_allclose(
        mined.negative, distance_weighted_loop(distances, labels, dimension, scale), rtol=1e-4, atol=1e-7
    )


def test_distance_weights_even_out_the_distances_of_random_directions():
    """By weight, each distance from 0.6 to 1.4 is about as common as any other."""
    x = np.random.default_rng(0).normal(size=(400, 4))
    x /= np.linalg.norm(x, axis=1, keepdims=True)
    distances = np.linalg.norm(x[:, None] - x[None], axis=2)
    mined = weighted_negative(distances.astype(np.float32), table.pairs(np.arange(400)), dimension=4)
    shares, _ = np.histogram(distances, bins=4, range=(0.6, 1.4), weights=mined.negative)
    plain, _ = np.histogram(distances, bins=4, range=(0.6, 1.4))
    assert shares.max() / shares.min() < 1.2
    assert plain.max() / plain.min() > 2


def test_thousands_of_dimensions_do_not_overflow(distances):
    pairs = table.pairs(np.array([2, 0, 1, 0, 2, 2, 1, 0, 5]))
    mined = weighted_negative(distances / 2, pairs, dimension=4096)
    np.testing.assert_allclose(np.sum(mined.negative, axis=1), 1, rtol=1e-5)


def test_the_mean_distance_of_negatives(distances, labels):
    other = labels[:, None] != labels[None]
    terms = mean_negative_distance(distances, table.pairs(labels))
    np.testing.assert_allclose(losses.mean(terms), distances[other].mean() if other.any() else 0, rtol=1e-6)
    np.testing.assert_array_equal(terms[0].counted, other.sum(1))


def test_settings_of_the_wrong_length_are_named():
    with pytest.raises(ValueError, match=r"margin has shape \(3,\)"):
        semihard(np.zeros((4, 4)), table.pairs(np.zeros(4, int)), margin=np.ones(3))
