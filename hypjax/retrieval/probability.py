"""The chance that an answer is wrong, read off scores: fitted on some classes, told of others, and checked.

A score ranks; a probability can be read. Which way a cheap score points differs between data sets, so its sign and its
weight are learned on classes with known answers, and never assumed. It runs on the host, in NumPy and float64.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Array, Bool, Float, Int, Shaped


class Probability(NamedTuple):
    """A logistic function of scores: p = σ(b + Σ_j w_j (s_j − m_j) / d_j).

    Attributes:
        weights: w.
        bias: b.
        center: m.
        scale: d > 0.
    """

    weights: Float[np.ndarray, "f"]
    bias: float
    center: Float[np.ndarray, "f"]
    scale: Float[np.ndarray, "f"]

    def __call__(self, scores: Float[Array | np.ndarray, "n f"]) -> Float[np.ndarray, "n"]:
        """The probability of each row of scores, in (0, 1)."""
        from scipy.special import expit  # type: ignore[import-untyped]

        return expit(self.bias + (np.asarray(scores, np.float64) - self.center) / self.scale @ self.weights)

    def as_dict(self) -> dict[str, Any]:
        """As JSON holds it."""
        return {name: np.asarray(value).tolist() for name, value in self._asdict().items()}

    @classmethod
    def from_dict(cls, held: Mapping[str, Any]) -> "Probability":
        """From what `as_dict` gave."""
        arrays = {name: np.asarray(held[name], np.float64) for name in ("weights", "center", "scale")}
        return cls(bias=float(held["bias"]), **arrays)


def fit_probability(
    scores: Float[Array | np.ndarray, "n f"],
    wrong: Bool[Array | np.ndarray, "n"],
    *,
    penalty: float | Sequence[float] = 1.0,
) -> Probability:
    """Logistic regression on standardized scores.

    min_{w, b}  Σ_i log(1 + exp(−y_i (b + w · x_i))) + Σ_j penalty_j w_j² / 2,  y = ±1

    With one score it is Platt's calibration.

    Example:
        >>> rng = np.random.default_rng(0)
        >>> scores = rng.normal(size=(4000, 2))
        >>> wrong = rng.uniform(size=4000) < 1 / (1 + np.exp(1 - 2 * scores[:, 0]))
        >>> fitted = fit_probability(scores, wrong)
        >>> (fitted.weights / fitted.scale).round(1).tolist()
        [1.9, 0.0]

    Args:
        scores: One or several of each query; a constant one is given no weight.
        wrong: Whether its answer is wrong.
        penalty: On the weights, positive; one for all, or one each.

    Raises:
        ValueError: scores that are not finite, or no query.
    """
    from scipy.optimize import minimize  # type: ignore[import-untyped]

    scores, wrong = np.asarray(scores, np.float64), np.asarray(wrong)
    if not len(scores) or not np.isfinite(scores).all():
        raise ValueError("scores must be finite, of one query at least")
    center, spread = scores.mean(0), scores.std(0)
    scale = np.where(spread > 1e-12 * np.maximum(1, abs(center)), spread, np.inf)  # none for what is constant
    each = np.broadcast_to(np.asarray(penalty, np.float64), center.shape)
    x, sign = (scores - center) / scale, np.where(wrong, 1.0, -1.0)

    def loss(parameters: np.ndarray) -> tuple[float, np.ndarray]:
        from scipy.special import expit

        weights, bias = parameters[:-1], parameters[-1]
        margin = sign * (bias + x @ weights)
        pull = -sign * expit(-margin)
        # [ours] Half a success and half a failure more, so that b is finite where all are right or all are wrong.
        value = np.logaddexp(0, -margin).sum() + weights @ (each * weights) / 2
        value += (np.logaddexp(0, -bias) + np.logaddexp(0, bias)) / 2
        slope = np.append(x.T @ pull + each * weights, pull.sum() + expit(bias) - 0.5)
        return float(value), slope

    found = minimize(
        loss, np.zeros(x.shape[1] + 1), jac=True, method="L-BFGS-B", options={"gtol": 1e-9, "ftol": 1e-15}
    ).x
    return Probability(found[:-1], float(found[-1]), center, np.where(np.isinf(scale), 1.0, scale))


def cross_fitted(
    scores: Float[Array | np.ndarray, "n f"],
    wrong: Bool[Array | np.ndarray, "n"],
    classes: Int[Array | np.ndarray, "n"],
    *,
    folds: int = 5,
    penalty: float = 1.0,
    seed: int = 0,
) -> Float[np.ndarray, "n"]:
    """The probability of each query, by a fit to the other classes than those of its fold.

    Args:
        scores: One or several of each query.
        wrong: Whether its answer is wrong.
        classes: Its class; all images of a class are in one fold.
        folds: Into so many parts classes are divided, at random; at least 2.
        penalty: Of each fit.
        seed: Of the division.

    Raises:
        ValueError: fewer classes than folds.
    """
    scores, wrong = np.asarray(scores, np.float64), np.asarray(wrong)
    names, index = np.unique(np.asarray(classes), return_inverse=True)
    if not 2 <= folds <= len(names):
        raise ValueError(f"{len(names)} classes can't be divided into {folds} folds")
    fold = (np.random.default_rng(seed).permutation(len(names)) % folds)[index]
    found = np.empty(len(scores))
    for one in range(folds):
        held = fold == one
        found[held] = fit_probability(scores[~held], wrong[~held], penalty=penalty)(scores[held])
    return found


class Reliability(NamedTuple):
    """Told and seen, bin by bin.

    Attributes:
        told: Mean probability in each bin; nan where it is empty.
        seen: Share of wrong answers in it; nan where it is empty.
        counts: Queries in it.
    """

    told: Float[np.ndarray, "bins"]
    seen: Float[np.ndarray, "bins"]
    counts: Int[np.ndarray, "bins"]


def reliability(
    probability: Shaped[Array | np.ndarray, "n"], wrong: Bool[Array | np.ndarray, "n"], *, bins: int = 15
) -> Reliability:
    """Mean probability against the share of wrong answers, in bins of equal width.

    Args:
        probability: That the answer is wrong, in [0, 1].
        wrong: Whether it is.
        bins: How many divide [0, 1].

    Raises:
        ValueError: what lies outside [0, 1], or is nan, is no probability.
    """
    probability, wrong = np.asarray(probability, np.float64), np.asarray(wrong)
    if not ((probability >= 0) & (probability <= 1)).all():
        raise ValueError("probabilities must lie in [0, 1]")
    index = np.minimum((probability * bins).astype(int), bins - 1)
    counts = np.bincount(index, minlength=bins)
    filled = np.where(counts, counts, np.nan)
    told, seen = (np.bincount(index, values, bins) / filled for values in (probability, wrong.astype(float)))
    return Reliability(told, seen, counts)


def calibration_error(
    probability: Shaped[Array | np.ndarray, "n"], wrong: Bool[Array | np.ndarray, "n"], *, bins: int = 15
) -> float:
    """Expected calibration error: how far what is told lies from what is seen, |told − seen| over bins by their size.

    Σ_b n_b / n |mean p in b − share wrong in b|,  in [0, 1];  nan without queries.

    Example:
        >>> calibration_error(np.array([0.2, 0.2, 0.2, 0.2, 0.2]), np.array([True, False, False, False, False]))
        0.0
        >>> calibration_error(np.array([0.9, 0.1]), np.array([False, False]))
        0.5

    References:
        Guo, Pleiss, Sun and Weinberger, On Calibration of Modern Neural Networks, ICML 2017.
    """
    told, seen, counts = reliability(probability, wrong, bins=bins)
    if not counts.sum():
        return float("nan")
    return float(np.nansum(counts * np.abs(told - seen)) / counts.sum())
