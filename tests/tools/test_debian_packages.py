import subprocess
from pathlib import Path

import pytest

TOOLS = Path(__file__).parents[2] / "tools"


@pytest.fixture
def debian(monkeypatch):
    monkeypatch.syspath_prepend(TOOLS)
    import debian_packages

    return debian_packages


def test_what_is_missing_is_said_in_a_line(debian, tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(SystemExit, match=r"^apt-get not found"):
        debian.unpacked(["fonts-one"], tmp_path)

    def answer(command, **_):
        shown = "Package: fonts-one\n" if "fonts-one" in command else ""
        failed = command[0] == "apt-get"
        return subprocess.CompletedProcess(command, failed, shown, "W: careful\nE: no route" if failed else "")

    monkeypatch.setattr(debian.shutil, "which", lambda program: program)
    monkeypatch.setattr(debian.subprocess, "run", answer)
    with pytest.raises(SystemExit, match="apt-get update"):
        debian.unpacked(["fonts-two"], tmp_path)
    with pytest.raises(SystemExit, match=r"^apt-get download: E: no route$"):
        debian.unpacked(["fonts-one", "fonts-two"], tmp_path)
