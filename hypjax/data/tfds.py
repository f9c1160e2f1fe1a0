"""TFDS data sources as sources: random access to ArrayRecord files, without TensorFlow."""

import contextlib
import dataclasses
import functools
import hashlib
import importlib
import os
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Int32, UInt8

from hypjax.data import atomic, benchmarks
from hypjax.data.benchmarks import Benchmark
from hypjax.data.decode import decode
from hypjax.data.errors import DataError
from hypjax.data.places import Place, as_path, changed, size
from hypjax.data.source import dense, hierarchy

_CHUNK = 256  # records read at a time
FORMAT = "1"  # of the index of labels; another one makes it anew


@dataclasses.dataclass(frozen=True)
class Layout:
    """How a TFDS data set differs from one with `image` and a `label` that has names.

    Attributes:
      label: key of the label.
      ancestor: key of what the name and the hierarchy of a class follow from, such as its super-class; or none.
      describe: the label, its name and the ancestor's name to the name of the class and its ancestors' names.
      levels: names of these ancestors, nearest first.
      benchmark: the data set that it is a copy of, which is then split by class as in papers.
      module: that defines how to prepare it, where TFDS does not.
    """

    label: str = "label"
    ancestor: str = ""
    describe: Callable[[int, str, str], tuple[str, ...]] = lambda number, name, ancestor: (name,)
    levels: tuple[str, ...] = ()
    benchmark: Benchmark | None = None
    module: str = ""


def _bird(number: int, name: str, text: str) -> tuple[str, ...]:
    named = benchmarks.bird(text)
    return named, benchmarks.kind_of_bird(named)


def _clothing(number: int, name: str, category: str) -> tuple[str, ...]:
    return f"id_{number:08d}", *(names[0] for _, names in benchmarks.clothing_levels([category]))


LAYOUTS = {
    "caltech_birds2011": Layout("label", "label_name", _bird, ("kind",), benchmarks.CUB),
    "cars196": Layout(
        describe=lambda number, name, _: (name, benchmarks.make_of_car(name)),
        levels=("make",),
        benchmark=benchmarks.CARS,
    ),
    "stanford_online_products": Layout(
        "class_id",
        "super_class_id",
        lambda number, name, ancestor: (benchmarks.product(number + 1, ancestor), ancestor),
        ("super_class",),
        benchmarks.SOP,
    ),
    "in_shop": Layout(
        "item",
        "category",
        _clothing,
        ("category", "department"),
        benchmarks.IN_SHOP,
        "hypjax.data.in_shop_builder",
    ),
}


class TfdsSource:
    """Any sequence of dicts with an image and an integer label, such as `builder.as_data_source(split=...)`.

    Several sequences are laid end to end: TFDS has classification splits, which retrieval joins and splits anew by
    class. All labels are read at the start, where no index of them is kept;
    `decoders={"image": tfds.decode.SkipDecoding()}` makes that fast.

    >>> records = [{"image": np.zeros((4, 5, 3), np.uint8), "label": label} for label in (7, 7, 9)]
    >>> source = TfdsSource(records)
    >>> source.labels, source.class_names, source.image(0).shape, source.name(2)
    (array([0, 0, 1], dtype=int32), ['7', '9'], (4, 5, 3), 'record 2')

    Args:
      data_sources: the sequences; their images are uint8 `[h, w, 1 or 3]` or encoded bytes.
      layout: where label and super-class stand, and what classes are called.
      names: for either of these keys, the name of each number.
      splits: the name of each sequence; images of one called `query` ask, the others of their classes answer.
      shorter_side: larger encoded images are shrunk to it, in pixels; 0 for none.
      index: the file where the labels of these records are kept; they are read from it, or else written.

    Raises:
      DataError: a record lacks a key, there are no records, or one class has two ancestors.
    """

    def __init__(
        self,
        *data_sources: Sequence[Mapping[str, Any]],
        layout: Layout | None = None,
        names: Mapping[str, Sequence[str]] | None = None,
        splits: Sequence[str] = (),
        shorter_side: int = 0,
        index: Path | None = None,
    ) -> None:
        layout = layout or Layout()
        self._sources, self._shorter_side = data_sources, shorter_side
        self._ends = np.cumsum([len(source) for source in data_sources])
        if not len(self):
            raise DataError("the TFDS data source has no records")
        keys = [layout.label, *filter(None, [layout.ancestor])]
        columns = self._columns(keys) if index is None else _kept(index, lambda: self._columns(keys))
        self.numbers, self.labels = dense(np.array(columns[0]))
        ancestors: list[Any] = [""] * len(self.numbers)
        if layout.ancestor:
            ancestors = self._ancestors(columns[1], layout.ancestor)

        def named(key: str, value: Any) -> str:
            if isinstance(value, bytes | str):
                return value if isinstance(value, str) else value.decode("utf-8", "replace")
            known = (names or {}).get(key)
            return str(value) if known is None else str(known[value])

        described = [
            layout.describe(int(number), named(layout.label, number), named(layout.ancestor, ancestor))
            for number, ancestor in zip(self.numbers, ancestors, strict=True)
        ]
        self.class_names = [name for name, *_ in described]
        levels = [(level, [row[place] for row in described]) for place, level in enumerate(layout.levels, 1)]
        self.level_names, self.ancestor_names, self.ancestors = hierarchy(len(described), levels)
        in_split = np.repeat(np.array(splits), [len(source) for source in data_sources]) if splits else None
        self.queries = None if in_split is None or "query" not in splits else in_split == "query"
        self.parts: Int32[np.ndarray, " n"] | None = None
        if layout.benchmark is not None and layout.benchmark.first_test is not None:
            self.parts = benchmarks.parts_by_number(layout.benchmark, self.labels, self.numbers)
        elif layout.benchmark is not None and in_split is not None:
            self.parts = np.where(in_split == "train", 0, 2).astype(np.int32)

    @classmethod
    def load(
        cls, name: str, data_dir: str = "", *, shorter_side: int = 0, copies: Path = Path("runs/features")
    ) -> "TfdsSource":
        """Read all splits of a TFDS data set that was prepared as ArrayRecord.

        Args:
          name: of the data set, such as `caltech_birds2011` or `cars196:2.1.0`.
          data_dir: where it was prepared; empty for TFDS's default.
          shorter_side: larger images are shrunk to it, in pixels; 0 for none.
          copies: the folder where an index of the labels is kept, under a digest of what the files are.

        Raises:
          DataError: TFDS does not know it, or it is not prepared there; nothing is downloaded.
        """
        import tensorflow_datasets as tfds  # seconds to import, and only this needs it

        layout = layout_of(name)
        if layout.module:
            importlib.import_module(layout.module)
        try:
            builder = tfds.builder(name, data_dir=os.path.expanduser(data_dir) or None)
        except Exception as error:  # its registry raises many types
            raise DataError(
                f"TFDS has no data set {name!r}, and none is prepared in {data_dir or 'its folder'}"
            ) from error
        folder = builder.data_path
        if not builder.is_prepared():
            into = f"--data_dir={folder.parent.parent}"
            command = (
                f"python -m {layout.module} --manual_dir=FOLDER {into}"
                if layout.module
                else f"tfds build {name} --file_format=array_record {into} (where TensorFlow is installed)"
            )
            raise DataError(f"{name} is not prepared in {folder}; prepare it once: {command}")
        try:
            builder = tfds.builder_from_directory(folder)  # which can be sent to a process that has no class for it
            pictures = [key for key, kind in builder.info.features.items() if isinstance(kind, tfds.features.Image)]
            splits = builder.as_data_source(decoders={key: tfds.decode.SkipDecoding() for key in pictures})
        except Exception as error:
            raise DataError(
                f"{folder} cannot be read ({str(error).splitlines()[0]}); prepare it as array_record"
            ) from error
        features = builder.info.features
        names = {
            key: features[key].names
            for key in (layout.label, layout.ancestor)
            if key in features and getattr(features[key], "names", None)
        }
        ordered = sorted(splits)
        return cls(
            *(splits[split] for split in ordered),
            layout=layout,
            names=names,
            splits=ordered,
            shorter_side=shorter_side,
            index=copies / f"{_key(as_path(folder), layout)}.npz",
        )

    def __len__(self) -> int:
        return int(self._ends[-1]) if len(self._ends) else 0

    def _columns(self, keys: Sequence[str]) -> list[list[Any]]:
        """The values of some keys in all records."""
        columns: list[list[Any]] = [[] for _ in keys]
        for record in _all_records(self._sources):
            if not columns[0]:
                missing = [key for key in ("image", *keys) if key not in record]
                if missing:
                    raise DataError(f"the records have no {', '.join(missing)}; they have {', '.join(sorted(record))}")
            for column, key in zip(columns, keys, strict=True):
                value = record[key]
                column.append(value if isinstance(value, bytes | str) else int(value))
        return columns

    def _ancestors(self, values: list[Any], key: str) -> list[Any]:
        """The one value that all images of each class have."""
        found: dict[int, Any] = {}
        for label, value in zip(self.labels.tolist(), values, strict=True):
            if found.setdefault(label, value) != value:
                raise DataError(f"class {self.numbers[label]} has more than one {key}; classes must form a tree")
        return [found[label] for label in range(len(self.numbers))]

    def image(self, index: int) -> UInt8[np.ndarray, "h w 3"]:
        """The image of a record. Raises `DataError` naming it when it does not decode."""
        return _image(self._sources, self._shorter_side, index)

    def reader(self) -> tuple[Callable[[int], np.ndarray], Callable[[int], int]]:
        """As `hypjax.data.source.own_reader`: the records without their labels."""
        return functools.partial(_image, self._sources, self._shorter_side), int

    def check(self, index: int) -> None:
        """Decode the image of a record as small as it goes, which finds the same damage in less time."""
        image = _record(self._sources, index)["image"]
        if isinstance(image, bytes):
            decode(image, name=self.name(index), shorter_side=1)

    def name(self, index: int) -> str:
        """The number of the record, counted through all splits."""
        return f"record {index}"


def _record(sources: Sequence[Sequence[Mapping[str, Any]]], index: int) -> Mapping[str, Any]:
    place = index
    for source in sources:
        if place < len(source):
            return source[place]
        place -= len(source)
    raise IndexError(f"there is no record {index}")


def _image(sources: Sequence[Sequence[Mapping[str, Any]]], shorter_side: int, index: int) -> np.ndarray:
    image = _record(sources, index)["image"]
    if isinstance(image, bytes):
        return decode(image, name=f"record {index}", shorter_side=shorter_side)
    pixels = np.asarray(image)
    if pixels.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape[2] not in (1, 3):
        raise DataError(f"record {index}: expected uint8 [h, w, 1 or 3]; got {pixels.dtype} {pixels.shape}")
    return np.broadcast_to(pixels, (*pixels.shape[:2], 3)).copy()


def _key(folder: Place, layout: Layout) -> str:
    """A digest of the files of a data set, and of what is looked for in them."""
    files = sorted((path.name, size(path), changed(path)) for path in folder.iterdir())
    return hashlib.sha256(repr((FORMAT, str(folder), layout.label, layout.ancestor, files)).encode()).hexdigest()[:32]


def _kept(index: Path, read: Callable[[], list[list[Any]]]) -> list[list[Any]]:
    """Columns from a file, or made, where it is not there or damaged, and kept in it."""
    damage = contextlib.suppress(OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile, zlib.error)
    # Opened here, since np.load would leave a damaged file open.
    with damage, index.open("rb") as opened, np.load(opened, allow_pickle=False) as held:
        return [held[name].tolist() for name in sorted(held)]
    columns = read()
    with contextlib.suppress(OSError), atomic.writing(index) as file:  # a full disk costs the next start its time alone
        np.savez(file, *map(np.array, columns))
    return columns


def layout_of(name: str) -> Layout:
    """The layout of a TFDS data set by its name, which may have a config and a version: `NAME/CONFIG:VERSION`."""
    return LAYOUTS.get(name.partition(":")[0].partition("/")[0], Layout())


def _all_records(sources: Sequence[Sequence[Mapping[str, Any]]]) -> Iterator[Mapping[str, Any]]:
    for source in sources:
        for start in range(0, len(source), _CHUNK):
            places = range(start, min(start + _CHUNK, len(source)))
            several = getattr(source, "__getitems__", None)
            yield from several(list(places)) if several else map(source.__getitem__, places)
