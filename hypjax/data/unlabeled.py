"""Image files without labels: finding them, and reading them past those that are damaged."""

from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import NamedTuple

import numpy as np
from jaxtyping import UInt8

from hypjax.data.decode import decode
from hypjax.data.errors import DataError
from hypjax.data.files import EXTENSIONS, walk
from hypjax.data.places import Place


class Picture(NamedTuple):
    """An image file as it was when it was looked at.

    Attributes:
      path: below the folder, with forward slashes.
      size: bytes.
      modified: nanoseconds since 1970.
    """

    path: str
    size: int
    modified: int


def find_pictures(root: Place) -> list[Picture]:
    """Every image file below a folder, sorted by path.

    Args:
      root: the folder, or a single file.

    Raises:
      DataError: it is not there, holds none, or lies at an address.
    """
    if not isinstance(root, Path):
        raise DataError(f"{root} is an address; give a folder of this machine")
    if root.is_file():
        status = root.stat()
        return [Picture(root.name, status.st_size, status.st_mtime_ns)]
    if not root.is_dir():
        raise DataError(f"{root} does not exist; give a folder of images")
    found = []
    for folder, files in walk(root):
        for path in (root / folder / name for name in files):
            if path.is_file():
                status = path.stat()
                found.append(Picture(path.relative_to(root).as_posix(), status.st_size, status.st_mtime_ns))
    if not found:
        raise DataError(f"{root} holds no images; expected {', '.join(EXTENSIONS)} files, in folders at will")
    return found


def leaves_its_folder(path: object) -> bool:
    """Whether a path is none below a folder: what comes from elsewhere is to have no file of this machine shown."""
    return not isinstance(path, str) or path.startswith(("/", "\\")) or ".." in PurePosixPath(path).parts


class Files:
    """Image files as a source without labels; one that does not decode is a white dot, and the reason is remembered.

    Attributes:
      reasons: by index, why a file is no image; complete when all were asked for.

    Args:
      paths: where they are.
      shorter_side: larger images are shrunk to it as they are read, in pixels; 0 for none.
    """

    def __init__(self, paths: Sequence[Path], *, shorter_side: int = 0) -> None:
        self._paths, self._shorter_side = list(paths), shorter_side
        self.labels = np.zeros(len(paths), np.int32)
        self.class_names, self.level_names = ["pictures"], list[str]()
        self.ancestors, self.ancestor_names = np.zeros((1, 0), np.int32), list[list[str]]()
        self.reasons: dict[int, str] = {}

    def __len__(self) -> int:
        return len(self._paths)

    def image(self, index: int) -> UInt8[np.ndarray, "h w 3"]:
        """The image at an index as RGB."""
        try:
            path = self._paths[index]
            return decode(path, name=str(path), shorter_side=self._shorter_side)
        except DataError as error:
            self.reasons[index] = str(error).partition("; --config")[0]
            return np.full((1, 1, 3), 255, np.uint8)

    def reader(self) -> None:
        """As `hypjax.data.source.own_reader`: the reasons are remembered here."""

    def name(self, index: int) -> str:
        """Its path."""
        return str(self._paths[index])
