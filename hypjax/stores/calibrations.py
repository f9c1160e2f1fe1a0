"""What is kept beside a file of embeddings, `photos.calibration.npz`: how far its answers can be relied on.

It holds for one model and one index: in a larger index more answers are wrong. One that has changed since is refused.
"""

from __future__ import annotations

import json
import zipfile
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from hypjax.data.errors import UsageError
from hypjax.retrieval import Calibration, Guarantee, Probability, answer_scores, calibrate_answers, relevant_counts
from hypjax.retrieval.calibration import NEIGHBORS, without_class
from hypjax.stores import embeddings
from hypjax.stores.embeddings import DAMAGE, Embeddings
from hypjax.stores.searching import nearest

FORMAT = "hypjax calibration 1"
MOST = 20_000  # queries, evenly spaced: more tell nothing new
FITTED, ARRAYS = ("before", "ranking", "after", "absence"), ("thresholds", "ranked", "wrong", "classes")
MOST_MATES = 200  # images of a query's own class that are passed over for its nearest others


class Calibrated(NamedTuple):
    """A calibration, and the index that it is of.

    Attributes:
      calibration: it.
      labels: class of each row of the index [n].
      about: `index`, a digest of what is searched; `queries` and `classes` that it was made from; `share_wrong`.
    """

    calibration: Calibration
    labels: np.ndarray
    about: dict[str, Any]


class Word(NamedTuple):
    """What is said of the first answer to a query.

    Attributes:
      probability: that it is wrong.
      given: whether it is sure enough to be given; None where no risk was named.
      unlike: whether the index seems to hold nothing like the query.
    """

    probability: float
    given: bool | None
    unlike: bool


def place(index: Path) -> Path:
    """Where the calibration of an index is kept."""
    return index.with_name(f"{index.stem}.calibration.npz")


def digest(index: Path) -> str:
    """Of the points and the paths of a file of embeddings, from the checksums that it holds."""
    with zipfile.ZipFile(index) as held:
        return " ".join(f"{held.getinfo(f'{name}.npy').CRC:08x}" for name in ("points", "paths"))


def make(
    path: Path, index: Embeddings, labels: Sequence[str], *, without: Collection[str] = (), seed: int = 0
) -> Calibrated:
    """Lets the rows of an index ask for each other, and calibrates on what they find.

    Args:
      path: of the index.
      index: what it holds.
      labels: class of each row.
      without: classes that answer and do not ask.
      seed: of the halves of the classes, see `retrieval.calibrate_answers`.

    Raises:
      UsageError: too few classes of two images or more, or a hybrid distance.
    """
    _, numbers = np.unique(np.array(labels, np.str_), return_inverse=True)
    may_ask = ~np.isin(np.array(labels, np.str_), np.array([*without], np.str_))
    asking = np.flatnonzero(may_ask & (relevant_counts(numbers, numbers, exclude=np.arange(len(numbers))) > 0))
    asking = asking[np.linspace(0, len(asking) - 1, min(len(asking), MOST)).round().astype(int)]
    classes = len(np.unique(numbers[asking]))
    if classes < 4:
        raise UsageError(f"{path} has {classes} classes of two images or more that may ask; at least 4 must")
    mates = min(int(np.bincount(numbers)[numbers[asking]].max()), MOST_MATES)
    found, distances = nearest(index, np.asarray(index.points)[asking], asking, NEIGHBORS + mates)
    u, own = index.uncertainty[asking], numbers[asking]
    scores = answer_scores(u, distances[:, :NEIGHBORS], numbers[found[:, :NEIGHBORS]])
    removed = answer_scores(u, *without_class(distances, numbers[found], own))
    wrong = numbers[found[:, 0]] != own
    made = calibrate_answers(u, scores, removed, wrong, own, seed=seed)
    about = {
        "index": digest(path),
        "size": len(index.points),
        "queries": len(asking),
        "classes": classes,
        "share_wrong": float(wrong.mean()),
    }
    return Calibrated(made, numbers.astype(np.int32), about)


def write(path: Path, calibrated: Calibrated) -> None:
    """Writes a calibration beside and renames it."""
    made = calibrated.calibration
    fitted = {name: getattr(made, name).as_dict() for name in FITTED} | {"present_below": made.present_below}
    with embeddings.archive(path) as put:
        put("labels", calibrated.labels)
        for name in ARRAYS:
            put(name, np.asarray(getattr(made, name)))
        put("about", np.array(json.dumps({"format": FORMAT, **calibrated.about, **fitted})))


def read(index: Path) -> Calibrated | None:
    """The calibration of an index; None where there is none.

    Raises:
      UsageError: it is damaged, or the index changed since.
    """
    path = place(index)
    if not path.is_file():
        return None
    anew = f"calibrate anew: python -m hypjax.calibrate --index {index}"
    try:
        with path.open("rb") as opened, np.load(opened, allow_pickle=False) as file:
            arrays, labels = {name: file[name] for name in ARRAYS}, file["labels"]
            about = json.loads(str(file["about"]))
        if about.pop("format", "") != FORMAT:
            raise ValueError(f"it does not say that it is {FORMAT!r}")
        fitted = {name: Probability.from_dict(about.pop(name)) for name in FITTED}
        parts = {**fitted, **arrays, "present_below": about.pop("present_below")}
        held = Calibrated(Calibration(**parts), labels, about)
        same = about["index"] == digest(index)
    except DAMAGE as error:
        raise UsageError(f"{path} is no whole calibration ({' '.join(str(error).split())[:120]}); {anew}") from error
    if not same:
        raise UsageError(f"{index} changed since {path.name} was made ({about['size']:,} images then); {anew}")
    return held


def judge(
    calibrated: Calibrated,
    uncertainty: np.ndarray,
    found: np.ndarray,
    distances: np.ndarray,
    threshold: float | None = None,
) -> list[Word]:
    """What is said of the first answer to each query.

    Args:
      calibrated: of the index that was searched.
      uncertainty: of the queries [n].
      found: rows of the index [n, k], `NEIGHBORS` of them where there are so many.
      distances: to them [n, k].
      threshold: of a guarantee, −∞ where nothing is proven; None where no risk was named.
    """
    few = slice(0, NEIGHBORS)
    scores = answer_scores(uncertainty, distances[:, few], calibrated.labels[found[:, few]])
    made = calibrated.calibration
    given = [None] * len(scores) if threshold is None else (made.ranking(scores) <= threshold).tolist()
    told = zip(made.probability(scores).tolist(), given, made.nothing_like(scores).tolist(), strict=True)
    return [Word(*word) for word in told]


def promise(calibrated: Calibrated, guarantee: Guarantee | None, risk: float) -> str:
    """What is promised, as a line."""
    classes = calibrated.about["classes"]
    if guarantee is None:
        return (
            f"no answer is sure enough: that at most {risk:.0%} of them are wrong is proven by no threshold on "
            f"{classes} calibration classes"
        )
    return (
        f"answered is what {guarantee.coverage:.0%} of the calibration queries would be: at most {risk:.0%} of such "
        f"answers are wrong, with probability {1 - guarantee.delta:.0%}, for new classes too ({classes} calibrated it)"
    )


def about_of(held: Mapping[str, Any]) -> str:
    """What a calibration was made from, as words."""
    return (
        f"{held['queries']:,} queries of {held['classes']:,} classes, {held['share_wrong']:.1%} of whose first answers "
        "are wrong"
    )
