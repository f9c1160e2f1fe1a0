"""Questions that are answered together: pictures are embedded in one batch, then all are searched for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from hypjax.data.errors import UsageError
from hypjax.serving.resident import Resident, Snapshot
from hypjax.stores import answers
from hypjax.stores.answers import Answer
from hypjax.training import sharding

SIZES = (1, 2, 4, 8, 16)  # of batches, for each device: what is compiled
UNKNOWN = float("nan")


class Missing(UsageError):
    """A path that the index does not hold."""


@dataclass(frozen=True, eq=False)
class Question:
    """What one request asks: by a picture, a point, or an indexed image.

    Attributes:
      view: of a picture, uint8 [side, side, 3].
      point: of the geometry [.].
      uncertainty: of the point's, in [0, 1]; nan where it is not known.
      path: of an indexed image, which is not to find itself.
      k: images to be found; 0 for none, where only the embedding is asked for.
      where: what they must fulfil.
      risk: the share of answers that may be wrong; None where none was named.
    """

    view: np.ndarray | None = None
    point: np.ndarray | None = None
    uncertainty: float = UNKNOWN
    path: str = ""
    k: int = 0
    where: str = ""
    risk: float | None = None


class Reply(NamedTuple):
    """What is answered.

    Attributes:
      point: that was asked by [.].
      uncertainty: of its, nan where it is not known.
      answer: what it found; None where nothing was searched for.
      snapshot: the index that it was found in.
    """

    point: np.ndarray
    uncertainty: float
    answer: Answer | None
    snapshot: Snapshot


class Answering:
    """Answers questions with a model and an index.

    Args:
      resident: both.

    Attributes:
      most: questions at once.
    """

    def __init__(self, resident: Resident) -> None:
        self._resident = resident
        devices = sharding.data_mesh().size
        self._sizes = [size * devices for size in SIZES]
        self.most = self._sizes[-1]

    def warm_up(self) -> None:
        """Compiles what will be called, so that the first request does not wait for it."""
        side = self._resident.model.config.data.eval_image_size
        question = Question(view=np.zeros((side, side, 3), np.uint8), k=10)
        for doubled in range(self.most.bit_length()):  # a search is of so many, a batch of one of the sizes
            self([question] * (1 << doubled))

    def __call__(self, questions: list[Question]) -> list[Reply | Exception]:
        """Answers, in order, each by the same state of the index; an error for each that has none."""
        snapshot = self._resident.snapshot
        replies: list[Reply | Exception] = [*self._placed(questions, snapshot)]
        groups: dict[tuple[str, bool], list[int]] = {}
        for row, (question, placed) in enumerate(zip(questions, replies, strict=True)):
            if not question.k or not isinstance(placed, Reply):
                continue
            if question.risk is not None and (why := _not_kept(question, placed)):
                replies[row] = UsageError(f"risk cannot be kept to: {why}")
            else:
                groups.setdefault((question.where, bool(question.path)), []).append(row)
        for rows in groups.values():
            asked = [questions[row] for row in rows]
            placed_rows = [placed for row in rows if isinstance(placed := replies[row], Reply)]
            for row, reply in zip(rows, _searched(asked, placed_rows, snapshot), strict=True):
                replies[row] = reply
        return replies

    def _placed(self, questions: Sequence[Question], snapshot: Snapshot) -> list[Reply | Exception]:
        """The point and the uncertainty of each."""
        views = [question.view for question in questions if question.view is not None]
        embedded = iter(self._embed(np.stack(views)) if views else ())
        placed: list[Reply | Exception] = []
        for question in questions:
            if question.view is not None:
                placed.append(Reply(*next(embedded), None, snapshot))
            elif question.path:
                found = snapshot.gallery.find(question.path)
                missing = Missing(f"the index holds no image {question.path!r}")
                placed.append(missing if found is None else Reply(*found, None, snapshot))
            else:
                placed.append(Reply(np.asarray(question.point, np.float32), question.uncertainty, None, snapshot))
        return placed

    def _embed(self, views: np.ndarray) -> list[tuple[np.ndarray, float]]:
        """Of at most `most` views: their points and uncertainties, in a batch of one of the sizes."""
        size = next(size for size in self._sizes if size >= len(views))
        filled = np.concatenate([views, np.zeros((size - len(views), *views.shape[1:]), np.uint8)])
        embedded = self._resident.model.embed_batch({"image": filled})
        return list(zip(embedded.points[: len(views)], embedded.uncertainty.tolist(), strict=False))


def _not_kept(question: Question, placed: Reply) -> str:
    """Why a risk cannot be kept to; "" where it can."""
    if not placed.snapshot.in_file:
        return "hypjax.calibrate calibrates files, and this index is a database"
    if placed.snapshot.calibrated is None:
        return placed.snapshot.notice or "the index is not calibrated: python -m hypjax.calibrate --index FILE"
    if question.where:
        return "it is one of the whole index, and where asks a part"
    return "the uncertainty of the vector is not given" if np.isnan(placed.uncertainty) else ""


def _searched(asked: Sequence[Question], placed: Sequence[Reply], snapshot: Snapshot) -> list[Reply | Exception]:
    """What questions of one filter find; where they cannot be answered together, each by itself."""
    try:
        found = answers.answer(
            snapshot.gallery,
            snapshot.calibrated,
            np.stack([reply.point for reply in placed]),
            np.array([reply.uncertainty for reply in placed]),
            [question.k for question in asked],
            leave_out=[question.path for question in asked],
            where=asked[0].where,
            risks=[question.risk for question in asked],
        )
    except ValueError as error:  # of what was asked: a filter, a point outside of the space
        if len(asked) == 1:
            return [error if isinstance(error, UsageError) else UsageError(str(error))]
        alone = zip(asked, placed, strict=True)
        return [reply for question, reply_to in alone for reply in _searched([question], [reply_to], snapshot)]
    return [reply._replace(answer=answer) for reply, answer in zip(placed, found, strict=True)]
