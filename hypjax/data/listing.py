"""A CSV or JSON listing of image files and their classes as a source."""

import csv
import io
import itertools
import json
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from hypjax.data.columns import Names, Words
from hypjax.data.errors import DataError
from hypjax.data.files import ImageFiles, require_files
from hypjax.data.labeling import read_labeling
from hypjax.data.places import Place

SUFFIXES = (".csv", ".tsv", ".json", ".jsonl")
NAMES = ("path", "name", "names")  # columns with another value in each row
BLOCK = 2**10  # rows that are held as objects


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
        paths = columns.pop("path")
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


def read_columns(path: Place, *required: str, images: str = "image") -> dict[str, Any]:
    """The columns of a listing as strings, in its order: `Names` where each row has another, else `Words`.

    Args:
      path: of the listing.
      required: columns that it must have.
      images: what a row stands for, for messages.

    Raises:
      DataError: the listing is missing or damaged, lacks a column or, in a row, a value.
    """
    table = _Table(path, required, images)
    try:
        with path.open("rb") as file:
            text = io.TextIOWrapper(file, "utf-8-sig", newline="")
            if path.suffix.lower() in (".csv", ".tsv"):
                _read_csv(text, table)
            elif path.suffix.lower() == ".json":
                _read_json(text.read(), table)
            else:
                for line in text:
                    if line.strip():
                        table.add_row(json.loads(line))
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: cannot read this listing ({error}); it must be a text file in UTF-8") from error
    except (csv.Error, json.JSONDecodeError) as error:
        raise DataError(f"{path}: cannot read this listing ({error})") from error
    return table.columns()


class _Table:
    """The columns of a listing in the making."""

    def __init__(self, path: Place, required: Sequence[str], images: str) -> None:
        self.path, self.required, self.images = path, required, images
        self.count, self.titles = 0, list[str]()
        self._rows: list[list[str]] = []
        self._names: dict[str, Names] = {}
        self._words: dict[str, defaultdict[str, int]] = {}
        self._codes: dict[str, list[np.ndarray]] = {}

    def begin(self, titles: Sequence[str]) -> None:
        self.titles = list(titles)
        lacking = [name for name in self.required if name not in titles]
        if lacking:
            raise DataError(f"{self.path}: no column {' and no column '.join(lacking)}; it has: {', '.join(titles)}")
        for name in titles:
            if name in NAMES:
                self._names[name] = Names()
            else:
                self._words[name], self._codes[name] = defaultdict(), []
                self._words[name].default_factory = self._words[name].__len__  # a new word has the next number

    def add_row(self, row: Any) -> None:
        """Adds what JSON holds of an image."""
        if not isinstance(row, Mapping):
            raise self.no_list()
        if not self.titles:
            self.begin(list(row))
        self._rows.append(["" if row.get(name) is None else str(row[name]) for name in self.titles])
        if len(self._rows) == BLOCK:
            self.pack()

    def add(self, rows: list[list[str]]) -> None:
        """Adds rows of values in the order of the titles."""
        self._rows = rows
        self.pack()

    def pack(self) -> None:
        """Packs the rows that are held as objects."""
        columns = list(zip(*self._rows, strict=False))
        if set(map(len, self._rows)) != {len(self.titles)} or any("" in values for values in columns):
            self._complain()
        for name, values in zip(self.titles, columns, strict=True):
            if name in self._names:
                self._names[name].extend(values)
            else:
                self._codes[name].append(np.fromiter(map(self._words[name].__getitem__, values), np.int32, len(values)))
        self.count += len(self._rows)
        self._rows = []

    def _complain(self) -> None:
        for number, row in enumerate(self._rows, self.count + 1):
            if len(row) > len(self.titles):
                raise DataError(
                    f"{self.path}: {self.images} {number} has more values than the header has columns; "
                    "quote those with a comma"
                )
            if len(row) < len(self.titles) or "" in row:
                raise DataError(f"{self.path}: {self.images} {number} lacks one of {', '.join(self.titles)}")

    def columns(self) -> dict[str, Any]:
        if self._rows:
            self.pack()
        if not self.count:
            raise DataError(f"{self.path} lists no {self.images}s; expected columns {', '.join(self.required)}")
        return {name: self._names.get(name) or self._coded(name) for name in self.titles}

    def _coded(self, name: str) -> Words:
        values = np.array(list(self._words[name]))
        order = np.argsort(values)
        place = np.empty(len(order), np.int32)
        place[order] = np.arange(len(order), dtype=np.int32)
        return Words(values[order], place[np.concatenate(self._codes[name])])

    def no_list(self) -> DataError:
        return DataError(f"{self.path}: expected a list of objects with {' and '.join(self.required)}")


def _read_csv(text: io.TextIOWrapper, table: _Table) -> None:
    first = text.readline()
    lines: Iterable[str] = itertools.chain([first], text)
    rows = filter(None, csv.reader(lines, delimiter=max(",;\t", key=first.count), strict=True))
    header = next(rows, [])
    if twice := [name for name in header if header.count(name) > 1]:
        raise DataError(f"{table.path}: two columns are called {twice[0]!r}; rename one")
    while block := list(itertools.islice(rows, BLOCK)):
        if not table.count:
            table.begin(header)
        table.add(block)


def _read_json(text: str, table: _Table) -> None:
    if text.lstrip()[:1] != "[":
        json.loads(text)  # which may have more to say
        raise table.no_list()
    taken = object()

    def take(row: dict[str, Any]) -> object:
        table.add_row(row)
        return taken  # in its place in the list, which so stays small

    if any(item is not taken for item in json.loads(text, object_hook=take)):
        raise table.no_list()
