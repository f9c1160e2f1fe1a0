"""Files of embeddings: an .npz that NumPy alone reads, with no pickle in it, whole or not there at all.

    with np.load("photos.npz") as file:
        points, uncertainty, paths = file["points"], file["uncertainty"], file["paths"]
        about = json.loads(str(file["about"]))

While it is made, what is done so far lies in shards of the same format in `photos.npz.partial/`.
"""

from __future__ import annotations

import json
import shutil
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from hypjax.data import atomic
from hypjax.data.errors import UsageError
from hypjax.data.mapped import Mapped, map_npz
from hypjax.data.unlabeled import Picture, leaves_its_folder
from hypjax.retrieval import Probability, Rows
from hypjax.stores.milvus_client import refuse_folder

FORMAT = "hypjax embeddings 1"
BLOCK = 2**14  # rows that are written at a time
SAID = ("model", "run", "step", "root", "geometry", "distance", "curvature", "skipped")  # in `about`, at least
DAMAGE = (OSError, ValueError, KeyError, TypeError, EOFError, MemoryError, zipfile.BadZipFile, zlib.error)


class Embeddings(NamedTuple):
    """What a model made of the pictures of a folder.

    Attributes:
      points: of the geometry, float32 [n, .], or what gives them by slice or indices.
      uncertainty: in [0, 1], float32 [n].
      pictures: n files.
      skipped: files that are no images, and why.
      about: how they were made: `model` (a fingerprint), `root`, `geometry`, `curvature`, …
    """

    points: Any
    uncertainty: np.ndarray
    pictures: Sequence[Picture]
    skipped: Sequence[tuple[Picture, str]]
    about: dict[str, Any]

    @property
    def coordinates(self) -> int:
        """Of each point."""
        return self.points.shape[1]


@contextmanager
def archive(path: Path) -> Iterator[Callable[[str, Any], None]]:
    """An .npz in the making, beside its place and renamed in the end; equal arrays make equal bytes.

    Args:
      path: where it goes, its folder made if it is not there.

    Yields:
      What puts an array into it under a name. Rows of floats are stored as they are, so that they can be read in place;
      whatever gives them by slice, such as `Rows`, is taken for an array.
    """
    with atomic.writing(path) as made, zipfile.ZipFile(made, "w") as whole:

        def put(name: str, array: Any) -> None:
            entry = zipfile.ZipInfo(f"{name}.npy")  # one that is made so bears no date
            in_rows = not isinstance(array, np.ndarray) or (array.ndim == 2 and array.dtype.kind == "f")
            # Paths of fixed width are mostly empty; floats would not shrink.
            entry.compress_type = zipfile.ZIP_STORED if in_rows else zipfile.ZIP_DEFLATED
            with whole.open(entry, "w", force_zip64=True) as file:
                if in_rows:
                    _put_rows(file, array)
                else:
                    np.lib.format.write_array(file, array, allow_pickle=False)

        yield put


def _put_rows(file: Any, rows: Any) -> None:
    block = np.ascontiguousarray(rows[:BLOCK], np.float32)
    header = {"descr": block.dtype.str, "fortran_order": False, "shape": (len(rows), block.shape[1])}
    np.lib.format.write_array_header_1_0(file, header)
    file.write(block.tobytes())
    for start in range(BLOCK, len(rows), BLOCK):
        file.write(np.ascontiguousarray(rows[start : start + BLOCK], np.float32).tobytes())


def whole_rows(path: Path, name: str) -> Mapped | np.ndarray:
    """Rows of an .npz, to be read in place, after all their bytes were compared with their checksum."""
    with zipfile.ZipFile(path) as held, held.open(f"{name}.npy") as file:
        while file.read(2**24):
            pass
    return map_npz(path, name)


def write(path: Path, embeddings: Embeddings) -> None:
    """Writes a file of embeddings beside and renames it; equal embeddings make equal bytes.

    Args:
      path: where it goes, its folder made if it is not there.
      embeddings: to be kept.
    """
    skipped = [[*picture, reason] for picture, reason in embeddings.skipped]
    about = {"format": FORMAT, **embeddings.about, "skipped": skipped}
    columns = list(zip(*embeddings.pictures, strict=True)) or [(), (), ()]
    with archive(path) as put:
        put("points", embeddings.points)
        u = np.asarray(embeddings.uncertainty, np.float32)
        put("uncertainty", u)
        if told := embeddings.about.get("p_wrong"):
            put("p_wrong", Probability.from_dict(told["of_u"])(u[:, None]).astype(np.float32))
        put("paths", np.array(columns[0], np.str_))
        put("sizes", np.array(columns[1], np.int64))
        put("modified", np.array(columns[2], np.int64))
        put("about", np.array(json.dumps(about)))


def read(path: Path, *, in_place: bool = False) -> Embeddings:
    """Reads a file of embeddings.

    Args:
      path: of the file.
      in_place: whether the points stay on the disk, `Mapped`, and come by slice or indices.

    Raises:
      UsageError: it is not there, damaged, or something else.
    """
    with _one_line(path):
        return _read(path, in_place)


@contextmanager
def _one_line(path: Path) -> Iterator[None]:
    """Turns what may go wrong with a file into one line that names it."""
    refuse_folder(path)
    if not path.is_file():
        raise UsageError(f"{path} does not exist: python -m hypjax.embed makes such a file from a folder of images")
    try:
        yield
    except DAMAGE as error:
        reason = " ".join(str(error).split())[:120] or type(error).__name__
        if "pickle" in reason:  # NumPy's word for whatever it does not know, with advice that is not to be followed
            reason = "it is none that NumPy reads, or it holds pickled objects"
        raise UsageError(f"{path} is no whole file of embeddings ({reason}); make it anew with hypjax.embed") from error


def read_about(path: Path) -> dict[str, Any]:
    """What a file says of itself; its points are not looked at.

    Raises:
      UsageError: it is not there, damaged, or something else.
    """
    with _one_line(path), path.open("rb") as opened, np.load(opened, allow_pickle=False) as file:
        return _about(file)


def _about(file: Any) -> dict[str, Any]:
    about = json.loads(str(file["about"]))
    if not isinstance(about, dict) or about.pop("format", "") != FORMAT:
        raise ValueError(f"it does not say that it is {FORMAT!r}")
    if lacking := [name for name in SAID if name not in about]:
        raise ValueError(f"it does not say its {lacking[0]}")
    return about


def _read(path: Path, in_place: bool) -> Embeddings:
    # Opened here, since np.load would leave a damaged file open.
    with path.open("rb") as opened, np.load(opened, allow_pickle=False) as file:
        about = _about(file)
        points: Any = whole_rows(path, "points") if in_place else file["points"]
        uncertainty = file["uncertainty"]
        columns = [file[name].tolist() for name in ("paths", "sizes", "modified")]
    if len(points.shape) != 2 or points.dtype != np.float32 or uncertainty.shape != points.shape[:1]:
        raise ValueError(f"points {points.dtype} {points.shape} with uncertainty {uncertainty.shape}")
    pictures = [Picture(*row) for row in zip(*columns, strict=True)]
    skipped = [(Picture(*picture), reason) for *picture, reason in about.pop("skipped")]
    if len(pictures) != len(points):
        raise ValueError(f"{len(pictures)} paths for {len(points)} points")
    shown = [] if about.get("rows") else pictures  # names of rows lead nowhere
    if strange := next((p.path for p in shown if leaves_its_folder(p.path)), None):
        raise ValueError(f"the path {strange!r} leaves its folder")
    return Embeddings(points, uncertainty, pictures, skipped, about)


def require_same(name: Path | str, held: Mapping[str, Any], about: Mapping[str, Any], hint: str) -> None:
    """Checks that what is there, and says `held` of itself, can be gone on with by what is to say `about`.

    Raises:
      UsageError: another model made it, or from another folder.
    """
    if held.get("model") != about["model"]:
        raise UsageError(f"{name} was made by another model; {hint}")
    root = held.get("root", "")
    # A folder that was moved, and is no longer there, is the same folder.
    if root != about["root"] and Path(root).exists():
        raise UsageError(f"{name} holds the images of {root}; {hint}")


class Store:
    """A file of embeddings in the making: the file as it was before, if any, and shards with what was done since.

    Args:
      path: of the file; its shards lie in `PATH.partial`.
      about: what it is to say of itself.
      share: index and count of the processes that fill it together, whose shards have names of their own.

    Raises:
      UsageError: what is there was made by another model or from another folder.
    """

    def __init__(self, path: Path, about: dict[str, Any], share: tuple[int, int] = (0, 1)) -> None:
        self.path, self.about, self._share = path, about, share
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
            part = self._read(path)  # whatever else it may be, it is not to be overwritten
        else:
            try:
                part = read(path, in_place=True)
            except UsageError:
                self.notices.append(f"{path} is damaged and left out")
                path.unlink()
                return
        hint = f"choose another --out, or delete {self.path} and {self.partial.name} beside it"
        require_same(self.path, part.about, self.about, hint)
        self._place |= {picture: (len(self._parts), row) for row, picture in enumerate(part.pictures)}
        self._reasons |= dict(part.skipped)
        self._parts.append(part)

    def missing(self, pictures: Iterable[Picture]) -> list[Picture]:
        """Those that were not looked at yet, or were changed since."""
        return [picture for picture in pictures if picture not in self._place and picture not in self._reasons]

    def add(self, part: Embeddings) -> None:
        """Keeps a shard on the disk, so that a killed run need not do it again."""
        taken = [int(path.stem) for path in self.partial.glob("*.npz") if path.stem.isdigit()]
        (index, count), free = self._share, max(taken, default=-1) + 1
        path = self.partial / f"{free + (index - free) % count:08d}.npz"
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
        uncertainty = np.array([self._parts[part].uncertainty[row] for part, row in rows], np.float32)
        skipped = [(picture, self._reasons[picture]) for picture in pictures if picture in self._reasons]
        points = Rows(len(kept), partial(self._gather, np.array(rows, int).reshape(-1, 2)))
        self._write(self.path, Embeddings(points, uncertainty, kept, skipped, self.about))
        shutil.rmtree(self.partial, ignore_errors=True)
        return self._read(self.path)

    def discard(self) -> None:
        """Removes the file, which holds nothing."""
        self.path.unlink()

    def _read(self, path: Path) -> Embeddings:
        """The whole file; shards are embeddings whatever it is."""
        return read(path)

    def _write(self, path: Path, embeddings: Embeddings) -> None:
        write(path, embeddings)

    def _gather(self, places: np.ndarray, chosen: Any) -> np.ndarray:
        """Points by (part, row) [n, 2], those that a slice chooses."""
        part, row = places[chosen].T
        points = np.zeros((len(part), max(held.points.shape[1] for held in self._parts)), np.float32)
        for number in np.unique(part):
            points[part == number] = self._parts[number].points[row[part == number]]
        return points
