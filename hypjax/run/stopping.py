"""SIGTERM and Ctrl-C: a run that is asked to stop saves what it has and ends with a status that says so."""

from __future__ import annotations

import os
import select
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

from hypjax.run.peers import ALONE, Peers, here
from hypjax.run.status import Stopped

SIGNALS = (signal.SIGTERM, signal.SIGINT)
# Clouds grant 30 s. Python hears of a signal only between two of its own instructions, and a compilation, which is one
# of them, takes minutes: a thread that hears of it at once ends the process where the main thread does not.
SECONDS = 24.0  # until the process is gone, whatever it does
PATIENCE = 2.0  # where there is nothing to save
MARGIN = 0.5  # by which other processes leave it to process 0


class Stopping:
    """Notes the first of the signals and lets the loop save; a second one ends the process at once.

    Use as a context manager around the loop. In another thread than the main one signals are left alone. Among several
    processes it is process 0 that saves, and then ends them all: the others pass on to it what they hear.

    Args:
      then: what the same command does afterwards, as in `Stopped`.
      among: the processes that are asked to stop together.

    Attributes:
      asked: the signal that came, or None.
      settle: waits for what is being written in the background; the process does not end before, but for the deadline.
      saved: the step whose state is on the disk, if any.
    """

    def __init__(self, then: str = "resumes", among: Peers = ALONE) -> None:
        self._then, self._among = then, among
        self.asked: int | None = None
        self.settle: Callable[[], None] = lambda: None
        self.saved: Callable[[], int | None] = lambda: None
        self._nothing_to_save = False
        self._heard = 0  # signals, those of other processes among them
        self._passed_on = False  # by another process, once at most
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Stopping:
        if threading.current_thread() is threading.main_thread():
            self._reader, self._writer = os.pipe()
            os.set_blocking(self._writer, False)
            self._fd_before = signal.set_wakeup_fd(self._writer, warn_on_full_buffer=False)
            self._before = {number: signal.signal(number, self._hear) for number in SIGNALS}
            self._watcher = threading.Thread(target=self._watch, daemon=True)
            self._watcher.start()
            self._asked_before, self._among.asked = self._among.asked, self._pass_on
            self._among.settle = lambda: self.settle()
        return self

    def __exit__(self, *exception: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        if self._before:
            self._among.asked, self._among.settle = self._asked_before, lambda: None
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
        self._heard += 1
        if self._heard > 1 + self._passed_on:
            os._exit(128 + number)
        if self._heard > 1 or not self._among.chief:
            return
        self.asked = number
        if self._nothing_to_save:
            raise Stopped(number, self.saved, then=self._then)

    def _pass_on(self, number: int) -> None:
        """On process 0: takes a signal that another process got as if it had come here, unless one has."""
        if not self._heard and not self._passed_on:
            self._passed_on = True
            os.kill(os.getpid(), number)

    def _watch(self) -> None:
        """In a thread of its own, at once."""
        first = self._next(None)
        if not first:
            return
        number, deadline = first[0], time.monotonic() + SECONDS
        if not self._among.chief:  # which ends this one too, in time
            self._among.ask(number)
            deadline += MARGIN
        more = self._next(PATIENCE)
        if more and self._passed_on:  # one signal that came both ways
            more = self._next(PATIENCE)
        # It has not heard, or its `Stopped` was raised where none is.
        if more is None and self._nothing_to_save and self._among.chief:
            self._end(number, deadline)
        if more is None:
            more = self._next(deadline - time.monotonic())
        if more == b"":
            return  # the main thread has ended the run
        self._end(number, deadline if more is None else 0.0)

    def _next(self, seconds: float | None) -> bytes | None:
        """The number of the next signal that asks to stop; None where there is none so soon, nothing at the end."""
        until = None if seconds is None else time.monotonic() + seconds
        while select.select([self._reader], [], [], None if until is None else max(0.0, until - time.monotonic()))[0]:
            number = os.read(self._reader, 1)
            if not number or number[0] in SIGNALS:  # Python tells of all that it has a handler for
                return number
        return None

    def _end(self, number: int, deadline: float) -> None:
        """Ends the process without its main thread, which may be deep in a compilation."""
        saved: list[int | None] = [None]  # told only where it is known in time

        def settle() -> None:
            self.settle()
            saved[0] = self.saved()

        waiting = threading.Thread(target=settle, daemon=True)
        waiting.start()
        waiting.join(max(0.0, deadline - time.monotonic()))
        here().end(128 + number, f"\n{Stopped(number, lambda: saved[0], then=self._then)}")


@contextmanager
def ending(then: str = "") -> Iterator[None]:
    """Within this a signal ends a program that has nothing to save, or has saved it, where it stands.

    Args:
      then: what the same command does afterwards, as in `Stopped`.
    """
    with Stopping(then) as stopping, stopping.nothing_to_save():
        yield
