"""Features as a source: rows of an `.npz`, `.npy` or `.parquet` file where others have images."""

import logging
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
from jaxtyping import Float32, Int64, Integer, Shaped, UInt8

from hypjax.data.columns import Words
from hypjax.data.errors import DataError
from hypjax.data.labeling import read_labeling
from hypjax.data.listing import SUFFIXES as LISTINGS
from hypjax.data.listing import read_columns
from hypjax.data.mapped import DAMAGE, Mapped, map_npy, map_npz
from hypjax.data.parquet import read_parquet
from hypjax.data.source import hierarchy

SUFFIXES = (".npz", ".npy", ".parquet")
AT_ONCE = 2**24  # numbers that are looked at together

Columns = dict[str, Shaped[np.ndarray, "n"]]


class Features:
    """Rows of features in a file, with labels, super-labels and perhaps a split; no row is read before it is asked for.

    An `.npz` holds `features` [n, f], `labels` [n] (strings or integers), perhaps `split` [n] and `names` [n]; every
    other one-dimensional array of n strings or integers is a super-label, the nearest first. An `.npy` has a listing
    beside it (`photos.csv`, `.tsv`, `.json` or `.jsonl` with `photos.npy`), whose rows are those of the array. A
    `.parquet` file has columns of these names. The words of a split, and what it gives, are those of a listing of
    images (`hypjax.data.listing.ListedImages`).

    Attributes:
      path: of the file.
      width: f.
      levels: the hierarchy, nearest first: a super-label's name, and its value for each class.
      parts: of each row, 0, 1 or 2 for train, validation and test; None where no split is given.

    Args:
      path: of the file.
      labeled: whether there must be labels; else one class holds all rows, whatever the file says of them.
      copies: the folder where a Parquet file's features are kept as rows.

    Raises:
      DataError: the file is missing or damaged, or what it holds does not fit together.
    """

    def __init__(self, path: Path, *, labeled: bool = True, copies: Path = Path("runs/features")) -> None:
        self.path = path
        self._rows, columns = _read(path, copies, labeled=labeled)
        count, self.width = self._rows.shape
        names = columns.pop("names", columns.pop("name", columns.pop("path", None)))
        self._names = None if names is None else _fitting(path, "names", names, count)
        if labeled:
            found = read_labeling(str(path), _renamed(path, columns, count), images="rows")
            self.labels, self.class_names, self.parts, self.queries = (
                found.labels,
                found.class_names,
                found.parts,
                found.queries,
            )
            self.levels = found.levels
        else:
            self.labels, self.class_names, self.parts, self.queries = np.zeros(count, np.int32), ["rows"], None, None
            self.levels = []
        self.level_names, self.ancestor_names, self.ancestors = hierarchy(len(self.class_names), self.levels)

    def __len__(self) -> int:
        return len(self._rows)

    def features(self, rows: slice | Integer[np.ndarray, " m"]) -> Float32[np.ndarray, "m f"]:
        """Rows by slice or indices.

        Raises:
          DataError: one is not finite; names it.
        """
        found = self._rows[rows]
        if not np.isfinite(found).all():
            bad = np.flatnonzero(~np.isfinite(found).all(axis=1))[0]
            raise DataError(f"{self.path}: row {np.arange(len(self))[rows][bad]} of features is not finite in float32")
        return found

    def image(self, index: int) -> UInt8[np.ndarray, "h w 3"]:
        """There is none. Raises `DataError`."""
        raise DataError(f"{self.path}: row {index} has features and no image")

    def name(self, index: int) -> str:
        """Its name in the file, or its number."""
        return str(index) if self._names is None else str(self._names[index])

    def names(self) -> Shaped[np.ndarray, "n"]:
        """The name of every row."""
        return np.arange(len(self)).astype(np.str_) if self._names is None else self._names.astype(np.str_)

    def finite(self) -> Int64[np.ndarray, " m"]:
        """The rows that are finite in float32, those that are not counted in one warning.

        Raises:
          DataError: none is.
        """
        sound = np.concatenate([np.isfinite(rows).all(axis=1) for rows in self._blocks()])
        if not sound.any():
            raise DataError(f"{self.path}: none of its {len(self)} rows is finite")
        if not sound.all():
            first = np.flatnonzero(~sound)[0]
            logging.getLogger(__name__).warning(
                "%s: left out %d of %d rows, which are not finite, the first: %d",
                self.path,
                (~sound).sum(),
                len(sound),
                first,
            )
        return np.flatnonzero(sound)

    def require_finite(self) -> None:
        """Reads the whole file once, so that a damaged row is not met after hours of training.

        Raises:
          DataError: a row is not finite; names the first.
        """
        done = 0
        for rows in self._blocks():
            sound = np.isfinite(rows).all(axis=1)
            if not sound.all():
                raise DataError(
                    f"{self.path}: row {done + np.flatnonzero(~sound)[0]} of features is not finite in float32; "
                    "--config.data.skip_corrupt=true leaves such rows out"
                )
            done += len(rows)

    def _blocks(self) -> Iterator[Float32[np.ndarray, "m f"]]:
        step = max(1, AT_ONCE // self.width)
        return (self._rows[start : start + step] for start in range(0, len(self), step))


def _read(path: Path, copies: Path, *, labeled: bool) -> tuple[Mapped | np.ndarray, Columns]:
    kind = path.suffix.lower()
    if kind not in SUFFIXES:
        raise DataError(f"{path} is no file of features; expected one of {', '.join(SUFFIXES)}")
    if kind == ".npy":
        return map_npy(path), _beside(path) if labeled else {}
    return _read_npz(path) if kind == ".npz" else read_parquet(path, copies)


def _read_npz(path: Path) -> tuple[Mapped | np.ndarray, Columns]:
    columns = {}
    try:
        # Opened here, since np.load would leave a damaged file open.
        with path.open("rb") as opened, np.load(opened, allow_pickle=False) as file:
            if "features" not in file.files:
                raise DataError(f"{path}: no array features; it has: {', '.join(file.files)}")
            for name in file.files:
                if name != "features" and (values := file[name]).ndim:
                    columns[name] = values
    except DataError:
        raise
    except DAMAGE as error:
        if not path.exists():
            raise DataError(f"{path} does not exist; give a file of features: .npz, .npy or .parquet") from error
        reason = " ".join(str(error).split())[:120] or type(error).__name__
        if "pickle" in reason:  # NumPy's advice for objects, which is not to be followed
            reason = "it holds pickled objects; save labels as an array of strings or integers"
        raise DataError(f"{path} cannot be read ({reason})") from error
    return map_npz(path, "features"), {name: values for name, values in columns.items() if _is_column(name, values)}


def _is_column(name: str, values: np.ndarray) -> bool:
    return name in ("labels", "label", "split") or (values.ndim == 1 and values.dtype.kind in "USiu")


def _beside(path: Path) -> Columns:
    listing = next((found for suffix in LISTINGS if (found := path.with_suffix(suffix)).is_file()), None)
    if listing is None:
        raise DataError(
            f"{path} needs a listing beside it, {path.with_suffix('.csv').name} (or .tsv, .json, .jsonl), with the "
            "column label: its rows are those of the array"
        )
    columns = read_columns(listing, "label", images="row")
    return {name: column.array() if isinstance(column, Words) else np.array(column) for name, column in columns.items()}


def _renamed(path: Path, columns: Mapping[str, np.ndarray], count: int) -> Columns:
    """The columns as `read_labeling` takes them."""
    labels = [name for name in ("labels", "label") if name in columns]
    if len(labels) != 1:
        held = ", ".join(columns) or "none"
        raise DataError(f"{path}: one array of labels is needed, labels or label; beside features there are: {held}")
    renamed = {"label" if name == labels[0] else name: values for name, values in columns.items()}
    return {
        name: _fitting(path, name, values, count)
        for name, values in renamed.items()
        if name in ("label", "split") or path.suffix.lower() != ".npz" or len(values) == count
    }


def _fitting(path: Path, name: str, values: np.ndarray, count: int) -> np.ndarray:
    if values.shape != (count,):
        raise DataError(f"{path}: {name} has shape {list(values.shape)}, but there are {count} rows of features")
    if values.dtype.kind == "S":
        return np.char.decode(values, "utf-8")
    if values.dtype.kind not in "Uiu":
        raise DataError(f"{path}: {name} holds {values.dtype}; it must hold strings or integers")
    return values
