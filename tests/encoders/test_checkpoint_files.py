import json
import os
import struct

import numpy as np
import pytest

from hypjax.encoders import checkpoint_files
from hypjax.encoders.checkpoint_files import CheckpointError, read_tensors


def test_every_format_gives_the_tensors_back(write, tensors):
    read = read_tensors(write(tensors))
    assert read.keys() == tensors.keys()
    for name, value in tensors.items():
        assert read[name].dtype == value.dtype
        np.testing.assert_array_equal(read[name], value)


def test_strided_tensors_are_laid_out(write_body, opcodes):
    base = np.arange(12, dtype=np.float32).reshape(3, 4)
    view = base[1:, ::2].T  # [2, 2], from offset 4 in steps of 2 and 4
    body = opcodes.dictionary({"view": opcodes.tensor("0", view, offset=4, strides=(2, 4), numel=12)})
    np.testing.assert_array_equal(read_tensors(write_body({"base": base}, body))["view"], view)


@pytest.mark.parametrize("key", ["state_dict", "model", "teacher"])
def test_weights_one_level_down_are_found(write_body, opcodes, tensors, key):
    names = {name: opcodes.tensor(str(i), array) for i, (name, array) in enumerate(tensors.items())}
    body = opcodes.dictionary({"epoch": b"K\x03", key: opcodes.dictionary(names)})
    assert read_tensors(write_body(tensors, body)).keys() == tensors.keys()


@pytest.mark.parametrize(
    ("module", "name"), [("os", "mkdir"), ("builtins", "eval"), ("torch.hub", "load"), ("argparse", "Namespace")]
)
def test_a_foreign_import_is_refused_and_not_run(write_body, opcodes, tmp_path, module, name):
    victim = tmp_path / "made"
    argument = f"__import__('os').mkdir({str(victim)!r})" if name == "eval" else str(victim)
    body = opcodes.name_of(module, name) + b"(" + opcodes.text(argument) + b"tR"
    with pytest.raises(CheckpointError, match=rf"refused to import {module}\.{name}") as caught:
        read_tensors(write_body({}, body))
    assert "\n" not in str(caught.value)
    assert not victim.exists()


def test_a_dotted_name_does_not_slip_through(write_body, opcodes):
    body = opcodes.name_of("collections", "OrderedDict.fromkeys") + b"(" + opcodes.text("ab") + b"tR"
    with pytest.raises(CheckpointError, match="refused to import"):
        read_tensors(write_body({}, body))


@pytest.mark.parametrize(
    "bad", [{"strides": (100, 1)}, {"offset": 11}, {"offset": -1}, {"strides": (-1, 1)}, {"strides": (1,)}]
)
def test_a_tensor_beyond_its_storage_is_refused(write_body, opcodes, bad):
    array = np.zeros((3, 4), np.float32)
    body = opcodes.dictionary({"w": opcodes.tensor("0", array, **bad)})
    with pytest.raises(CheckpointError, match="tensor"):
        read_tensors(write_body({"w": array}, body))


def test_a_huge_expanded_tensor_is_refused(write_body, opcodes):
    array = np.zeros(1, np.float32)
    wide = np.broadcast_to(array, (30_000, 30_000))
    body = opcodes.dictionary({"w": opcodes.tensor("0", wide, strides=(0, 0), numel=1)})
    with pytest.raises(CheckpointError, match="reaches beyond its storage"):
        read_tensors(write_body({"w": array}, body))


def test_a_storage_of_another_length_is_refused(write_body, opcodes):
    array = np.zeros(4, np.float32)
    body = opcodes.dictionary({"w": opcodes.tensor("0", array, numel=1000)})
    with pytest.raises(CheckpointError):
        read_tensors(write_body({"w": array}, body))


def test_every_truncation_gives_one_clear_line(write, tensors):
    path = write(tensors)
    whole = path.read_bytes()
    for length in sorted({0, 1, 8, 9, 20, len(whole) // 3, len(whole) // 2, len(whole) - 1}):
        path.write_bytes(whole[:length])
        with pytest.raises(CheckpointError) as caught:
            read_tensors(path)
        assert str(caught.value).startswith(os.fspath(path))
        assert "\n" not in str(caught.value)


def test_random_damage_never_escapes_as_another_error(write, tensors):
    path = write(tensors)
    whole = path.read_bytes()
    generator = np.random.default_rng(0)
    refused = 0
    for _ in range(200):
        damaged = bytearray(whole)
        for place in generator.integers(0, len(whole), 3):
            damaged[place] = generator.integers(0, 256)
        path.write_bytes(damaged)
        try:
            read_tensors(path)
        except CheckpointError:
            refused += 1
    assert refused > 20


@pytest.mark.parametrize(
    "change",
    [
        lambda h: h | {"a": {**h["a"], "data_offsets": [0, 4000]}},
        lambda h: h | {"a": {**h["a"], "data_offsets": [-4, 12]}},
        lambda h: h | {"a": {**h["a"], "data_offsets": [4, 16]}},
        lambda h: h | {"a": {**h["a"], "shape": [-1, -4]}},
        lambda h: h | {"a": {**h["a"], "shape": [2**40, 2**40]}},
        lambda h: h | {"a": {**h["a"], "dtype": "F7"}},
        lambda h: h | {"b": h["a"]},
        lambda h: h | {"a": 3},
        lambda h: {},
        lambda h: [h],
    ],
)
def test_a_safetensors_header_is_not_trusted(change_header, change):
    with pytest.raises(CheckpointError):
        read_tensors(change_header({"a": np.ones((2, 2), np.float32)}, change))


def test_a_safetensors_header_cannot_claim_more_than_the_file(tmp_path):
    path = tmp_path / "x.safetensors"
    path.write_bytes(struct.pack("<Q", 2**62) + b"{" + b" " * 20)
    with pytest.raises(CheckpointError, match=r"no whole \.safetensors file"):
        read_tensors(path)


def test_a_safetensors_that_was_cut_short_says_so(tmp_path):
    path = tmp_path / "x.safetensors"
    header = json.dumps({"a": {"dtype": "F32", "shape": [3], "data_offsets": [0, 12]}}).encode()
    path.write_bytes(struct.pack("<Q", len(header)) + header + b"1234")
    with pytest.raises(CheckpointError, match=r"no whole \.safetensors file"):
        read_tensors(path)


def test_numbers_that_weights_have_not_are_named(change_header):
    path = change_header({"a": np.ones(1, np.float32)}, lambda h: h | {"a": {**h["a"], "dtype": "U32"}})
    with pytest.raises(CheckpointError, match="a: dtype 'U32' is none of F64, F32"):
        read_tensors(path)


def test_pickled_objects_in_an_npz_are_refused(tmp_path):
    path = tmp_path / "x.npz"
    np.savez(path, a=np.array([{"an": "object"}], dtype=object))
    with pytest.raises(CheckpointError, match="a: a pickled object, which is refused"):
        read_tensors(path)


def test_damaged_compression_is_a_damaged_file(tmp_path):
    path = tmp_path / "x.npz"
    np.savez_compressed(path, a=np.random.default_rng(0).normal(size=500), b=np.arange(500))
    whole = path.read_bytes()
    refused = 0
    for place in range(60, len(whole) - 300, 97):
        damaged = bytearray(whole)
        damaged[place : place + 4] = b"\xff\x00\xff\x00"
        path.write_bytes(damaged)
        try:
            read_tensors(path)
        except CheckpointError:
            refused += 1
    assert refused > 10


def test_a_file_that_unpacks_to_more_than_any_encoder_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(checkpoint_files, "_MAX_UNPACKED", 1_000_000)
    path = tmp_path / "x.npz"
    np.savez_compressed(path, a=np.zeros(10_000_000))
    assert path.stat().st_size < 100_000
    with pytest.raises(CheckpointError, match="unpacks to"):
        read_tensors(path)


def test_arrays_that_are_no_numbers_are_refused(tmp_path):
    np.savez(tmp_path / "x.npz", a=np.array(["words"]))
    with pytest.raises(CheckpointError, match="no kind of number"):
        read_tensors(tmp_path / "x.npz")


def test_an_encrypted_archive_is_refused(tmp_path):
    path = tmp_path / "x.npz"
    np.savez(path, a=np.zeros(3))
    data = bytearray(path.read_bytes())
    for mark, flags in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        data[data.index(mark) + flags] |= 1
    path.write_bytes(data)
    with pytest.raises(CheckpointError, match="encrypted"):
        read_tensors(path)


def test_a_pickle_cannot_change_what_numpy_shares(write_body, opcodes):
    # BUILD on what a name stands for: would set the state of the dtype itself.
    state = b"(J\x03\x00\x00\x00" + opcodes.text(">") + b"NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffJ\x00\x00\x00\x00t"
    with pytest.raises(CheckpointError):
        read_tensors(write_body({}, opcodes.name_of("torch", "FloatStorage") + state + b"b"))
    assert np.dtype("<f4").byteorder in "=<"


def test_other_files_are_named(tmp_path):
    path = tmp_path / "notes.txt"
    path.write_text("hello, this is no checkpoint")
    with pytest.raises(CheckpointError, match=r"not a \.pth"):
        read_tensors(path)
    path.write_bytes(b"")
    with pytest.raises(CheckpointError, match="the file is empty"):
        read_tensors(path)
    with pytest.raises(CheckpointError, match="No such file"):
        read_tensors(tmp_path / "missing.pth")
    with pytest.raises(CheckpointError):
        read_tensors(tmp_path)
