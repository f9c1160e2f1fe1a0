"""What is learned of a search's answers: how likely the first is wrong, and which may be given under a guarantee."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int

from hypjax.retrieval.asking import Asked
from hypjax.retrieval.conformal import answer_counts, conformal_quantile
from hypjax.retrieval.probability import Probability, fit_probability
from hypjax.retrieval.risk import Guarantee, certify, certify_rules

# Of answer scores: what neighbors' classes say foretells most, and a few classes teach it; the others take more.
PENALTIES = (10.0, 10.0, 10.0, 0.3, 0.3)
QUANTILES = np.arange(1, 41) / 40  # of scores of other classes: the thresholds
PRESENT = 0.95  # of the queries whose class is there, so many are not told that it is missing
QUARTERS = 4
STARTS = (3, 11, 23)  # where a tenth, three and six tenths are answered
CHANCES = np.arange(1, 61) / 100  # of being wrong, up to which a level of the hierarchy is answered at
FACTORS = (0.5, 1.0, 1.5)  # of α: where the tests of these begin
LEAST = 0.3  # weight of a query that is surely answered rightly, beside 1 more of one that is not
FITTED = ("before", "after", "absence")
ARRAYS: dict[str, Any] = {
    "thresholds": np.float64,
    "ranked": np.float64,
    "wrong": np.bool_,
    "ranks": np.float64,
    "classes": np.int64,
}


class Calibration(NamedTuple):
    """Bound to a model and a gallery: in a larger gallery more answers are wrong.

    Attributes:
        before: From u to the chance that the first answer will be wrong, without a search.
        rankings: At each level of the hierarchy, the classes first, from answer scores to one that ranks, fitted on
            a quarter of the calibration classes, those that teach (on all where it is cross-fitted).
        after: From that of the classes to the chance that the first answer is wrong, fitted on the others.
        absence: From answer scores to one that tells queries whose class the gallery lacks, fitted on those that teach.
        present_below: What that one is at most for 95 % of the queries of the others, whose class is there; ∞ where
            nothing is known of what is missing.
        thresholds: On the one that ranks, for classes, quantiles of those that teach.
        ranked: The ones that rank, of each query of the others.
        wrong: Whether its first answer is wrong, at each level.
        ranks: Of its first right answer.
        classes: Its class.
    """

    before: Probability
    rankings: tuple[Probability, ...]
    after: Probability
    absence: Probability
    present_below: float
    thresholds: Float[np.ndarray, "t"]
    ranked: Float[np.ndarray, "levels m"]
    wrong: Bool[np.ndarray, "levels m"]
    ranks: Float[np.ndarray, "m"]
    classes: Int[np.ndarray, "m"]

    def as_dict(self) -> dict[str, Any]:
        """As JSON holds it."""
        fitted = {name: getattr(self, name).as_dict() for name in FITTED}
        arrays = {name: getattr(self, name).tolist() for name in ARRAYS}
        arrays["ranks"] = [_finite(rank) for rank in arrays["ranks"]]
        return {
            **fitted,
            **arrays,
            "rankings": [one.as_dict() for one in self.rankings],
            "present_below": _finite(self.present_below),
        }

    @classmethod
    def from_dict(cls, held: Mapping[str, Any]) -> "Calibration":
        """From what `as_dict` gave, and whatever stands beside it."""
        parts: dict[str, Any] = {name: Probability.from_dict(held[name]) for name in FITTED}
        parts |= {name: np.array(held[name], dtype) for name, dtype in ARRAYS.items()}
        parts["ranks"] = np.nan_to_num(parts["ranks"], nan=np.inf)
        parts["rankings"] = tuple(map(Probability.from_dict, held["rankings"]))
        below = held["present_below"]
        return cls(**parts, present_below=np.inf if below is None else float(below))

    def rank(self, scores: Float[np.ndarray, "levels n f"]) -> Float[np.ndarray, "levels n"]:
        """What ranks the first answers at each level, small for what is likely right."""
        return _rank(self.rankings, scores)

    def probability(self, scores: Float[np.ndarray, "levels n f"]) -> Float[np.ndarray, "n"]:
        """The chance that each first answer is wrong, in (0, 1)."""
        return self.after(_logit(self.rankings[0](scores[0])))

    def nothing_like(self, scores: Float[np.ndarray, "levels n f"]) -> Bool[np.ndarray, "n"]:
        """Whether the gallery seems to lack the class of each query; 5 % of those that it has are taken for such."""
        return self.absence(scores[0]) > self.present_below

    def answer_counts(
        self, scores: Float[np.ndarray, "levels n f"], alpha: float, *, by_class: bool = True, most: int
    ) -> Int[np.ndarray, "n"]:
        """How many answers to give to each query, so that the right class is among them with probability 1 − α.

        They grow as 0.3 + p with what ranks [ours], by a factor that `conformal_quantile` finds.

        Args:
            scores: From `answer_scores`.
            alpha: In (0, 1).
            by_class: Whether it is to hold for new classes; else for new images of the classes that calibrate.
            most: Of the gallery, where no fewer do.
        """
        unit = self.classes if by_class else None
        quantile = conformal_quantile(self.ranks, LEAST + self.ranked[0], alpha=alpha, classes=unit)
        return answer_counts(quantile, LEAST + self.rankings[0](scores[0]), most=most)

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
        ranked, wrong = self.ranked[0], self.wrong[0]
        return certify(ranked, wrong, self.thresholds, alpha=alpha, delta=delta, classes=unit, starts=starts)

    def level_guarantee(self, alpha: float, *, delta: float = 0.1, by_class: bool = True) -> Guarantee | None:
        """The largest chance of being wrong by which answers at their `deepest` levels are wrong in a share α at most.

        The share is that of all answers, at whatever level they are given. One number moves all levels, so that rules
        are tested one after another as thresholds are [ours].

        Args:
            alpha: In (0, 1).
            delta: In (0, 1).
            by_class: As for `guarantee`.

        Returns:
            `threshold` is that chance; None where nothing is proven.
        """
        levels, wrong = map(np.stack, zip(*(answered_at(self.ranked, self.wrong, c) for c in CHANCES), strict=True))
        answered = levels < len(self.ranked)
        starts = sorted({int(np.clip(np.searchsorted(CHANCES, alpha * f), 0, len(CHANCES) - 1)) for f in FACTORS})
        unit = self.classes if by_class else None
        return certify_rules(CHANCES, answered, wrong, alpha=alpha, delta=delta, classes=unit, starts=starts)


def deepest(ranked: Float[np.ndarray, "levels n"], most: float) -> Int[np.ndarray, "n"]:
    """The deepest level at which each query is answered, 0 for its class; the number of levels where it is at none.

    Example:
        >>> deepest(np.array([[0.1, 0.4, 0.9], [0.0, 0.1, 0.8]]), 0.2).tolist()
        [0, 1, 2]

    Args:
        ranked: The chance of being wrong at each level, classes first.
        most: How large it may be.
    """
    sure = ranked <= most
    return np.where(sure.any(0), sure.argmax(0), len(ranked))


def answered_at(
    ranked: Float[np.ndarray, "levels n"], wrong: Bool[np.ndarray, "any n"], most: float
) -> tuple[Int[np.ndarray, "n"], Bool[np.ndarray, "n"]]:
    """The `deepest` level of each query, and whether its first answer is wrong there; at the last one where at none.

    Args:
        ranked: The chance of being wrong at each level, classes first.
        wrong: Whether it is, at these levels and perhaps others above them.
        most: How large the chance may be.
    """
    level = deepest(ranked, most)
    return level, np.take_along_axis(wrong, np.minimum(level, len(ranked) - 1)[None], axis=0)[0]


def calibrate_answers(asked: Asked, *, cross_fit: bool = False, seed: int = 0) -> Calibration:
    """Fits probabilities, and keeps what a guarantee needs, on classes that were used for nothing else.

    A quarter of the classes teaches which scores foretell a wrong answer and gives the thresholds. The others, on
    which the answers are proven, have no part in either; few scores take few classes to learn, and proofs take many.

    Where classes are few, each quarter may be judged by what the other three teach, so that all of them prove, and
    queries by what all of them teach [ours]. Since that is not quite what was judged, a guarantee is then an
    approximation.

    Args:
        asked: What queries of the calibration classes found, of at least four.
        cross_fit: Whether all classes both teach and prove.
        seed: Of the division.

    Raises:
        ValueError: fewer than four classes.
    """
    names, index = np.unique(asked.classes, return_inverse=True)
    if len(names) < QUARTERS:
        raise ValueError(f"{len(names)} classes are too few to calibrate on; at least {QUARTERS} are needed")
    quarter = (np.random.default_rng(seed).permutation(len(names)) % QUARTERS)[index]
    proves = [quarter == one for one in range(QUARTERS)] if cross_fit else [quarter != 0]
    taught = [_teach(asked.take(~rows)) for rows in proves]
    judged = [asked.take(rows) for rows in proves]
    ranked = np.concatenate([_rank(one.rankings, of.scores) for one, of in zip(taught, judged, strict=True)], axis=1)
    unlike = np.concatenate([one.absence(of.scores[0]) for one, of in zip(taught, judged, strict=True)])
    first = asked if cross_fit else asked.take(~proves[0])
    kept = _teach(first) if cross_fit else taught[0]
    second = np.concatenate([np.flatnonzero(rows) for rows in proves])
    knows = np.isfinite(first.removed).all(1).any()
    return Calibration(
        before=fit_probability(asked.uncertainty[:, None], asked.wrong[0]),
        rankings=kept.rankings,
        after=fit_probability(_logit(ranked[0]), asked.wrong[0, second]),
        absence=kept.absence,
        present_below=float(np.quantile(unlike, PRESENT, method="higher")) if knows else np.inf,
        thresholds=np.unique(np.quantile(kept.rankings[0](first.scores[0]), QUANTILES)),
        ranked=ranked,
        wrong=asked.wrong[:, second],
        ranks=asked.ranks[second],
        classes=index[second],
    )


class _Taught(NamedTuple):
    """What ranks first answers at each level, and what tells queries whose class is missing."""

    rankings: tuple[Probability, ...]
    absence: Probability


def _teach(asked: Asked) -> _Taught:
    penalty = PENALTIES if asked.scores.shape[2] == len(PENALTIES) else 1.0
    rankings = tuple(fit_probability(*level, penalty=penalty) for level in zip(asked.scores, asked.wrong, strict=True))
    there, gone = asked.scores[0], asked.removed[np.isfinite(asked.removed).all(1)]
    absence = fit_probability(np.concatenate([there, gone]), np.repeat([False, True], [len(there), len(gone)]))
    return _Taught(rankings, absence)


def _rank(rankings: tuple[Probability, ...], scores: Float[np.ndarray, "levels n f"]) -> Float[np.ndarray, "levels n"]:
    return np.stack([ranking(level) for ranking, level in zip(rankings, scores, strict=True)])


def _finite(value: float) -> float | None:
    return value if np.isfinite(value) else None  # JSON knows no ∞


def _logit(probability: Float[np.ndarray, "n"]) -> Float[np.ndarray, "n 1"]:
    clipped = np.clip(probability, 1e-9, 1 - 1e-9)
    return np.log(clipped / (1 - clipped))[:, None]
