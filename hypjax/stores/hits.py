"""What a search gives, and what can be searched, wherever it is kept."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np

from hypjax.data.errors import UsageError


class Hit(NamedTuple):
    """One image that a query found.

    Attributes:
      path: below the folder that was embedded.
      distance: in the model's space.
      uncertainty: in [0, 1].
      row: in the file of embeddings; −1 in a database, which has no rows.
    """

    path: str
    distance: float
    uncertainty: float
    row: int = -1


class Sample(NamedTuple):
    """Some images of a gallery, for a map of it.

    Attributes:
      paths: of n files.
      points: of the geometry, float32 [n, .].
      uncertainty: in [0, 1], float32 [n].
    """

    paths: Sequence[str]
    points: np.ndarray
    uncertainty: np.ndarray


class Gallery(Protocol):
    """Embedded images that can be searched.

    Attributes:
      about: how they were made: `model` (a fingerprint), `root`, `geometry`, `distance`, `curvature`, …
    """

    about: Mapping[str, Any]

    def __len__(self) -> int:
        """How many images there are."""

    def nearest(
        self, points: np.ndarray, k: int, *, leave_out: Sequence[str] | None = None, where: str = ""
    ) -> list[list[Hit]]:
        """The nearest images of each query, in the order of exact distances.

        Args:
          points: that ask [n, .].
          k: images, at most; fewer where there are no more.
          leave_out: path that each query must not find, "" for none; none by default.
          where: what an image must fulfil to be found, such as `uncertainty < 0.4`.

        Raises:
          UsageError: a filter that cannot be read, or nothing is left to be found.
        """

    def find(self, path: str) -> tuple[np.ndarray, float] | None:
        """Point [.] and uncertainty of an image, None where it is not there."""

    def sample(self, limit: int) -> Sample:
        """So many images at most, of all parts of the gallery; the same ones again, as long as nothing changes."""


def label_of(path: str) -> str:
    """The folder that a picture lies in, below the one that was embedded; "" for that one itself."""
    return path.rpartition("/")[0]


def nothing_found(where: str, *, itself: bool) -> UsageError:
    """That there is nothing to be found.

    Args:
      where: the filter; "" for none.
      itself: whether the query is there, and fulfills it.
    """
    if not where:
        return UsageError("the index holds no image but the query")
    return UsageError(f"nothing in the index {'but the query ' if itself else ''}fulfills {where}")
