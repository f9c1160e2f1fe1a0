"""Checkpoints made to harm, given to the program: status 2, one line, nothing run and nothing trained."""

import pickle
import struct
import sys

import numpy as np
import pytest

from hypjax import train
from hypjax.run import status


class Harmful:
    def __init__(self, victim):
        self.victim = victim

    def __reduce__(self):
        return (exec, (f"open({str(self.victim)!r}, 'w')",))


def pickled(path, victim):
    path.write_bytes(pickle.dumps({"model": Harmful(victim)}, protocol=2))


def objects(path, victim):
    with path.open("wb") as file:
        np.savez(file, weights=np.array([Harmful(victim)], dtype=object))


def too_long(path, victim):
    path.write_bytes(struct.pack("<Q", 2**40) + b'{"a": 1}')


KINDS = {
    "a pickle that calls a function.pth": (pickled, "refused to import"),
    "objects in an array.npz": (objects, "a pickled object, which is refused"),
    "a header longer than the file.safetensors": (too_long, "no whole .safetensors file"),
    "a text file.pth": (lambda path, victim: path.write_text("<html>404</html>"), "not a .pth"),
    "a folder é.pth": (lambda path, victim: path.mkdir(), "directory"),
    "nothing there.pth": (lambda path, victim: None, "No such file"),
}
QUICK = "a pickle that calls a function.pth"


@pytest.mark.parametrize(
    "name", [name if name == QUICK else pytest.param(name, marks=pytest.mark.slow) for name in KINDS]
)
def test_the_program_ends_with_one_line(name, tmp_path, monkeypatch, capsys):
    make, words = KINDS[name]
    path, victim = tmp_path / name, tmp_path / "made"
    make(path, victim)
    config = f"configs/hyp_vit.py:quick,encoder=vit_ti8,weights={path}"
    monkeypatch.setattr(sys, "argv", ["train", f"--config={config}", f"--workdir={tmp_path / 'run'}"])
    with pytest.raises(SystemExit) as ended:
        status.run(train.main)
    out, err = capsys.readouterr()
    assert ended.value.code == 2
    assert err.startswith(f"error: {path}: ")
    assert len(err.splitlines()) == 1
    assert "Traceback" not in out + err
    assert words in err
    assert not victim.exists()
