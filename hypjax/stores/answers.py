"""A gallery asked: what each query finds, and what a calibration allows to say of the first of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from hypjax.data.errors import UsageError
from hypjax.stores import calibrations
from hypjax.stores.calibrations import Calibrated, Word
from hypjax.stores.hits import Gallery, Hit


class Answer(NamedTuple):
    """What one query found.

    Attributes:
      hits: nearest first.
      word: on the first of them; None where nothing is known.
    """

    hits: list[Hit]
    word: Word | None


def answer(
    gallery: Gallery,
    calibrated: Calibrated | None,
    points: np.ndarray,
    uncertainty: np.ndarray,
    k: Sequence[int],
    *,
    leave_out: Sequence[str] | None = None,
    where: str = "",
    risks: Sequence[float | None],
) -> list[Answer]:
    """Searches, and judges each first answer: by the calibration of the gallery, or by that of the run.

    Both are of a whole gallery: where only a part of it is searched, nothing is said.

    Args:
      gallery: what is searched.
      calibrated: of it.
      points: that ask [n, .].
      uncertainty: of theirs [n]; nan where it is not known.
      k: images that each asks for.
      leave_out: as in `Gallery.nearest`.
      where: as in `Gallery.nearest`.
      risks: the share of answers that may be wrong, for each query; None where none was named.

    Raises:
      UsageError: as `Gallery.nearest`.
    """
    judged = calibrated is not None and not where
    found = gallery.nearest(
        points, max(*k, calibrations.NEIGHBORS) if judged else max(k), leave_out=leave_out, where=where
    )
    answers = []
    for row, (hits, u, risk) in enumerate(zip(found, uncertainty.tolist(), risks, strict=True)):
        words: list[Word] = []
        if np.isfinite(u) and judged and calibrated is not None and len(hits) > 1:
            rows, distances = (np.array([[getattr(hit, name) for hit in hits]]) for name in ("row", "distance"))
            words = calibrations.judge(calibrated, np.array([u]), rows, distances, risk)
        elif np.isfinite(u) and not where:
            words = calibrations.before_search(gallery.about, np.array([u]))
        answers.append(Answer(hits[: k[row]], words[0] if words else None))
    return answers


def require_maker(about: Mapping[str, Any], fingerprint: str, *, index: str, workdir: str, step: int) -> None:
    """Checks that the model made the index.

    Args:
      about: what the index says of itself.
      fingerprint: of the model.
      index: its name, for the message.
      workdir: where the model lies.
      step: of the model.

    Raises:
      UsageError: another one did.
    """
    if about.get("model") != fingerprint:
        raise UsageError(
            f"{index} was made by another model ({about.get('run')}, step {about.get('step')}) than "
            f"{workdir} (step {step}) holds; make it anew with hypjax.embed, or give its --workdir"
        )
