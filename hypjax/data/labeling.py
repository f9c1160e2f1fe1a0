"""From columns of a table to labels, a hierarchy and a split: what listings of images and files of features share."""

import logging
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Int32, Shaped

from hypjax.data.columns import Words
from hypjax.data.errors import DataError

SPLIT_NUMBERS = {
    "train": 0,
    "training": 0,
    "val": 1,
    "valid": 1,
    "validation": 1,
    "test": 2,
    "query": 2,  # asks in the test
    "gallery": 2,  # answers in it
}


class Labeling(NamedTuple):
    """What the columns of a table say of its rows.

    Attributes:
      labels: class of each row, dense.
      class_names: one a class, in the order of the labels.
      levels: the hierarchy, nearest first: a column's name, and its value for each class.
      parts: of each row, 0, 1 or 2 for train, validation and test; None where no split is given.
      queries: which rows ask; None where there are no queries of the table's own.
    """

    labels: Int32[np.ndarray, "n"]
    class_names: list[str]
    levels: list[tuple[str, list[str]]]
    parts: Int32[np.ndarray, "n"] | None
    queries: Bool[np.ndarray, "n"] | None


def read_labeling(
    where: str, columns: Mapping[str, Words | Shaped[np.ndarray, "n"]], *, images: str = "images"
) -> Labeling:
    """Reads labels, super-labels and split.

    >>> found = read_labeling("a table", {"label": np.array(["owl", "cod"]), "kind": np.array(["bird", "fish"])})
    >>> found.labels, found.levels
    (array([1, 0], dtype=int32), [('kind', ['fish', 'bird'])])

    Args:
      where: the table's name, for messages.
      columns: `label`, perhaps `split`, and super-labels, the nearest first; strings or integers.
      images: what the rows are, for messages.

    Raises:
      DataError: an unknown word of the split, or labels that form no tree.
    """
    coded = {name: Words.of(column) for name, column in columns.items()}
    label, split = coded.pop("label"), coded.pop("split", None)
    labels, names = label.codes, [str(name) for name in label.values]
    levels = [(name, _of_classes(where, name, labels, column, names)) for name, column in coded.items()]
    _require_nested(where, levels)
    if split is None:
        return Labeling(labels, names, levels, None, None)
    words = [str(word) for word in split.values]
    parts = _parts(where, words, images)[split.codes]
    return Labeling(labels, names, levels, parts, split.codes == words.index("query") if "query" in words else None)


def _parts(where: str, words: Sequence[str], images: str) -> Int32[np.ndarray, "words"]:
    unknown = [word for word in words if word not in SPLIT_NUMBERS]
    if unknown:
        raise DataError(f"{where}: split {unknown[0]!r} is unknown; there are: {', '.join(SPLIT_NUMBERS)}")
    testing = {"query", "gallery", "test"} & set(words)
    if testing not in ({"test"}, {"query", "gallery"}):
        raise DataError(
            f"{where}: a split needs test {images}, or query and gallery {images}; it has {', '.join(words)}"
        )
    return np.array([SPLIT_NUMBERS[word] for word in words], np.int32)


def _require_nested(where: str, levels: Sequence[tuple[str, Sequence[str]]]) -> None:
    """Checks that each super-label lies in one of the next."""
    for (name, below), (wider, above) in pairwise(levels):
        first: dict[str, str] = {}
        for one, group in zip(below, above, strict=True):
            if first.setdefault(one, group) != group:
                raise DataError(
                    f"{where}: {name} {one!r} has {wider} {first[one]!r} and {group!r}; super-labels must form a "
                    "tree, the nearest first, so take a column out or bring them in order"
                )


def _of_classes(where: str, title: str, labels: np.ndarray, column: Words, names: Sequence[str]) -> list[str]:
    """The one value of a column that all rows of each class have."""
    first = np.unique(labels, return_index=True)[1]
    expected = column.codes[first]
    torn = np.flatnonzero(expected[labels] != column.codes)
    if torn.size:
        label = labels[torn[0]]
        one, other = (str(column.values[code]) for code in (expected[label], column.codes[torn[0]]))
        raise DataError(
            f"{where}: label {names[label]!r} has {title} {one!r} and {other!r}; super-labels must form a tree, so "
            "take this column out or rename the labels"
        )
    return [str(column.values[code]) for code in expected]


def warn_of_depths(where: str, depths: Mapping[str, int]) -> None:
    """Warns where one class has fewer ancestors than another, so that levels of the hierarchy are left out.

    Args:
      where: the file or folder, for the message.
      depths: how many ancestors each class has.
    """
    shallowest = min(depths, key=depths.__getitem__)
    kept, most = depths[shallowest], max(depths.values())
    if kept < most:
        logging.getLogger(__name__).warning(
            "%s: %d of %d levels of ancestors are used, as many as class %r has; put more above it to use the others",
            where,
            kept,
            most,
            shallowest,
        )
