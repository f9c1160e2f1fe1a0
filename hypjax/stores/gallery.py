"""What is searched, wherever it is kept: a file of embeddings, or a database."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cached_property, partial
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np

from hypjax import geometry
from hypjax.data.errors import UsageError
from hypjax.retrieval import Index, Probability, knn
from hypjax.stores import embeddings
from hypjax.stores.embeddings import Embeddings
from hypjax.stores.where import read_filter
from hypjax.training.space import Distance, Space

FILTERS = 4  # of which a file's gallery keeps the rows


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
        self._filtered: dict[str, tuple[np.ndarray, Any]] = {}  # the last filters

    def __len__(self) -> int:
        return len(self.embeddings.points)

    @cached_property
    def row_of(self) -> dict[str, int]:
        """The row of each path."""
        return {picture.path: row for row, picture in enumerate(self.embeddings.pictures)}

    @cached_property
    def columns(self) -> dict[str, np.ndarray]:
        """What a filter may name, [n] each: path, uncertainty, p_wrong of a calibrated run, label of files."""
        paths, u = [picture.path for picture in self.embeddings.pictures], self.embeddings.uncertainty
        columns = {"path": np.array(paths, np.str_), "uncertainty": u}
        if told := self.about.get("p_wrong"):
            columns["p_wrong"] = Probability.from_dict(told["of_u"])(u[:, None]).astype(np.float32)
        if not self.about.get("rows"):
            columns["label"] = np.array([label_of(path) for path in paths], np.str_)
        return columns

    def search(self, points: np.ndarray, exclude: np.ndarray, k: int, where: str = "") -> tuple[np.ndarray, np.ndarray]:
        """The nearest rows, in the order of exact distances.

        Args:
          points: that ask [n, .].
          exclude: row that each must not find, −1 for none [n].
          k: rows, at most.
          where: as in `Gallery.nearest`.

        Returns:
          Rows [n, k] and distances [n, k].

        Raises:
          UsageError: as `Gallery.nearest`.
        """
        chosen, search = self._among(where)
        if not len(chosen):
            raise UsageError(f"nothing in the index fulfills {where}")
        place = np.full(len(self) + 1, -1)  # of a row among those chosen; the last is for −1
        place[chosen] = np.arange(len(chosen))
        rows, distances = search(points, place[exclude], k)
        return chosen[rows], distances

    def _among(self, where: str) -> tuple[np.ndarray, Any]:
        """The rows that fulfill a filter, and what searches them."""
        if not where:
            return self._all
        if where not in self._filtered:
            columns = self.columns
            chosen = np.flatnonzero(read_filter(where, list(columns)).mask(columns))
            held = self.embeddings._replace(points=self.embeddings.points[chosen])
            while len(self._filtered) >= FILTERS:
                self._filtered.pop(next(iter(self._filtered)), None)
            self._filtered[where] = (chosen, searcher(held, self._space) if len(chosen) else None)
        return self._filtered[where]

    @cached_property
    def _all(self) -> tuple[np.ndarray, Any]:
        return np.arange(len(self)), searcher(self.embeddings, self._space)

    def nearest(
        self, points: np.ndarray, k: int, *, leave_out: Sequence[str] | None = None, where: str = ""
    ) -> list[list[Hit]]:
        """As `Gallery.nearest`."""
        exclude = np.array([self.row_of.get(path, -1) for path in leave_out or [""] * len(points)])
        rows, distances = self.search(points, exclude, k, where)
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

    def sample(self, limit: int) -> Sample:
        """As `Gallery.sample`: rows at equal steps."""
        chosen = np.linspace(0, len(self) - 1, min(limit, len(self))).round().astype(int)
        pictures = self.embeddings.pictures
        return Sample(
            [pictures[row].path for row in chosen], self.embeddings.points[chosen], self.embeddings.uncertainty[chosen]
        )


def label_of(path: str) -> str:
    """The folder that a picture lies in, below the one that was embedded; "" for that one itself."""
    return path.rpartition("/")[0]


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
