"""Probabilities: the fit is logistic regression, and what is told is what is seen."""

import json

import numpy as np
import pytest
from scipy.special import expit
from sklearn.linear_model import LogisticRegression

from hypjax.retrieval import Probability, calibration_error, cross_fitted, fit_probability, reliability


def drawn(n, seed=0, weights=(1.5, -0.5, 0.0), bias=-1.0):
    rng = np.random.default_rng(seed)
    scores = rng.normal(size=(n, 3)) * [1.0, 20.0, 0.01] + [0.0, 7.0, -3.0]
    x = (scores - [0.0, 7.0, -3.0]) / [1.0, 20.0, 0.01]
    return scores, rng.uniform(size=n) < expit(bias + x @ weights)


@pytest.mark.parametrize("penalty", [0.1, 1.0, 30.0])
def test_it_is_logistic_regression(penalty):
    scores, wrong = drawn(300)
    fitted = fit_probability(scores, wrong, penalty=penalty)
    x = (scores - scores.mean(0)) / scores.std(0)
    padded, labels = np.concatenate([x, np.zeros((2, 3))]), np.concatenate([wrong, [True, False]])
    reference = LogisticRegression(C=1 / penalty, tol=1e-10, max_iter=10_000)
    reference.fit(padded, labels, sample_weight=np.append(np.ones(300), [0.5, 0.5]))
    np.testing.assert_allclose(fitted(scores), reference.predict_proba(x)[:, 1], atol=1e-5)


def test_the_unit_and_the_sign_of_a_score_do_not_matter():
    scores, wrong = drawn(200)
    turned = fit_probability(-1000 * scores + 5, wrong)(-1000 * scores + 5)
    np.testing.assert_allclose(turned, fit_probability(scores, wrong)(scores), atol=1e-6)


def test_it_tells_of_others_what_is_seen():
    fitted = fit_probability(*drawn(5000))
    scores, wrong = drawn(50_000, seed=1)
    assert calibration_error(fitted(scores), wrong) < 0.015
    assert calibration_error(np.full(len(wrong), 0.9), wrong) > 0.5


def test_a_constant_score_and_a_single_outcome_are_finite():
    scores, wrong = drawn(100)
    constant = np.column_stack([scores[:, 0], np.full(100, 3.0)])
    fitted = fit_probability(constant, wrong)
    assert fitted.weights[1] == 0
    moved = np.column_stack([scores[:, 0], np.full(100, 99.0)])
    np.testing.assert_allclose(fitted(moved), fit_probability(scores[:, :1], wrong)(scores[:, :1]), atol=1e-6)
    assert 0 < fit_probability(scores, np.zeros(100, bool))(scores).max() < 0.05
    assert 1 > fit_probability(scores, np.ones(100, bool))(scores).min() > 0.95


def test_it_comes_back_from_json():
    scores, wrong = drawn(100)
    fitted = fit_probability(scores, wrong)
    again = Probability.from_dict(json.loads(json.dumps(fitted.as_dict())))
    np.testing.assert_array_equal(again(scores), fitted(scores))


def test_no_class_is_told_of_by_itself():
    """Labels without any pattern but that of the class: who sees it looks right, who does not is a coin."""
    rng = np.random.default_rng(2)
    classes = np.repeat(np.arange(30), 10)
    scores, wrong = np.eye(30)[classes], (rng.uniform(size=30) < 0.5)[classes]
    assert calibration_error(fit_probability(scores, wrong, penalty=0.01)(scores), wrong) < 0.05
    held_out = cross_fitted(scores, wrong, classes, penalty=0.01)
    assert all(len(np.unique(held_out[classes == c].round(6))) == 1 for c in range(30))
    share = [wrong[~np.isin(classes, classes[held_out == p])].mean() for p in np.unique(held_out)]
    assert np.abs(np.unique(held_out) - share).max() < 0.1
    with pytest.raises(ValueError, match="30 classes can't be divided into 31 folds"):
        cross_fitted(scores, wrong, classes, folds=31)


def test_bins_are_as_wide_as_each_other_and_the_last_takes_one():
    told, seen, counts = reliability(np.array([0.0, 0.09, 0.5, 1.0]), np.array([True, False, True, True]), bins=10)
    assert counts.tolist() == [2, 0, 0, 0, 0, 1, 0, 0, 0, 1]
    assert (told[0], seen[0], seen[9]) == (0.045, 0.5, 1.0)
    assert np.isnan(told[1])
    assert np.isnan(calibration_error(np.zeros(0), np.zeros(0, bool)))


@pytest.mark.parametrize("wild", [-0.1, 1.1, np.nan])
def test_what_is_no_probability_is_refused(wild):
    with pytest.raises(ValueError, match=r"in \[0, 1\]"):
        reliability(np.array([wild]), np.array([True]))
    with pytest.raises(ValueError, match="finite"):
        fit_probability(np.array([[np.nan]]), np.array([True]))
