"""What a data source is: labels, ancestors and random access to images; and a view of a part of one."""

import hashlib
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Bool, Int32, Integer, Shaped, UInt8

from hypjax.data.errors import DataError


@runtime_checkable
class Source(Protocol):
    """Anything with labels, ancestors and random access to images; plain attributes do for the properties.

    A source whose data set has query and gallery sets of its own has an attribute `queries` besides, see `own_queries`;
    one that holds features in place of images has `features`, see `own_features`.
    """

    @property
    def labels(self) -> Int32[np.ndarray, "n"]:
        """Class of each image, dense in 0 … classes − 1."""
        ...

    @property
    def class_names(self) -> Sequence[str]:
        """One name a class."""
        ...

    @property
    def ancestors(self) -> Int32[np.ndarray, "classes levels"]:
        """Ancestors of each class, nearest first; ids are dense per level; there may be no levels."""
        ...

    @property
    def level_names(self) -> Sequence[str]:
        """One name a level, nearest first."""
        ...

    @property
    def ancestor_names(self) -> Sequence[Sequence[str]]:
        """For each level the names of its ancestors."""
        ...

    def __len__(self) -> int:
        """How many images there are."""
        ...

    def image(self, index: int) -> UInt8[np.ndarray, "h w 3"]:
        """The image at an index as RGB; any size. Raises `DataError` naming it when it does not decode."""
        ...

    def name(self, index: int) -> str:
        """A path or id to show in messages and galleries."""
        ...


def dense(ids: Shaped[np.ndarray, "..."]) -> tuple[np.ndarray, np.ndarray]:
    """Renumber ids as 0 … count − 1 in ascending order.

    Returns:
      The ids that occur, `[count]`, and the new numbers in the shape of `ids`, int32.

    >>> dense(np.array([7, 3, 7]))
    (array([3, 7]), array([1, 0, 1], dtype=int32))
    """
    kept, renumbered = np.unique(ids, return_inverse=True)
    return kept, renumbered.reshape(ids.shape).astype(np.int32)


class Hierarchy(NamedTuple):
    """The ancestors of classes, as a source has them.

    Attributes:
      level_names: one a level, nearest first.
      ancestor_names: for each level the names of its ancestors, sorted.
      ancestors: of each class, `[classes, levels]`.
    """

    level_names: list[str]
    ancestor_names: list[list[str]]
    ancestors: Int32[np.ndarray, "classes levels"]


def hierarchy(classes: int, levels: Sequence[tuple[str, Sequence[str]]]) -> Hierarchy:
    """A hierarchy from names, without levels on which all classes meet: those tell none from any other.

    >>> hierarchy(3, [("family", ["cat", "dog", "cat"])])
    Hierarchy(level_names=['family'], ancestor_names=[['cat', 'dog']], ancestors=array([[0],
           [1],
           [0]], dtype=int32))

    Args:
      classes: how many there are.
      levels: nearest first, the name of each and that of each class's ancestor on it.
    """
    levels = [(name, of_classes) for name, of_classes in levels if len(set(of_classes)) > 1]
    ancestors, names = np.zeros((classes, len(levels)), np.int32), []
    for column, (_, of_classes) in enumerate(levels):
        kept, ancestors[:, column] = dense(np.array(of_classes))
        names.append([str(name) for name in kept])
    return Hierarchy([name for name, _ in levels], names, ancestors)


def own_queries(source: Source) -> Bool[np.ndarray, "n"] | None:
    """Which images ask, the others being the gallery, where a data set says so itself; None where it does not."""
    marked: np.ndarray | None = getattr(source, "queries", None)
    return marked


def own_features(source: Source) -> Callable[[Any], np.ndarray] | None:
    """What reads rows of features, `slice` or indices [m] → float32 [m, f], of a source without images; else None."""
    read: Callable[[Any], np.ndarray] | None = getattr(source, "features", None)
    return read


def own_file(source: Source, index: int) -> tuple[int, int]:
    """Bytes and time of change, in ns, of the file that an image is in; (0, 0) where a source has none."""
    file: Callable[[int], tuple[int, int]] | None = getattr(source, "file", None)
    return (0, 0) if file is None else file(index)


ReaderAndKey = tuple[Callable[[Any], np.ndarray], Callable[[int], Any]]


def own_reader(source: Source) -> ReaderAndKey | None:
    """What reads an image, to be sent to other processes, and what it is told there to find the image at an index.

    A source with a method `reader` gives both itself and need not be sent, or says by None that only the process that
    it is in may read it; any other is sent whole.
    """
    own: Callable[[], ReaderAndKey | None] | None = getattr(source, "reader", None)
    return (source.image, int) if own is None else own()


LARGE = 2**18
"""Beyond so many images those of a sample are opened at the start, or asked for their sizes, instead of all."""
SAMPLE = 2**12  # images


def sample(source: Source) -> Sequence[int]:
    """Indices of all images, or of the same few of a large source each time, in order."""
    count = len(source)
    chosen = range(count) if count <= LARGE else np.random.default_rng(0).choice(count, SAMPLE, replace=False).tolist()
    return sorted(chosen)


def digest(source: Source) -> str:
    """A digest of which images a source holds, in which order and of which classes: names, file sizes, labels.

    Nothing is decoded, and where the folder lies does not matter. Of rows of features the labels alone are looked at
    (`digest_of_rows` does the rest), of more than `LARGE` images the sizes of a sample.
    """
    found = hashlib.sha256(np.ascontiguousarray(source.labels).tobytes())

    def add(text: str) -> None:
        found.update(text.encode("utf-8", "surrogateescape"))

    add("\0".join(source.class_names))
    if own_features(source) is not None:
        return found.hexdigest()[:32]
    if len(source) <= LARGE:
        for index in range(len(source)):
            add(f"{source.name(index)}\0{own_file(source, index)[0]}\0")
    else:
        for start in range(0, len(source), LARGE):
            add("\0".join(map(source.name, range(start, min(start + LARGE, len(source))))) + "\0")
        add("\0".join(str(own_file(source, index)[0]) for index in sample(source)))
    return found.hexdigest()[:32]


def digest_of_rows(source: Source) -> str:
    """A digest of how many rows of features a source holds, how wide, and of what is in up to `SAMPLE` of them.

    "" for images.
    """
    read, count = own_features(source), len(source)
    if read is None:
        return ""
    chosen = np.unique(np.linspace(0, count - 1, min(count, SAMPLE)).astype(np.int64)) if count else np.zeros(0, int)
    rows = np.ascontiguousarray(read(chosen), np.float32)
    return hashlib.sha256(f"{count} {rows.shape[-1]} ".encode() + rows.tobytes()).hexdigest()[:32]


class Subset:
    """Some images of a source, with dense labels and ancestors of their own; made by `subset`."""

    def __init__(self, source: Source, indices: Integer[np.ndarray, "m"]) -> None:
        self._source = source
        self.indices = np.asarray(indices, np.int64)
        asking = own_queries(source)
        self.queries = None if asking is None or not asking[self.indices].any() else asking[self.indices]
        rows = own_features(source)
        self.features = None if rows is None else lambda chosen: rows(self.indices[chosen])
        classes, self.labels = dense(np.asarray(source.labels)[self.indices])
        self.class_names = [source.class_names[c] for c in classes]
        self.level_names = list(source.level_names)
        levels = [dense(column) for column in np.asarray(source.ancestors)[classes].T]
        self.ancestor_names = [
            [names[a] for a in kept] for names, (kept, _) in zip(source.ancestor_names, levels, strict=True)
        ]
        self.ancestors = np.zeros((len(classes), len(levels)), np.int32)
        for level, (_, column) in enumerate(levels):
            self.ancestors[:, level] = column

    def __len__(self) -> int:
        return len(self.indices)

    def image(self, index: int) -> UInt8[np.ndarray, "h w 3"]:
        """The image at an index of this view."""
        return self._source.image(int(self.indices[index]))

    def name(self, index: int) -> str:
        """The name that the underlying source gives it."""
        return self._source.name(int(self.indices[index]))

    def file(self, index: int) -> tuple[int, int]:
        """Bytes of its file and when that was changed, as `own_file`."""
        return own_file(self._source, int(self.indices[index]))

    def reader(self) -> ReaderAndKey | None:
        """As `own_reader`."""
        own = own_reader(self._source)
        return own and (own[0], lambda index: own[1](int(self.indices[index])))


def subset(source: Source, indices: Integer[np.ndarray, "m"] | Sequence[int]) -> Subset:
    """View some images of a source as a source: labels and ancestors are renumbered densely.

    Args:
      source: any source.
      indices: which images, in which order; `[m]`.

    Raises:
      ValueError: an index is out of range, or there are none.
    """
    chosen = np.asarray(indices)
    if chosen.size == 0:
        raise ValueError("a subset needs at least one image; got no indices")
    chosen = chosen.astype(np.int64)
    if chosen.min() < 0 or chosen.max() >= len(source):
        raise ValueError(f"indices must lie in [0, {len(source)}); got {chosen.min()} … {chosen.max()}")
    return Subset(source, chosen)


class Coarse:
    """A source whose classes are one level of another's hierarchy; made by `coarsened`."""

    def __init__(self, source: Source, level: int) -> None:
        self._source, self.queries, self.features = source, own_queries(source), own_features(source)
        self.labels = np.asarray(source.ancestors)[np.asarray(source.labels), level].astype(np.int32)
        self.class_names = list(source.ancestor_names[level])
        self.level_names = list(source.level_names)[level + 1 :]
        self.ancestor_names = [list(names) for names in source.ancestor_names][level + 1 :]
        first = np.unique(np.asarray(source.ancestors)[:, level], return_index=True)[1]  # any class of the ancestor
        self.ancestors = np.asarray(source.ancestors)[first][:, level + 1 :].astype(np.int32)

    def __len__(self) -> int:
        return len(self._source)

    def image(self, index: int) -> UInt8[np.ndarray, "h w 3"]:
        """The image at an index."""
        return self._source.image(index)

    def name(self, index: int) -> str:
        """The name that the underlying source gives it."""
        return self._source.name(index)

    def file(self, index: int) -> tuple[int, int]:
        """Bytes of its file and when that was changed, as `own_file`."""
        return own_file(self._source, index)

    def reader(self) -> ReaderAndKey | None:
        """As `own_reader`."""
        return own_reader(self._source)


def coarsened(source: Source, level: str) -> Coarse:
    """View a source as one whose classes are a level of its hierarchy, to train on labels coarser than the classes.

    Args:
      source: any source; ids of its level must be dense, as a source's are.
      level: one of `source.level_names`.

    Raises:
      DataError: it has no such level; says which it has.
    """
    names = list(source.level_names)
    if level not in names:
        raise DataError(f"the data set has no level {level!r}; it has: {', '.join(names) or 'none'}")
    return Coarse(source, names.index(level))
