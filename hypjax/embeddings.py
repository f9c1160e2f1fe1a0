"""Files of embeddings: an .npz that NumPy alone reads, with no pickle in it, whole or not there at all.

    with np.load("photos.npz") as file:
        points, uncertainty, paths = file["points"], file["uncertainty"], file["paths"]
        about = json.loads(str(file["about"]))

While it is made, what is done so far lies in shards of the same format in `photos.npz.partial/`.
"""

from __future__ import annotations

import json
import os
import shutil
import zipfile
import zlib
from collections.abc import Iterable, Sequence
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

import numpy as np

from hypjax.data.unlabeled import Picture
from hypjax.errors import UsageError

FORMAT = "hypjax embeddings 1"
SAID = ("model", "run", "step", "root", "geometry", "distance", "curvature", "skipped")  # in `about`, at least
DAMAGE = (OSError, ValueError, KeyError, TypeError, EOFError, MemoryError, zipfile.BadZipFile, zlib.error)


class Embeddings(NamedTuple):
    """What a model made of the pictures of a folder.

    Attributes:
      points: of the geometry, float32 [n, .].
      uncertainty: in [0, 1], float32 [n].
      pictures: n files.
      skipped: files that are no images, and why.
      about: how they were made: `model` (a fingerprint), `root`, `geometry`, `curvature`, …
    """

    points: np.ndarray
    uncertainty: np.ndarray
    pictures: Sequence[Picture]
    skipped: Sequence[tuple[Picture, str]]
    about: dict[str, Any]


def write(path: Path, embeddings: Embeddings) -> None:
    """Writes a file of embeddings beside and renames it; equal embeddings make equal bytes.

    Args:
      path: where it goes, its folder made if it is not there.
      embeddings: to be kept.
    """
    skipped = [[*picture, reason] for picture, reason in embeddings.skipped]
    about = {"format": FORMAT, **embeddings.about, "skipped": skipped}
    columns = list(zip(*embeddings.pictures, strict=True)) or [(), (), ()]
    arrays = {
        "points": np.asarray(embeddings.points, np.float32),
        "uncertainty": np.asarray(embeddings.uncertainty, np.float32),
        "paths": np.array(columns[0], np.str_),
        "sizes": np.array(columns[1], np.int64),
        "modified": np.array(columns[2], np.int64),
        "about": np.array(json.dumps(about)),
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with zipfile.ZipFile(beside, "w") as archive:
            for name, array in arrays.items():
                # Paths of fixed width are mostly empty; floats would not shrink. An entry made so bears no date.
                entry = zipfile.ZipInfo(f"{name}.npy")
                entry.compress_type = zipfile.ZIP_STORED if name == "points" else zipfile.ZIP_DEFLATED
                with archive.open(entry, "w", force_zip64=True) as file:
                    np.lib.format.write_array(file, array, allow_pickle=False)
        beside.replace(path)
    finally:
        beside.unlink(missing_ok=True)


def read(path: Path) -> Embeddings:
    """Reads a file of embeddings.

    Raises:
      UsageError: it is not there, damaged, or something else.
    """
    if not path.is_file():
        raise UsageError(f"{path} does not exist: python -m hypjax.embed makes such a file from a folder of images")
    try:
        return _read(path)
    except DAMAGE as error:
        reason = " ".join(str(error).split())[:120] or type(error).__name__
        if "pickle" in reason:  # NumPy's word for whatever it does not know, with advice that is not to be followed
            reason = "it is none that NumPy reads, or it holds pickled objects"
        raise UsageError(f"{path} is no whole file of embeddings ({reason}); make it anew with hypjax.embed") from error


def _read(path: Path) -> Embeddings:
    # Opened here, since np.load would leave a damaged file open.
    with path.open("rb") as opened, np.load(opened, allow_pickle=False) as file:
        about = json.loads(str(file["about"]))
        if not isinstance(about, dict) or about.pop("format", "") != FORMAT:
            raise ValueError(f"it does not say that it is {FORMAT!r}")
        if lacking := [name for name in SAID if name not in about]:
            raise ValueError(f"it does not say its {lacking[0]}")
        points, uncertainty = file["points"], file["uncertainty"]
        columns = [file[name].tolist() for name in ("paths", "sizes", "modified")]
    if points.ndim != 2 or points.dtype != np.float32 or uncertainty.shape != points.shape[:1]:
        raise ValueError(f"points {points.dtype} {points.shape} with uncertainty {uncertainty.shape}")
    pictures = [Picture(*row) for row in zip(*columns, strict=True)]
    skipped = [(Picture(*picture), reason) for *picture, reason in about.pop("skipped")]
    if len(pictures) != len(points):
        raise ValueError(f"{len(pictures)} paths for {len(points)} points")
    if strange := next((p.path for p in pictures if _leaves_its_folder(p.path)), None):
        raise ValueError(f"the path {strange!r} leaves its folder")
    return Embeddings(points, uncertainty, pictures, skipped, about)


def _leaves_its_folder(path: Any) -> bool:
    # A file from elsewhere is not to have any picture of this machine shown in a gallery.
    return not isinstance(path, str) or path.startswith(("/", "\\")) or ".." in PurePosixPath(path).parts


class Store:
    """A file of embeddings in the making: the file as it was before, if any, and shards with what was done since.

    Args:
      path: of the file; its shards lie in `PATH.partial`.
      about: what it is to say of itself.

    Raises:
      UsageError: what is there was made by another model or from another folder.
    """

    def __init__(self, path: Path, about: dict[str, Any]) -> None:
        self.path, self.about = path, about
        self.partial = path.with_name(f"{path.name}.partial")
        self.notices: list[str] = []
        self._parts: list[Embeddings] = []
        self._place: dict[Picture, tuple[int, int]] = {}  # part, row in it
        self._reasons: dict[Picture, str] = {}
        for held in [path, *sorted(self.partial.glob("*.npz"))]:
            self._take(held)

    def _take(self, path: Path) -> None:
        if not path.exists():
            return
        if path == self.path:
            part = read(path)  # whatever else it may be, it is not to be overwritten
        else:
            try:
                part = read(path)
            except UsageError:
                self.notices.append(f"{path} is damaged and left out")
                path.unlink()
                return
        self._require_same(part.about)
        self._place |= {picture: (len(self._parts), row) for row, picture in enumerate(part.pictures)}
        self._reasons |= dict(part.skipped)
        self._parts.append(part)

    def _require_same(self, about: dict[str, Any]) -> None:
        hint = f"choose another --out, or delete {self.path} and {self.partial.name} beside it"
        if about.get("model") != self.about["model"]:
            raise UsageError(f"{self.path} was made by another model; {hint}")
        root = about.get("root", "")
        # A folder that was moved, and is no longer there, is the same folder.
        if root != self.about["root"] and Path(root).exists():
            raise UsageError(f"{self.path} holds the images of {root}; {hint}")

    def missing(self, pictures: Iterable[Picture]) -> list[Picture]:
        """Those that were not looked at yet, or were changed since."""
        return [picture for picture in pictures if picture not in self._place and picture not in self._reasons]

    def add(self, part: Embeddings) -> None:
        """Keeps a shard on the disk, so that a killed run need not do it again."""
        taken = [int(path.stem) for path in self.partial.glob("*.npz") if path.stem.isdigit()]
        path = self.partial / f"{max(taken, default=-1) + 1:08d}.npz"
        write(path, part._replace(about=self.about))
        self._take(path)

    def current(self, pictures: Sequence[Picture]) -> Embeddings | None:
        """What the file holds if it is finished and holds just these pictures; else None."""
        if not self.path.exists() or self.partial.exists():
            return None
        held = self._parts[0]
        looked_at = sorted([*held.pictures, *(picture for picture, _ in held.skipped)])
        return held if held.about == self.about and looked_at == sorted(pictures) else None

    def finish(self, pictures: Sequence[Picture]) -> Embeddings:
        """Puts the parts together in the order of `pictures`, writes the file and clears the shards away.

        Args:
          pictures: all that are to be in it, none of them missing.
        """
        kept = [picture for picture in pictures if picture in self._place]
        rows = [self._place[picture] for picture in kept]
        width = max((part.points.shape[1] for part in self._parts), default=0)
        points, uncertainty = np.zeros((len(kept), width), np.float32), np.zeros(len(kept), np.float32)
        for i, (part, row) in enumerate(rows):
            points[i], uncertainty[i] = self._parts[part].points[row], self._parts[part].uncertainty[row]
        skipped = [(picture, self._reasons[picture]) for picture in pictures if picture in self._reasons]
        whole = Embeddings(points, uncertainty, kept, skipped, self.about)
        write(self.path, whole)
        shutil.rmtree(self.partial, ignore_errors=True)
        return whole
