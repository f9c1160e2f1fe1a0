import jax.numpy as jnp
import numpy as np
import pytest
from scipy.stats import spearmanr
from sklearn.metrics import roc_auc_score, roc_curve

from hypjax.retrieval import (
    area_under_risk_coverage,
    auroc,
    false_positive_rate,
    risk_coverage,
    spearman,
    uncertainty_quality,
)


def scores_with_ties(n=200, seed=0):
    rng = np.random.default_rng(seed)
    return (rng.integers(0, 12, n) / 12).astype(np.float32), rng.random(n) < 0.3


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_auroc_equals_scikit_learn_with_ties(seed):
    score, positive = scores_with_ties(seed=seed)
    assert auroc(score, positive) == pytest.approx(roc_auc_score(positive, score), abs=1e-6)


def test_auroc_keeps_its_digits_when_few_are_negative():
    rng = np.random.default_rng(0)
    score = rng.random(50_000).astype(np.float32)
    positive = np.arange(50_000) >= 7
    assert auroc(score, positive) == pytest.approx(roc_auc_score(positive, score), abs=1e-5)


def test_auroc_of_a_constant_is_chance_and_of_one_class_undefined():
    positive = np.array([True, False, False])
    assert auroc(np.ones(3, np.float32), positive) == 0.5
    assert np.isnan(auroc(np.arange(3.0, dtype=np.float32), np.zeros(3, bool)))
    assert np.isnan(auroc(np.arange(3.0, dtype=np.float32), np.ones(3, bool)))


def test_the_false_positive_rate_is_scikit_learns_at_the_first_threshold_that_finds_enough():
    for seed in range(5):
        score, positive = scores_with_ties(seed=seed)
        false, true, _ = roc_curve(positive, score, drop_intermediate=False)
        assert false_positive_rate(score, positive) == pytest.approx(false[np.argmax(true >= 0.95)])
    assert np.isnan(false_positive_rate(score, np.ones(200, bool)))
    with pytest.raises(ValueError, match=r"in \(0, 1\]"):
        false_positive_rate(score, positive, recall=0.0)


def test_auroc_turns_with_the_sign():
    score, positive = scores_with_ties()
    assert auroc(-score, positive) == pytest.approx(1 - auroc(score, positive), abs=1e-6)


def test_risk_coverage_equals_a_loop_without_ties():
    rng = np.random.default_rng(3)
    uncertainty, wrong = rng.permutation(30).astype(np.float32), rng.random(30) < 0.4
    order = np.argsort(uncertainty)
    risks = [np.mean(wrong[order[:i]]) for i in range(1, 31)]
    coverage, risk = risk_coverage(uncertainty, wrong)
    np.testing.assert_allclose(coverage, np.arange(1, 31) / 30, rtol=1e-6)
    np.testing.assert_allclose(risk, risks, rtol=1e-6)
    assert area_under_risk_coverage(uncertainty, wrong) == pytest.approx(np.mean(risks))


def test_risk_with_ties_is_the_mean_over_random_orders():
    rng = np.random.default_rng(4)
    uncertainty, wrong = scores_with_ties(n=20, seed=4)
    risks = []
    for _ in range(20_000):
        shuffled = rng.permutation(20)
        order = shuffled[np.argsort(uncertainty[shuffled], kind="stable")]
        risks.append(np.cumsum(wrong[order]) / np.arange(1, 21))
    np.testing.assert_allclose(risk_coverage(uncertainty, wrong)[1], np.mean(risks, axis=0), atol=0.01)


def test_a_constant_uncertainty_has_the_area_of_chance():
    wrong = np.array([True, False, False, True, False])
    assert area_under_risk_coverage(np.zeros(5, np.float32), wrong) == pytest.approx(0.4)


@pytest.mark.parametrize("seed", [0, 1])
def test_spearman_equals_scipy_with_ties(seed):
    a, _ = scores_with_ties(seed=seed)
    b = a + np.random.default_rng(seed).integers(-3, 4, len(a)).astype(np.float32)
    assert spearman(a, b) == pytest.approx(spearmanr(a, b).statistic, abs=1e-5)


def test_spearman_at_its_ends_and_of_a_constant():
    a = np.arange(50.0, dtype=np.float32)
    assert spearman(a, np.exp(a / 10)) == pytest.approx(1, abs=1e-6)
    assert spearman(a, -a) == pytest.approx(-1, abs=1e-6)
    assert np.isnan(spearman(a, np.ones(50, np.float32)))


def test_quality_is_that_of_each_score():
    rng = np.random.default_rng(5)
    wrong = rng.random(60) < 0.3
    uncertainty = rng.random(60).astype(np.float32)
    distances = np.sort(rng.random((60, 3)).astype(np.float32), axis=1)
    quality = {name: float(value) for name, value in uncertainty_quality(uncertainty, distances, wrong).items()}
    ratio = distances[:, 0] / distances[:, 1]
    for suffix, score in {
        "": uncertainty,
        "_nearest_distance": distances[:, 0],
        "_distance_ratio": ratio,
    }.items():
        assert quality[f"auroc{suffix}"] == pytest.approx(roc_auc_score(wrong, score), abs=1e-6)
        assert quality[f"aurc{suffix}"] == pytest.approx(area_under_risk_coverage(score, wrong))
    assert quality["aurc_random"] == pytest.approx(np.mean(wrong))
    assert quality["aurc_ideal"] < min(quality["aurc"], quality["aurc_random"])


def test_an_oracle_reaches_the_ideal():
    wrong = np.array([True, False, False, True, False, False])
    distances = np.ones((6, 2), np.float32)
    quality = uncertainty_quality(wrong.astype(np.float32), distances, wrong)
    assert quality["auroc"] == 1
    assert quality["aurc"] == quality["aurc_ideal"]
    assert quality["auroc_distance_ratio"] == 0.5


def test_duplicates_at_distance_zero_give_a_ratio_of_one():
    wrong = np.array([True, False])
    quality = uncertainty_quality(np.zeros(2, np.float32), np.array([[0, 0], [0.5, 1]], np.float32), wrong)
    assert quality["auroc_distance_ratio"] == 1


def test_a_single_neighbor_is_refused():
    with pytest.raises(ValueError, match="two neighbors, got 1"):
        uncertainty_quality(np.zeros(2, np.float32), np.zeros((2, 1), np.float32), np.zeros(2, bool))


def test_jax_arrays_are_taken_too():
    score, positive = scores_with_ties()
    assert auroc(jnp.asarray(score), jnp.asarray(positive)) == auroc(score, positive)


@pytest.mark.parametrize("unknown", [slice(None), slice(1)])
def test_nan_goes_in_and_comes_out(unknown):
    score, positive = np.arange(4.0), np.array([False, True, False, True])
    score[unknown] = np.nan
    assert np.isnan(auroc(score, positive))
    assert np.isnan(area_under_risk_coverage(score, positive))
    assert np.isnan(spearman(score, np.arange(4.0)))
