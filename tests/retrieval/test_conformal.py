"""Numbers of answers: the quantile is the one of the definition, and the right answer is there as often as said."""

import math

import numpy as np
import pytest

from hypjax.retrieval import answer_counts, conformal_quantile


def test_the_quantile_is_the_one_of_the_definition():
    rng = np.random.default_rng(0)
    for n in (1, 9, 10, 57):
        ranks, weights = rng.integers(1, 50, n), rng.uniform(0.1, 3, n)
        for alpha in (0.05, 0.1, 0.5):
            at = math.ceil(round((n + 1) * (1 - alpha), 9))
            expected = np.sort(ranks / weights)[at - 1] if at <= n else math.inf
            assert conformal_quantile(ranks, weights, alpha=alpha) == expected
            one_each = conformal_quantile(ranks, weights, alpha=alpha, classes=rng.permutation(n))
            assert one_each == expected


@pytest.mark.slow
@pytest.mark.parametrize("alpha", [0.1, 0.3])
def test_the_right_answer_is_among_them_as_often_as_said(alpha):
    """Images of one kind, of which the more uncertain have their right answer further down."""
    rng, held, counts = np.random.default_rng(1), 0, []
    for _ in range(2000):
        u = rng.uniform(size=100)
        ranks, weights = rng.geometric(1 - 0.8 * u), 1 / (1 - 0.8 * u)
        q = conformal_quantile(ranks[:-1], weights[:-1], alpha=alpha)
        (count,) = answer_counts(q, weights[-1:])
        held, counts = held + (ranks[-1] <= count), [*counts, (u[-1], count)]
    assert held / 2000 >= 1 - alpha - 3 * (alpha * (1 - alpha) / 2000) ** 0.5
    counts = np.array(counts)
    assert counts[counts[:, 0] > 0.8, 1].mean() > 1.5 * counts[counts[:, 0] < 0.2, 1].mean()


def test_new_classes_need_the_form_of_classes():
    """Classes of very different sizes that are easy or hard as a whole."""
    rng, held = np.random.default_rng(2), {"images": 0, "classes": 0}
    for _ in range(1000):
        hard = rng.uniform(size=31) < 0.25
        sizes = np.where(hard, 2, 20)
        classes, ranks = np.repeat(np.arange(30), sizes[:30]), np.repeat(np.where(hard, 9, 1)[:30], sizes[:30])
        for form, given in (("images", None), ("classes", classes)):
            held[form] += (9 if hard[30] else 1) <= conformal_quantile(ranks, alpha=0.2, classes=given)
    assert held["images"] / 1000 < 0.8 - 3 * 0.0127
    assert held["classes"] / 1000 >= 0.8 - 3 * 0.0127


def test_a_class_that_the_gallery_lacks_is_never_found():
    ranks = np.array([1, 1, math.inf, math.inf])
    assert conformal_quantile(ranks, alpha=0.5) == math.inf
    assert answer_counts(math.inf, np.ones(2), most=7).tolist() == [7, 7]
    assert answer_counts(3.0, np.array([1.0, 9.0, 0.01]), most=7).tolist() == [3, 7, 1]
    with pytest.raises(ValueError, match="how many answers"):
        answer_counts(math.inf, np.ones(2))


@pytest.mark.parametrize(
    ("ranks", "weights", "alpha", "message"),
    [
        ([1], [1.0], 1.0, "alpha must lie in"),
        ([0], [1.0], 0.1, "ranks count from 1"),
        ([1], [0.0], 0.1, "weights are positive"),
        ([math.nan], [1.0], 0.1, "ranks count from 1"),
    ],
)
def test_what_is_out_of_range_is_named(ranks, weights, alpha, message):
    with pytest.raises(ValueError, match=message):
        conformal_quantile(np.array(ranks), np.array(weights), alpha=alpha)
