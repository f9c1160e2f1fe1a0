"""Whether answers keep what a calibration promised of them, on queries of classes that it has not seen."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Int

from hypjax.retrieval.asking import Asked
from hypjax.retrieval.calibration import Calibration, answered_at
from hypjax.retrieval.probability import calibration_error
from hypjax.retrieval.uncertainty import auroc, false_positive_rate, risk_coverage

RISKS = (0.05, 0.1, 0.2)
FORMS = {"image": False, "class": True}  # what weighs alike


def promise_figures(
    calibration: Calibration,
    asked: Asked,
    *,
    most: int,
    level_names: Sequence[str] = (),
    risks: Sequence[float] = RISKS,
    delta: float = 0.1,
) -> dict[str, float]:
    """What was promised, and what came out.

    Args:
        calibration: Of the same model and gallery.
        asked: Queries of classes that it was not made from.
        most: Images in the gallery, of which each query may find so many.
        level_names: Of the levels above the classes, nearest first.
        risks: Each in (0, 1).
        delta: How likely a guarantee may fail.

    Returns:
        `calibration_error` of the chance of being wrong and `calibration_error_before_search`; `answer_auroc`, how well
        the scores that are joined foretell a wrong answer; `nothing_like_auroc` and `nothing_like_fpr` (where 95 % are
        noticed) of telling queries whose class was taken out of the gallery from the others, and the same for the
        distance alone. For each risk and form, `coverage_by_image@0.1` and `error_by_image@0.1`: the share of queries
        that is answered and the share of wrong ones among these, classes weighing alike in `error_by_class`;
        `coverage_at_best@0.1`, of the threshold that one would choose who knew the answers. `answers_needed@0.1` and
        `answers_hold@0.1`: how many answers a query is given, in the mean, for the right class to be among them with
        probability 0.9, and the share where it is. With a hierarchy
        `level_coverage_by_image@0.1` and `level_error_by_image@0.1` of answers at the deepest level that is sure
        enough, and of those by image `level_share_NAME@0.1` and `level_error_NAME@0.1` of each level.
    """
    wrong, scores = asked.wrong[0], asked.scores
    score, told = calibration.rank(scores), calibration.probability(scores)
    known = np.isfinite(asked.removed).all(1)
    gone = np.repeat([False, True], [len(wrong), known.sum()])
    unlike = np.concatenate([calibration.absence(scores[0]), calibration.absence(asked.removed[known])])
    far = np.concatenate([scores[0][:, 1], asked.removed[known][:, 1]])
    figures = {
        "calibration_error": calibration_error(told, wrong),
        "calibration_error_before_search": calibration_error(calibration.before(asked.uncertainty[:, None]), wrong),
        "answer_auroc": auroc(score[0], wrong),
        "nothing_like_auroc": auroc(unlike, gone),
        "nothing_like_fpr": false_positive_rate(unlike, gone),
        "nothing_like_auroc_nearest_distance": auroc(far, gone),
        "nothing_like_fpr_nearest_distance": false_positive_rate(far, gone),
    }
    coverage, risk = risk_coverage(score[0], wrong)
    names = ("class", *level_names)
    for alpha in risks:
        counts = calibration.answer_counts(scores, alpha, most=most)
        figures[f"answers_needed@{alpha:g}"] = counts.mean()
        figures[f"answers_hold@{alpha:g}"] = ((asked.ranks <= counts) | (counts >= most)).mean()
        for form, by_class in FORMS.items():
            found = calibration.guarantee(alpha, delta=delta, by_class=by_class)
            given = score[0] <= (-np.inf if found is None else found.threshold)
            figures[f"coverage_by_{form}@{alpha:g}"] = given.mean()
            figures[f"error_by_{form}@{alpha:g}"] = error(given, wrong, asked.classes if by_class else None)
            if not level_names:
                continue
            found = calibration.level_guarantee(alpha, delta=delta, by_class=by_class)
            level, missed = answered_at(score, asked.wrong, -np.inf if found is None else found.threshold)
            given = level < len(names)
            figures[f"level_coverage_by_{form}@{alpha:g}"] = given.mean()
            figures[f"level_error_by_{form}@{alpha:g}"] = error(given, missed, asked.classes if by_class else None)
            if not by_class:
                for number, name in enumerate(names):
                    figures[f"level_share_{name}@{alpha:g}"] = (level == number).mean()
                    figures[f"level_error_{name}@{alpha:g}"] = error(level == number, missed)
        figures[f"coverage_at_best@{alpha:g}"] = coverage[risk <= alpha].max(initial=0.0)
    return {name: float(value) for name, value in figures.items()}


def error(
    given: Bool[np.ndarray, "n"], wrong: Bool[np.ndarray, "n"], classes: Int[np.ndarray, "n"] | None = None
) -> float:
    """The share of wrong answers among those that are given; 0 where none is.

    Example:
        >>> given, wrong = np.array([True, True, True, False]), np.array([True, False, False, True])
        >>> round(error(given, wrong), 3), round(error(given, wrong, np.array([0, 1, 1, 1])), 3)
        (0.333, 0.6)

    Args:
        given: Which are.
        wrong: Which are wrong.
        classes: Of each query, to weigh alike; None for queries that do.
    """
    weights = np.ones(len(given)) if classes is None else 1 / np.bincount(classes)[classes]
    total = weights[given].sum()
    return float(weights[given & wrong].sum() / total) if total else 0.0
