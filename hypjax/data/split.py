"""Splits that are disjoint in classes, and the query/gallery division of one split."""

import hashlib
import unicodedata
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Integer

from hypjax.data.errors import DataError
from hypjax.data.source import Source, Subset, subset

SPLITS = ("train", "validation", "test")


class Splits(NamedTuple):
    """Three sources that share no class."""

    train: Source
    validation: Source
    test: Source


def hash_order(names: list[str], *, seed: int) -> list[int]:
    """Indices of names in the order of SHA-256 of `seed:name`: a shuffle that is the same on every machine.

    Accents count alike however a file system composes them.

    >>> hash_order(["ant", "bee", "cat", "dog"], seed=0)
    [3, 1, 0, 2]
    """
    composed = [unicodedata.normalize("NFC", f"{seed}:{name}").encode("utf-8", "surrogateescape") for name in names]
    digests = [hashlib.sha256(name).digest() for name in composed]
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
        counted = "1 class" if len(order) == 1 else f"{len(order)} classes"
        raise DataError(f"{counted} cannot be split into train, validation and test; at least 6 are needed")
    sizes = np.diff(np.rint(np.cumsum([0, *fractions]) * len(order)).astype(int))
    while sizes.min() < 2:  # one class alone has no wrong neighbor
        sizes[sizes.argmin()] += 1
        sizes[sizes.argmax()] -= sizes.sum() > len(order)
    ends = np.cumsum(sizes)
    parts = [order[end - size : end] for size, end in zip(sizes, ends, strict=True)]
    train, validation, test = (subset(source, np.flatnonzero(np.isin(source.labels, part))) for part in parts)
    return Splits(train, validation, test)


def split_as_given(
    source: Source, parts: Integer[np.ndarray, "n"], *, validation: float = 0.1, seed: int = 0
) -> Splits:
    """Divide a source as its data set does, and carve validation classes out of the training classes.

    The last of the training classes, in the order of a hash of their names, are the validation classes, unless the data
    set names some itself. They are at least 2, and at least 2 are left to train on.

    Args:
      source: any source.
      parts: of each image: 0, 1 or 2 for train, validation, test.
      validation: share of the training classes, in [0, 1); 0 trains on all of them, and leaves validation empty.
      seed: another seed, other validation classes.

    Raises:
      ValueError: the share is out of range.
      DataError: two parts share a class, or there are too few classes to train on or to test.
    """
    if not 0 <= validation < 1:
        raise ValueError(f"data.validation must lie in [0, 1); got {validation}")
    classes = [np.unique(source.labels[parts == part]) for part in range(3)]
    for one, other in ((0, 2), (0, 1), (1, 2)):
        shared = np.intersect1d(classes[one], classes[other])
        if shared.size:
            raise DataError(
                f"{SPLITS[one]} and {SPLITS[other]} share {shared.size} classes, such as "
                f"{source.class_names[shared[0]]!r}; retrieval is tested on classes that were not trained on"
            )
    train, held, test = (part.tolist() for part in classes)
    if validation and not held:
        order = hash_order([source.class_names[c] for c in train], seed=seed)
        count = max(2, round(validation * len(train)))
        train, held = [train[i] for i in order[:-count]], [train[i] for i in order[-count:]]
    if len(train) < 2 or len(test) < 2:
        raise DataError(
            f"{len(train)} classes to train on, {len(held)} for validation and {len(test)} to test; at least 2 are "
            "needed to train and to test"
        )
    chosen = [np.flatnonzero(np.isin(source.labels, part)) for part in (train, held, test)]
    return Splits(*(Subset(source, indices) for indices in chosen))


def query_gallery(labels: Integer[np.ndarray, "n"]) -> Bool[np.ndarray, "n"]:
    """Mark the queries of a split: the first image of each class is a query, the rest are the gallery.

    >>> query_gallery(np.array([4, 4, 2, 4, 2]))
    array([ True, False,  True, False, False])
    """
    queries = np.zeros(len(labels), bool)
    queries[np.unique(labels, return_index=True)[1]] = True
    return queries
