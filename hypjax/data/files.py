"""Image files with given labels as a source, and finding out early that some are missing or none."""

import concurrent.futures
import functools
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Int32, UInt8

from hypjax.data.columns import Names
from hypjax.data.decode import check_header, decode
from hypjax.data.errors import DataError
from hypjax.data.places import Place, changed, size
from hypjax.data.source import LARGE, hierarchy, sample

EXTENSIONS = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".ppm", ".pgm")


def walk(root: Place) -> Iterator[tuple[str, list[str]]]:
    """Every file below a folder that is named like an image, in the order of sorted paths.

    Links are followed, loops and hidden names are not.

    Returns:
      A folder below the root, with forward slashes, and some of its files: those between two of its own folders.
    """
    return _walk(root, "", set()) if isinstance(root, Path) else _walk_remote(root, "")


def _walk(root: Path, folder: str, seen: set[tuple[int, int]]) -> Iterator[tuple[str, list[str]]]:
    files: list[str] = []
    try:
        status = os.stat(root / folder)
        with os.scandir(root / folder) as found:
            entries = sorted(found, key=lambda entry: entry.name)
    except OSError:
        return
    if (status.st_dev, status.st_ino) in seen:
        return
    seen.add((status.st_dev, status.st_ino))
    for entry in entries:
        if _is_folder(entry):
            if not entry.name.startswith((".", "__MACOSX")):
                if files:
                    yield folder, files
                    files = []
                yield from _walk(root, f"{folder}/{entry.name}".lstrip("/"), seen)
        elif entry.name.lower().endswith(EXTENSIONS) and not entry.name.startswith("."):
            files.append(entry.name)
    if files:
        yield folder, files


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:
        return False


def _walk_remote(root: Place, folder: str) -> Iterator[tuple[str, list[str]]]:
    for path in sorted((root / folder).iterdir()):
        if path.name.startswith((".", "__MACOSX")):
            continue
        if path.name.lower().endswith(EXTENSIONS):
            yield folder, [path.name]
        elif path.is_dir():
            yield from _walk_remote(root, f"{folder}/{path.name}".lstrip("/"))


class ImageFiles:
    """Files as a source; none is opened before it is asked for.

    Args:
      root: the folder that paths are below.
      paths: of the images, with forward slashes, relative to the root or absolute.
      labels: class of each image, dense.
      class_names: one a class.
      levels: the hierarchy, nearest level first: its name, and the name of each class's ancestor.
      queries: which images ask, where the data set has query and gallery sets of its own.
      shorter_side: larger images are shrunk to it, in pixels; 0 for none.
    """

    def __init__(
        self,
        root: Place,
        paths: Sequence[str],
        labels: Int32[np.ndarray, "n"],
        class_names: Sequence[str],
        *,
        levels: Sequence[tuple[str, Sequence[str]]] = (),
        queries: Bool[np.ndarray, "n"] | None = None,
        shorter_side: int = 0,
    ) -> None:
        self.root, self.labels, self.class_names, self.queries = root, labels, list(class_names), queries
        self.level_names, self.ancestor_names, self.ancestors = hierarchy(len(class_names), levels)
        self._paths, self._shorter_side = paths if isinstance(paths, Names) else Names(paths), shorter_side

    def __len__(self) -> int:
        return len(self._paths)

    def image(self, index: int) -> UInt8[np.ndarray, "h w 3"]:
        """Decode the image at an index. Raises `DataError` naming its path when it does not decode."""
        return _read(self.root, self._shorter_side, self._paths[index])

    def reader(self) -> tuple[Callable[[str], np.ndarray], Callable[[int], str]]:
        """As `hypjax.data.source.own_reader`: a path is enough, so that no process needs all of them."""
        return functools.partial(_read, self.root, self._shorter_side), self.name

    def check(self, index: int) -> None:
        """Decode the image at an index as small as it goes, which finds the same damage in less time."""
        path = self.root / self._paths[index]
        decode(path, name=str(path), shorter_side=1)

    def name(self, index: int) -> str:
        """The path below the root."""
        return self._paths[index]

    def file(self, index: int) -> tuple[int, int]:
        """Bytes of its file, and when that was changed, in ns."""
        path = self.root / self._paths[index]
        return size(path), changed(path)

    def check_headers(self) -> None:
        """Check that every file begins like an image, so that one which is none is not met after hours of training.

        Of more than `hypjax.data.source.LARGE` files a sample is looked at.

        Raises:
          DataError: naming the first that is none.
        """
        with concurrent.futures.ThreadPoolExecutor() as pool:
            for _ in pool.map(check_header, (self.root / self._paths[index] for index in sample(self))):
                pass


def _read(root: Place, shorter_side: int, path: str) -> np.ndarray:
    return decode(root / path, name=str(root / path), shorter_side=shorter_side)


def missing(root: Place, paths: Sequence[str]) -> list[str]:
    """Which files are not there, in order; found by listing folders, since asking for each file can take minutes.

    Args:
      root: the folder that paths are below.
      paths: relative, with forward slashes.
    """
    held: dict[str, set[str]] = {}
    absent = []
    for path in paths:
        folder, _, name = path.rpartition("/")
        if folder not in held:
            try:
                held[folder] = {path.name for path in (root / folder).iterdir()}
            except OSError:
                held[folder] = set()
        if name not in held[folder]:
            absent.append(path)
    return absent


def require_files(title: str, root: Place, paths: Sequence[str]) -> None:
    """Check that all listed files are there, where they are not more than `hypjax.data.source.LARGE`.

    Raises:
      DataError: with how many are not, and the first few of them.
    """
    absent = missing(root, paths) if len(paths) <= LARGE else []
    if absent:
        shown = ", ".join(absent[:3]) + ", …" * (len(absent) > 3)
        raise DataError(
            f"{title}: {len(absent)} of {len(paths)} listed images are not in {root} ({shown}); "
            "unpack its archive of images there again"
        )


def printable(text: str) -> str:
    r"""A text as any console takes it: bytes of a file name that are no UTF-8 become question marks.

    Examples:
      >>> printable("caf\udce9.png")
      'caf?.png'
    """
    return text.encode("utf-8", "replace").decode()
