"""How a program ends: a status and, if it is not 0, one clear line."""

from __future__ import annotations

import errno
import gc
import inspect
import os
import platform
import signal
import sys
import threading
import time
import traceback
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from logging import CRITICAL, Formatter, StreamHandler, getLogger
from typing import NoReturn

import jax
from absl import logging

import hypjax
from hypjax.data.errors import DataError, UsageError
from hypjax.run.compiled import compiling, keep_compiled
from hypjax.run.peers import here

TRACEBACK = "--traceback"
LEFT = 10.0  # seconds in which Python may take leave of threads and libraries, after a signal
NOTICED = 10.0  # seconds in which a process that is gone is heard of, after what was computed with it broke off


class DivergedError(RuntimeError):
    """Training met a loss or gradient that is not finite; programs exit with status 1."""


class Stopped(BaseException):
    """A program was asked to stop, and has saved what it had, if anything.

    Args:
      number: of the signal.
      saved: gives the step whose state is on the disk, None where there is none; asked when it is told.
      then: what the same command does; "" where it has nothing to go on with.

    Attributes:
      signal: which asked.
    """

    def __init__(self, number: int, saved: Callable[[], int | None] = lambda: None, *, then: str = "") -> None:
        super().__init__(number)
        self.signal, self._saved, self._then = number, saved, then

    def __str__(self) -> str:
        step = self._saved()
        where = "" if step is None else f", step {step} is saved"
        then = f"; the same command {self._then}" if self._then else ""
        return f"{hypjax.ended_by(self.signal)}{where}{then}"


def run(program: Callable[[Sequence[str]], None]) -> None:
    """Runs a program on the command line and exits with a status and, if it is not 0, one line.

    0 done; 1 stopped by what it met: a loss that is not finite, a full disk; 2 bad usage or bad data; 128 + n stopped
    by signal n, SIGTERM or Ctrl-C, after saving. `--version` says what runs, `--traceback` shows where an error arose.
    Of several processes that work as one all end with the status of the first that ends by itself, and its line.
    """
    hypjax.leave_signals()
    argv = [word for word in sys.argv if word != TRACEBACK]
    if "--version" in argv[1:]:
        print(version())
        return
    keep_compiled()
    gc.set_threshold(50_000, 10, 10)  # tracing makes many small objects, among which there is little garbage
    logging.set_verbosity(logging.FATAL)  # libraries' notices would drown the progress line, and an error's one line
    # Orbax leaves coroutines and tasks behind when it meets a damaged file, which is reported here in better words.
    warnings.filterwarnings("ignore", message=r"coroutine '.*' was never awaited")
    warnings.filterwarnings("ignore", message=r"Image size .* exceeds limit")  # it is refused
    sys.unraisablehook = _quieted(sys.unraisablehook)
    getLogger("asyncio").setLevel(CRITICAL)
    try:
        try:
            with _told():
                program(argv)
                here().close()
        except Exception:
            if len(argv) < len(sys.argv):
                traceback.print_exc()
            raise
    except (UsageError, DataError) as error:
        leave(2, f"error: {_one_line(error)}")
    except BrokenPipeError:  # who read our output, `head` say, has read enough
        os._exit(128 + signal.SIGPIPE)
    except OSError as error:
        full = error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
        what = "stopped: no space left; make room, and the same command resumes" if full else "error"
        leave(1 if full else 2, f"{what}: {_one_line(error)}")
    except Stopped as stopped:
        _end_surely(128 + stopped.signal)
        leave(128 + stopped.signal, f"\n{stopped}")
    except DivergedError as error:
        leave(1, f"stopped: {_one_line(error)}")
    except KeyboardInterrupt:
        _end_surely(130)
        leave(130, "\ninterrupted")
    except Exception as error:
        if here().count == 1:
            raise
        time.sleep(NOTICED)
        traceback.print_exc()
        leave(1, f"stopped: {type(error).__name__}: {_one_line(error)[:200]}")


@contextmanager
def _told() -> Iterator[None]:
    """Within this the console is told what the house warns of, as other warnings are, and libraries' roots are not."""
    logger, handler = getLogger("hypjax"), StreamHandler()
    handler.setFormatter(Formatter("  warning: %(message)s"))
    logger.addHandler(handler)
    before, logger.propagate = logger.propagate, False
    try:
        yield
    finally:
        logger.removeHandler(handler)
        logger.propagate = before


def _quieted(tell: Callable[[sys.UnraisableHookArgs], None]) -> Callable[[sys.UnraisableHookArgs], None]:
    """Tells all but what TensorStore's threads and Orbax's coroutines meet once Orbax is gone, after a damaged file.

    A `Stopped` that comes during a garbage collection goes no further: `stopping` sees to it that the run ends.
    """

    def told(met: sys.UnraisableHookArgs) -> None:
        gone = str(met.exc_value) == "Event loop is closed" or inspect.iscoroutine(met.object)
        if not gone and not isinstance(met.exc_value, Stopped):
            tell(met)

    return told


def leave(status: int, line: str = "") -> NoReturn:
    """Ends the process, and those that work with it; at once where a compilation goes on, as it would for a minute.

    Args:
      status: with which.
      line: the reason, if there is one to be told.
    """
    peers = here()
    if peers.count > 1:
        peers.end(status, line, f"{peers.named(peers.index)}: {line.strip()}")
    sys.stdout.flush()
    if line:
        print(line, file=sys.stderr, flush=True)
    if compiling():
        os._exit(status)
    sys.exit(status)


def _end_surely(status: int) -> None:
    """A signal can cut short how a pool starts a thread, which nothing tells to end then: Python would wait forever."""

    def end() -> None:
        threading.main_thread().join()
        time.sleep(LEFT)
        os._exit(status)

    threading.Thread(target=end, daemon=True).start()


def version() -> str:
    """What runs here, for a report of a fault."""
    return f"hypjax {hypjax.__version__} (jax {jax.__version__}, Python {platform.python_version()})"


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split())
