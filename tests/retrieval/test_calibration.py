"""Scores of answers, and what half of the classes teaches about the other."""

import numpy as np
import pytest

from hypjax.retrieval import answer_scores, auroc, calibrate_answers, false_positive_rate


def world(classes, rng, each=5):
    """Answers whose distances and neighbors foretell them, by a class that is hard or easy."""
    hard = np.repeat(rng.normal(-1, 1.5, classes), each)
    wrong = rng.uniform(size=len(hard)) < 1 / (1 + np.exp(-hard))
    scores = np.column_stack([-hard + rng.normal(size=len(hard)), rng.normal(size=len(hard))])  # the lower, the harder
    removed = scores + np.array([0.0, 3.0])  # the second tells whether the class is there
    return rng.uniform(size=len(hard)), scores, removed, wrong, np.repeat(np.arange(classes), each)


def test_scores_are_those_of_the_definition():
    u, d = np.array([0.3, 0.6]), np.array([[1.0, 2.0, 4.0, 8.0, 9.0, 9.5], [0.0, 0.0, 1.0, 1.0, 1.0, 1.0]])
    labels = np.array([[3, 3, 3, 5, 3, 6], [2, 2, 2, 2, 2, 2]])
    np.testing.assert_allclose(answer_scores(u, d), [[0.3, 1.0, 0.5], [0.6, 0.0, 1.0]])
    rest = [[1 / 8, 3 / 4], [0.0, 1.0]]
    np.testing.assert_allclose(answer_scores(u, d, labels)[:, 3:], rest)
    with pytest.raises(ValueError, match="two neighbors at least"):
        answer_scores(u, d[:, :1])


def test_the_sign_of_a_score_is_learned():
    u, scores, removed, wrong, classes = world(400, np.random.default_rng(0))
    made = calibrate_answers(u, scores, removed, wrong, classes)
    _, others, _, missed, _ = world(400, np.random.default_rng(1))
    assert auroc(made.ranking(others), missed) > 0.7 > 0.3 > auroc(others[:, 0], missed)
    np.testing.assert_array_equal(np.argsort(made.ranking(others)), np.argsort(made.probability(others)))


def test_one_half_has_no_part_in_what_the_other_proves():
    """Whatever befalls the classes of the second half changes neither scores nor thresholds."""
    u, scores, removed, wrong, classes = world(50, np.random.default_rng(2))
    made = calibrate_answers(u, scores, removed, wrong, classes)
    second = np.isin(classes, made.classes)
    assert 0.4 < second.mean() < 0.6
    turned = calibrate_answers(u, scores, removed, np.where(second, ~wrong, wrong), classes)
    np.testing.assert_array_equal(turned.ranking.weights, made.ranking.weights)
    np.testing.assert_array_equal(turned.thresholds, made.thresholds)
    np.testing.assert_array_equal(turned.wrong, ~made.wrong)


def test_a_class_that_is_not_there_is_noticed_and_few_that_are_there_are_taken_for_it():
    made = calibrate_answers(*world(200, np.random.default_rng(5)))
    _, there, away, _, _ = world(2000, np.random.default_rng(6))
    assert 0.03 < made.nothing_like(there).mean() < 0.07
    assert made.nothing_like(away).mean() > 0.85
    score = np.concatenate([made.absence(there), made.absence(away)])
    assert false_positive_rate(score, np.repeat([False, True], len(there))) < 0.12


@pytest.mark.slow
def test_new_classes_are_answered_within_the_risk_as_often_as_promised():
    rng, broken, given = np.random.default_rng(3), 0, 0
    _, others, _, missed, _ = world(20_000, rng)
    for seed in range(200):
        made = calibrate_answers(*world(300, rng), seed=seed)
        found = made.guarantee(0.2)
        answered = made.ranking(others) <= (found.threshold if found else -1)
        given += answered.any()
        broken += answered.any() and missed[answered].mean() > 0.2
    assert broken / 200 <= 0.1 + 3 * (0.09 / 200) ** 0.5
    assert given > 100


def test_too_few_classes_are_refused():
    with pytest.raises(ValueError, match="3 classes are too few"):
        calibrate_answers(*world(3, np.random.default_rng(4)))
