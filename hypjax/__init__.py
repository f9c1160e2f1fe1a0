"""Hyperbolic metric learning for image retrieval in JAX."""

import os
import signal
import sys
from types import FrameType
from typing import Any

__version__ = "0.1.0"

_before: dict[int, Any] = {}  # what heard the signals


def end_at_signals() -> None:
    """Ends the process at SIGTERM or Ctrl-C with its status and one line, as long as all that it does is to import."""
    for number in (signal.SIGTERM, signal.SIGINT):
        _before.setdefault(number, signal.getsignal(number))
        signal.signal(number, _end)


def leave_signals() -> None:
    """Has signals heard as before `end_at_signals`, if it was called."""
    while _before:
        signal.signal(*_before.popitem())


def ended_by(number: int) -> str:
    """What a signal did, in words."""
    return "interrupted" if number == signal.SIGINT else f"stopped by {signal.Signals(number).name}"


def _end(number: int, frame: FrameType | None) -> None:
    os.write(2, f"\n{ended_by(number)}\n".encode())
    os._exit(128 + number)


# Older versions of jaxlib alarm, in two kilobytes each, of every compiled program that they read back on CPU, and
# listen to this as they load. Programs keep what they compile (`hypjax.run.compiled`); importing alone changes nothing.
if any(
    flag == "-m" and name.partition(".")[0] == "hypjax"
    for flag, name in zip(sys.orig_argv, sys.orig_argv[1:], strict=False)
):
    end_at_signals()
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
