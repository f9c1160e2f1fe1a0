"""What a user can mend: one clear line, no traceback at the programs."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager


class DataError(ValueError):
    """Bad or missing data: a folder that is not there, an image that does not decode, a batch too large."""


class UsageError(ValueError):
    """Something its user can mend; programs print it as one line and exit with status 2."""


@contextmanager
def as_usage() -> Iterator[None]:
    """Turns the errors of construction, which name a bad setting or a missing package, into a UsageError."""
    try:
        yield
    except (UsageError, DataError):
        raise
    except (ValueError, TypeError, ImportError) as error:
        raise UsageError(str(error)) from error
