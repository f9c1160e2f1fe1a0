"""What is searched, wherever it is kept: a file of embeddings, or a database."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np

from hypjax import geometry
from hypjax.data.errors import UsageError
from hypjax.retrieval import ApproximateIndex, Index, Probability, knn
from hypjax.retrieval.scan import as_argument
from hypjax.stores import beside, embeddings
from hypjax.stores.embeddings import Embeddings
from hypjax.stores.hits import Gallery, Hit, Sample, label_of, nothing_found
from hypjax.stores.milvus_client import SCHEME
from hypjax.stores.milvus_gallery import MilvusGallery
from hypjax.stores.where import read_filter
from hypjax.training.space import Distance, Space

FILTERS = 4  # of which a file's gallery keeps the rows


class FileGallery:
    """A file of embeddings, held ready for searches.

    Args:
      path: of the file.
      space: of the model that made it; needed for a hybrid distance, which no inner product orders by, when it is
        searched for the first time.
      approximate: the kind of an approximate index, by which all is searched while the points stay in the file; ""
        for an exact search.

    Attributes:
      approximate: that index, or None.

    Raises:
      UsageError: the file is not there or damaged, or no such index can be made of it.
    """

    def __init__(self, path: Path, *, space: Space | None = None, approximate: str = "") -> None:
        self.embeddings = embeddings.read(path, in_place=bool(approximate))
        self.approximate = beside.approximate(path, self.embeddings, approximate) if approximate else None
        self.about: Mapping[str, Any] = self.embeddings.about
        self.space = space
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
        """The nearest rows, in the order of exact distances; all of them, but for an approximate search without filter.

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
        place = np.full(len(self) + 1, -1)  # of a row among those chosen; the last is for −1
        place[chosen] = np.arange(len(chosen))
        itself = bool((place[exclude] >= 0).any())
        if len(chosen) <= itself:
            raise nothing_found(where, itself=itself)
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
            self._filtered[where] = (chosen, searcher(held, self.space) if len(chosen) else None)
        return self._filtered[where]

    @cached_property
    def _all(self) -> tuple[np.ndarray, Any]:
        return np.arange(len(self)), searcher(self.embeddings, self.space, self.approximate)

    def nearest(
        self, points: np.ndarray, k: int, *, leave_out: Sequence[str] | None = None, where: str = ""
    ) -> list[list[Hit]]:
        """As `Gallery.nearest`."""
        exclude = np.array([self.row_of.get(path, -1) if path else -1 for path in leave_out or [""] * len(points)])
        return self.hits(*self.search(points, exclude, k, where))

    def hits(self, rows: np.ndarray, distances: np.ndarray) -> list[list[Hit]]:
        """What `search` gives, with all that is known of it."""
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
        return (
            None
            if row is None
            else (self.embeddings.points[np.array([row])][0], float(self.embeddings.uncertainty[row]))
        )

    def sample(self, limit: int) -> Sample:
        """As `Gallery.sample`: rows at equal steps."""
        chosen = np.linspace(0, len(self) - 1, min(limit, len(self))).round().astype(int)
        pictures = self.embeddings.pictures
        return Sample(
            [pictures[row].path for row in chosen], self.embeddings.points[chosen], self.embeddings.uncertainty[chosen]
        )


def open_gallery(address: str, *, space: Space | None = None, lagging: bool = False, approximate: str = "") -> Gallery:
    """Opens what an address names: a file of embeddings, or a database.

    Args:
      address: of the file, or `milvus:…`, see `hypjax.stores.milvus`.
      space: as in `FileGallery`.
      lagging: as in `hypjax.stores.milvus.Collection`; of no account for a file.
      approximate: as in `FileGallery`; a database has its own way.

    Raises:
      UsageError: it is not there, or something else, or as `FileGallery`.
    """
    if not address.startswith(SCHEME):
        return FileGallery(Path(address), space=space, approximate=approximate)
    if approximate:
        raise UsageError(f"--approximate is for a file; {address} is a database, which has an index of its own")
    return MilvusGallery(address, lagging=lagging)


def searcher(
    index: Embeddings, space: Space | None = None, approximate: ApproximateIndex | None = None
) -> Callable[..., tuple[np.ndarray, np.ndarray]]:
    """What finds the nearest rows of a file of embeddings, in the order of exact distances.

    Args:
      index: what is searched.
      space: of the model that made the index; needed for a hybrid distance.
      approximate: by which most of them are found.

    Returns:
      `(points [n, .], rows that each must not find [n], −1 for none, k) -> rows [n, k], distances [n, k]`; k at most.
      It raises a UsageError where there is nothing but the query itself.

    Raises:
      UsageError: a hybrid distance without its space.
    """
    distance = index.about["distance"]
    find: Callable[..., Any]
    if approximate is not None:
        find = approximate.search
    elif distance != "hybrid":
        manifold = geometry.named(index.about["geometry"], index.about["curvature"])
        if isinstance(manifold, geometry.Product):  # a sum of distances has no order of inner products
            find = partial(_by_distance, index.points, as_argument(manifold.pairwise_dist))
        else:
            find = Index(index.points, manifold, distance=distance).search
    elif space is None:
        raise UsageError("a hybrid distance has no order of inner products, which this takes")
    else:
        find = partial(_by_distance, index.points, space.distance)

    def nearest(points: np.ndarray, exclude: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
        k = min(k, len(index.points) - bool((exclude >= 0).any()))
        if k < 1:
            raise nothing_found("", itself=True)
        rows, distances = find(points, k, exclude=exclude)
        return rows, distances

    return nearest


def _by_distance(gallery: np.ndarray, distance: Distance, points: np.ndarray, k: int, *, exclude: np.ndarray) -> Any:
    return map(np.asarray, knn(points, gallery, k=k, distance=distance, exclude=exclude))
