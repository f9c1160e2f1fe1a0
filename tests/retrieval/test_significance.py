import itertools
import math

import numpy as np
import pytest
from scipy import stats

from hypjax.retrieval import significance
from hypjax.retrieval.significance import holm, paired_bootstrap, paired_permutation_test, paired_t_test, summarize


def pairs(n, seed=0, shift=0.3):
    rng = np.random.default_rng(seed)
    return rng.normal(size=n) + shift, rng.normal(size=n)


def test_summary_by_hand():
    mean, std, n = summarize(np.array([1.0, 2.0, 4.0, 5.0]))
    assert (mean, n) == (3.0, 4)
    assert std == pytest.approx(math.sqrt(10 / 3))


def test_one_value_has_no_spread_and_none_no_mean():
    mean, std, n = summarize(np.array([0.5]))
    assert (mean, n) == (0.5, 1)
    assert math.isnan(std)
    assert math.isnan(summarize(np.array([], np.float64)).mean)


@pytest.mark.parametrize("n", [2, 3, 5, 40])
@pytest.mark.parametrize("confidence", [0.95, 0.8])
def test_t_test_equals_scipy(n, confidence):
    a, b = pairs(n, seed=n)
    found, expected = paired_t_test(a, b, confidence=confidence), stats.ttest_rel(a, b)
    interval = expected.confidence_interval(confidence)
    np.testing.assert_allclose(found[:4], [(a - b).mean(), *interval, expected.pvalue], rtol=1e-10)
    assert found.n == n


def test_t_test_by_hand():
    # Differences 1, 2, 3: t = 2 / (1 / √3), and with two degrees of freedom P(|T| > t) = 1 − t / √(2 + t²).
    t = 2 * math.sqrt(3)
    found = paired_t_test(np.array([1.0, 2.0, 3.0]), np.zeros(3))
    assert found.mean == 2.0
    assert found.p == pytest.approx(1 - t / math.sqrt(2 + t**2))
    assert found.high - found.mean == pytest.approx(4.302652729911275 / math.sqrt(3))  # from a table: t(0.975, 2)


def test_the_interval_touches_zero_where_p_is_its_level():
    a, b = pairs(6)
    p = paired_t_test(a, b).p
    found = paired_t_test(a, b, confidence=1 - p)
    assert min(abs(found.low), abs(found.high)) == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize("shift", [0.0, 0.1])
def test_equal_differences_give_no_p_value(shift):
    b = np.array([0.2, 0.3, 0.7])
    found = paired_t_test(b + shift, b)  # equal on paper, not in the last bit
    assert found.mean == pytest.approx(shift)
    assert found.low == found.high == found.mean
    assert math.isnan(found.p)


def test_nan_stays_nan():
    a, b = pairs(4)
    a[1] = math.nan
    assert math.isnan(paired_t_test(a, b).p)
    assert math.isnan(paired_t_test(a, b).mean)
    assert math.isnan(paired_permutation_test(a, b))
    assert all(map(math.isnan, paired_bootstrap(a, b)))
    assert math.isnan(summarize(a).std)


@pytest.mark.parametrize("n", [2, 3, 8])
def test_few_pairs_are_permuted_exhaustively(n):
    a, b = pairs(n, seed=n, shift=0.8)
    sums = [abs(np.dot(signs, a - b)) for signs in itertools.product((-1, 1), repeat=n)]
    expected = np.mean([s >= abs((a - b).sum()) - 1e-12 for s in sums])
    assert paired_permutation_test(a, b) == pytest.approx(expected)


def test_permutation_equals_scipy():
    a, b = pairs(9, shift=0.7)
    expected = stats.permutation_test(
        (a, b), lambda x, y, axis: (x - y).mean(axis), permutation_type="samples", vectorized=True, n_resamples=np.inf
    )
    assert paired_permutation_test(a, b) == pytest.approx(expected.pvalue)


def test_ties_of_sums_count_as_extreme():
    # All four sign patterns give ±0.3 or ±0.1: two of them reach the observed 0.1 + 0.2.
    assert paired_permutation_test(np.array([0.1, 0.2]), np.zeros(2)) == 0.5
    assert paired_permutation_test(np.array([0.2, -0.2, 0.0]), np.zeros(3)) == 1.0


def test_many_pairs_are_drawn_and_repeat_by_seed(monkeypatch):
    a, b = pairs(40, shift=0.5)
    p = paired_permutation_test(a, b, seed=1)
    assert p == pytest.approx(paired_t_test(a, b).p, rel=0.25)
    assert p == paired_permutation_test(a, b, seed=1)
    assert p != paired_permutation_test(a, b, seed=2)
    assert paired_permutation_test(a + 9, b, resamples=99) == 0.01
    exact = paired_permutation_test(a[:10], b[:10])
    monkeypatch.setattr(significance, "DRAWN", 1000)  # a hundred rows at once
    drawn = paired_permutation_test(a[:10], b[:10], resamples=1000)
    assert drawn != exact
    assert drawn == pytest.approx(exact, abs=0.05)


def test_bootstrap_agrees_with_theory_and_scipy():
    a, b = pairs(400)
    low, high = paired_bootstrap(a, b)
    margin = 1.959964 * (a - b).std(ddof=1) / 20
    np.testing.assert_allclose([low, high], (a - b).mean() + np.array([-margin, margin]), atol=0.1 * margin)
    expected = stats.bootstrap((a - b,), np.mean, method="percentile", n_resamples=4000).confidence_interval
    np.testing.assert_allclose([low, high], expected, atol=0.1 * margin)
    assert paired_bootstrap(a, b, seed=5) == paired_bootstrap(a, b, seed=5) != (low, high)


def test_holm_by_hand():
    np.testing.assert_allclose(holm([0.01, 0.04, 0.03, 0.005]), [0.03, 0.06, 0.06, 0.02])
    assert holm([]) == []
    assert holm([0.9, 0.8]) == [1.0, 1.0]
    assert holm([0.02]) == [0.02]


def test_holm_is_the_closed_bonferroni_test():
    given = np.random.default_rng(0).uniform(0, 0.4, 5)
    subsets = [s for size in range(1, 6) for s in itertools.combinations(range(5), size)]
    expected = [max(min(1, len(s) * given[list(s)].min()) for s in subsets if i in s) for i in range(5)]
    np.testing.assert_allclose(holm(given.tolist()), expected)


def test_holm_leaves_out_tests_that_were_not_made():
    found = holm([0.01, math.nan, 0.04])
    np.testing.assert_allclose(found, [0.02, math.nan, 0.04])


@pytest.mark.parametrize("function", [paired_t_test, paired_permutation_test, paired_bootstrap])
def test_one_pair_is_refused(function):
    with pytest.raises(ValueError, match="needs two pairs, got 1"):
        function(np.ones(1), np.zeros(1))


@pytest.mark.parametrize("function", [paired_t_test, paired_bootstrap])
def test_confidence_is_a_share(function):
    with pytest.raises(ValueError, match="got 95"):
        function(*pairs(3), confidence=95.0)


def test_unpaired_values_are_refused():
    with pytest.raises(ValueError, match="got 3 and 2"):
        significance._pairs(np.ones(3), np.ones(2))
