"""Compiled programs kept on the disk, so that the next start of the same job need not compile them again."""

from __future__ import annotations

import hashlib
import os
import platform
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax

import hypjax

SECONDS = 0.1  # what compiles faster is not worth a file
NAME = "compiling ahead"
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


def compiling() -> bool:
    """Whether a thread compiles, which Python would wait for at its end, and must not be torn down within."""
    return any(thread.name == NAME for thread in threading.enumerate())


class Ahead:
    """A function that is compiled in a thread while the process makes what it will be called with.

    Args:
      compile: makes the function; what it raises is raised by the first call.
    """

    def __init__(self, compile: Callable[[], Callable[..., Any]]) -> None:
        self._compile = compile
        self._made: Callable[..., Any] | None = None
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name=NAME)

    def start(self) -> None:
        """Begins to compile; best when Python is about to wait for something else."""
        self._thread.start()

    def _run(self) -> None:
        try:
            self._made = self._compile()
        except BaseException as error:
            self._error = error

    def __call__(self, *arguments: Any, **named: Any) -> Any:
        """Calls the function, once it is there."""
        if self._thread.ident is None:
            self.start()
        self._thread.join()
        if self._made is None:
            raise self._error or RuntimeError("nothing was compiled")
        return self._made(*arguments, **named)


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
