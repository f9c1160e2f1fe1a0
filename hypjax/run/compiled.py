"""Compiled programs kept on the disk, so that the next start of the same job need not compile them again."""

from __future__ import annotations

import hashlib
import os
import platform
from pathlib import Path

import jax

import hypjax

SECONDS = 0.1  # what compiles faster is not worth a file
MOST_BYTES = 4 * 2**30  # of which the least recently used go first


def keep_compiled() -> None:
    """Keeps what this process compiles, and takes what an earlier one did; results are the same.

    In `$XDG_CACHE_HOME/hypjax` or `~/.cache/hypjax`, by versions and kind of processor; `JAX_COMPILATION_CACHE_DIR`
    names another folder, and `JAX_ENABLE_COMPILATION_CACHE=false` keeps nothing.
    """
    if jax.config.values["jax_compilation_cache_dir"] is not None:
        return
    jax.config.update("jax_compilation_cache_dir", str(folder()))
    jax.config.update("jax_compilation_cache_max_size", MOST_BYTES)
    jax.config.update("jax_persistent_cache_min_compile_time_secs", SECONDS)


def folder() -> Path:
    """Where they are kept: programs for another processor than this one must not be run here."""
    home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return home / "hypjax" / f"compiled-{hypjax.__version__}-jax-{jax.__version__}-{_processor()}"


def _processor() -> str:
    try:
        told = Path("/proc/cpuinfo").read_text().split("\n\n")[0]
        lines = [line for line in told.splitlines() if line.startswith(("model name", "flags", "Features"))]
    except OSError:
        lines = [platform.processor()]
    return hashlib.sha256("\n".join([platform.machine(), *lines]).encode()).hexdigest()[:8]
