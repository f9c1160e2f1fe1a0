"""The archives of the benchmarks: what to download, how their folders look, and reading the tables in them."""

import dataclasses
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from hypjax.data.benchmarks import CARS, CUB, IN_SHOP, SOP, Benchmark
from hypjax.data.errors import DataError


@dataclasses.dataclass(frozen=True)
class Original:
    """Where a benchmark comes from and how its folder looks.

    Attributes:
      benchmark: what it holds.
      download: what to download, and from whom.
      layout: what its folder holds, for the message when it does not.
      marks: files that tell that folder, any one of them.
      archives: names of its archives.
    """

    benchmark: Benchmark
    download: str
    layout: str
    marks: tuple[str, ...]
    archives: tuple[str, ...]


ORIGINALS = {
    "cub": Original(
        CUB,
        "CUB_200_2011.tgz, Caltech-UCSD Birds-200-2011, from the Caltech Vision Lab's page of it",
        "images.txt, image_class_labels.txt and images/001.Black_footed_Albatross/…",
        ("images.txt",),
        ("CUB_200_2011.tgz",),
    ),
    "cars": Original(
        CARS,
        "Stanford Cars (car_ims.tgz and cars_annos.mat, or cars_train.tgz, cars_test.tgz, car_devkit.tgz and "
        "cars_test_annos_withlabels.mat); its own page is gone, copies are about",
        "cars_annos.mat and car_ims/, or devkit/cars_meta.mat, devkit/cars_train_annos.mat, "
        "cars_test_annos_withlabels.mat, cars_train/ and cars_test/",
        ("cars_annos.mat", "devkit/cars_meta.mat", "cars_meta.mat"),
        ("car_ims.tgz", "cars_train.tgz", "car_devkit.tgz"),
    ),
    "sop": Original(
        SOP,
        "Stanford_Online_Products.zip from Stanford CVGL's page of the lifted structure loss",
        "Ebay_train.txt, Ebay_test.txt and bicycle_final/… to toaster_final/…",
        ("Ebay_train.txt",),
        ("Stanford_Online_Products.zip",),
    ),
    "in_shop": Original(
        IN_SHOP,
        "DeepFashion's In-shop Clothes Retrieval Benchmark (img.zip and list_eval_partition.txt) from the CUHK "
        "Multimedia Lab's page of it",
        "Eval/list_eval_partition.txt and img/WOMEN/… (or Img/img/WOMEN/…)",
        ("Eval/list_eval_partition.txt", "Anno/list_eval_partition.txt", "list_eval_partition.txt"),
        ("img.zip", "Img/img.zip"),
    ),
}


def find(name: str, directory: str) -> Path:
    """The folder of a benchmark: the directory, or one in it.

    Args:
      name: a key of `ORIGINALS`.
      directory: given by the user.

    Raises:
      DataError: it is not there; says what to download and how the folder should look.
    """
    original = ORIGINALS[name]
    title = original.benchmark.title
    if not directory:
        raise DataError(
            f"data set {name!r} needs the folder of {title}: data_dir=... (or --config.data.dir=...); download "
            f"{original.download}, and unpack it to have {original.layout} in that folder"
        )
    root = Path(directory).expanduser()
    if root.is_dir():
        for folder in (root, *sorted(path for path in root.iterdir() if path.is_dir())):
            if any((folder / mark).is_file() for mark in original.marks):
                return folder
        packed = [archive for archive in original.archives if (root / archive).is_file()]
        if packed:
            raise DataError(
                f"{root} holds {packed[0]}, which is not unpacked; unpack it there to have {original.layout}"
            )
        problem = f"{root} does not hold {title}"
    else:
        problem = f"{root} is not a folder" if root.exists() else f"{root} does not exist"
    raise DataError(f"{problem}; download {original.download}, and unpack it to have {original.layout} in that folder")


def first_file(root: Path, *names: str) -> Path:
    """The first of some files that is there. Raises `DataError` if none is."""
    for name in names:
        if (root / name).is_file():
            return root / name
    raise DataError(f"{root} lacks {names[0]}")


def read_lines(path: Path) -> list[str]:
    """The lines of a text that are not blank. Raises `DataError` if it is missing or no text."""
    try:
        return [line for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
    except (OSError, UnicodeDecodeError) as error:
        problem = "is missing" if isinstance(error, FileNotFoundError) else f"cannot be read ({error})"
        raise DataError(f"{path} {problem}; unpack its archive again") from error


def read_rows(path: Path, columns: int, *, header: bool = False) -> list[list[str]]:
    """The lines of a list as words, the last of which may hold spaces. Raises `DataError` if the list is damaged."""
    rows = [line.strip().split(None, columns - 1) for line in read_lines(path)][header:]
    short = next((number for number, row in enumerate(rows, 1 + header) if len(row) != columns), None)
    if short or not rows:
        problem = f"line {short} has not {columns} columns" if short else "it is empty"
        raise DataError(f"{path} is damaged: {problem}; unpack its archive again")
    return rows


def as_numbers(path: Path, words: Sequence[str]) -> np.ndarray:
    """Words of a list as whole numbers. Raises `DataError` naming its path if one is none."""
    try:
        return np.array([int(word) for word in words])
    except ValueError as error:
        raise DataError(f"{path} is damaged: {error}; unpack its archive again") from error


def read_structs(path: Path, *fields: str) -> list[tuple[Any, ...]]:
    """Fields of each of the `annotations` in a MATLAB file. Raises `DataError` if it is damaged or lacks one."""
    try:
        return [tuple(row[field] for field in fields) for row in _matlab(path, "annotations")]
    except (KeyError, TypeError, IndexError) as error:
        raise DataError(
            f"{path} has no annotations with {', '.join(fields)}; it must be the file with labels"
        ) from error


def read_names(path: Path) -> list[str]:
    """The `class_names` in a MATLAB file. Raises `DataError` if it is damaged or has none."""
    return [str(name) for name in _matlab(path, "class_names")]


def _matlab(path: Path, variable: str) -> list:
    from scipy.io import loadmat  # type: ignore[import-untyped]

    try:
        return list(np.atleast_1d(loadmat(os.fspath(path), simplify_cells=True, variable_names=[variable])[variable]))
    except Exception as error:  # on damaged files it raises many types
        reason = " ".join(str(error).split()) or type(error).__name__
        raise DataError(f"{path} cannot be read as a MATLAB file with {variable} ({reason})") from error
