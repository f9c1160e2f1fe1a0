"""How far a program is, and how long it will take."""

from __future__ import annotations

import sys
import time


class Progress:
    """One line that moves on a terminal, and a line now and then where output goes to a file.

    Args:
      of: what the rate counts.
      each: how many of them are done at once.
      interval: seconds between two lines of a file.
    """

    def __init__(self, *, of: str = "images", each: int = 1, interval: float = 10.0) -> None:
        self._of, self._each, self._moving = of, each, sys.stdout.isatty()
        self._interval = 0.2 if self._moving else interval
        self._began: tuple[float, int] | None = None  # after the first, which holds the compilation
        self._shown = time.monotonic()
        self._paused = 0.0

    def show(self, done: int, total: int, words: str = "") -> None:
        """Reports how many are done of all, unless a report is fresh.

        Args:
          done: so far.
          total: in the end.
          words: to say so; both numbers by default.
        """
        now, first = time.monotonic(), self._began is None
        if first:
            self._began, self._paused = (now, done), 0.0
        if not first and now - self._shown < self._interval and done < total:
            return
        self._shown = now
        line = words or f"{done:,}/{total:,}"
        if rate := self._rate(done, now):
            left = round((total - done) * self._each / rate)
            line += f"  {rate:.0f} {self._of}/s  {left // 3600}:{left // 60 % 60:02d}:{left % 60:02d} left"
        print(f"\r{line:<78}" if self._moving else line, end="" if self._moving else "\n", flush=True)

    def rate(self, done: int) -> float:
        """How many a second since the first report, pauses left out; 0 where that is not known."""
        return self._rate(done, time.monotonic())

    def _rate(self, done: int, now: float) -> float:
        if self._began is None:
            return 0.0
        began, before = self._began
        elapsed = now - began - self._paused
        return (done - before) * self._each / elapsed if done > before and elapsed > 0 else 0.0

    def say(self, text: str) -> None:
        """Prints a line of its own."""
        print(f"\r{'':<78}\r{text}" if self._moving else text, flush=True)

    def pause(self, seconds: float) -> None:
        """Leaves time spent on something else out of the rate."""
        self._paused += seconds

    def close(self) -> None:
        """Ends the moving line."""
        if self._moving:
            print()
