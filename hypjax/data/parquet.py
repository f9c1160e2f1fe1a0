"""Features in a Parquet file, kept once more as rows that can be read in place: a column store has no quick rows."""

import hashlib
import os
from importlib import import_module
from pathlib import Path
from typing import IO, Any

import numpy as np
from jaxtyping import Shaped

from hypjax.data import atomic
from hypjax.data.errors import DataError
from hypjax.data.mapped import FLOATS, Mapped, map_npy

ROWS = 16_384  # read at a time
FORMAT = "1"  # of the copies; another one makes them anew


def read_parquet(path: Path, copies: Path) -> tuple[Mapped, dict[str, Shaped[np.ndarray, "n"]]]:
    """The rows of the column `features`, and all other columns that hold strings or integers.

    Args:
      path: of the file; `features` holds lists of floats, all of one length.
      copies: the folder where features are kept as rows, under a digest of the file's place, size, time and footer.

    Raises:
      DataError: pyarrow is not installed, or the file is missing, damaged or holds no such column.
    """
    try:
        parquet, arrow = import_module("pyarrow.parquet"), import_module("pyarrow")
    except ImportError as error:
        raise DataError(f'{path} needs pyarrow: pip install "hypjax[parquet]"') from error
    if not path.is_file():
        raise DataError(f"{path} does not exist; give a file of features: .npz, .npy or .parquet")
    try:
        with parquet.ParquetFile(path) as file:
            if "features" not in file.schema_arrow.names:
                raise DataError(f"{path}: no column features; it has: {', '.join(file.schema_arrow.names)}")
            columns = _columns(arrow, file)
            copy = copies / f"{_key(path)}.npy"
            if not copy.exists():
                with atomic.writing(copy) as out:
                    _write(out, file, path)
    except arrow.ArrowException as error:
        raise DataError(f"{path} cannot be read ({' '.join(str(error).split())[:120]})") from error
    return map_npy(copy), columns


def _columns(arrow: Any, file: Any) -> dict[str, np.ndarray]:
    plain = (arrow.types.is_string, arrow.types.is_large_string, arrow.types.is_integer, arrow.types.is_dictionary)
    names = [field.name for field in file.schema_arrow if any(kind(field.type) for kind in plain)]
    if not names:
        return {}
    table = file.read(columns=names)
    found = {}
    for name in names:
        column = table.column(name)
        if column.null_count:
            raise DataError(f"the column {name} lacks {column.null_count} of {len(column)} values")
        if arrow.types.is_dictionary(column.type):
            column = column.cast(column.type.value_type)
        values = column.to_numpy() if arrow.types.is_integer(column.type) else np.array(column.to_pylist(), np.str_)
        found[name] = values
    return found


def _key(path: Path) -> str:
    status = path.stat()
    with path.open("rb") as file:
        file.seek(-min(status.st_size, 2**16), os.SEEK_END)
        footer = file.read()  # says where each column lies and, as a rule, its extremes
    words = f"{FORMAT}|{path.resolve()}|{status.st_size}|{status.st_mtime_ns}|".encode()
    return hashlib.sha256(words + footer).hexdigest()[:32]


def _write(out: IO[bytes], file: Any, path: Path) -> None:
    count, width, done = file.metadata.num_rows, 0, 0
    for batch in file.iter_batches(batch_size=ROWS, columns=["features"]):
        rows = _as_rows(batch.column(0), path, done)
        if not done:
            width = rows.shape[1]
            header = {"descr": rows.dtype.str, "fortran_order": False, "shape": (count, width)}
            np.lib.format.write_array_header_1_0(out, header)
        if rows.shape[1] != width:
            raise DataError(f"{path}: row {done} has {rows.shape[1]} features, the rows before it have {width}")
        rows.tofile(out)
        done += len(rows)
    if not done:
        raise DataError(f"{path} holds no rows")


def _as_rows(column: Any, path: Path, first: int) -> np.ndarray:
    if not hasattr(column, "flatten") or column.null_count:
        raise DataError(f"{path}: the column features must hold lists of floats, one a row; it is {column.type}")
    values, lengths = column.flatten().to_numpy(zero_copy_only=False), column.value_lengths().to_numpy()
    if values.dtype.str[1:] not in FLOATS:
        raise DataError(f"{path}: the column features holds {values.dtype}; it must hold floats")
    if odd := np.flatnonzero(lengths != lengths[0]).tolist():
        raise DataError(
            f"{path}: row {first + odd[0]} has {lengths[odd[0]]} features, the rows before it have {lengths[0]}"
        )
    if not lengths[0]:
        raise DataError(f"{path}: the lists of the column features are empty")
    return np.ascontiguousarray(values).reshape(len(lengths), lengths[0])
