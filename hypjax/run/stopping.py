"""SIGTERM and Ctrl-C: a run that is asked to stop saves what it has and ends with a status that says so."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

import jax

from hypjax.run.status import Stopped

SIGNALS = (signal.SIGTERM, signal.SIGINT)


class Stopping:
    """Notes the first of the signals and lets the loop save; a second one ends the process at once.

    Use as a context manager around the loop. In another thread than the main one signals are left alone, and so they
    are among several processes: one that saved alone would wait for the others for ever.

    Attributes:
      asked: the signal that came, or None.
    """

    def __init__(self) -> None:
        self.asked: int | None = None
        self._nothing_to_save = False
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Stopping:
        if threading.current_thread() is threading.main_thread() and jax.process_count() == 1:
            self._before = {number: signal.signal(number, self._ask) for number in SIGNALS}
        return self

    def __exit__(self, *exception: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

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
            raise Stopped(self.asked)

    def _ask(self, number: int, frame: FrameType | None) -> None:
        if self.asked is not None:
            os._exit(128 + number)
        self.asked = number
        if self._nothing_to_save:
            raise Stopped(number)
