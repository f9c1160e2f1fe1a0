import signal
import subprocess
import sys

import pytest

import hypjax
from hypjax import __main__ as console
from hypjax.run import status


def run(monkeypatch, *words):
    monkeypatch.setattr(sys, "argv", ["hypjax", *words])
    monkeypatch.setattr(hypjax, "end_at_signals", lambda: None)  # it would end the tests
    monkeypatch.setattr(status, "keep_compiled", lambda: None)
    console.main()


def test_all_programs_stand_under_one_name(monkeypatch, capsys):
    run(monkeypatch)
    out = capsys.readouterr().out
    for name in ("train", "evaluate", "compare", "embed", "search", "serve"):
        assert f"\n  {name}" in out
    run(monkeypatch, "--version")
    assert capsys.readouterr().out.startswith("hypjax ")


def test_a_program_has_its_own_help_and_errors(monkeypatch, capsys):
    with pytest.raises(SystemExit) as ended:
        run(monkeypatch, "search", "--help")
    assert (ended.value.code, "Searches embedded pictures" in capsys.readouterr().out) == (0, True)
    with pytest.raises(SystemExit) as ended:
        run(monkeypatch, "evaluate")
    assert (ended.value.code, capsys.readouterr().err) == (
        2,
        "error: no run given: --workdir runs/hyp_uml (or another)\n",
    )


def test_an_unknown_program_is_named(monkeypatch, capsys):
    with pytest.raises(SystemExit) as ended:
        run(monkeypatch, "trian")
    assert ended.value.code == 2
    assert capsys.readouterr().err == (
        "error: unknown program 'trian'; there are: train, evaluate, compare, embed, calibrate, search, serve\n"
    )


EARLY = """
import runpy, signal, sys
class Slow:  # what a program imports first
    def find_spec(self, name, *more):
        if name == "{imported}":
            signal.raise_signal({number})
sys.meta_path.insert(0, Slow())
import hypjax
hypjax.end_at_signals()
runpy.run_module("{module}", run_name="__main__")
"""


@pytest.mark.parametrize(
    ("number", "code", "line"), [(signal.SIGINT, 130, "interrupted"), (signal.SIGTERM, 143, "stopped by SIGTERM")]
)
@pytest.mark.parametrize(("module", "imported"), [("hypjax.search", "numpy"), ("hypjax", "hypjax.run")])
def test_a_signal_that_comes_during_imports_ends_it_in_one_line(module, imported, number, code, line):
    program = EARLY.format(module=module, imported=imported, number=int(number))
    ended = subprocess.run(
        [sys.executable, "-c", program, "search"], capture_output=True, text=True, check=False, timeout=60
    )
    assert (ended.returncode, ended.stderr) == (code, f"\n{line}\n")
