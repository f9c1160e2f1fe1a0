"""What is kept beside a file of embeddings, `photos.calibration.npz`: how far its answers can be relied on.

It holds for one model and one index: in a larger index more answers are wrong. One that has changed since is refused.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from hypjax.data.errors import UsageError
from hypjax.data.labeling import Labeling
from hypjax.data.source import dense
from hypjax.retrieval import (
    Calibration,
    Guarantee,
    Probability,
    answer_scores,
    ask,
    calibrate_answers,
    deepest,
    relevant_counts,
)
from hypjax.retrieval.asking import MOST_QUERIES, NEIGHBORS, needed
from hypjax.stores import embeddings
from hypjax.stores.beside import digest_of_index
from hypjax.stores.embeddings import DAMAGE, Embeddings
from hypjax.stores.gallery import FileGallery, searcher
from hypjax.stores.hits import Gallery
from hypjax.stores.milvus_client import SCHEME

FORMAT = "hypjax calibration 2"
MOST_RISKS = 100  # for which what is proven is kept


class Calibrated(NamedTuple):
    """A calibration, and the index that it is of.

    Attributes:
      calibration: it.
      labels: of each row of the index, at each level of the hierarchy, the classes first [levels, n].
      names: of what they number, at each level above the classes.
      about: `index`, a digest of what is searched; `queries` and `classes` that it was made from; `share_wrong`.
      proven: what `guaranteed` has found, by risk.
    """

    calibration: Calibration
    labels: np.ndarray
    names: list[list[str]]
    about: dict[str, Any]
    proven: dict[float, Guarantee | None]


class Word(NamedTuple):
    """What is said of the first answer to a query.

    Attributes:
      probability: that it is wrong.
      given: whether it is sure enough to be given; None where no risk was named.
      unlike: whether the index seems to hold nothing like the query.
      higher: what the query is surely of, above the classes; "" where the first answer is given, or nothing is sure.
      enough: so many of the nearest hold the right class, with probability 1 − risk over all queries; 0 where none was
        named.
    """

    probability: float
    given: bool | None
    unlike: bool
    higher: str = ""
    enough: int = 0


def place(index: Path) -> Path:
    """Where the calibration of an index is kept."""
    return index.with_name(f"{index.stem}.calibration.npz")


def make(
    path: Path, index: Embeddings, labeling: Labeling, *, without: Collection[str] = (), seed: int = 0
) -> Calibrated:
    """Lets the rows of an index ask for each other, and calibrates on what they find.

    Args:
      path: of the index.
      index: what it holds.
      labeling: classes of its rows, and their hierarchy.
      without: classes that answer and do not ask.
      seed: of the division of the classes, see `retrieval.calibrate_answers`.

    Raises:
      UsageError: too few classes of two images or more, or a hybrid distance.
    """
    labels = labeling.labels
    may_ask = ~np.isin(np.array(labeling.class_names, np.str_), np.array([*without], np.str_))[labels]
    asking = np.flatnonzero(may_ask & (relevant_counts(labels, labels, exclude=np.arange(len(labels))) > 0))
    asking = asking[np.linspace(0, len(asking) - 1, min(len(asking), MOST_QUERIES)).round().astype(int)]
    classes = len(np.unique(labels[asking]))
    if classes < 4:
        raise UsageError(f"{path} has {classes} classes of two images or more that may ask; at least 4 must")
    found, distances = searcher(index)(np.asarray(index.points)[asking], asking, needed(labels))
    levels = [dense(np.array(of_classes)) for _, of_classes in labeling.levels]
    ancestors = np.stack([numbers for _, numbers in levels], axis=1) if levels else None
    asked = ask(index.uncertainty[asking], distances, labels[found], labels[asking], ancestors)
    about = {
        "index": digest_of_index(path),
        "size": len(index.points),
        "queries": len(asking),
        "classes": classes,
        "share_wrong": float(asked.wrong[0].mean()),
    }
    of_rows = np.stack([labels, *(numbers[labels] for _, numbers in levels)]).astype(np.int32)
    names = [[str(name) for name in kept] for kept, _ in levels]
    return Calibrated(calibrate_answers(asked, seed=seed), of_rows, names, about, {})


def write(path: Path, calibrated: Calibrated) -> None:
    """Writes a calibration beside and renames it."""
    about = {"format": FORMAT, "names": calibrated.names, **calibrated.about, "made": calibrated.calibration.as_dict()}
    with embeddings.archive(path) as put:
        put("labels", calibrated.labels)
        put("about", np.array(json.dumps(about)))


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
            labels, about = file["labels"], json.loads(str(file["about"]))
        if about.pop("format", "") != FORMAT:
            raise ValueError(f"it does not say that it is {FORMAT!r}")
        held = Calibrated(Calibration.from_dict(about.pop("made")), labels, about.pop("names"), about, {})
        same = about["index"] == digest_of_index(index)
    except DAMAGE as error:
        raise UsageError(f"{path} is no whole calibration ({' '.join(str(error).split())[:120]}); {anew}") from error
    if not same:
        raise UsageError(f"{index} changed since {path.name} was made ({about['size']:,} images then); {anew}")
    return held


def of_search(gallery: Gallery, index: str, *, where: str, risk: float | None) -> Calibrated | None:
    """What is known of the answers to a search; None where it is nothing.

    Args:
      gallery: that is searched.
      index: its name.
      where: the filter; among what it leaves, other answers are wrong than in the whole.
      risk: the share of answers that may be wrong; None where none was named.

    Raises:
      UsageError: a risk where nothing is known, or a calibration that is damaged or of another index.
    """
    in_file = isinstance(gallery, FileGallery)
    exact = not (isinstance(gallery, FileGallery) and gallery.approximate)
    calibrated = read(Path(index)) if in_file and exact and not where else None
    if risk is None or calibrated is not None:
        return calibrated
    if not exact:
        raise UsageError("--risk holds for exact answers; give --risk or --approximate")
    if not in_file:
        raise UsageError(
            f"--risk needs a file that hypjax.calibrate calibrates, such as photos.npz; {index} is a database"
        )
    if where:
        raise UsageError("--risk holds for the whole index, not for what --where leaves of it; give one of them")
    raise UsageError(
        f"--risk needs to know how often {index} answers wrongly: first python -m hypjax.calibrate --index {index}"
    )


def judge(
    calibrated: Calibrated,
    uncertainty: np.ndarray,
    found: np.ndarray,
    distances: np.ndarray,
    risk: float | None = None,
) -> list[Word]:
    """What is said of the first answer to each query.

    Args:
      calibrated: of the index that was searched.
      uncertainty: of the queries [n].
      found: rows of the index [n, k], `NEIGHBORS` of them where there are so many.
      distances: to them [n, k].
      risk: the share of answers, in (0, 1), that may be wrong; None where none was named.
    """
    few, made = slice(0, NEIGHBORS), calibrated.calibration
    scores = np.stack([answer_scores(uncertainty, distances[:, few], of[found[:, few]]) for of in calibrated.labels])
    told, unlike = made.probability(scores), made.nothing_like(scores)
    if risk is None:
        return [Word(p, None, gone) for p, gone in zip(told.tolist(), unlike.tolist(), strict=True)]
    ranked, guarantee = made.rank(scores), guaranteed(calibrated, risk)
    threshold = -np.inf if guarantee is None else guarantee.threshold
    level = deepest(ranked, threshold).tolist()
    higher = [name_at(calibrated, at, int(row)) for at, row in zip(level, found[:, 0], strict=True)]
    given = [at == 0 for at in level]
    enough = made.answer_counts(scores, risk, most=calibrated.labels.shape[1]).tolist()
    return [Word(*word) for word in zip(told.tolist(), given, unlike.tolist(), higher, enough, strict=True)]


def before_search(about: Mapping[str, Any], uncertainty: np.ndarray) -> list[Word]:
    """What the run's own calibration says of queries by their u alone, kept by the index; empty where there is none."""
    told = about.get("p_wrong")
    if not told:
        return []
    chances = Probability.from_dict(told["of_u"])(uncertainty[:, None])
    return [Word(chance, None, False) for chance in chances.tolist()]


def hint(about: Mapping[str, Any], name: str) -> str:
    """That those chances are of another gallery, as a line."""
    better = "" if name.startswith(SCHEME) else f" Better: python -m hypjax.calibrate --index {name}"
    return (
        f"{name} is not calibrated: chances are told from u alone, as learned among {about['p_wrong']['size']:,} "
        f"images; among more of them more is wrong.{better}"
    )


def guaranteed(calibrated: Calibrated, risk: float) -> Guarantee | None:
    """What is proven: of answers at the deepest level that is sure enough, where a hierarchy is known, else of all."""
    made, proven = calibrated.calibration, calibrated.proven
    with suppress(KeyError):  # another thread may have cleared it
        return proven[risk]
    if len(proven) >= MOST_RISKS:
        proven.clear()
    found = proven[risk] = made.level_guarantee(risk) if calibrated.names else made.guarantee(risk)
    return found


def name_at(calibrated: Calibrated, level: int, row: int) -> str:
    """What a row of the index is of, at a level above the classes; "" at another."""
    if not 0 < level < len(calibrated.labels):
        return ""
    return calibrated.names[level - 1][calibrated.labels[level, row]]


def told(word: Word, size: int) -> Iterator[str]:
    """What a person is told: the chance of being wrong, then what can be said where the answer is not sure enough.

    Args:
      word: on the first answer.
      size: of the index.
    """
    yield f"the first is wrong with probability {word.probability:.2f}"
    if word.unlike and not word.given:
        yield "nothing like it is indexed, or so it seems"
    if word.higher:
        yield f"not sure enough which class, but sure enough that it is of {word.higher}; what lies nearest:"
    elif word.given is False:
        yield "not sure enough to be answered; what lies nearest:"
    if 1 < word.enough < size - 1:
        yield f"the right class is probably among the first {word.enough}"


def promise(calibrated: Calibrated, risk: float) -> str:
    """What is promised, as a line."""
    classes, guarantee = calibrated.about["classes"], guaranteed(calibrated, risk)
    if guarantee is None:
        return (
            f"no answer is sure enough: that at most {risk:.0%} of them are wrong is proven by no threshold on "
            f"{classes} calibration classes"
        )
    answers = "answers, each a class or a group above it," if calibrated.names else "answers"
    return (
        f"answered is what {guarantee.coverage:.0%} of the calibration queries would be: at most {risk:.0%} of such "
        f"{answers} are wrong, with probability {1 - guarantee.delta:.0%}, of new classes too ({classes} calibrated it)"
    )


def about_of(held: Mapping[str, Any]) -> str:
    """What a calibration was made from, as words."""
    return (
        f"{held['queries']:,} queries of {held['classes']:,} classes, {held['share_wrong']:.1%} of whose first answers "
        "are wrong"
    )
