"""What a search says of its own answers: how likely the first is wrong, and which may be given under a guarantee."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Array, Bool, Float, Int

from hypjax.retrieval.probability import Probability, fit_probability
from hypjax.retrieval.risk import Guarantee, certify
from hypjax.retrieval.uncertainty import distance_ratio

NEIGHBORS = 10  # that a score looks at, where there are so many
QUANTILES = np.arange(1, 41) / 40  # of scores of other classes: the thresholds
PRESENT = 0.95  # of the queries whose class is there, so many are not told that it is missing
STARTS = (3, 11, 23)  # where a tenth, three and six tenths are answered


def answer_scores(
    uncertainty: Float[Array | np.ndarray, "n"],
    distances: Float[Array | np.ndarray, "n k"],
    labels: Int[Array | np.ndarray, "n k"] | None = None,
) -> Float[np.ndarray, "n f"]:
    """Scores of each query's first answer, none of which alone is the best on every data set.

    u, the distance d₁ to the nearest neighbor and d₁/d₂; with the neighbors' labels also d₁ / d_o, where o is the first
    neighbor of another class than the nearest (the last neighbor where there is none), and the share of the four
    neighbors after the nearest that are of its class. The query's own class is not looked at. The choice is [ours].

    Example:
        >>> answer_scores(np.array([0.4]), np.array([[1.0, 2.0, 4.0]]), np.array([[7, 7, 5]])).tolist()
        [[0.4, 1.0, 0.5, 0.25, 0.5]]

    Args:
        uncertainty: In [0, 1].
        distances: To the nearest neighbors, at least two, nearest first.
        labels: Of these neighbors.

    Raises:
        ValueError: fewer than two neighbors.
    """
    distances = np.asarray(distances, np.float64)
    if distances.shape[1] < 2:
        raise ValueError(f"an answer is judged by two neighbors at least, got {distances.shape[1]}")
    scores = [np.asarray(uncertainty, np.float64), distances[:, 0], distance_ratio(distances)]
    if labels is not None:
        same = np.asarray(labels) == np.asarray(labels)[:, :1]
        other = np.where(same, np.inf, distances).min(1)
        rival = np.minimum(other, distances[:, -1])
        scores += [distance_ratio(np.column_stack([distances[:, 0], rival])), same[:, 1:5].mean(1)]
    return np.column_stack(scores)


def without_class(
    distances: Float[np.ndarray, "n k"], labels: Int[np.ndarray, "n k"], own: Int[np.ndarray, "n"]
) -> tuple[Float[np.ndarray, "n few"], Int[np.ndarray, "n few"]]:
    """What each query would find if the gallery had nothing of its class: `NEIGHBORS` distances and labels, or fewer.

    Args:
        distances: To the nearest neighbors, nearest first, as many as its class has images and some more.
        labels: Of these neighbors.
        own: Class of each query.

    Returns:
        Distances, nan in all of a row where not so many neighbors of other classes are among them; and labels.
    """
    mates = labels == own[:, None]
    order = np.argsort(mates, axis=1, kind="stable")[:, :NEIGHBORS]  # mates last, the others in their order
    few = np.take_along_axis(mates, order, axis=1).any(axis=1, keepdims=True)
    left, left_labels = (np.take_along_axis(array, order, axis=1) for array in (distances, labels))
    return np.where(few, np.nan, left), left_labels


class Calibration(NamedTuple):
    """Bound to a model and a gallery: in a larger gallery more answers are wrong.

    Attributes:
        before: From u to the chance that the first answer will be wrong, without a search.
        ranking: From answer scores to one that ranks, fitted on half of the calibration classes.
        after: From that one to the chance that the first answer is wrong, fitted on the other half.
        absence: From answer scores to one that tells queries whose class the gallery lacks, fitted on the first half.
        present_below: What that one is at most for 95 % of the queries of the second half, whose class is there.
        thresholds: On the one that ranks, quantiles of the first half.
        ranked: The one that ranks, of each query of the second half.
        wrong: Whether its first answer is wrong.
        classes: Its class.
    """

    before: Probability
    ranking: Probability
    after: Probability
    absence: Probability
    present_below: float
    thresholds: Float[np.ndarray, "t"]
    ranked: Float[np.ndarray, "m"]
    wrong: Bool[np.ndarray, "m"]
    classes: Int[np.ndarray, "m"]

    def probability(self, scores: Float[np.ndarray, "n f"]) -> Float[np.ndarray, "n"]:
        """The chance that each first answer is wrong, in (0, 1)."""
        return self.after(_logit(self.ranking(scores)))

    def nothing_like(self, scores: Float[np.ndarray, "n f"]) -> Bool[np.ndarray, "n"]:
        """Whether the gallery seems to lack the class of each query; 5 % of those that it has are taken for such."""
        return self.absence(scores) > self.present_below

    def guarantee(self, alpha: float, *, delta: float = 0.1, by_class: bool = True) -> Guarantee | None:
        """The loosest threshold below which at most a share α of the answers is wrong, with probability 1 − δ.

        Args:
            alpha: In (0, 1).
            delta: In (0, 1).
            by_class: Whether it is to hold for new classes, which weigh alike; else for new images of the classes that
                the calibration set holds.

        Returns:
            See `risk.certify`; None where nothing is proven.
        """
        # The strictest threshold answers too few to prove anything, of either form.
        starts = sorted({min(start, len(self.thresholds) - 1) for start in STARTS})
        unit = self.classes if by_class else None
        return certify(self.ranked, self.wrong, self.thresholds, alpha=alpha, delta=delta, classes=unit, starts=starts)


def calibrate_answers(
    uncertainty: Float[Array | np.ndarray, "n"],
    scores: Float[np.ndarray, "n f"],
    removed: Float[np.ndarray, "n f"],
    wrong: Bool[Array | np.ndarray, "n"],
    classes: Int[Array | np.ndarray, "n"],
    *,
    seed: int = 0,
) -> Calibration:
    """Fits probabilities, and keeps what a guarantee needs, on classes that were used for nothing else.

    Half of the classes teach which scores foretell a wrong answer and give the thresholds, so that the other half, on
    which the answers are proven, has had no part in either.

    Args:
        uncertainty: u of each query.
        scores: From `answer_scores`.
        removed: The same, had the gallery nothing of the query's class; nan where that is not known.
        wrong: Whether the first answer to it is wrong.
        classes: Its class, of at least four.
        seed: Of the halves.

    Raises:
        ValueError: fewer than four classes.
    """
    wrong, uncertainty = np.asarray(wrong), np.asarray(uncertainty, np.float64)
    names, index = np.unique(np.asarray(classes), return_inverse=True)
    if len(names) < 4:
        raise ValueError(f"{len(names)} classes are too few to calibrate on; at least 4 are needed")
    first = (np.random.default_rng(seed).permutation(len(names)) % 2 == 0)[index]
    ranking = fit_probability(scores[first], wrong[first])
    ranked = ranking(scores[~first])
    known = first & np.isfinite(removed).all(1)
    absence = fit_probability(np.concatenate([scores[known], removed[known]]), np.repeat([False, True], known.sum()))
    return Calibration(
        before=fit_probability(uncertainty[:, None], wrong),
        ranking=ranking,
        after=fit_probability(_logit(ranked), wrong[~first]),
        absence=absence,
        present_below=float(np.quantile(absence(scores[~first]), PRESENT, method="higher")),
        thresholds=np.unique(np.quantile(ranking(scores[first]), QUANTILES)),
        ranked=ranked,
        wrong=wrong[~first],
        classes=index[~first],
    )


def _logit(probability: Float[np.ndarray, "n"]) -> Float[np.ndarray, "n 1"]:
    clipped = np.clip(probability, 1e-9, 1 - 1e-9)
    return np.log(clipped / (1 - clipped))[:, None]
