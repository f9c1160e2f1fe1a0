"""What a calibration promised, held against loops over queries that it has not seen."""

import numpy as np
import pytest

from hypjax.retrieval import calibrate_answers, promise_figures
from tests.retrieval.test_calibration import world


@pytest.fixture(scope="module")
def found():
    made, others = calibrate_answers(world(600, np.random.default_rng(0))), world(900, np.random.default_rng(1))
    return made, others, promise_figures(made, others, most=4500, level_names=("group",), risks=(0.2, 0.3))


@pytest.mark.parametrize("alpha", [0.2, 0.3])
def test_coverage_and_errors_are_those_of_a_loop(found, alpha):
    made, others, figures = found
    ranked, wrong = made.rank(others.scores), others.wrong
    for form, by_class in {"image": False, "class": True}.items():
        threshold = made.guarantee(alpha, by_class=by_class).threshold
        chance = made.level_guarantee(alpha, by_class=by_class).threshold
        given = {"": [], "level_": []}  # class, wrong
        for i, own in enumerate(others.classes):
            if ranked[0, i] <= threshold:
                given[""].append((own, wrong[0, i]))
            level = next((at for at in (0, 1) if ranked[at, i] <= chance), None)
            if level is not None:
                given["level_"].append((own, wrong[level, i]))
        for kind, answers in given.items():
            weights = [1 / np.sum(others.classes == own) if by_class else 1.0 for own, _ in answers]
            error = np.average([missed for _, missed in answers], weights=weights)
            assert figures[f"{kind}coverage_by_{form}@{alpha}"] == pytest.approx(len(answers) / len(wrong[0]))
            assert figures[f"{kind}error_by_{form}@{alpha}"] == pytest.approx(error)
            assert error < alpha + 0.03


def test_answers_that_are_needed_are_counted(found):
    made, others, figures = found
    counts = made.answer_counts(others.scores, 0.2, most=4500)
    assert figures["answers_needed@0.2"] == pytest.approx(sum(counts) / len(counts))
    hits = [rank <= count for rank, count in zip(others.ranks, counts, strict=True)]
    assert figures["answers_hold@0.2"] == pytest.approx(np.mean(hits))
    assert np.mean(hits) > 0.77


def test_levels_add_up_and_nothing_is_better_than_knowing_the_answers(found):
    made, others, figures = found
    for alpha in (0.2, 0.3):
        shares = {name: figures[f"level_share_{name}@{alpha}"] for name in ("class", "group")}
        assert sum(shares.values()) == pytest.approx(figures[f"level_coverage_by_image@{alpha}"])
        errors = sum(share * figures[f"level_error_{name}@{alpha}"] for name, share in shares.items())
        whole = figures[f"level_error_by_image@{alpha}"] * figures[f"level_coverage_by_image@{alpha}"]
        assert errors == pytest.approx(whole)
        assert figures[f"coverage_by_image@{alpha}"] <= figures[f"coverage_at_best@{alpha}"]
        assert figures[f"coverage_by_image@{alpha}"] < figures[f"level_coverage_by_image@{alpha}"]
    score = made.rank(others.scores)[0]
    best = max(n / len(score) for n, k in enumerate(np.cumsum(others.wrong[0][np.argsort(score)]), 1) if k <= 0.2 * n)
    assert figures["coverage_at_best@0.2"] == pytest.approx(best)


def test_where_nothing_is_proven_nothing_is_answered():
    few = calibrate_answers(world(8, np.random.default_rng(2)))
    figures = promise_figures(few, world(50, np.random.default_rng(3)), most=250, risks=(0.01,))
    assert figures["coverage_by_class@0.01"] == figures["error_by_class@0.01"] == 0
    assert not any(name.startswith("level_") for name in figures)
