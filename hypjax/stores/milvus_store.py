"""Filling a collection of a Milvus database: by one process, or by several that share out one folder among them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from hypjax import geometry
from hypjax.data.errors import UsageError
from hypjax.data.unlabeled import Picture
from hypjax.retrieval import Probability, lift_gallery
from hypjax.stores.embeddings import Embeddings, require_same
from hypjax.stores.hits import label_of
from hypjax.stores.milvus import LOTS, NAMED, Collection, lot_of
from hypjax.stores.milvus_client import LONGEST, can_be_kept, quoted_paths


class Filled(NamedTuple):
    """What a collection holds of the pictures it was filled with; as `hypjax.stores.filling.Filled`."""

    pictures: Sequence[Picture]
    coordinates: int
    skipped: Sequence[tuple[Picture, str]]


class Share(NamedTuple):
    """Which pictures of a folder are a process's own.

    Attributes:
      number: of the process, from 0.
      of: how many there are.
    """

    number: int
    of: int

    @property
    def lots(self) -> tuple[int, int]:
        """First and last, exclusive."""
        return LOTS * self.number // self.of, LOTS * (self.number + 1) // self.of

    def __contains__(self, picture: object) -> bool:
        first, last = self.lots
        return isinstance(picture, Picture) and first <= lot_of(picture.path) < last


WHOLE = Share(0, 1)
ORDERED = ("poincare", "lorentz", "euclidean", "sphere")
"""Geometries whose distances order as inner products of lifted points do."""


def read_share(words: str) -> Share:
    """The share that is meant by `0/4`, the first of four.

    Raises:
      UsageError: it is none.
    """
    number, slash, of = words.partition("/")
    if not (slash and number.isdecimal() and of.isdecimal() and int(number) < int(of)):
        raise UsageError(
            f"--share={words} is none; of four processes the first takes --share=0/4, the last --share=3/4"
        )
    return Share(int(number), int(of))


class MilvusStore:
    """A collection in the making. What was added stays there; a later process goes on with it.

    Every picture belongs to one share, by its path alone, so that a process changes and deletes nothing of another's.

    Args:
      address: `milvus:…`.
      about: what the collection is to say of itself.
      share: of the pictures, which it is filled with here.

    Raises:
      UsageError: a distance that no inner product orders by, or what is there was made by another model or from
        another folder.
    """

    def __init__(self, address: str, about: dict[str, Any], share: Share = WHOLE) -> None:
        if about["distance"] not in ("geodesic", "cosine") or about["geometry"] not in ORDERED:
            raise UsageError(
                f"a database finds by inner products, which do not order the {about['distance']} distance of "
                f"{about['geometry']} points; keep them in a file: --out photos.npz"
            )
        self.path, self.about, self.notices = address, about, list[str]()
        self._share, self._manifold = share, geometry.named(about["geometry"], about["curvature"])
        self._skipped: list[tuple[Picture, str]] = []
        self._held: dict[str, Picture] = {}
        self._stale: list[str] = []  # rows whose chance of being wrong another calibration told
        self._collection = Collection(address, create=True)
        self._require_same()
        rows = list(self._collection.scan(("path", "size", "modified", "uncertainty", "p_wrong"), *share.lots))
        told = self._p_wrong(np.array([row["uncertainty"] for row in rows], np.float32))
        for row, chance in zip(rows, told, strict=True):
            self._held[row["path"]] = Picture(row["path"], row["size"], row["modified"])
            if abs(row["p_wrong"] - chance) > 1e-6:
                self._stale.append(row["path"])

    def _require_same(self) -> None:
        if self._collection.about is not None:
            require_same(self.path, self._collection.about, self.about, "choose another name")

    def missing(self, pictures: Sequence[Picture]) -> list[Picture]:
        """Those that are not in it, or were changed since; one that is no image is looked at again."""
        return [picture for picture in pictures if self._held.get(picture.path) != picture]

    def current(self, pictures: Sequence[Picture]) -> Filled | None:
        """What it holds, if these are just the pictures of its share; else None."""
        same = self._collection.about == self.about and not self._stale and set(self._held.values()) == set(pictures)
        return Filled(pictures, self._collection.coordinates, []) if same else None

    def add(self, part: Embeddings) -> None:
        """Puts rows in the place of those of the same paths, and removes those of pictures that are none any more."""
        good = np.array([can_be_kept(picture.path) for picture in part.pictures], bool)
        kept = [picture for picture, fits in zip(part.pictures, good, strict=True) if fits]
        reason = f"a database keeps no path that is no UTF-8 or longer than {LONGEST} bytes"
        skipped = [*part.skipped, *((p, f"{p.path}: {reason}") for p in part.pictures if not can_be_kept(p.path))]
        if kept:
            self._put(kept, part.points[good], part.uncertainty[good])
        self._remove([picture.path for picture, _ in skipped])
        self._skipped += skipped

    def finish(self, pictures: Sequence[Picture]) -> Filled:
        """Removes what is not among the pictures, and has the collection say how its rows were made."""
        wanted = {picture.path for picture in pictures}
        self._remove([path for path in self._held if path not in wanted])
        for start in range(0, len(self._stale), NAMED):
            self._refresh(self._stale[start : start + NAMED])
        if self._collection.about is not None and self._collection.about != self.about:
            self._collection.describe(self.about)
        kept = [picture for picture in pictures if picture.path in self._held]
        return Filled(kept, self._collection.coordinates, self._skipped)

    def discard(self) -> None:
        """Nothing of what is no picture was put into it."""

    def close(self) -> None:
        """Lets go of the collection."""
        self._collection.close()

    def _put(self, pictures: Sequence[Picture], points: np.ndarray, uncertainty: np.ndarray) -> None:
        lifted = lift_gallery(points, self._manifold)
        if self._collection.about is None:
            self._collection.create(self.about, lifted.shape[1], points.shape[1])
            self._require_same()
        columns = (lifted.tolist(), points.tolist(), uncertainty.tolist(), self._p_wrong(uncertainty).tolist())
        self._collection.upsert(
            [
                {
                    "path": picture.path,
                    "lifted": lift,
                    "point": point,
                    "uncertainty": doubt,
                    "p_wrong": chance,
                    "label": label_of(picture.path),
                    "size": picture.size,
                    "modified": picture.modified,
                    "lot": lot_of(picture.path),
                }
                for picture, lift, point, doubt, chance in zip(pictures, *columns, strict=True)
            ]
        )
        self._held |= {picture.path: picture for picture in pictures}

    def _remove(self, paths: Sequence[str]) -> None:
        gone = [path for path in paths if path in self._held]
        self._collection.delete(gone)
        for path in gone:
            del self._held[path]

    def _refresh(self, paths: Sequence[str]) -> None:
        """Puts rows anew, with the chances that the run tells now."""
        rows = self._collection.rows(f"path in [{quoted_paths(paths)}]", ("path", "point", "uncertainty"))
        points = np.array([row["point"] for row in rows], np.float32)
        self._put([self._held[row["path"]] for row in rows], points, np.array([row["uncertainty"] for row in rows]))

    def _p_wrong(self, uncertainty: np.ndarray) -> np.ndarray:
        """The chance that the first answer is wrong, of a run that is calibrated; −1 of another."""
        if told := self.about.get("p_wrong"):
            return Probability.from_dict(told["of_u"])(uncertainty[:, None]).astype(np.float32)
        return np.full(len(uncertainty), -1, np.float32)
