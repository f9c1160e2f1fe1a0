import errno
import os
import subprocess
import sys

import pytest

from hypjax.data.errors import UsageError
from hypjax.run.lock import FILE, Lock


def test_a_second_trainer_is_refused_and_told_who_the_first_is(tmp_path):
    said = rf"is being trained by process {os.getpid()} on .*hypjax\.train"
    with Lock(tmp_path, "python -m hypjax.train"), pytest.raises(UsageError, match=said):
        Lock(tmp_path, "another")
    with Lock(tmp_path, "a third"):
        assert "a third" in (tmp_path / FILE).read_text()
        assert "hypjax.train" not in (tmp_path / FILE).read_text()


@pytest.mark.slow
def test_a_lock_outlives_no_process(tmp_path):
    """However it ended."""
    code = f"import os, pathlib; from hypjax.run.lock import Lock; Lock(pathlib.Path({str(tmp_path)!r}), 'killed'); "
    code += "os.kill(os.getpid(), 9)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == -9
    assert "killed" in (tmp_path / FILE).read_text()
    with Lock(tmp_path, "the next"):
        pass


def test_a_file_system_without_locks_holds_nobody_back(tmp_path, monkeypatch, capsys):
    def refuse(*_):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr("fcntl.flock", refuse)
    with Lock(tmp_path, "one"), Lock(tmp_path, "two"):
        assert "without locks" in capsys.readouterr().out
