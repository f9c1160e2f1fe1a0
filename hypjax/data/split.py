"""Splits that are disjoint in classes, and the query/gallery division of one split."""

import hashlib
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Integer

from hypjax.data.errors import DataError
from hypjax.data.source import Source, subset


class Splits(NamedTuple):
    """Three sources that share no class."""

    train: Source
    validation: Source
    test: Source


def hash_order(names: list[str], *, seed: int) -> list[int]:
    """Indices of names in the order of SHA-256 of `seed:name`: a shuffle that is the same on every machine.

    >>> hash_order(["ant", "bee", "cat", "dog"], seed=0)
    [3, 1, 0, 2]
    """
    digests = [hashlib.sha256(f"{seed}:{name}".encode()).digest() for name in names]
    return sorted(range(len(names)), key=lambda i: (digests[i], i))


def split_by_class(source: Source, *, fractions: tuple[float, float, float] = (0.4, 0.1, 0.5), seed: int = 0) -> Splits:
    """Divide a source into train, validation and test classes, none of them shared.

    Classes are put in the order of a hash of their names and cut by the fractions, so the division depends on the set
    of class names and the seed alone, neither on the machine nor on the order of files. Each split gets at
    least 2 classes, whatever the fractions.

    Args:
      source: any source.
      fractions: shares of the classes for train, validation, test; positive, at most 1 together (the rest is unused).
      seed: another seed, another division.

    Raises:
      ValueError: fractions out of range.
      DataError: there are fewer than 6 classes.
    """
    if len(fractions) != 3 or min(fractions) <= 0 or sum(fractions) > 1 + 1e-6:
        raise ValueError(f"fractions must be three positive numbers of sum at most 1; got {fractions}")
    order = hash_order(list(source.class_names), seed=seed)
    if len(order) < 6:
        raise DataError(f"{len(order)} classes cannot be split into train, validation and test; at least 6 are needed")
    sizes = np.diff(np.rint(np.cumsum([0, *fractions]) * len(order)).astype(int))
    while sizes.min() < 2:  # one class alone has no wrong neighbor
        sizes[sizes.argmin()] += 1
        sizes[sizes.argmax()] -= sizes.sum() > len(order)
    ends = np.cumsum(sizes)
    parts = [order[end - size : end] for size, end in zip(sizes, ends, strict=True)]
    train, validation, test = (subset(source, np.flatnonzero(np.isin(source.labels, part))) for part in parts)
    return Splits(train, validation, test)


def query_gallery(labels: Integer[np.ndarray, "n"]) -> Bool[np.ndarray, "n"]:
    """Mark the queries of a split: the first image of each class is a query, the rest are the gallery.

    >>> query_gallery(np.array([4, 4, 2, 4, 2]))
    array([ True, False,  True, False, False])
    """
    queries = np.zeros(len(labels), bool)
    queries[np.unique(labels, return_index=True)[1]] = True
    return queries
