"""The programs as a user starts them: in this process, or in one of their own where that is what a test is about."""

import contextlib
import io
import os
import re
import runpy
import socket
import subprocess
import sys
import warnings
from pathlib import Path
from unittest import mock

import jax

from hypjax.run import status
from hypjax.show.plots import style
from hypjax.training import sharding

ROOT = Path(__file__).parent.parent

# A network that trains in a second or two; of one shape, so that what one test compiles serves the next.
TINY = (
    "--config.encoder.sizes={'width': 16, 'depth': 1, 'heads': 2}",
    "--config.head.dim=8",
    "--config.evaluation.batch=16",
)
# Three of ten classes to validate on and three to test on: the usual one and five leave nothing to be ranked.
THIRDS = "--config.data.fractions=(0.4, 0.3, 0.3)"
# Validation at the start and the end, of whole images, and no look at the test classes: half of a tiny run's time.
LIGHT = ("--config.evaluation.test=false", "--config.evaluation.degraded_queries=0", "--config.evaluation.every=0")


def tiny(folder, workdir, *more, config="hyp_uml.py:quick"):
    """The words that train the tiny network on a folder."""
    file = f"{ROOT}/configs/{config},encoder=vit_ti8,data=folder,data_dir={folder}"
    features = f"--config.features.dir={Path(workdir).parent / 'features'}"
    return ["--config", file, *TINY, features, f"--workdir={workdir}", *more]


def run(*words, module="hypjax.train", devices=1, drawn=False):
    """Does in this process what `python -m module *words` does: its exit status, its output and its complaints.

    Args:
        words: The command line.
        module: The program.
        devices: How many of this process's devices it sees.
        drawn: Whether its pictures are painted, which takes a third of a tiny run, or composed and left empty.
    """
    out, err = io.StringIO(), io.StringIO()
    data_mesh = sharding.data_mesh
    mesh = data_mesh(jax.devices()[:devices])
    with contextlib.ExitStack() as stack:
        for context in (
            mock.patch.object(sys, "argv", ["", *map(str, words)]),
            mock.patch.object(sharding, "data_mesh", lambda chosen=None: data_mesh(chosen) if chosen else mesh),
            contextlib.nullcontext() if drawn else unpainted(),
            contextlib.redirect_stdout(out),
            contextlib.redirect_stderr(err),
            kept_compiled(),
            mock.patch.object(status, "compiling", return_value=False),  # it ends a process, which this one is not
            warnings.catch_warnings(),
        ):
            stack.enter_context(context)
        warnings.simplefilter("ignore", ResourceWarning)  # what a process leaves open its end closes
        warnings.filterwarnings("ignore", message=".* found in sys.modules after import of package")
        try:
            runpy.run_module(module, run_name="__main__", alter_sys=True)
            ended = 0
        except SystemExit as end:
            ended = end.code
    return ended, out.getvalue(), err.getvalue()


def done(*words, **options):
    """What a program says that does what it is asked for."""
    status, out, err = run(*words, **options)
    assert status == 0, err
    return out + err


def refused(*words, **options):
    """The one line of a program that refuses what it is asked for."""
    status, _, err = run(*words, **options)
    assert status == 2, err
    assert len(err.strip().splitlines()) == 1, err
    return err


def unpainted():
    """Pictures are composed and left empty."""
    return mock.patch.object(style, "save", lambda figure, path: path.write_bytes(b""))


@contextlib.contextmanager
def kept_compiled():
    """A program traces anew what the one before it compiled, and need not compile it anew."""
    name = "jax_persistent_cache_min_compile_time_secs"
    before = jax.config.values[name]
    jax.config.update(name, 0.03)
    try:
        yield
    finally:
        jax.config.update(name, before)


def start(*words, module="hypjax.train", devices=1):
    """Starts `python -m module *words` on so many CPU devices.

    Args:
        words: The command line.
        module: The program.
        devices: How many the process pretends to have.
    """
    flags = re.sub(r"--xla_force_host_platform_device_count=\d+", "", os.environ.get("XLA_FLAGS", ""))
    environment = os.environ | {
        "JAX_PLATFORMS": "cpu",
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0.03",
        "XLA_FLAGS": f"{flags} --xla_force_host_platform_device_count={devices}",
        "PYTHONUNBUFFERED": "1",
    }
    command = [sys.executable, "-m", module, *map(str, words)]
    return subprocess.Popen(
        command, cwd=ROOT, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )


def start_together(*words, module="hypjax.train", count=4, devices=2, each=lambda index: []):
    """Starts `python -m module *words` as processes that work as one.

    Args:
        words: The command line.
        module: The program.
        count: How many there are.
        devices: How many each pretends to have.
        each: Gives more words for the process of an index.
    """
    with socket.socket() as free:
        free.bind(("localhost", 0))
        named = f"--coordinator=localhost:{free.getsockname()[1]}"
    shared = [*words, named, f"--num_processes={count}"]
    return [
        start(*shared, f"--process_id={index}", *each(index), module=module, devices=devices) for index in range(count)
    ]


def finish(process, timeout=600):
    """Waits for a program, which does not outlive the wait: its exit status, its output and its complaints."""
    try:
        out, err = process.communicate(timeout=timeout)
    except subprocess.TimeoutExpired:
        process.kill()
        process.communicate()
        raise
    return process.returncode, out, err
