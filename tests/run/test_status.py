import sys
from types import SimpleNamespace

import pytest

from hypjax.data.errors import DataError, UsageError
from hypjax.run import status
from hypjax.run.status import DivergedError, Stopped


@pytest.mark.parametrize(("error", "code"), [(UsageError("a\nb"), 2), (DataError("a b"), 2), (DivergedError("a b"), 1)])
def test_a_program_ends_with_a_status_and_one_line(error, code, capsys):
    def program(argv):
        raise error

    with pytest.raises(SystemExit) as ended:
        status.run(program)
    assert ended.value.code == code
    assert capsys.readouterr().err.splitlines() == [f"{'error' if code == 2 else 'stopped'}: a b"]


@pytest.mark.parametrize(
    ("error", "code", "line"),
    [
        (
            OSError(28, "No space left on device"),
            1,
            "stopped: no space left; make room, and the same command resumes: ",
        ),
        (OSError(13, "Permission denied"), 2, "error: "),
        (Stopped(15), 143, "stopped by SIGTERM"),
        (Stopped(15, then="goes on"), 143, "stopped by SIGTERM; the same command goes on"),
        (KeyboardInterrupt(), 130, "interrupted"),
        (UsageError("no"), 2, "error: no"),
    ],
)
def test_a_program_ends_with_a_status_and_a_line(error, code, line, capsys):
    def program(argv):
        raise error

    with pytest.raises(SystemExit) as ended:
        status.run(program)
    assert ended.value.code == code
    assert capsys.readouterr().err.strip().startswith(line.strip())


def test_what_orbax_leaves_behind_at_a_damaged_file_is_not_complained_of(monkeypatch):
    told = []
    monkeypatch.setattr(sys, "unraisablehook", lambda met: told.append(str(met.exc_value)))
    status.run(lambda argv: None)
    for words in ("Event loop is closed", "something else"):
        sys.unraisablehook(SimpleNamespace(exc_value=RuntimeError(words), object=None))
    assert told == ["something else"]
