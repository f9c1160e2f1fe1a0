"""Is a difference more than luck: paired tests and intervals, over seeds or over queries.

Paired means that both sides saw the same seed, or the same query, so that what the two have in common drops out of
their difference. All of it runs on the host, in SciPy and float64.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Array, Float, Int
from scipy import stats  # type: ignore[import-untyped]

DRAWN = 2**20  # values that are drawn at a time


class Summary(NamedTuple):
    """Mean and spread of a figure.

    Attributes:
      mean: nan without values.
      std: standard deviation with n − 1 in the denominator; nan for fewer than two values.
      n: number of values.
    """

    mean: float
    std: float
    n: int


class Difference(NamedTuple):
    """A mean difference between paired values, and how sure one may be of it.

    Attributes:
      mean: of the differences.
      low: lower end of the confidence interval of the mean.
      high: its upper end.
      p: two-sided p-value of "the mean difference is 0".
      n: number of pairs.
    """

    mean: float
    low: float
    high: float
    p: float
    n: int


def summarize(values: Float[Array | np.ndarray, " n"]) -> Summary:
    """Mean and standard deviation of a sample.

    s = √(Σ (x_i − x̄)² / (n − 1))

    Example:
        >>> summarize(np.array([1.0, 2.0, 3.0]))
        Summary(mean=2.0, std=1.0, n=3)

    Args:
        values: [n] the figure of each run.
    """
    values = np.asarray(values, np.float64)
    mean = float(values.mean()) if len(values) else float("nan")
    return Summary(mean, float(values.std(ddof=1)) if len(values) > 1 else float("nan"), len(values))


def paired_t_test(
    a: Float[Array | np.ndarray, " n"], b: Float[Array | np.ndarray, " n"], *, confidence: float = 0.95
) -> Difference:
    """Student's t-test of paired values: does the mean of a − b differ from 0?

    t = d̄ / (s_d / √n) with n − 1 degrees of freedom, and the interval d̄ ± t_{(1+confidence)/2} s_d / √n

    It takes the differences as normally distributed, which a handful of seeds can neither show nor refute.

    Example:
        >>> difference = paired_t_test(np.array([0.52, 0.55, 0.56]), np.array([0.5, 0.51, 0.53]))
        >>> print(f"{difference.mean:.3f} [{difference.low:.3f}, {difference.high:.3f}] p={difference.p:.3f}")
        0.030 [0.005, 0.055] p=0.035

    Args:
        a: [n] one side's values.
        b: [n] the other's, in the same order.
        confidence: of the interval, in (0, 1).

    Returns:
        The mean of a − b, its interval and p-value. Where all differences are the same there is nothing to measure
        the mean by: the interval is that point and p is nan.

    Raises:
        ValueError: fewer than two pairs, or a confidence out of range.

    References:
        Student, The Probable Error of a Mean, Biometrika 1908.
    """
    a, b = _pairs(a, b, confidence)
    differences, n = a - b, len(a)
    mean = float(differences.mean())
    # 0.3 − 0.2 and 0.4 − 0.3 differ in their last bit, which is no evidence for anything.
    if np.ptp(differences) <= 8 * np.finfo(np.float64).eps * max(np.abs(a).max(), np.abs(b).max()):
        return Difference(mean, mean, mean, float("nan"), n)
    test = stats.ttest_rel(a, b)
    interval = test.confidence_interval(confidence)
    return Difference(mean, float(interval.low), float(interval.high), float(test.pvalue), n)


def paired_permutation_test(
    a: Float[Array | np.ndarray, " n"], b: Float[Array | np.ndarray, " n"], *, resamples: int = 9999, seed: int = 0
) -> float:
    """Two-sided p-value of paired values by exchanging the sides of pairs, whatever their distribution.

    p = P(|Σ s_i d_i| ≥ |Σ d_i|) over random signs s ∈ {−1, 1}ⁿ, d = a − b

    Exact where the 2ⁿ signs are no more than `resamples`, that is up to 13 pairs; beyond that from so many draws, of
    which the observed one is counted as one more, so that p is never 0. No p-value can fall below 2 / 2ⁿ: with fewer
    than six pairs none is below 0.05.

    Example:
        >>> paired_permutation_test(np.array([0.52, 0.55, 0.56]), np.array([0.5, 0.51, 0.53]))
        0.25

    Args:
        a: [n] one side's values.
        b: [n] the other's, in the same order.
        resamples: random draws, where n is too large to try all signs.
        seed: of the draws.

    Returns:
        p in (0, 1]; nan if a value is.

    Raises:
        ValueError: fewer than two pairs.

    References:
        Fisher, The Design of Experiments, 1935, section 21.
    """
    a, b = _pairs(a, b)
    differences, n = a - b, len(a)
    if np.isnan(differences).any():
        return float("nan")
    test = stats.permutation_test(
        (differences,),
        lambda signed, axis: np.abs(signed.sum(axis)),
        permutation_type="samples",
        alternative="greater",
        vectorized=True,
        n_resamples=resamples,
        batch=max(1, DRAWN // n),
        rng=seed,
    )
    return float(test.pvalue)


def paired_bootstrap(
    a: Float[Array | np.ndarray, " n"],
    b: Float[Array | np.ndarray, " n"],
    *,
    confidence: float = 0.95,
    resamples: int = 9999,
    seed: int = 0,
) -> tuple[float, float]:
    """Interval of the mean of a − b by drawing pairs with replacement: the percentiles of the drawn means.

    For many pairs, such as the queries of a test set. Over a handful of seeds it is far too narrow: the mean of n
    draws spreads by √((n − 1) / n) of the standard error and knows no heavier tails; take `paired_t_test` there.

    Example:
        >>> right = np.arange(100) % 4 > 0
        >>> paired_bootstrap(right.astype(float), np.zeros(100))
        (0.66, 0.83)

    Args:
        a: [n] one side's values.
        b: [n] the other's, in the same order.
        confidence: of the interval, in (0, 1).
        resamples: number of draws of n pairs.
        seed: of the draws.

    Returns:
        The lower and the upper end; nan if a value is.

    Raises:
        ValueError: fewer than two pairs, or a confidence out of range.

    References:
        Efron, Bootstrap Methods: Another Look at the Jackknife, Annals of Statistics 1979.
    """
    a, b = _pairs(a, b, confidence)
    if np.isnan(a - b).any():
        return float("nan"), float("nan")
    interval = stats.bootstrap(
        (a - b,),
        np.mean,
        confidence_level=confidence,
        n_resamples=resamples,
        batch=max(1, DRAWN // len(a)),
        method="percentile",
        rng=seed,
    ).confidence_interval
    return float(interval.low), float(interval.high)


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's correction of several p-values, so that the chance of even one false alarm stays below the level.

    With the p-values in ascending order, p̃_(i) = max_{j ≤ i} min(1, (m − j + 1) p_(j))

    Example:
        >>> [round(p, 3) for p in holm([0.01, 0.04, 0.03])]
        [0.03, 0.06, 0.06]

    Args:
        p_values: of m tests; nan stands for a test that was not made, stays nan and does not count in m.

    Returns:
        The corrected p-values, in the order given.

    References:
        Holm, A Simple Sequentially Rejective Multiple Test Procedure, Scandinavian Journal of Statistics 1979.
    """
    given = np.asarray(p_values, np.float64)
    made = np.flatnonzero(~np.isnan(given))
    order: Int[np.ndarray, " m"] = made[np.argsort(given[made], kind="stable")]
    corrected = given.copy()
    factors = np.arange(len(made), 0, -1)
    corrected[order] = np.maximum.accumulate(np.minimum(1.0, factors * given[order])) if len(made) else []
    return corrected.tolist()


def _pairs(a: Array | np.ndarray, b: Array | np.ndarray, confidence: float = 0.5) -> tuple[np.ndarray, np.ndarray]:
    """Both sides in float64, once it is clear that they make pairs."""
    if len(a) != len(b):
        raise ValueError(
            f"pairs need as many values on either side, got {len(a)} and {len(b)}: drop those without peer"
        )
    if len(a) < 2:
        raise ValueError(f"a paired comparison needs two pairs, got {len(a)}: run more seeds")
    if not 0 < confidence < 1:
        raise ValueError(f"confidence must lie in (0, 1), got {confidence}: 0.95 is usual")
    return np.asarray(a, np.float64), np.asarray(b, np.float64)
