"""What is searched, wherever it is kept: a file of embeddings, or a database."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cached_property, partial
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np

from hypjax import geometry
from hypjax.data.errors import UsageError
from hypjax.retrieval import Index, knn
from hypjax.stores import embeddings
from hypjax.stores.embeddings import Embeddings
from hypjax.training.space import Distance, Space


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


class FileGallery:
    """A file of embeddings, held ready for searches.

    Args:
      path: of the file.
      space: of the model that made it; needed for a hybrid distance, which no inner product orders by.
    """

    def __init__(self, path: Path, *, space: Space | None = None) -> None:
        self.embeddings = embeddings.read(path)
        self.about: Mapping[str, Any] = self.embeddings.about
        self._space = space

    def __len__(self) -> int:
        return len(self.embeddings.points)

    @cached_property
    def row_of(self) -> dict[str, int]:
        """The row of each path."""
        return {picture.path: row for row, picture in enumerate(self.embeddings.pictures)}

    @cached_property
    def _search(self) -> Any:
        return searcher(self.embeddings, self._space)

    def nearest(
        self, points: np.ndarray, k: int, *, leave_out: Sequence[str] | None = None, where: str = ""
    ) -> list[list[Hit]]:
        """As `Gallery.nearest`."""
        exclude = np.array([self.row_of.get(path, -1) for path in leave_out or [""] * len(points)])
        rows, distances = self._search(points, exclude, k)
        pictures, uncertainty = self.embeddings.pictures, self.embeddings.uncertainty
        return [
            [
                Hit(pictures[row].path, distance, float(uncertainty[row]), row)
                for row, distance in zip(*found, strict=True)
            ]
            for found in zip(rows.tolist(), distances.tolist(), strict=True)
        ]

    def find(self, path: str) -> tuple[np.ndarray, float] | None:
        """As `Gallery.find`."""
        row = self.row_of.get(path)
        return None if row is None else (self.embeddings.points[row], float(self.embeddings.uncertainty[row]))


def open_gallery(address: str, *, space: Space | None = None) -> Gallery:
    """Opens what an address names: a file of embeddings.

    Args:
      address: of the file.
      space: as in `FileGallery`.
    """
    return FileGallery(Path(address), space=space)


def searcher(index: Embeddings, space: Space | None = None) -> Callable[..., tuple[np.ndarray, np.ndarray]]:
    """What finds the nearest rows of a file of embeddings, in the order of exact distances.

    Args:
      index: what is searched.
      space: of the model that made the index; needed for a hybrid distance.

    Returns:
      `(points [n, .], rows that each must not find [n], −1 for none, k) -> rows [n, k], distances [n, k]`; k at most.
      It raises a UsageError where there is nothing but the query itself.

    Raises:
      UsageError: a hybrid distance without its space.
    """
    distance = index.about["distance"]
    find: Callable[..., Any]
    if distance != "hybrid":
        manifold = geometry.named(index.about["geometry"], index.about["curvature"])
        find = Index(index.points, manifold, distance=distance).search
    elif space is None:
        raise UsageError("a hybrid distance has no order of inner products, which this takes")
    else:
        find = partial(_by_distance, index.points, space.distance)

    def nearest(points: np.ndarray, exclude: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
        k = min(k, len(index.points) - bool((exclude >= 0).any()))
        if k < 1:
            raise UsageError("the index holds no image but the query")
        rows, distances = find(points, k, exclude=exclude)
        return rows, distances

    return nearest


def _by_distance(gallery: np.ndarray, distance: Distance, points: np.ndarray, k: int, *, exclude: np.ndarray) -> Any:
    return map(np.asarray, knn(points, gallery, k=k, distance=distance, exclude=exclude))
