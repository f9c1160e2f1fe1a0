"""Guarantees: which queries to answer, and with how many answers, so that a stated share of errors is not exceeded.

All is decided on a calibration set, whose answers are known to be right or wrong, and holds for queries that come from
where the calibration set came: the same model, the same gallery, and either images drawn one by one (the image form) or
whole classes (the class form). New classes are not new images of the old ones: their images succeed and fail together,
which the image form does not know and does not survive. It runs on the host, in NumPy and float64.

References:
    Angelopoulos, Bates, Candès, Jordan and Lei, Learn then Test: Calibrating Predictive Algorithms to Achieve Risk
    Control, 2021, for the tests one after another. Clopper and Pearson, 1934. Bates, Angelopoulos, Lei, Malik and
    Jordan, Distribution-Free, Risk-Controlling Prediction Sets, 2021, for Hoeffding-Bentkus. Waudby-Smith and Ramdas,
    Estimating means of bounded random variables by betting, 2023.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Array, Bool, Float, Int, Shaped
from scipy.special import bdtr, betaincinv, rel_entr  # type: ignore[import-untyped]

BOUNDS = ("betting", "hoeffding-bentkus")


class Guarantee(NamedTuple):
    """Queries with a score up to the threshold are answered, of which at most a share α is answered wrongly.

    Attributes:
        threshold: The largest score that is answered.
        alpha: The share α of wrong answers among those given, at most, in (0, 1).
        delta: How likely it is, at most, that the guarantee does not hold, over draws of the calibration set.
        coverage: The share of the calibration set that is answered.
        risk: The share of wrong answers among them.
        form: `images`, each counting alike, or `classes`.
    """

    threshold: float
    alpha: float
    delta: float
    coverage: float
    risk: float
    form: str


def certify(
    scores: Shaped[Array | np.ndarray, "n"],
    wrong: Bool[Array | np.ndarray, "n"],
    thresholds: Float[np.ndarray, "t"],
    *,
    alpha: float,
    delta: float = 0.1,
    classes: Int[Array | np.ndarray, "n"] | None = None,
    starts: Sequence[int] = (0,),
    bound: str = "betting",
    seed: int = 0,
) -> Guarantee | None:
    """The loosest threshold whose share of wrong answers is proven to be at most α, or None.

    Thresholds are tried from strict to loose, beginning at each start, as long as each passes at level δ / starts
    (`fixed_sequence`). Thresholds and starts must be fixed without a look at the calibration set: round figures where
    scores are probabilities, or quantiles of scores of other queries.

    Example:
        >>> rng = np.random.default_rng(0)
        >>> scores = rng.uniform(size=2000)
        >>> wrong = rng.uniform(size=2000) < scores  # a score that is the chance of being wrong
        >>> found = certify(scores, wrong, np.linspace(0.1, 1, 19), alpha=0.2)
        >>> found.threshold, round(found.risk, 2)
        (0.35, 0.18)
        >>> certify(scores, wrong, np.linspace(0.1, 1, 19), alpha=0.001) is None
        True

    Args:
        scores: Of the calibration set; larger is answered later.
        wrong: Whether the answer to each is wrong.
        thresholds: In ascending order.
        alpha: The largest share of wrong answers among those given, in (0, 1).
        delta: How likely the guarantee may fail, in (0, 1).
        classes: The class of each query, for the class form; None for the image form. The class form weighs classes
            alike and bounds Σ_c (wrong and answered) / Σ_c answered, shares of each class's images. At a threshold that
            answers next to nothing it can prove nothing: let it start where some share is answered.
        starts: Indices of thresholds where a walk begins.
        bound: Of the class form: `betting`, the sharper, or `hoeffding-bentkus`.
        seed: Of the order in which bets are placed.

    Returns:
        The guarantee; None where no threshold is proven.

    Raises:
        ValueError: α or δ outside of (0, 1), thresholds out of order, or a start that is none of them.
    """
    scores, wrong, thresholds = np.asarray(scores), np.asarray(wrong), np.asarray(thresholds)
    _check_share("alpha", alpha)
    _check_share("delta", delta)
    if (np.diff(thresholds) <= 0).any():
        raise ValueError("thresholds must ascend")
    answered = scores[None] <= thresholds[:, None]
    return certify_rules(
        thresholds, answered, wrong, alpha=alpha, delta=delta, classes=classes, starts=starts, bound=bound, seed=seed
    )


def certify_rules(
    thresholds: Float[np.ndarray, "t"],
    answered: Bool[np.ndarray, "t n"],
    wrong: Bool[np.ndarray, "n"] | Bool[np.ndarray, "t n"],
    *,
    alpha: float,
    delta: float = 0.1,
    classes: Int[Array | np.ndarray, "n"] | None = None,
    starts: Sequence[int] = (0,),
    bound: str = "betting",
    seed: int = 0,
) -> Guarantee | None:
    """As `certify`, for any rules in a fixed order, of which each may answer otherwise.

    Args:
        thresholds: What each rule is called by, in the guarantee.
        answered: Whether each rule answers each query of the calibration set.
        wrong: Whether the answer is wrong, for all rules or for each.
        alpha: See `certify`, as for all that follows.
        delta: In (0, 1).
        classes: The class of each query.
        starts: Indices of rules where a walk begins.
        bound: Of the class form.
        seed: Of the order in which bets are placed.

    Returns:
        The guarantee of the last rule that is proven; None where none is.
    """
    if classes is None:
        p_values = image_p_values(answered, wrong, alpha=alpha)
    else:
        level = delta / len(starts)
        p_values = class_p_values(answered, wrong, classes, alpha=alpha, bound=bound, level=level, seed=seed)
    found = fixed_sequence(p_values, delta=delta, starts=starts)
    if found is None:
        return None
    given, missed = answered[found], np.broadcast_to(wrong, answered.shape)[found]
    risk = float(missed[given].mean()) if given.any() else 0.0
    form = "images" if classes is None else "classes"
    return Guarantee(float(thresholds[found]), alpha, delta, float(given.mean()), risk, form)


def fixed_sequence(p_values: Float[np.ndarray, "t"], *, delta: float, starts: Sequence[int] = (0,)) -> int | None:
    """The last of the hypotheses that are rejected, tested one after another, or None.

    From each start the p-values are taken in their order as long as they are at most δ / starts. That one true
    hypothesis is rejected has a probability of at most δ, without a further correction, since each walk ends at the
    first true one that it does not reject.

    Example:
        >>> fixed_sequence(np.array([0.01, 0.04, 0.2, 0.01]), delta=0.1), fixed_sequence(np.array([0.2]), delta=0.1)
        (1, None)
        >>> fixed_sequence(np.array([0.01, 0.04, 0.2, 0.01]), delta=0.1, starts=(0, 3))
        3

    Args:
        p_values: In the order of testing; the order is fixed beforehand.
        delta: In (0, 1).
        starts: Where the walks begin, fixed beforehand.

    Raises:
        ValueError: a start that is no index, or none.
    """
    if not len(starts) or not all(0 <= start < len(p_values) for start in starts):
        raise ValueError(f"starts {list(starts)} must be indices of the {len(p_values)} hypotheses")
    passed = np.asarray(p_values) <= delta / len(starts)
    ends = [start + int(np.argmin([*passed[start:], False])) - 1 for start in starts if passed[start]]
    return max(ends, default=None)


def image_p_values(
    answered: Bool[np.ndarray, "t n"], wrong: Bool[np.ndarray, "n"] | Bool[np.ndarray, "t n"], *, alpha: float
) -> Float[np.ndarray, "t"]:
    """For each rule, how likely so few errors are if more than a share α of its answers is wrong.

    p = P(Binomial(n, α) ≤ k), with k wrong answers among n given. p ≤ δ says the same as that the upper bound of
    Clopper and Pearson is at most α. Assumes that images are drawn independently of each other.

    Example:
        >>> image_p_values(np.ones((1, 22), bool), np.zeros(22, bool), alpha=0.1).round(3).tolist()  # 22 without error
        [0.098]

    Args:
        answered: Whether each rule answers each query of the calibration set.
        wrong: Whether the answer is wrong; with a row for each rule where rules answer differently, as at another level
            of a hierarchy.
        alpha: In (0, 1).

    Returns:
        In (0, 1]; 1 where nothing is answered.
    """
    return bdtr((answered & wrong).sum(1), answered.sum(1), alpha)


def clopper_pearson(errors: int, answers: int, *, delta: float) -> float:
    """The upper bound of the share of errors that holds with probability 1 − δ: BetaInv(1 − δ; k + 1, n − k).

    Example:
        >>> round(clopper_pearson(0, 22, delta=0.1), 4)
        0.0994

    Args:
        errors: k, so many of them wrong.
        answers: n, so many given.
        delta: In (0, 1).

    Returns:
        In (0, 1]; 1 where all are wrong, or none is given.
    """
    return 1.0 if errors >= answers else float(betaincinv(errors + 1, answers - errors, 1 - delta))


def class_p_values(
    answered: Bool[np.ndarray, "t n"],
    wrong: Bool[np.ndarray, "n"] | Bool[np.ndarray, "t n"],
    classes: Int[Array | np.ndarray, "n"],
    *,
    alpha: float,
    bound: str = "betting",
    level: float = 0.1,
    seed: int = 0,
) -> Float[np.ndarray, "t"]:
    """For each rule, how likely what is seen is if more than a share α of its answers is wrong; the unit is the class.

    A_c = α + mean over the images of c of 1[answered] (1[wrong] − α) lies in [0, 1], and has a mean above α where
    E[wrong and answered] > α E[answered], classes weighing alike [ours]. The C values of A are independent where
    classes are drawn independently, however much images of one class depend on each other. A gallery that all share
    still couples classes: a class that is drawn may take a neighbor from another.

    Args:
        answered: Whether each rule answers each query of the calibration set.
        wrong: Whether the answer is wrong, for all rules or for each.
        classes: The class of each query.
        alpha: In (0, 1).
        bound: `hoeffding-bentkus`: min(exp(−C h(min(Â, α), α)), e P(Binomial(C, α) ≤ ⌈C Â⌉)) with
            h(a, b) = a ln(a/b) + (1 − a) ln((1 − a)/(1 − b)). `betting`: 1 / capital, where the capital of one who bets
            against a mean above α, class by class, is Π (1 − λ_c (A_c − α)); the mean over 16 orders of the classes.
        level: At which it will be tested, in (0, 1), for which bets are sized; valid at others too.
        seed: Of the orders.

    Returns:
        In (0, 1].

    Raises:
        ValueError: the bound has no such name.
    """
    if bound not in BOUNDS:
        raise ValueError(f"bound must be one of {', '.join(BOUNDS)}; got {bound!r}")
    _, index, counts = np.unique(np.asarray(classes), return_inverse=True, return_counts=True)
    excess = answered * (np.asarray(wrong) - alpha) / counts[index]
    means = np.array([alpha + np.bincount(index, row, len(counts)) for row in excess])
    if bound == "betting":
        return _betting(means, alpha, level, np.random.default_rng(seed))
    return _hoeffding_bentkus(means, alpha)


def _hoeffding_bentkus(values: Float[np.ndarray, "t c"], alpha: float) -> Float[np.ndarray, "t"]:
    count = values.shape[1]
    mean = values.mean(1)
    least = np.minimum(mean, alpha)
    hoeffding = np.exp(-count * (rel_entr(least, alpha) + rel_entr(1 - least, 1 - alpha)))
    bentkus = np.e * bdtr(np.ceil(count * mean - 1e-9), count, alpha)
    return np.minimum(1.0, np.minimum(hoeffding, bentkus))


def _betting(
    values: Float[np.ndarray, "t c"], alpha: float, level: float, rng: np.random.Generator, orders: int = 16
) -> Float[np.ndarray, "t"]:
    """Predictable bets of Waudby-Smith and Ramdas, at most nine tenths of what could be lost; mean of orders [ours]."""
    count = values.shape[1]
    capital = np.zeros(len(values))
    before = np.arange(1, count + 1)  # classes seen before each bet, and one that stands for none
    for _ in range(orders):
        drawn = values[:, rng.permutation(count)]
        mean = (0.5 + np.cumsum(drawn, 1)) / (before + 1)
        spread = (0.25 + np.cumsum((drawn - mean) ** 2, 1)) / (before + 1)
        spread = np.concatenate([np.full((len(values), 1), 0.25), spread[:, :-1]], 1)  # of the classes before it
        bets = np.minimum(np.sqrt(2 * np.log(1 / level) / (count * spread)), 0.9 / (1 - alpha))
        capital += np.prod(1 - bets * (drawn - alpha), 1) / orders
    return np.minimum(1.0, 1 / np.maximum(capital, 1e-300))


def _check_share(name: str, value: float) -> None:
    if not 0 < value < 1:
        raise ValueError(f"{name} must lie in (0, 1); got {value}")
