"""The ways in which a program ends on purpose without a result; errors of construction become the first."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager

from hypjax.data.errors import DataError


class UsageError(ValueError):
    """Something its user can mend; programs print it as one line and exit with status 2."""


class DivergedError(RuntimeError):
    """Training met a loss or gradient that is not finite; programs exit with status 1."""


class Stopped(BaseException):
    """A run was asked to stop, and has saved what it had.

    Attributes:
      signal: which asked.
    """

    def __init__(self, number: int) -> None:
        super().__init__(f"stopped by {signal.Signals(number).name}")
        self.signal = number


@contextmanager
def as_usage() -> Iterator[None]:
    """Turns the errors of construction, which name a bad setting or a missing package, into a UsageError."""
    try:
        yield
    except (UsageError, DataError):
        raise
    except (ValueError, TypeError, ImportError) as error:
        raise UsageError(str(error)) from error
