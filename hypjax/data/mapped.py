"""Rows of numbers that stay in their file and are read in place: `.npy`, and what an `.npz` holds uncompressed."""

import logging
import mmap
import struct
import threading
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float32, Integer

from hypjax.data.errors import DataError

FLOATS = ("f2", "f4", "f8")
MOST_UNPACKED = 2**28  # bytes of a compressed array that are worth unpacking into memory
HELD = 2**26  # bytes of a file that may count as this process's own before they are let go
AROUND = 2**19  # bytes that a system maps around the one that is asked for; Linux does 400 kB, measured
DAMAGE = (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile, struct.error)


class Mapped:
    """Rows of a file; asked for by a slice or by indices, they come as a float32 copy.

    However many are read, few of the file's pages are held at a time: what is not in use is let go, and comes from the
    system's cache, or from the disk, when it is asked for again.

    Args:
      path: of the file.
      offset: of the first row in it, in bytes.
      shape: rows and columns.
      dtype: of the numbers, a float of 16, 32 or 64 bits.

    Raises:
      DataError: the file ends before its last row.
    """

    def __init__(self, path: Path, offset: int, shape: tuple[int, int], dtype: np.dtype) -> None:
        self.path, self.shape, self.dtype = path, shape, dtype
        size = shape[0] * shape[1] * dtype.itemsize
        with path.open("rb") as file:
            if path.stat().st_size < offset + size:
                raise DataError(f"{path} is cut short: {shape[0]} rows of {shape[1]} numbers do not fit into it")
            self._map = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        self._rows = np.ndarray(shape, dtype, self._map, offset)
        self._held, self._lock = 0, threading.Lock()

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, rows: slice | Integer[np.ndarray, " m"]) -> Float32[np.ndarray, "m f"]:
        each = self.shape[1] * self.dtype.itemsize
        pieces: list[slice | np.ndarray]
        if isinstance(rows, slice) and rows.step in (None, 1):
            first, last, _ = rows.indices(len(self))
            count, step = max(0, last - first), max(1, HELD // each)
            pieces = [slice(start, min(start + step, last)) for start in range(first, last, step)]
        else:  # rows apart, each with the pages around it
            chosen = np.arange(len(self))[rows] if isinstance(rows, slice) else np.asarray(rows)
            each += AROUND
            count, step = len(chosen), max(1, HELD // each)
            pieces = [chosen[start : start + step] for start in range(0, count, step)]
        found, done = np.empty((count, self.shape[1]), np.float32), 0
        for piece in pieces:
            part = self._rows[piece]
            with np.errstate(over="ignore"):  # what float32 cannot hold is infinite, and refused by who asked
                found[done : done + len(part)] = part
            done += len(part)
            self._let_go(len(part) * each)
        return found

    def _let_go(self, read: int) -> None:
        with self._lock:
            self._held += read
            if self._held < HELD:
                return
            self._held = 0
        if hasattr(mmap, "MADV_DONTNEED"):
            self._map.madvise(mmap.MADV_DONTNEED)


def map_npy(path: Path) -> Mapped:
    """The rows of an `.npy` file.

    Raises:
      DataError: it is missing, damaged, or holds something else than rows of floats.
    """
    try:
        with path.open("rb") as file:
            shape, dtype = _header(file, str(path))
            offset = file.tell()
    except DAMAGE as error:
        raise _unreadable(path, error) from error
    return Mapped(path, offset, shape, dtype)


def map_npz(path: Path, name: str) -> Mapped | Float32[np.ndarray, "n f"]:
    """The rows of an array in an `.npz` file, in place where it is stored as it is, as `np.savez` does.

    A compressed one is unpacked into memory, with a warning, unless it is too large for that.

    Args:
      path: of the file.
      name: of the array.

    Raises:
      DataError: it is missing, damaged, too large, or something else than rows of floats.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            entry = archive.getinfo(f"{name}.npy")
            if entry.compress_type != zipfile.ZIP_STORED:
                return _unpacked(archive, entry, path, name)
        with path.open("rb") as file:
            file.seek(entry.header_offset)
            local = file.read(30)
            lengths = struct.unpack("<HH", local[26:30])  # of name and extra field, which only this header knows
            file.seek(entry.header_offset + 30 + sum(lengths))
            shape, dtype = _header(file, f"{path}: {name}")
            offset = file.tell()
    except DAMAGE as error:
        raise _unreadable(path, error) from error
    return Mapped(path, offset, shape, dtype)


def _unpacked(archive: zipfile.ZipFile, entry: zipfile.ZipInfo, path: Path, name: str) -> Float32[np.ndarray, "n f"]:
    if entry.file_size > MOST_UNPACKED:
        raise DataError(
            f"{path}: {name} is compressed, {entry.file_size:,} bytes of it, so that its rows cannot be read in place; "
            "save it with np.savez instead of np.savez_compressed"
        )
    with archive.open(entry) as file:
        _header(file, f"{path}: {name}")
    with archive.open(entry) as file, np.errstate(over="ignore"):
        rows = np.lib.format.read_array(file, allow_pickle=False).astype(np.float32)
    logging.getLogger(__name__).warning(
        "%s: %s is compressed and was unpacked into memory, %s bytes; np.savez leaves it on the disk",
        path,
        name,
        f"{rows.nbytes:,}",
    )
    return rows


def _header(file: Any, where: str) -> tuple[tuple[int, int], np.dtype]:
    """Shape and type of an array whose header comes next in a file."""
    version = np.lib.format.read_magic(file)
    read = {
        (1, 0): np.lib.format.read_array_header_1_0,
        (2, 0): np.lib.format.read_array_header_2_0,
    }.get(version)
    if read is None:
        raise DataError(f"{where} is of a kind that holds no plain numbers; features are [n, f] floats")
    shape, by_columns, dtype = read(file)
    if len(shape) != 2 or dtype.str[1:] not in FLOATS or 0 in shape:
        raise DataError(f"{where} is {dtype} {list(shape)}; features must be floats of 16, 32 or 64 bits, [n, f]")
    if by_columns and min(shape) > 1:
        raise DataError(f"{where} is stored column by column; save np.ascontiguousarray of it")
    return (shape[0], shape[1]), dtype


def _unreadable(path: Path, error: BaseException) -> DataError:
    if isinstance(error, DataError):
        return error
    if not path.exists():
        return DataError(f"{path} does not exist; give a file of features: .npz, .npy or .parquet")
    reason = " ".join(str(error).split())[:120] or type(error).__name__
    return DataError(f"{path} cannot be read ({reason})")
