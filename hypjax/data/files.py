"""Image files with given labels as a source, and finding out early that some are missing or none."""

import concurrent.futures
import functools
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Int32, UInt8

from hypjax.data.decode import check_header, decode
from hypjax.data.errors import DataError
from hypjax.data.places import Place, changed, size
from hypjax.data.source import hierarchy

EXTENSIONS = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".ppm", ".pgm")


def walk(root: Place) -> Iterator[Place]:
    """Every file below a folder that is named like an image; links are followed, loops and hidden names are not."""
    if not isinstance(root, Path):
        for path in sorted(root.iterdir()):
            if path.name.startswith((".", "__MACOSX")):
                continue
            if path.name.lower().endswith(EXTENSIONS):
                yield path
            elif path.is_dir():
                yield from walk(path)
        return
    seen = set()
    for folder, folders, files in os.walk(root, followlinks=True):
        real = os.path.realpath(folder)
        if real in seen:
            folders.clear()
            continue
        seen.add(real)
        folders[:] = sorted(name for name in folders if not name.startswith((".", "__MACOSX")))
        images = (name for name in files if name.lower().endswith(EXTENSIONS) and not name.startswith("."))
        yield from (Path(folder, name) for name in images)


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
        self._paths, self._shorter_side = list(paths), shorter_side

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

        Raises:
          DataError: naming the first that is none.
        """
        with concurrent.futures.ThreadPoolExecutor() as pool:
            for _ in pool.map(check_header, (self.root / path for path in self._paths)):
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
    """Check that all listed files are there.

    Raises:
      DataError: with how many are not, and the first few of them.
    """
    absent = missing(root, paths)
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
