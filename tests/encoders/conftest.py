"""Writes `.pth` files as torch.save does, without torch."""

import json
import pickle
import struct
import zipfile
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

STORAGES = {"float32": "FloatStorage", "float16": "HalfStorage", "int64": "LongStorage"}


def text(value):
    data = value.encode()
    return b"X" + struct.pack("<I", len(data)) + data


def integers(*values):
    return b"(" + b"".join(b"J" + struct.pack("<i", v) for v in values) + b"t"


def name_of(module, name):
    return f"c{module}\n{name}\n".encode()


def tensor(key, array, *, offset=0, strides=None, numel=None):
    """The pickle opcodes of one tensor, whose storage comes elsewhere."""
    if strides is None:
        strides = [s // array.itemsize for s in np.ascontiguousarray(array).strides][: array.ndim]
    storage = text("storage") + name_of("torch", STORAGES[array.dtype.name]) + text(key) + text("cpu")
    storage = b"(" + storage + b"J" + struct.pack("<i", array.size if numel is None else numel) + b"tQ"
    where = b"J" + struct.pack("<i", offset) + integers(*array.shape) + integers(*strides)
    hooks = b"\x89" + name_of("collections", "OrderedDict") + b")R"
    return name_of("torch._utils", "_rebuild_tensor_v2") + b"(" + storage + where + hooks + b"tR"


def dictionary(items):
    body = b"".join(text(name) + value for name, value in items.items())
    return name_of("collections", "OrderedDict") + b")R(" + body + b"u"


def pickled(body):
    return b"\x80\x02" + body + b"."


def write_legacy(path, tensors, *, body=None):
    keys = {name: str(index) for index, name in enumerate(tensors)}
    if body is None:
        body = dictionary({name: tensor(keys[name], array) for name, array in tensors.items()})
    start = [0x1950A86A20F9469CFC6C, 1001, {"protocol_version": 1001, "little_endian": True}]
    with open(path, "wb") as file:
        for value in start:
            pickle.dump(value, file, protocol=2)
        file.write(pickled(body))
        pickle.dump(list(keys.values()), file, protocol=2)
        for array in tensors.values():
            file.write(struct.pack("<q", array.size) + np.ascontiguousarray(array).tobytes())
    return path


def write_zipped(path, tensors, *, body=None):
    keys = {name: str(index) for index, name in enumerate(tensors)}
    if body is None:
        body = dictionary({name: tensor(keys[name], array) for name, array in tensors.items()})
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", pickled(body))
        archive.writestr("archive/byteorder", "little")
        for name, array in tensors.items():
            archive.writestr(f"archive/data/{keys[name]}", np.ascontiguousarray(array).tobytes())
    return path


def write_safetensors(path, tensors, *, change=lambda header: header):
    header, data = {"__metadata__": {"format": "pt"}}, b""
    names = {"float32": "F32", "float16": "F16", "int64": "I64"}
    for name, array in tensors.items():
        raw = array.tobytes()
        offsets = [len(data), len(data) + len(raw)]
        header[name] = {"dtype": names[array.dtype.name], "shape": list(array.shape), "data_offsets": offsets}
        data += raw
    encoded = json.dumps(change(header)).encode()
    path.write_bytes(struct.pack("<Q", len(encoded)) + encoded + data)
    return path


def write_npz(path, tensors):
    np.savez(path, **tensors)
    return path


WRITERS = {
    "legacy.pth": write_legacy,
    "zipped.pth": write_zipped,
    "safe.safetensors": write_safetensors,
    "arrays.npz": write_npz,
}


@pytest.fixture(params=WRITERS)
def write(request, tmp_path):
    """Writes tensors to a file of each format in turn."""
    return lambda tensors: WRITERS[request.param](tmp_path / request.param, tensors)


@pytest.fixture(params=["legacy.pth", "zipped.pth"])
def write_body(request, tmp_path):
    """Writes a `.pth` file with the given pickle opcodes where the dictionary belongs."""
    return lambda tensors, body: WRITERS[request.param](tmp_path / request.param, tensors, body=body)


@pytest.fixture
def write_checkpoint():
    """Writes tensors as a path's suffix asks, a `.pth` one level down in a dictionary of a training run."""

    def write(path, tensors, wrapper=None):
        if path.suffix != ".pth":
            return (write_npz if path.suffix == ".npz" else write_safetensors)(path, tensors)
        inner = dictionary({name: tensor(str(i), array) for i, (name, array) in enumerate(tensors.items())})
        body = dictionary({"epoch": b"K\x03", wrapper: inner}) if wrapper else inner
        # DeiT and DINO were saved by old versions of torch, the others by new ones.
        return (write_legacy if wrapper == "model" else write_zipped)(path, tensors, body=body)

    return write


@pytest.fixture
def tensors():
    generator = np.random.default_rng(0)
    return {
        "a.weight": generator.normal(size=(3, 2, 1)).astype(np.float32),
        "a.bias": generator.normal(size=4).astype(np.float16),
        "count": np.array(7, np.int64),
    }


@pytest.fixture
def opcodes():
    """The functions that spell a pickle."""
    return SimpleNamespace(tensor=tensor, dictionary=dictionary, name_of=name_of, text=text)


@pytest.fixture
def change_header(tmp_path):
    """Writes a `.safetensors` file whose header was tampered with."""
    return lambda tensors, change: write_safetensors(tmp_path / "bad.safetensors", tensors, change=change)


@pytest.fixture(scope="session")
def random_variables():
    """Variables of a module drawn by NumPy, which spares the tests the compilation of every initializer."""

    def draw(module, x, low=-0.4, high=0.6):
        generator = np.random.default_rng(0)
        shapes = jax.eval_shape(module.init, jax.random.key(0), x)
        values = jax.tree.map(lambda s: jnp.asarray(generator.uniform(low, high, s.shape), s.dtype), shapes)
        if "batch_stats" in values:
            values["batch_stats"] = jax.tree.map(jnp.abs, values["batch_stats"])
        return values

    return draw
