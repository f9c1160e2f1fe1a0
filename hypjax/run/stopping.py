"""SIGTERM and Ctrl-C: a run that is asked to stop saves what it has and ends with a status that says so."""

from __future__ import annotations

import os
import select
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

import jax

from hypjax.run.status import Stopped

SIGNALS = (signal.SIGTERM, signal.SIGINT)
# Clouds grant 30 s. Python hears of a signal only between two of its own instructions, and a compilation, which is one
# of them, takes minutes: a thread that hears of it at once ends the process where the main thread does not.
SECONDS = 24.0  # until the process is gone, whatever it does
PATIENCE = 2.0  # where there is nothing to save


class Stopping:
    """Notes the first of the signals and lets the loop save; a second one ends the process at once.

    Use as a context manager around the loop. In another thread than the main one signals are left alone, and so they
    are among several processes: one that saved alone would wait for the others for ever.

    Args:
      then: what the same command does afterwards, as in `Stopped`.
      alone: whether there are surely no other processes; else JAX is asked, which looks for its devices then.

    Attributes:
      asked: the signal that came, or None.
      settle: waits for what is being written in the background; the process does not end before, but for the deadline.
      saved: the step whose state is on the disk, if any.
    """

    def __init__(self, then: str = "resumes", *, alone: bool = False) -> None:
        self._then, self._alone = then, alone
        self.asked: int | None = None
        self.settle: Callable[[], None] = lambda: None
        self.saved: Callable[[], int | None] = lambda: None
        self._nothing_to_save = False
        self._heard = False
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Stopping:
        if threading.current_thread() is threading.main_thread() and (self._alone or jax.process_count() == 1):
            self._reader, self._writer = os.pipe()
            os.set_blocking(self._writer, False)
            self._fd_before = signal.set_wakeup_fd(self._writer, warn_on_full_buffer=False)
            self._before = {number: signal.signal(number, self._hear) for number in SIGNALS}
            self._watcher = threading.Thread(target=self._watch, daemon=True)
            self._watcher.start()
        return self

    def __exit__(self, *exception: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        if self._before:
            signal.set_wakeup_fd(self._fd_before)
            os.close(self._writer)  # which ends the watcher
            self._watcher.join()
            os.close(self._reader)

    @contextmanager
    def nothing_to_save(self) -> Iterator[None]:
        """Within this the state is on the disk or not yet worth it: a signal ends the run where it stands."""
        self.end_if_asked()
        self._nothing_to_save = True
        try:
            yield
        finally:
            self._nothing_to_save = False

    def end_if_asked(self) -> None:
        """Ends the run where a signal has come.

        Raises:
          Stopped: it has.
        """
        if self.asked is not None:
            raise Stopped(self.asked, self.saved, then=self._then)

    def _hear(self, number: int, frame: FrameType | None) -> None:
        """In the main thread, as soon as it is between two instructions."""
        if self._heard:
            os._exit(128 + number)
        self._heard, self.asked = True, number
        if self._nothing_to_save:
            raise Stopped(number, self.saved, then=self._then)

    def _watch(self) -> None:
        """In a thread of its own, at once."""
        first = self._next(None)
        if not first:
            return
        number, deadline = first[0], time.monotonic() + SECONDS
        more = self._next(PATIENCE)
        if more is None and self._nothing_to_save:  # it has not heard, or its `Stopped` was raised where none is
            self._end(number, deadline)
        if more is None:
            more = self._next(deadline - time.monotonic())
        if more == b"":
            return  # the main thread has ended the run
        self._end(number, deadline if more is None else 0.0)

    def _next(self, seconds: float | None) -> bytes | None:
        """The number of the next signal; None where there is none so soon, nothing once the run has ended."""
        if not select.select([self._reader], [], [], seconds)[0]:
            return None
        return os.read(self._reader, 1)

    def _end(self, number: int, deadline: float) -> None:
        """Ends the process without its main thread, which may be deep in a compilation."""
        saved: list[int | None] = [None]  # told only where it is known in time

        def settle() -> None:
            self.settle()
            saved[0] = self.saved()

        waiting = threading.Thread(target=settle, daemon=True)
        waiting.start()
        waiting.join(max(0.0, deadline - time.monotonic()))
        sys.stdout.flush()
        print(f"\n{Stopped(number, lambda: saved[0], then=self._then)}", file=sys.stderr, flush=True)
        os._exit(128 + number)


@contextmanager
def ending(then: str = "") -> Iterator[None]:
    """Within this a signal ends a program that has nothing to save, or has saved it, where it stands.

    Args:
      then: what the same command does afterwards, as in `Stopped`.
    """
    with Stopping(then, alone=True) as stopping, stopping.nothing_to_save():
        yield
