import jax
import jax.numpy as jnp
import numpy as np
import pytest

from hypjax import losses
from hypjax.mining import easy_positive, hard_positive
from tests.losses import table


def loop(distances, labels, better):
    """One classmate for each anchor, the first of the best."""
    weights = np.zeros_like(distances)
    for i in range(len(labels)):
        best = None
        for j in range(len(labels)):
            if j != i and labels[j] == labels[i] and (best is None or better(distances[i, j], distances[i, best])):
                best = j
        if best is not None:
            weights[i, best] = 1
    return weights


@pytest.mark.parametrize(
    ("miner", "better"), [(easy_positive, lambda d, best: d < best), (hard_positive, lambda d, best: d > best)]
)
def test_they_choose_what_the_loop_chooses(miner, better, distances, labels):
    mined = jax.jit(miner)(distances, table.pairs(labels))
    np.testing.assert_array_equal(mined.positive, loop(distances, labels, better))
    np.testing.assert_array_equal(mined.negative, labels[:, None] != labels[None])
    assert (mined.one_positive, mined.one_negative) == (True, False)


def test_of_duplicates_the_first_is_taken_and_never_the_image_itself():
    mined = jax.jit(easy_positive)(np.zeros((4, 4)), table.pairs(np.zeros(4, int)))
    np.testing.assert_array_equal(mined.positive, np.eye(4)[[1, 0, 0, 0]])


def test_two_samples_of_a_class_leave_easy_positives_no_choice():
    """EPS changes nothing for triplets then, as its authors say."""
    x = np.random.default_rng(1).normal(size=(8, 3)).astype(np.float32)

    @jax.jit
    def run(x, labels):
        def values(x):
            distances, pairs = jnp.square(x[:, None] - x[None]).sum(-1), table.pairs(labels)
            return [losses.mean(losses.triplet(distances, each)) for each in (easy_positive(distances, pairs), pairs)]

        return values(x), jax.jacrev(values)(x)

    values, gradients = run(x, np.arange(8) // 2)
    np.testing.assert_allclose(*values, rtol=1e-6)
    np.testing.assert_allclose(*gradients, atol=1e-6)
    mined, plain = run(x, np.arange(8) // 4)[0]
    assert abs(mined - plain) > 0.1
