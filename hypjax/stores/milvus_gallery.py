"""A collection of a Milvus database as a gallery: Milvus proposes by inner product, exact distances decide."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from hypjax import geometry
from hypjax.data.errors import UsageError
from hypjax.data.unlabeled import leaves_its_folder
from hypjax.retrieval import Index, lift_gallery, lift_queries
from hypjax.retrieval.products import SPARE
from hypjax.stores.hits import Hit, Sample, nothing_found
from hypjax.stores.milvus import LOTS, MOST, Candidate, Collection, lot_of
from hypjax.stores.milvus_client import can_be_kept, quoted_path
from hypjax.stores.where import read_filter

ROUNDING = 2.0**-24  # half a unit in the last place of float32, relative


class MilvusGallery:
    """A collection, held open for searches.

    Under the index that it is made with, FLAT, the order is that of exact distances, as in a file. An approximate one
    may miss an image; it should be of the metric L2, since between images products of lifted vectors mean nothing.

    Args:
      address: `milvus:…`.
      lagging: as in `Collection`.
    """

    def __init__(self, address: str, *, lagging: bool = False) -> None:
        self._collection = Collection(address, lagging=lagging)
        self.about: Mapping[str, Any] = self._collection.about or {}
        self._manifold = geometry.named(self.about["geometry"], self.about["curvature"])
        self._columns = ["path", "uncertainty", *(["p_wrong"] if self.about.get("p_wrong") else []), "label"]

    def __len__(self) -> int:
        return self._collection.count()

    def close(self) -> None:
        """Lets go of the collection."""
        self._collection.close()

    def nearest(
        self, points: np.ndarray, k: int, *, leave_out: Sequence[str] | None = None, where: str = ""
    ) -> list[list[Hit]]:
        """As `Gallery.nearest`."""
        points, left_out = np.asarray(points, np.float32), list(leave_out or [""] * len(points))
        expression = read_filter(where, self._columns).expression if where else ""
        products = self._collection.metric == "IP"
        lifted = (lift_queries if products else lift_gallery)(points, self._manifold)
        found: dict[int, list[Hit]] = {}
        any_proposed = False
        todo = [(np.arange(len(points)), k + SPARE if products else 4 * (k + SPARE))] if len(points) else []
        while todo:
            pending, width = todo.pop()
            width = min(width, MOST)
            if len(pending) > (at_once := max(1, MOST // width)):
                todo.append((pending[at_once:], width))
                pending = pending[:at_once]
            proposed = self._collection.search(lifted[pending], width, expression)
            any_proposed |= any(proposed)
            hits = self._ranked(points[pending], proposed, k, [left_out[i] for i in pending])
            sure = [
                not products
                or len(of) < width
                or width == MOST
                or self._is_sure(points[i], lifted[i], nearest[-1].distance, of[-1].product)
                for i, nearest, of in zip(pending, hits, proposed, strict=True)
            ]
            found |= {int(i): nearest for i, nearest, done in zip(pending, hits, sure, strict=True) if done}
            if not all(sure):
                todo.append((pending[~np.array(sure)], 4 * width))
        if len(points) and not any(found.values()):
            raise nothing_found(where, itself=any_proposed)
        return [found[i] for i in range(len(points))]

    def _ranked(
        self, points: np.ndarray, proposed: list[list[Candidate]], k: int, left_out: list[str]
    ) -> list[list[Hit]]:
        """The k nearest of all that was proposed to any of the queries, for each of them."""
        rows = {row.path: row for of_query in proposed for row in of_query}
        paths = sorted(rows, key=lambda path: path.split("/"))  # as in a file, where equal distances keep this order
        if strange := next((path for path in paths if leaves_its_folder(path)), None):
            raise UsageError(f"{self._collection.address} holds the path {strange!r}, which leaves its folder")
        place = {path: row for row, path in enumerate(paths)}
        exclude = np.array([place.get(path, -1) if path else -1 for path in left_out])
        k = min(k, len(paths) - bool((exclude >= 0).any()))
        if k < 1:
            return [[] for _ in points]
        index = Index(
            np.array([rows[path].point for path in paths], np.float32), self._manifold, distance=self.about["distance"]
        )
        found, distances = index.search(points, k, exclude=exclude)
        return [
            [
                Hit(paths[row], distance, float(rows[paths[row]].uncertainty))
                for row, distance in zip(*of_query, strict=True)
            ]
            for of_query in zip(found.tolist(), distances.tolist(), strict=True)
        ]

    def _is_sure(self, point: np.ndarray, lifted: np.ndarray, distance: float, last: float) -> bool:
        """Whether no row that was not proposed, its product `last` at most, can be nearer than a distance.

        A row that is nearer lies within that distance of the query, so that its lifted vector is not longer than one
        there can be; and a float32 product is off by (terms + 4) u ‖a‖‖b‖ at most [ours].
        """
        about = self.about
        if about["distance"] == "cosine":
            distance = np.sqrt(2 * distance)  # the chord
        elif about["geometry"] == "sphere":
            distance = 2 * np.sin(distance / 2)
        length = float(np.linalg.norm(lifted.astype(np.float64)))
        if about["geometry"] in ("poincare", "lorentz"):
            reach = np.arccosh(max(1.0, abs(float(lifted[0])))) + np.sqrt(about["curvature"]) * distance
            product, longest = -np.cosh(np.sqrt(about["curvature"]) * distance), np.sqrt(2.0) * np.cosh(reach)
        else:
            reach = float(np.linalg.norm(point.astype(np.float64))) + distance
            product = (np.sum(np.square(point.astype(np.float64))) - distance**2) / 2
            longest = np.hypot(reach, reach**2 / 2)
        return bool(product > last + 1.01 * (len(lifted) + 4) * ROUNDING * length * longest)

    def find(self, path: str) -> tuple[np.ndarray, float] | None:
        """As `Gallery.find`."""
        if not can_be_kept(path):
            return None
        found = self._collection.rows(f"path == {quoted_path(path)}", ["point", "uncertainty"])
        return (np.array(found[0]["point"], np.float32), float(found[0]["uncertainty"])) if found else None

    def sample(self, limit: int) -> Sample:
        """As `Gallery.sample`: those with the smallest lots."""
        count = len(self)
        share = min(1.0, (limit + 4 * np.sqrt(limit) + 4) / max(1, count))
        names = ["path", "point", "uncertainty"]
        rows = list(self._collection.scan(names, 0, int(np.ceil(share * LOTS))))
        rows = sorted(rows, key=lambda row: (lot_of(row["path"]), row["path"]))[:limit]
        return Sample(
            [row["path"] for row in rows],
            np.array([row["point"] for row in rows], np.float32),
            np.array([row["uncertainty"] for row in rows], np.float32),
        )
