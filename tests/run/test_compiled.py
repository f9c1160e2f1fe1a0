import logging
import re
import subprocess
import sys
import threading

import jax
import pytest

import hypjax
from hypjax.run import compiled, status
from tests.programs import LIGHT, THIRDS, run, tiny


@pytest.mark.slow
def test_programs_keep_what_they_compile_by_versions_and_processor(tmp_path, monkeypatch):
    """In a process of its own: the cache of this one is another."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.delenv("JAX_COMPILATION_CACHE_DIR", raising=False)
    code = """
import jax
from hypjax.run import compiled
compiled.SECONDS = 0.0
compiled.keep_compiled()
print(jax.jit(lambda x: x @ x.T + 1)(jax.numpy.ones((8, 8)))[0, 0])
"""
    for _ in range(2):  # the second one reads
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
        assert done.stdout.strip() == "9.0"
        found = sorted(path.name for path in compiled.folder().iterdir())
        assert found
    assert compiled.folder().parent == tmp_path / "hypjax"
    assert compiled.folder().name.startswith(f"compiled-{hypjax.__version__}-jax-{jax.__version__}-")


def test_a_folder_of_the_users_own_is_left():
    before = jax.config.values["jax_compilation_cache_dir"]
    assert before  # the tests' own
    compiled.keep_compiled()
    assert jax.config.values["jax_compilation_cache_dir"] == before


@pytest.mark.slow
def test_importing_keeps_nothing():
    code = "import jax, hypjax.run.training; print(jax.config.values['jax_compilation_cache_dir'])"
    environment = {"PATH": "", "JAX_PLATFORMS": "cpu"}
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment, cwd=ROOT
    )
    assert done.stdout.strip() == "None"


ROOT = str(compiled.Path(hypjax.__file__).parent.parent)


def test_what_is_compiled_ahead_is_waited_for_once():
    going, made = threading.Event(), []

    def compile():
        going.wait()
        made.append(1)
        return lambda x, *, by: x * by

    ahead = compiled.Ahead(compile)
    ahead.start()
    assert compiled.compiling()
    going.set()
    assert (ahead(2, by=3), ahead(4, by=5)) == (6, 20)
    assert made == [1]
    assert not compiled.compiling()


def test_what_cannot_be_compiled_says_so_when_it_is_called():
    def compile():
        raise ValueError("no such shape")

    ahead = compiled.Ahead(compile)  # not started: a call does
    for _ in range(2):
        with pytest.raises(ValueError, match="no such shape"):
            ahead()


@pytest.mark.slow
def test_a_program_does_not_wait_for_a_compilation_that_nobody_needs():
    code = """
import threading, time
from hypjax.data.errors import UsageError
from hypjax.run import compiled, status
def program(argv):
    compiled.Ahead(lambda: time.sleep(60)).start()
    raise UsageError("bad words")
status.run(program)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=40, check=False)
    assert (done.returncode, done.stderr) == (2, "error: bad words\n")


def test_versions_are_told(capsys, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["train", "--version"])
    status.run(lambda argv: pytest.fail("nothing is trained"))
    assert capsys.readouterr().out.startswith(f"hypjax {hypjax.__version__} (jax {jax.__version__}, Python ")


@pytest.mark.parametrize("words", [[], ["--traceback"]])
def test_a_traceback_is_shown_where_it_is_asked_for(words, capsys, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["train", *words, "--other"])
    monkeypatch.setattr(status, "keep_compiled", lambda: None)

    def program(argv):
        assert argv == ["train", "--other"]
        raise ValueError("deep") from None

    with pytest.raises(ValueError, match="deep"):
        status.run(program)
    assert ("Traceback" in capsys.readouterr().err) == bool(words)


@pytest.mark.slow
def test_the_encoder_is_compiled_once_to_look_at_images(folder, tmp_path, caplog):
    """Features for the head, failures and validations share a program; the step is another, in a thread of its own."""
    with jax.log_compiles(), caplog.at_level(logging.WARNING):
        ended, _, complaints = run(*tiny(folder, tmp_path / "run", "--config.steps=2", THIRDS, *LIGHT))
    assert ended == 0, complaints
    told = [record.getMessage() for record in caplog.records]
    images = r"Compiling jit\((\w+)\) .*\[\d+,\d+,\d+,3\]"
    seen = [found[1] for line in told if (found := re.match(images, line))]
    assert seen.count("embed") == 1
