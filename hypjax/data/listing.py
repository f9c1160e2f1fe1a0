"""A CSV or JSON listing of image files and their classes as a source."""

import csv
import io
import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Shaped

from hypjax.data.errors import DataError
from hypjax.data.files import ImageFiles, require_files
from hypjax.data.labeling import read_labeling
from hypjax.data.places import Place

SUFFIXES = (".csv", ".tsv", ".json", ".jsonl")


class ListedImages(ImageFiles):
    """Images in a listing with the columns `path`, `label`, any number of super-labels, and perhaps `split`.

    A CSV file (commas, semicolons or tabs) has a header line; JSON is a list of objects, or one object a line. Columns
    other than these three are super-labels, the hierarchy, from the nearest to the topmost: every image of a label has
    the same one. Paths are relative to the listing's folder, or absolute.

    `split` is `train`, `validation` or `test` and gives `parts`, 0, 1 or 2 for each image, else None; `query` and
    `gallery` are test images of which the former search the latter.

    Args:
      path: of the listing.
      shorter_side: larger images are shrunk to it, in pixels; 0 for none.

    Raises:
      DataError: the listing is missing or damaged, names files that are not there, or its labels form no tree.
    """

    def __init__(self, path: Place, *, shorter_side: int = 0) -> None:
        columns = read_columns(path, "path", "label")
        paths = columns.pop("path").tolist()
        found = read_labeling(str(path), columns)
        self.parts = found.parts
        require_files(str(path), path.parent, paths)
        super().__init__(
            path.parent,
            paths,
            found.labels,
            found.class_names,
            levels=found.levels,
            queries=found.queries,
            shorter_side=shorter_side,
        )


def read_columns(path: Place, *required: str, images: str = "image") -> dict[str, Shaped[np.ndarray, "n"]]:
    """The columns of a listing as strings, in its order.

    Args:
      path: of the listing.
      required: columns that it must have.
      images: what a row stands for, for messages.

    Raises:
      DataError: the listing is missing or damaged, lacks a column or, in a row, a value.
    """
    rows = _read(path, required, images)
    columns = list(rows[0])
    lacking = [name for name in required if name not in columns]
    if lacking:
        raise DataError(f"{path}: no column {' and no column '.join(lacking)}; it has: {', '.join(columns)}")
    for number, row in enumerate(rows, 1):
        if any(row.get(name) in (None, "") for name in columns):
            raise DataError(f"{path}: {images} {number} lacks one of {', '.join(columns)}")
    return {name: np.array([str(row[name]) for row in rows]) for name in columns}


def _read(path: Place, required: Sequence[str], images: str) -> Sequence[Mapping[str, Any]]:
    """The rows of a listing, at least one."""
    try:
        text = io.TextIOWrapper(io.BytesIO(path.read_bytes()), "utf-8-sig").read()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: cannot read this listing ({error}); it must be a text file in UTF-8") from error
    rows: list[Any]
    try:
        if path.suffix.lower() in (".csv", ".tsv"):
            header = text.partition("\n")[0]
            rows = list(
                csv.DictReader(io.StringIO(text, newline=""), delimiter=max(",;\t", key=header.count), strict=True)
            )
        elif path.suffix.lower() == ".json":
            rows = json.loads(text)
        else:
            rows = [json.loads(line) for line in text.splitlines() if line.strip()]
    except (csv.Error, json.JSONDecodeError) as error:
        raise DataError(f"{path}: cannot read this listing ({error})") from error
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise DataError(f"{path}: expected a list of objects with {' and '.join(required)}")
    if not rows:
        raise DataError(f"{path} lists no {images}s; expected columns {', '.join(required)}")
    if any(None in row for row in rows):
        number = next(number for number, row in enumerate(rows, 1) if None in row)
        raise DataError(
            f"{path}: {images} {number} has more values than the header has columns; quote those with a comma"
        )
    return rows
