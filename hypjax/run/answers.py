"""How far a model's answers can be relied on: learned from some of the test classes, held against the others.

The classes to calibrate on are chosen by a hash of their names. They answer in one gallery with the others, since more
answers are wrong in a larger one; they take part in recall and its relatives, and choose nothing.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
from ml_collections import ConfigDict

from hypjax.data.source import Source
from hypjax.data.split import Splits, hash_order
from hypjax.retrieval import Asked, Calibration, ask, calibrate_answers, promise_figures, relevant_counts
from hypjax.retrieval.asking import MOST_QUERIES, NEIGHBORS, needed
from hypjax.retrieval.promises import RISKS
from hypjax.training.evaluated import Evaluation

FORMAT = "hypjax calibration of a run 1"
PROVEN_FOR = {"class": "new classes", "image": "new images"}
FEWEST = 8  # classes to calibrate on


class Reliance(NamedTuple):
    """What is known of a model's answers.

    Attributes:
      calibration: learned from the classes that calibrate.
      asked: what queries of the other classes found.
      gallery: images that they searched.
      level_names: of the hierarchy above the classes.
      about: `on`, the classes that calibrate; `queries` and `classes` of them; `size` of the gallery they searched.
    """

    calibration: Calibration
    asked: Asked
    gallery: int
    level_names: tuple[str, ...]
    about: dict[str, Any]

    def figures(self, *risks: float) -> dict[str, float]:
        """What was promised and what came out, see `retrieval.promise_figures`; for the usual risks by default."""
        return promise_figures(
            self.calibration, self.asked, most=self.gallery, level_names=self.level_names, risks=risks or RISKS
        )

    def lines(self, *risks: float) -> Iterator[str]:
        """What was promised and what came out, for people."""
        figures, about, others = self.figures(*risks), self.about, len(np.unique(self.asked.classes))
        whose = "test" if about["on"] == "test" else "validation"
        few = "" if about["on"] == "test" else ", cross-fitted, as test classes are few"
        yield f"  answers: calibrated on {about['classes']} {whose} classes{few}, held against {others} others"
        if about["size"] != self.gallery:
            yield f"    they searched {about['size']:,} images, the others {self.gallery:,}: no guarantee carries over"
        error, auroc = figures["calibration_error"], figures["answer_auroc"]
        yield f"    the chance that the first is wrong is {error:.3f} off what comes out in the mean; auroc {auroc:.3f}"
        kinds = ("", "level_") if self.level_names else ("",)
        columns = [(form, kind) for form in ("class", "image") for kind in kinds]
        heads = ["or a group" if kind else PROVEN_FOR[form] for form, kind in columns]
        yield f"    {'answered (wrong), where':24}" + "".join(f"{head:>17}" for head in heads)
        for risk in risks or RISKS:
            pairs = [
                (figures[f"{kind}coverage_by_{form}@{risk:g}"], figures[f"{kind}error_by_{form}@{risk:g}"])
                for form, kind in columns
            ]
            cells = [f"{given:.1%} ({wrong:.1%})" if given else "none is proven" for given, wrong in pairs]
            yield f"    {f'at most {risk:.0%} may be wrong':24}" + "".join(f"{cell:>17}" for cell in cells)

    @property
    def promise(self) -> str:
        """How sure it is that answers are as good as is promised, and from what that was learned, in sentences."""
        if self.about["on"] == "test":
            return f"That holds with a probability of 90 %, and was learned from {self.about['classes']} test classes."
        return (
            f"That was learned from {self.about['classes']} validation classes, as test classes are few; they served "
            "other choices before and searched a gallery of their own, so that no guarantee carries over."
        )

    def told(self) -> tuple[np.ndarray, np.ndarray]:
        """The chance of being wrong that the first answer to each query is told, and whether it is."""
        return self.calibration.probability(self.asked.scores), self.asked.wrong[0]

    def as_dict(self) -> dict[str, Any]:
        """What a workdir keeps of it: the calibration, and what it was made from."""
        return {"format": FORMAT, **self.about, "made": self.calibration.as_dict()}


def rely(config: ConfigDict, evaluation: Evaluation, splits: Splits, validated: Evaluation | None) -> Reliance | None:
    """Calibrates on a share of the test classes, or on the validation classes where the test classes are too few.

    Args:
      config: the settings.
      evaluation: of the test classes.
      splits: whose classes they are.
      validated: the same of the validation classes; needed where `too_few`.

    Returns:
      None where it is switched off, or there is too little to do it with: classes, or images to be found.
    """
    source = splits.test
    if not config.evaluation.calibration or (too_few(config, source) and validated is None):
        return None
    judged, gallery = found(evaluation, source), len(evaluation.answering)
    about: dict[str, Any] = {"on": "test", "size": gallery}
    if judged is None:
        return None
    if validated is None:
        calibrates = np.isin(judged.classes, calibrating(config, source))
        learned: Asked | None = judged.take(calibrates)
        judged = judged.take(~calibrates)
    else:
        learned = found(validated, splits.validation)
        about = {"on": "validation", "size": len(validated.answering)}
    if learned is None or len(np.unique(learned.classes)) < FEWEST or not len(judged.classes):
        return None
    about |= {"queries": len(learned.classes), "classes": len(np.unique(learned.classes))}
    made = calibrate_answers(learned, cross_fit=validated is not None)
    return Reliance(made, judged, gallery, tuple(source.level_names), about)


def uncalibrated(config: ConfigDict) -> Iterator[str]:
    """That nothing could be calibrated, and what it takes, for people; nothing where it is switched off."""
    if config.evaluation.calibration:
        yield (
            f"  answers are not calibrated: it takes {FEWEST} classes of two images or more, of the "
            f"{config.evaluation.calibration:.0%} of the test classes that would, or of the validation classes"
        )


def calibrating(config: ConfigDict, source: Source) -> list[int]:
    """The test classes to calibrate on, of those with two images or more."""
    several = np.bincount(source.labels, minlength=len(source.class_names)) > 1
    order = [i for i in hash_order(list(source.class_names), seed=config.data.split_seed) if several[i]]
    return order[: int(config.evaluation.calibration * len(order))]


def too_few(config: ConfigDict, source: Source) -> bool:
    """Whether so few test classes would calibrate that the validation classes are to."""
    return bool(config.evaluation.calibration) and len(calibrating(config, source)) < FEWEST


def found(evaluation: Evaluation, source: Source) -> Asked | None:
    """What the images of a source found, but for those alone in their class; None where too little is there."""
    asking, answering = evaluation.asking, evaluation.answering
    own = asking if len(answering) == len(source) else None
    labels, gallery = source.labels[asking], source.labels[answering]
    chosen = np.flatnonzero(relevant_counts(labels, gallery, exclude=own) > 0)
    if not len(chosen) or len(answering) <= NEIGHBORS:
        return None
    chosen = chosen[np.unique(np.linspace(0, len(chosen) - 1, min(len(chosen), MOST_QUERIES)).astype(int))]
    rows, labels = asking[chosen], labels[chosen]
    shares, retrieved, k = evaluation.shares.of(asking), evaluation.retrieved, needed(gallery)
    mine, held = shares.mine(chosen), shares.of(chosen)
    neighbors, distances = gallery[retrieved.neighbors[mine, :k]], retrieved.distances[mine, :k]
    asked = ask(evaluation.uncertainty[rows[held.own]], distances, neighbors, labels[held.own], source.ancestors)
    return asked.gathered(held.gather)
