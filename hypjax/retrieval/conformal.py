"""How many answers to give, so that the right one is among them with a stated probability."""

import numpy as np
from jaxtyping import Array, Float, Int, Shaped


def conformal_quantile(
    ranks: Shaped[Array | np.ndarray, "n"],
    weights: Float[Array | np.ndarray, "n"] | None = None,
    *,
    alpha: float,
    classes: Int[Array | np.ndarray, "n"] | None = None,
) -> float:
    """The q by which `answer_counts` gives enough answers, with probability 1 − α over calibration and query together.

    q is the ⌈(n + 1)(1 − α)⌉-th smallest of r_i / w_i, ∞ where that is more than n. Assumes that calibration set and
    query are exchangeable: images of the same classes, searched in the same gallery. For queries of new classes give
    `classes`: an image of a class of n_c weighs 1 / ((C + 1) n_c), and 1 / (C + 1) stands for the new class at ∞; then
    classes must be exchangeable, and images within each.

    Example:
        >>> conformal_quantile(np.array([1, 1, 1, 2, 1, 1, 5, 1, 1]), alpha=0.2)
        2.0
        >>> conformal_quantile(np.array([1, 1, 1]), alpha=0.2)  # three can't promise one in five
        inf

    Args:
        ranks: Of the first right answer to each query of the calibration set, from 1; ∞ where there is none.
        weights: w > 0 of each query, which grows with its uncertainty; fixed beforehand. One for all by default.
        alpha: In (0, 1).
        classes: The class of each query.

    Raises:
        ValueError: α outside of (0, 1), a rank below 1 or a weight that is not positive.

    References:
        Vovk, Gammerman and Shafer, Algorithmic Learning in a Random World, 2005. Dunn, Wasserman and Ramdas,
        Distribution-Free Prediction Sets for Two-Layer Hierarchical Models, 2023, for classes.
    """
    if not 0 < alpha < 1:
        raise ValueError(f"alpha must lie in (0, 1); got {alpha}")
    ranks = np.asarray(ranks, np.float64)
    weights = np.ones(len(ranks)) if weights is None else np.asarray(weights, np.float64)
    if not (ranks >= 1).all() or not (weights > 0).all():
        raise ValueError("ranks count from 1, and weights are positive")
    scores = ranks / weights
    _, index, counts = np.unique(
        np.arange(len(ranks)) if classes is None else np.asarray(classes), return_inverse=True, return_counts=True
    )
    order = np.argsort(scores, kind="stable")
    mass = np.cumsum(1 / counts[index][order]) / (len(counts) + 1)
    found = np.searchsorted(mass, 1 - alpha - 1e-12)
    return float(scores[order][found]) if found < len(scores) else float("inf")


def answer_counts(
    quantile: float, weights: Float[Array | np.ndarray, "n"], *, most: int | None = None
) -> Int[np.ndarray, "n"]:
    """How many answers each query gets: max(1, ⌊q w⌋).

    Example:
        >>> answer_counts(2.5, np.array([0.1, 1.0, 4.0])).tolist(), answer_counts(np.inf, np.ones(1), most=9).tolist()
        ([1, 2, 10], [9])

    Args:
        quantile: q, from `conformal_quantile`.
        weights: w of each query, by the same rule as there.
        most: Of the gallery, beyond which there are none.

    Raises:
        ValueError: q is infinite, and nothing says how many there are.
    """
    if most is None and not np.isfinite(quantile):
        raise ValueError("an infinite quantile asks for the whole gallery: say how many answers it has")
    most_of_all = np.iinfo(np.int64).max // 2 if most is None else most
    scaled = np.minimum(quantile * np.asarray(weights, np.float64), most_of_all)
    return np.maximum(1, np.floor(scaled + 1e-9)).astype(np.int64)
