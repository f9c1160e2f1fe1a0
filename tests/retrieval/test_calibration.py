"""Scores of answers, and what some of the classes teach about the others."""

import json

import chex
import numpy as np
import pytest

from hypjax.retrieval import (
    Asked,
    Calibration,
    answer_scores,
    ask,
    auroc,
    calibrate_answers,
    deepest,
    false_positive_rate,
)


def world(classes, rng, each=5):
    """Answers whose distances and neighbors foretell them, by a class that is hard or easy."""
    hard = np.repeat(rng.normal(-1, 1.5, classes), each)
    wrong = rng.uniform(size=len(hard)) < 1 / (1 + np.exp(-hard))
    scores = np.column_stack([-hard + rng.normal(size=len(hard)), rng.normal(size=len(hard))])  # the lower, the harder
    removed = scores + np.array([0.0, 3.0])  # the second tells whether the class is there
    # A group above the class is right where the class is, and for half of the others.
    group = wrong & (rng.uniform(size=len(hard)) < 0.5)
    scores, wrong = np.stack([scores, scores]), np.stack([wrong, group])
    ranks = np.where(wrong[0], 2.0 + rng.poisson(4 / (1 + np.exp(-hard))), 1.0)
    return Asked(rng.uniform(size=len(hard)), scores, removed, wrong, ranks, np.repeat(np.arange(classes), each))


def test_scores_are_those_of_the_definition():
    u, d = np.array([0.3, 0.6]), np.array([[1.0, 2.0, 4.0, 8.0, 9.0, 9.5], [0.0, 0.0, 1.0, 1.0, 1.0, 1.0]])
    labels = np.array([[3, 3, 3, 5, 3, 6], [2, 2, 2, 2, 2, 2]])
    np.testing.assert_allclose(answer_scores(u, d), [[0.3, 1.0, 0.5], [0.6, 0.0, 1.0]])
    rest = [[7.0, 3 / 4], [1.0, 1.0]]
    np.testing.assert_allclose(answer_scores(u, d, labels)[:, 3:], rest)
    with pytest.raises(ValueError, match="two neighbors at least"):
        answer_scores(u, d[:, :1])


def test_what_queries_found_is_judged_at_each_level():
    """Six images of three classes, two of which are of one group; each finds all others, wherever they lie."""
    labels, ancestors = np.array([0, 0, 1, 1, 2, 2]), np.array([[0], [0], [1]])
    x = np.array([0.0, 1.0, 1.4, 3.0, 9.0, 9.5])
    apart = abs(x[:, None] - x) + np.diag(np.full(6, np.inf))
    found = np.argsort(apart, axis=1)[:, :5]
    asked = ask(np.full(6, 0.4), np.take_along_axis(apart, found, axis=1), labels[found], labels, ancestors)
    np.testing.assert_array_equal(asked.wrong, [[0, 1, 1, 0, 0, 0], [0, 0, 0, 0, 0, 0]])
    assert asked.scores.shape == (2, 6, 5)
    np.testing.assert_allclose(asked.scores[:, 0, 3], [0.4, 8.0])  # a rival of another class, of another group
    assert np.isnan(asked.removed).any(axis=1).all()  # fewer than ten others are left without the class
    np.testing.assert_array_equal(asked.ranks, [1, 2, 3, 1, 1, 1])
    few = asked.take(np.array([5, 1]))
    np.testing.assert_array_equal(few.classes, [2, 0])
    np.testing.assert_array_equal(few.wrong, asked.wrong[:, [5, 1]])


def test_the_sign_of_a_score_is_learned():
    made = calibrate_answers(world(400, np.random.default_rng(0)))
    others = world(400, np.random.default_rng(1))
    ranked, wrong = made.rank(others.scores), others.wrong[0]
    assert auroc(ranked[0], wrong) > 0.7 > 0.3 > auroc(others.scores[0][:, 0], wrong)
    np.testing.assert_array_equal(np.argsort(ranked[0]), np.argsort(made.probability(others.scores)))


def test_classes_that_prove_have_no_part_in_what_is_learned():
    """Whatever befalls the classes that prove changes neither scores nor thresholds."""
    asked = world(50, np.random.default_rng(2))
    made = calibrate_answers(asked)
    second = np.isin(asked.classes, made.classes)
    assert 0.65 < second.mean() < 0.85
    turned = calibrate_answers(asked._replace(wrong=np.where(second, ~asked.wrong, asked.wrong)))
    for one, other in zip(turned.rankings, made.rankings, strict=True):
        np.testing.assert_array_equal(one.weights, other.weights)
    np.testing.assert_array_equal(turned.thresholds, made.thresholds)
    np.testing.assert_array_equal(turned.wrong, ~made.wrong)


@pytest.mark.slow
def test_cross_fitted_each_quarter_is_judged_by_the_others():
    asked = world(22, np.random.default_rng(2))
    made = calibrate_answers(asked, cross_fit=True)
    np.testing.assert_array_equal(np.sort(made.classes), asked.classes)
    rows = np.concatenate([np.flatnonzero(asked.classes == name) for name in dict.fromkeys(made.classes)])
    np.testing.assert_array_equal(made.wrong, asked.wrong[:, rows])
    for name in np.unique(made.classes):
        turned = calibrate_answers(
            asked._replace(wrong=np.where(asked.classes == name, ~asked.wrong, asked.wrong)), cross_fit=True
        )
        kept = (turned.ranked == made.ranked).all(0)
        assert kept[made.classes == name].all()  # of the quarter that it is in
        assert 5 <= len(np.unique(made.classes[kept])) <= 6
    whole = calibrate_answers(asked)
    assert not np.array_equal(whole.rankings[0].weights, made.rankings[0].weights)  # all teach what queries meet


def test_a_class_that_is_not_there_is_noticed_and_few_that_are_there_are_taken_for_it():
    made = calibrate_answers(world(200, np.random.default_rng(5)))
    others = world(2000, np.random.default_rng(6))
    away = np.stack([others.removed, others.removed])
    assert 0.03 < made.nothing_like(others.scores).mean() < 0.07
    assert made.nothing_like(away).mean() > 0.85
    score = np.concatenate([made.absence(others.scores[0]), made.absence(others.removed)])
    assert false_positive_rate(score, np.repeat([False, True], len(others.classes))) < 0.12


@pytest.mark.slow
def test_the_right_class_is_among_so_many_answers_as_often_as_promised():
    """Over draws of calibration classes and queries together; and with fewer than one count for all would take."""
    others, held, given = world(3000, np.random.default_rng(9)), [], []
    for seed in range(40):
        made = calibrate_answers(world(200, np.random.default_rng(seed)), seed=seed)
        counts = made.answer_counts(others.scores, 0.1, most=10_000)
        held.append(np.mean(others.ranks <= counts))
        given.append(counts.mean())
    assert 0.895 < np.mean(held) < 0.93
    assert np.mean(given) < np.quantile(others.ranks, 0.9)
    few = calibrate_answers(world(8, np.random.default_rng(0)))
    assert set(few.answer_counts(others.scores, 0.1, most=77)) == {77}  # six classes prove nothing of one in ten


def test_it_is_kept_as_json_holds_it():
    asked = world(20, np.random.default_rng(7))
    made = calibrate_answers(asked._replace(ranks=np.where(asked.ranks > 4, np.inf, asked.ranks)))
    assert np.isinf(made.ranks).any()
    again = Calibration.from_dict(json.loads(json.dumps(made.as_dict(), allow_nan=False)))
    chex.assert_trees_all_equal(again, made)
    assert again.guarantee(0.4) == made.guarantee(0.4)


@pytest.mark.slow
def test_new_classes_are_answered_within_the_risk_as_often_as_promised():
    """By the first class alone, and by the first class or the group above it."""
    rng, kinds = np.random.default_rng(3), {"guarantee": 1, "level_guarantee": 2}
    others, broken, given = world(20_000, rng), dict.fromkeys(kinds, 0), {kind: [] for kind in kinds}
    for seed in range(200):
        made = calibrate_answers(world(300, rng), seed=seed)
        ranked = made.rank(others.scores)
        for kind, levels in kinds.items():
            found = getattr(made, kind)(0.2)
            level = deepest(ranked[:levels], -1.0 if found is None else found.threshold)
            level = np.where(level == levels, 2, level)
            answered = level < 2
            given[kind].append(answered.mean())
            wrong = np.take_along_axis(others.wrong, np.minimum(level, 1)[None], axis=0)[0]
            broken[kind] += answered.any() and wrong[answered].mean() > 0.2
    for kind, least in (("guarantee", 0.2), ("level_guarantee", 0.5)):
        assert broken[kind] / 200 <= 0.1 + 3 * (0.09 / 200) ** 0.5
        assert np.mean(given[kind]) > least


def test_where_nothing_is_known_of_missing_classes_none_is_said_to_be():
    asked = world(40, np.random.default_rng(8))
    made = calibrate_answers(asked._replace(removed=np.full_like(asked.removed, np.nan)))
    assert not made.nothing_like(asked.scores).any()
    held = json.loads(json.dumps(made.as_dict(), allow_nan=False))
    assert Calibration.from_dict(held).present_below == np.inf


def test_too_few_classes_are_refused():
    with pytest.raises(ValueError, match="3 classes are too few"):
        calibrate_answers(world(3, np.random.default_rng(4)))
