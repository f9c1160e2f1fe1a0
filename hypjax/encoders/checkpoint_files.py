"""Tensors out of published checkpoint files, without PyTorch and without running what the files contain.

A `.pth` file is a pickle, and a pickle is a program. Here it is read by an unpickler that knows the handful of names
a plain dictionary of tensors needs and refuses every other one. Every length and offset that it states is checked
against the file before it is used.
"""

import io
import lzma
import math
import os
import pickle
import struct
import zipfile
import zlib
from collections import OrderedDict
from collections.abc import Callable
from typing import Any, BinaryIO, NamedTuple

import ml_dtypes
import numpy as np
import safetensors

_LEGACY_MAGIC = 0x1950A86A20F9469CFC6C
_LEGACY_PROTOCOL = 1001
_MAX_UNPACKED = 2**33  # bytes in all that compressed entries may claim: far above any encoder here

_STORAGE_DTYPES = {
    "DoubleStorage": np.dtype("<f8"),
    "FloatStorage": np.dtype("<f4"),
    "HalfStorage": np.dtype("<f2"),
    "BFloat16Storage": np.dtype(ml_dtypes.bfloat16),
    "LongStorage": np.dtype("<i8"),
    "IntStorage": np.dtype("<i4"),
    "ShortStorage": np.dtype("<i2"),
    "CharStorage": np.dtype("i1"),
    "ByteStorage": np.dtype("u1"),
    "BoolStorage": np.dtype("?"),
}
_SAFETENSORS_DTYPES = {
    "F64": np.dtype("<f8"),
    "F32": np.dtype("<f4"),
    "F16": np.dtype("<f2"),
    "BF16": np.dtype(ml_dtypes.bfloat16),
    "I64": np.dtype("<i8"),
    "I32": np.dtype("<i4"),
    "I16": np.dtype("<i2"),
    "I8": np.dtype("i1"),
    "U8": np.dtype("u1"),
    "BOOL": np.dtype("?"),
}
# What a pickle, a zip archive or an array header raises on bytes that are not what they claim to be.
_MALFORMED = (
    pickle.UnpicklingError,
    zipfile.BadZipFile,
    EOFError,
    ArithmeticError,
    AttributeError,
    LookupError,
    MemoryError,
    RuntimeError,
    TypeError,
    UnicodeError,
    ValueError,
    lzma.LZMAError,
    struct.error,
    zlib.error,
)


class CheckpointError(ValueError):
    """A checkpoint file cannot be read; the message names the file and what is wrong with it."""


class MissingWeightsError(ImportError):
    """The package that carries or fetches an encoder's weights is not installed."""


def read_tensors(path: str | os.PathLike[str]) -> dict[str, np.ndarray]:
    """Reads every tensor of a checkpoint by its name.

    The format is told from the file's first bytes: `.pth` in the old and in the zipped layout, `.safetensors`, and
    `.npz`. A training checkpoint that keeps its weights one level down, under `state_dict`, `model`, `teacher` or
    the like, is unwrapped.

    Args:
        path: The file.

    Returns:
        Names as the file has them, mapped to arrays in the file's own dtype and layout.

    Raises:
        CheckpointError: If the file is missing, truncated, malformed, in no known format, or wants to import
            anything beyond what tensors need.
    """
    path = os.fspath(path)
    try:
        with open(path, "rb") as file:
            return _reader(file)(file)
    except CheckpointError as error:
        raise CheckpointError(f"{path}: {error}") from None
    except OSError as error:
        raise CheckpointError(f"{path}: {error.strerror or error}") from None
    except _MALFORMED as error:
        raise CheckpointError(
            f"{path}: damaged or truncated checkpoint ({type(error).__name__}: {error}); fetch the file again"
        ) from None


def _reader(file: BinaryIO) -> Callable[[BinaryIO], dict[str, np.ndarray]]:
    start = file.read(16)
    if not start:
        raise CheckpointError("the file is empty; fetch it again")
    file.seek(0)
    if start.startswith(b"PK\x03\x04"):
        with zipfile.ZipFile(file) as archive:
            names = archive.namelist()
        file.seek(0)
        return _read_zipped_pth if any(name.endswith("/data.pkl") for name in names) else _read_npz
    if start[8:9] == b"{":
        return _read_safetensors
    if start[:1] == b"\x80":
        return _read_legacy_pth
    raise CheckpointError("not a .pth, .safetensors or .npz checkpoint; convert it to one of these")


class _Storage(NamedTuple):
    dtype: np.dtype
    key: str
    numel: int


class _Tensor(NamedTuple):
    storage: _Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]

    def array(self, flat: np.ndarray) -> np.ndarray:
        values = (self.offset, *self.shape, *self.strides)
        if any(type(v) is not int or v < 0 for v in values) or len(self.shape) != len(self.strides):
            raise CheckpointError(f"a tensor has offset {self.offset}, shape {self.shape}, strides {self.strides}")
        if 0 in self.shape:
            return np.zeros(self.shape, flat.dtype)
        last = self.offset + sum((n - 1) * s for n, s in zip(self.shape, self.strides, strict=True))
        if last >= flat.size or math.prod(self.shape) > flat.size:
            raise CheckpointError(f"a tensor of shape {self.shape} reaches beyond its storage of {flat.size} values")
        strides = tuple(s * flat.itemsize for s in self.strides)
        return np.lib.stride_tricks.as_strided(flat[self.offset :], self.shape, strides, writeable=False).copy()


class _TensorUnpickler(pickle.Unpickler):
    """Builds dictionaries of tensor records, and nothing else."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) == ("collections", "OrderedDict"):
            return OrderedDict
        if (module, name) == ("torch._utils", "_rebuild_tensor_v2"):
            # A fresh function for each mention: whatever a pickle does to it ends with this file.
            return lambda storage, offset, shape, strides, *_: _Tensor(storage, offset, tuple(shape), tuple(strides))
        if (module, name) == ("torch._utils", "_rebuild_parameter"):
            return lambda tensor, *_: tensor
        if module == "torch" and name in _STORAGE_DTYPES:
            return name  # and not the dtype, which all of NumPy shares and a pickle could set the state of
        raise CheckpointError(
            f"refused to import {module}.{name}, which no dictionary of tensors needs; "
            "save the bare state_dict, as .safetensors or .npz best of all"
        )

    def persistent_load(self, pid: Any) -> _Storage:
        kind, values, key, _, numel, *view = pid
        if kind != "storage" or values not in _STORAGE_DTYPES or type(numel) is not int or numel < 0 or any(view):
            raise CheckpointError(f"unknown kind of storage {str(pid)[:80]}")
        return _Storage(_STORAGE_DTYPES[values], str(key), numel)


def _read_legacy_pth(file: BinaryIO) -> dict[str, np.ndarray]:
    def load() -> Any:
        return _TensorUnpickler(file).load()

    if load() != _LEGACY_MAGIC or load() != _LEGACY_PROTOCOL:
        raise CheckpointError("a pickle, but not one written by torch.save")
    if not load().get("little_endian", True):
        raise CheckpointError("written on a big-endian machine; save it again on a little-endian one")
    records = _tensor_records(load())
    storages = {tensor.storage.key: tensor.storage for tensor in records.values()}
    flat = {}
    for key in load():
        numel = int.from_bytes(_read_exactly(file, 8), "little")
        storage = storages.get(str(key))
        if storage is None:
            raise CheckpointError(f"storage {key!r} belongs to no tensor; save the bare state_dict")
        if numel != storage.numel:
            raise CheckpointError(f"storage {key!r} holds {numel} values where {storage.numel} were announced")
        flat[storage.key] = np.frombuffer(_read_exactly(file, numel * storage.dtype.itemsize), storage.dtype)
    return {name: tensor.array(flat[tensor.storage.key]) for name, tensor in records.items()}


def _read_zipped_pth(file: BinaryIO) -> dict[str, np.ndarray]:
    with zipfile.ZipFile(file) as archive:
        if any(info.compress_type != zipfile.ZIP_STORED for info in archive.infolist()):
            raise CheckpointError("has compressed entries, which torch.save never writes")
        prefix = next(name for name in archive.namelist() if name.endswith("/data.pkl")).removesuffix("data.pkl")
        if prefix + "byteorder" in archive.namelist() and archive.read(prefix + "byteorder") != b"little":
            raise CheckpointError("written on a big-endian machine; save it again on a little-endian one")
        records = _tensor_records(_TensorUnpickler(io.BytesIO(archive.read(prefix + "data.pkl"))).load())
        tensors = {}
        for name, tensor in records.items():
            storage = tensor.storage
            info = archive.getinfo(f"{prefix}data/{storage.key}")
            if info.file_size != storage.numel * storage.dtype.itemsize:
                raise CheckpointError(f"{name}: {info.file_size} bytes stored for {storage.numel} {storage.dtype}")
            tensors[name] = tensor.array(np.frombuffer(archive.read(info), storage.dtype))
        return tensors


def _tensor_records(tree: Any) -> dict[str, _Tensor]:
    """Finds the dictionary of tensors, at the top or one level down."""
    if not isinstance(tree, dict):
        raise CheckpointError(f"holds a {type(tree).__name__} where a dictionary of tensors was expected")
    for key in ("state_dict", "model", "model_state", "teacher", "student"):
        if isinstance(tree.get(key), dict):
            tree = tree[key]
            break
    records = {str(name): value for name, value in tree.items() if isinstance(value, _Tensor)}
    if not records:
        raise CheckpointError(f"holds no tensors; its keys begin {sorted(map(str, tree))[:5]}")
    if not all(isinstance(tensor.storage, _Storage) for tensor in records.values()):
        raise CheckpointError("a tensor has no storage")
    return records


def _read_safetensors(file: BinaryIO) -> dict[str, np.ndarray]:
    try:
        tensors = safetensors.deserialize(file.read())
    except safetensors.SafetensorError as error:
        raise CheckpointError(f"no whole .safetensors file ({error}); fetch it again") from None
    for name, tensor in tensors:
        if tensor["dtype"] not in _SAFETENSORS_DTYPES:
            raise CheckpointError(f"{name}: dtype {tensor['dtype']!r} is none of {', '.join(_SAFETENSORS_DTYPES)}")
    return {
        name: np.frombuffer(tensor["data"], _SAFETENSORS_DTYPES[tensor["dtype"]]).reshape(tensor["shape"])
        for name, tensor in tensors
    }


def _read_npz(file: BinaryIO) -> dict[str, np.ndarray]:
    with zipfile.ZipFile(file) as archive:
        claimed = sum(info.file_size for info in archive.infolist())
    if claimed > _MAX_UNPACKED:
        raise CheckpointError(f"unpacks to {claimed / 2**30:.0f} GiB, more than any encoder here has")
    file.seek(0)
    with np.load(file, allow_pickle=False) as arrays:
        tensors = {name: _plain(arrays, name) for name in arrays.files}
    for name, tensor in tensors.items():
        if tensor.dtype.kind not in "fiub":
            raise CheckpointError(f"{name}: an array of {tensor.dtype}, which is no kind of number that weights have")
    return tensors


def _plain(arrays: Any, name: str) -> np.ndarray:
    try:
        return arrays[name]
    except ValueError as error:
        if "allow_pickle" not in str(error):
            raise
        raise CheckpointError(f"{name}: a pickled object, which is refused: save arrays of numbers") from None


def _read_exactly(file: BinaryIO, count: int) -> bytes:
    data = file.read(count)
    if len(data) != count:
        raise EOFError(f"{count} bytes expected, {len(data)} left")
    return data
