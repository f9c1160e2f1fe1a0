"""A CSV or JSON listing of image files and their classes as a source."""

import csv
import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Int32

from hypjax.data.errors import DataError
from hypjax.data.files import ImageFiles, require_files
from hypjax.data.source import dense

SUFFIXES = (".csv", ".tsv", ".json", ".jsonl")
PARTS = {
    "train": 0,
    "training": 0,
    "val": 1,
    "valid": 1,
    "validation": 1,
    "test": 2,
    "query": 2,  # asks in the test
    "gallery": 2,  # answers in it
}


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

    def __init__(self, path: Path, *, shorter_side: int = 0) -> None:
        rows = _read(path)
        columns = list(rows[0])
        lacking = [name for name in ("path", "label") if name not in columns]
        if lacking:
            raise DataError(f"{path}: no column {' and no column '.join(lacking)}; it has: {', '.join(columns)}")
        for number, row in enumerate(rows, 1):
            if any(row.get(name) in (None, "") for name in columns):
                raise DataError(f"{path}: image {number} lacks one of {', '.join(columns)}")
        values = {name: [str(row[name]) for row in rows] for name in columns}
        split = values.get("split")
        self.parts = None if split is None else _parts(path, split)
        queries = None if split is None or "query" not in split else np.array(split) == "query"
        kept, labels = dense(np.array(values["label"]))
        names = [str(name) for name in kept]
        supers = [name for name in columns if name not in ("path", "label", "split")]
        levels = [(name, _of_classes(path, name, labels, values[name], names)) for name in supers]
        require_files(str(path), path.parent, values["path"])
        super().__init__(
            path.parent,
            values["path"],
            labels,
            names,
            levels=levels,
            queries=queries,
            shorter_side=shorter_side,
        )


def _read(path: Path) -> Sequence[Mapping[str, Any]]:
    """The rows of a listing, at least one."""
    try:
        text = path.read_text(encoding="utf-8-sig")
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
        raise DataError(f"{path}: expected a list of objects with path and label")
    if not rows:
        raise DataError(f"{path} lists no images; expected columns path, label")
    if any(None in row for row in rows):
        number = next(number for number, row in enumerate(rows, 1) if None in row)
        raise DataError(f"{path}: image {number} has more values than the header has columns; quote those with a comma")
    return rows


def _parts(path: Path, split: list[str]) -> Int32[np.ndarray, "n"]:
    unknown = sorted(set(split) - set(PARTS))
    if unknown:
        raise DataError(f"{path}: split {unknown[0]!r} is unknown; there are: {', '.join(PARTS)}")
    testing = {"query", "gallery", "test"} & set(split)
    if testing not in ({"test"}, {"query", "gallery"}):
        raise DataError(
            f"{path}: a split needs test images, or query and gallery images; it has {', '.join(sorted(set(split)))}"
        )
    return np.array([PARTS[part] for part in split], np.int32)


def _of_classes(path: Path, column: str, labels: np.ndarray, values: list[str], names: Sequence[str]) -> Sequence[str]:
    """The one value of a column that all images of each class have."""
    found: dict[int, str] = {}
    for label, value in zip(labels.tolist(), values, strict=True):
        if found.setdefault(label, value) != value:
            raise DataError(
                f"{path}: label {names[label]!r} has {column} {found[label]!r} and {value!r}; super-labels must form a "
                "tree, so take this column out or rename the labels"
            )
    return [found[label] for label in range(len(names))]
