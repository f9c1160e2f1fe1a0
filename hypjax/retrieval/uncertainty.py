"""Does an uncertainty tell the truth: ranking of failures, risk against coverage, plain baselines.

Ties are treated fairly everywhere: the figures are the expectation over random orders of equal values, so a
constant uncertainty scores exactly as a coin does. All of it runs on the host, in NumPy and float64.
"""

import numpy as np
from jaxtyping import Array, Bool, Float, Shaped


def auroc(score: Shaped[Array | np.ndarray, "n"], positive: Bool[Array | np.ndarray, "n"]) -> float:
    """Area under the ROC curve: how often a positive scores above a negative, ties counting one half.

    P(s₊ > s₋) + ½ P(s₊ = s₋)

    Example:
        >>> auroc(np.array([0.9, 0.4, 0.4, 0.1]), np.array([True, True, False, False]))
        0.875

    Args:
        score: Larger means more likely positive; here an uncertainty.
        positive: What the score should find; here "the nearest neighbor is wrong".

    Returns:
        A value in [0, 1]; 0.5 is chance. nan when no item, or every item, is positive: no pair to rank; and when a
        single score is nan, which ranks nowhere.
    """
    score, positive = np.asarray(score), np.asarray(positive)
    if positive.all() or not positive.any() or np.isnan(score).any():
        return float("nan")
    negatives = np.sort(score[~positive])
    below = np.searchsorted(negatives, score[positive], side="left")
    up_to = np.searchsorted(negatives, score[positive], side="right")
    return float(np.mean(below + up_to) / (2 * len(negatives)))


def false_positive_rate(
    score: Shaped[Array | np.ndarray, "n"], positive: Bool[Array | np.ndarray, "n"], *, recall: float = 0.95
) -> float:
    """Share of the negatives that score as high as a threshold which finds a share of the positives: FPR at 95 %.

    Example:
        >>> false_positive_rate(np.array([0.9, 0.8, 0.7, 0.2]), np.array([True, False, True, False]))
        0.5

    Args:
        score: Larger means more likely positive.
        positive: What the score should find; here "the class is not in the gallery".
        recall: The share of the positives that is to be found, in (0, 1].

    Returns:
        A value in [0, 1], smaller is better; nan without positives or negatives, or when a score is nan.

    Raises:
        ValueError: a recall outside of (0, 1].
    """
    if not 0 < recall <= 1:
        raise ValueError(f"recall must lie in (0, 1]; got {recall}")
    score, positive = np.asarray(score), np.asarray(positive)
    if positive.all() or not positive.any() or np.isnan(score).any():
        return float("nan")
    found = np.sort(score[positive])[::-1]
    threshold = found[int(np.ceil(recall * len(found) - 1e-9)) - 1]
    return float((score[~positive] >= threshold).mean())


def risk_coverage(
    uncertainty: Shaped[Array | np.ndarray, "n"], wrong: Bool[Array | np.ndarray, "n"]
) -> tuple[Float[np.ndarray, "n"], Float[np.ndarray, "n"]]:
    """Error rate of the most certain queries, as ever more of them are answered.

    coverage_i = i/n,   risk_i = (wrong answers among the i most certain queries) / i

    Example:
        >>> wrong = np.array([False, False, True, False])
        >>> coverage, risk = risk_coverage(np.array([0.1, 0.5, 0.9, 0.7]), wrong)
        >>> coverage.tolist(), risk.tolist()
        ([0.25, 0.5, 0.75, 1.0], [0.0, 0.0, 0.0, 0.25])

    Args:
        uncertainty: Larger is answered later.
        wrong: Whether the answer to each query is wrong.

    Returns:
        Coverage (0, 1] and risk [0, 1], both [n]. The last risk is the plain error rate. All risks are nan when a
        single uncertainty is: nobody knows when it is answered.

    References:
        Geifman and El-Yaniv, Selective Classification for Deep Neural Networks, NeurIPS 2017.
    """
    uncertainty, wrong = np.asarray(uncertainty), np.asarray(wrong)
    order = np.argsort(uncertainty)
    ordered = uncertainty[order]
    errors = np.concatenate([[0], np.cumsum(wrong[order])])
    answered = np.arange(1, len(wrong) + 1)
    if np.isnan(uncertainty).any():
        return answered / len(wrong), np.full(len(wrong), np.nan)
    start = np.searchsorted(ordered, ordered, side="left")
    stop = np.searchsorted(ordered, ordered, side="right")
    # Among equals no order is better than another: errors arrive at the rate of their group.
    rate = (errors[stop] - errors[start]) / (stop - start)
    return answered / len(wrong), (errors[start] + (answered - start) * rate) / answered


def area_under_risk_coverage(
    uncertainty: Shaped[Array | np.ndarray, "n"], wrong: Bool[Array | np.ndarray, "n"]
) -> float:
    """Mean of the risk over all coverages, in [0, 1]; smaller is better, the error rate is chance.

    1/n Σ_i risk_i;  nan without queries, or when an uncertainty is.

    Example:
        >>> area_under_risk_coverage(np.array([0.1, 0.9]), np.array([False, True]))
        0.25
    """
    return float(risk_coverage(uncertainty, wrong)[1].mean()) if len(wrong) else float("nan")


def spearman(a: Shaped[Array | np.ndarray, "n"], b: Shaped[Array | np.ndarray, "n"]) -> float:
    """Rank correlation in [−1, 1]: Pearson's correlation of midranks, so equal values share a rank.

    Example:
        >>> round(spearman(np.array([0.0, 1.0, 2.0, 3.0]), np.array([0.1, 0.1, 0.4, 9.0])), 4)
        0.9487

    Args:
        a: For example the level of a corruption.
        b: For example the uncertainty.

    Returns:
        The correlation; nan when either side is constant or holds a nan.
    """
    from scipy.stats import spearmanr  # type: ignore[import-untyped]  # half a second, which few need

    a, b = np.asarray(a), np.asarray(b)
    constant = np.all(a == a[:1]) or np.all(b == b[:1])
    return float("nan") if constant else float(spearmanr(a, b).statistic)


def uncertainty_quality(
    uncertainty: Float[Array | np.ndarray, "n"],
    neighbor_distances: Float[Array | np.ndarray, "n k"],
    wrong: Bool[Array | np.ndarray, "n"],
) -> dict[str, float]:
    """Judge an uncertainty against what distances alone already say.

    The baselines need no training: the distance d₁ to the nearest neighbor, and the ratio d₁/d₂ of first to
    second distance (1 when both are 0). An uncertainty that does not beat them tells nothing new.

    Args:
        uncertainty: In [0, 1], 1 the most uncertain.
        neighbor_distances: Distances to the nearest neighbors, at least two, nearest first.
        wrong: Whether the nearest neighbor is of another class.

    Returns:
        `auroc` and `aurc` (area under the risk–coverage curve) of the uncertainty, and each with the suffixes
        `_nearest_distance` and `_distance_ratio`; for reference `aurc_ideal`, all failures most uncertain,
        and `aurc_random`, the error rate. AUROC is nan where no answer, or every answer, is wrong.

    Raises:
        ValueError: fewer than two neighbor distances.
    """
    neighbor_distances, wrong = np.asarray(neighbor_distances), np.asarray(wrong)
    if neighbor_distances.shape[1] < 2:
        raise ValueError(f"the distance ratio needs two neighbors, got {neighbor_distances.shape[1]}: use k ≥ 2")
    scores = {
        "": np.asarray(uncertainty),
        "_nearest_distance": neighbor_distances[:, 0],
        "_distance_ratio": distance_ratio(neighbor_distances),
    }
    return {
        **{f"auroc{name}": auroc(score, wrong) for name, score in scores.items()},
        **{f"aurc{name}": area_under_risk_coverage(score, wrong) for name, score in scores.items()},
        "aurc_ideal": area_under_risk_coverage(wrong, wrong),
        "aurc_random": float(wrong.mean()) if len(wrong) else float("nan"),
    }


def distance_ratio(neighbor_distances: Float[Array | np.ndarray, "n k"]) -> Float[np.ndarray, "n"]:
    """Ratio d₁/d₂ of first to second neighbor distance, in [0, 1]; 1 where both are 0, near 1 is ambiguous.

    Example:
        >>> distance_ratio(np.array([[1.0, 4.0], [0.0, 0.0]])).tolist()
        [0.25, 1.0]
    """
    first, second = np.asarray(neighbor_distances)[:, :2].T
    return np.divide(first, second, out=np.ones_like(first), where=second > 0)
