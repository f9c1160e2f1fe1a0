"""A folder of class folders as a source; nested folders are the hierarchy."""

import itertools
import logging
import os
from collections.abc import Iterator, Sequence

import numpy as np
from jaxtyping import Int32

from hypjax.data.columns import Names
from hypjax.data.errors import DataError
from hypjax.data.files import EXTENSIONS, ImageFiles, walk
from hypjax.data.labeling import Labeling, warn_of_depths
from hypjax.data.places import Place, as_path

# Folders at the top with these names, and no others, are a split.
SPLIT_FOLDERS = {"train": 0, "training": 0, "val": 1, "valid": 1, "validation": 1, "test": 2, "testing": 2}


class ImageFolder(ImageFiles):
    """Images in class folders: `root/sparrow/1.jpg` is of class `sparrow`, in the order of sorted paths.

    Folders may nest: `root/birds/sparrow/1.jpg` is of class `birds/sparrow` with ancestor `birds`. There are as many
    levels as the shallowest class has; hidden files and files of other types are passed over.

    Where all folders at the top are called `train`, `val` or `test` they are no level but the split, in `parts`: 0, 1
    or 2 for each image. If the same classes are in two of them, as for classification, they are joined and `parts` is
    None, as it is without such folders.

    Args:
      root: the folder.
      shorter_side: larger images are shrunk to it, in pixels; 0 for none.

    Raises:
      DataError: the folder is missing, holds no class folders, or holds images outside of class folders.
    """

    def __init__(self, root: str | os.PathLike[str], *, shorter_side: int = 0) -> None:
        root = as_path(root)
        paths, folders, sizes = Names(), list[tuple[str, ...]](), list[int]()
        for folder, files in _find_images(root):
            paths.extend(f"{folder}/{name}" for name in files)
            folders.append(tuple(folder.split("/")))
            sizes.append(len(files))
        found = read_folders(root, folders, sizes)
        self.parts = found.parts
        super().__init__(
            root,
            paths,
            found.labels,
            found.class_names,
            levels=found.levels,
            shorter_side=shorter_side,
        )


def read_folders(root: Place, folders: Sequence[tuple[str, ...]], sizes: Sequence[int] | int = 1) -> Labeling:
    """Labels, hierarchy and split from the folders that images are in, as `ImageFolder` says.

    Args:
      root: the folder above all, for messages.
      folders: of each image, or of each run of images, below the root; none is empty.
      sizes: of the runs.
    """
    parts: Int32[np.ndarray, " n"] | None = None
    if _are_split(folders):
        parts = np.array([SPLIT_FOLDERS[folder[0].lower()] for folder in folders], np.int32)
        folders = [folder[1:] for folder in folders]
        shared = _shared(folders, parts)
        if shared:
            logging.getLogger(__name__).warning(
                "%s: its train and test folders share classes, such as %r; they are joined and split by class",
                root,
                shared,
            )
            parts = None
    classes = sorted(set(folders))
    numbers = {folder: number for number, folder in enumerate(classes)}
    warn_of_depths(str(root), {"/".join(folder): len(folder) - 1 for folder in classes})
    depth = min(len(folder) for folder in classes) - 1
    return Labeling(
        np.repeat(np.array([numbers[folder] for folder in folders], np.int32), sizes),
        ["/".join(folder) for folder in classes],
        [(f"folder {level}", ["/".join(folder[:level]) for folder in classes]) for level in range(depth, 0, -1)],
        None if parts is None else np.repeat(parts, sizes),
        None,
    )


def _are_split(folders: Sequence[tuple[str, ...]]) -> bool:
    """Whether the folders at the top are train and test, perhaps validation, each with class folders below."""
    tops = {folder[0].lower() for folder in folders}
    parts = {SPLIT_FOLDERS.get(top) for top in tops}
    return {0, 2} <= parts <= {0, 1, 2} and min(len(folder) for folder in folders) > 1


def _shared(folders: Sequence[tuple[str, ...]], parts: np.ndarray) -> str:
    """The first class that two parts share, or nothing."""
    seen: dict[tuple[str, ...], int] = {}
    torn = (folder for folder, part in zip(folders, parts, strict=True) if seen.setdefault(folder, part) != part)
    return "/".join(next(torn, ()))


def _find_images(root: Place) -> Iterator[tuple[str, list[str]]]:
    """Every image below the root as `walk` finds them, all of them in folders."""
    if not root.is_dir():
        problem = "is not a folder" if root.exists() else "does not exist"
        raise DataError(f"{root} {problem}; give a folder that holds one folder of images per class")
    found = walk(root)
    first = next(found, None)
    if first is None:
        raise DataError(f"{root} holds no images; expected class folders with {', '.join(EXTENSIONS)} files")
    for folder, files in itertools.chain([first], found):
        if not folder:
            raise DataError(
                f"{root} holds images outside of class folders, such as {files[0]}; move each into a class folder"
            )
        yield folder, files
