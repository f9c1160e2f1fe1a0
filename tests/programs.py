"""The programs as a user starts them, each in a process of its own."""

import os
import subprocess
import sys
from pathlib import Path

from tests import compiling

ROOT = Path(__file__).parent.parent


def start(*words, devices=1, module="hypjax.train", quickly=True):
    """Starts `python -m module *words` on so many CPU devices.

    Args:
        words: The command line.
        devices: How many the process pretends to have.
        module: The program.
        quickly: Whether to compile without most optimizations: small runs compile more than they compute.
    """
    environment = {name: value for name, value in os.environ.items() if name != "XLA_FLAGS"}
    environment |= {
        "JAX_PLATFORMS": "cpu",
        "XLA_FLAGS": f"--xla_force_host_platform_device_count={devices} {compiling.FLAGS if quickly else ''}",
        "PYTHONUNBUFFERED": "1",
        "JAX_DISABLE_MOST_OPTIMIZATIONS": str(int(quickly)),
    }
    command = [sys.executable, "-m", module, *map(str, words)]
    return subprocess.Popen(
        command, cwd=ROOT, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )


def finish(process, timeout=300):
    """Waits for a program: its exit status, what it printed, and what it complained about."""
    out, err = process.communicate(timeout=timeout)
    return process.returncode, out, err


def run(*words, **options):
    """Starts a program and waits for it."""
    return finish(start(*words, **options))
