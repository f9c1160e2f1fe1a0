"""Data sets by name, each as class-disjoint train, validation and test sources."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Integer

from hypjax.data import originals
from hypjax.data.archives import ORIGINALS, find
from hypjax.data.benchmarks import Benchmark, require_counts
from hypjax.data.copies import local_copy
from hypjax.data.emoji import Emoji
from hypjax.data.errors import DataError
from hypjax.data.features import Features
from hypjax.data.folder import ImageFolder
from hypjax.data.listing import SUFFIXES, ListedImages
from hypjax.data.places import as_path
from hypjax.data.sound import decodable, with_pairs
from hypjax.data.source import Source, subset
from hypjax.data.split import Splits, split_as_given, split_by_class
from hypjax.data.taxonomy import in_tree
from hypjax.data.tfds import TfdsSource, layout_of


class Given(NamedTuple):
    """A data set before it is split.

    Attributes:
      source: all its images.
      parts: of each image, 0, 1 or 2 for train, validation and test; None where no split is given.
      benchmark: whose counts it must have; None for any.
    """

    source: Source
    parts: Integer[np.ndarray, " n"] | None
    benchmark: Benchmark | None = None


BENCHMARKS: dict[str, Callable[..., tuple[Source, np.ndarray]]] = {
    "cub": originals.read_cub,
    "cars": originals.read_cars,
    "sop": originals.read_sop,
    "in_shop": originals.read_in_shop,
}
KNOWN = ("emoji", "folder", "features", *BENCHMARKS, "tfds:NAME")


def load(
    name: str,
    *,
    directory: str = "",
    skip_corrupt: bool = False,
    fractions: tuple[float, float, float] = (0.4, 0.1, 0.5),
    validation: float = 0.1,
    seed: int = 0,
    shorter_side: int = 0,
    complete: bool = True,
    copies: Path = Path("runs/features"),
    tree: str = "",
) -> Splits:
    """Loads a data set by name and splits it by class.

    Args:
      name: one of `KNOWN`; `folder` is any folder of images or listing of them, `features` any file of features,
        `tfds:NAME` any TFDS data set with an image and a label.
      directory: where to look: the folder, or the listing; for `tfds` where it was prepared.
      skip_corrupt: leave undecodable images out; else the first that is met stops a run.
      fractions: shares of the classes for train, validation and test, where the set has no split of its own.
      validation: share of the training classes that are for validation, where it has one.
      seed: of either division.
      shorter_side: larger images are shrunk to it, in pixels; 0 for none.
      complete: whether a benchmark must have all its images.
      copies: the folder where a Parquet file's features are kept as rows, and the labels of TFDS's records.
      tree: a file that names the ancestors of classes, see `hypjax.data.taxonomy.read_tree`; "" for those that the set
        has itself.

    Returns:
      The splits; `validation` is empty where its share is 0.

    Raises:
      DataError: an unknown name, data that is missing or broken, too few classes.
    """
    if name == "emoji":
        if tree:
            raise DataError(f"the packaged emoji have a tree of their own, and data.tree={tree} is for other data")
        return Splits(Emoji("train"), Emoji("validation"), Emoji("test"))
    source, parts, benchmark = read(name, directory, shorter_side=shorter_side, copies=copies)
    if benchmark is not None and parts is not None and complete:
        require_counts(benchmark, source, parts, directory or "TFDS's folder")
    if skip_corrupt:
        sound = source.finite() if isinstance(source, Features) else decodable(source)
        source, parts = subset(source, sound), None if parts is None else parts[sound]
    elif isinstance(source, ImageFolder | ListedImages):
        source.check_headers()
    elif isinstance(source, Features):
        source.require_finite()
    if tree:
        source = in_tree(source, as_path(tree).expanduser())
    if parts is not None:
        return split_as_given(source, parts, validation=validation, seed=seed)
    return split_by_class(with_pairs(source), fractions=fractions, seed=seed)


def read(name: str, directory: str, *, shorter_side: int = 0, copies: Path = Path("runs/features")) -> Given:
    """Reads a data set by name, other than the packaged one; no image is opened.

    Args:
      name: one of `KNOWN`.
      directory: where to look.
      shorter_side: larger images are shrunk to it, in pixels; 0 for none.
      copies: the folder where a Parquet file's features are kept as rows, and the labels of TFDS's records.

    Raises:
      DataError: an unknown name, or data that is missing.
    """
    if name in BENCHMARKS:
        source, parts = BENCHMARKS[name](find(name, directory), shorter_side=shorter_side)
        return Given(source, parts, ORIGINALS[name].benchmark)
    if name.startswith("tfds:"):
        copy = TfdsSource.load(name.removeprefix("tfds:"), directory, shorter_side=shorter_side, copies=copies)
        return Given(copy, copy.parts, layout_of(name.removeprefix("tfds:")).benchmark)
    if name == "features":
        if not directory:
            raise DataError("data set 'features' needs a file, .npz, .npy or .parquet: data_dir=FILE")
        rows = Features(local_copy(directory).expanduser(), copies=copies)
        return Given(rows, rows.parts)
    if name != "folder":
        raise DataError(f"data set {name!r} is unknown; there are: {', '.join(KNOWN)}")
    if not directory:
        raise DataError("data set 'folder' needs a folder of class folders: data_dir=... (or --config.data.dir=...)")
    path = as_path(directory).expanduser()
    if path.suffix.lower() in SUFFIXES and not path.is_dir():
        listed = ListedImages(path, shorter_side=shorter_side)
        return Given(listed, listed.parts)
    folder = ImageFolder(path, shorter_side=shorter_side)
    return Given(folder, folder.parts)
