"""One trainer at a time: a lock on a workdir that names its holder and outlives no process."""

from __future__ import annotations

import datetime
import errno
import fcntl
import json
import os
import socket
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol

from hypjax.data.errors import UsageError

FILE = ".lock"


class Hold(Protocol):
    """The right to write into a workdir, until it is left as a context manager."""

    def require(self) -> None:
        """Checks that it was not lost. Raises `UsageError`."""
        ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None: ...


class Lock:
    """The right to write into a workdir, as a context manager; the system takes it back when the process ends.

    Where the file system knows no locks it says so, and nobody is held back.

    Args:
      workdir: of the run; made where it is not there.
      command: what is said of the holder.

    Raises:
      UsageError: another process has it; says which.
    """

    def __init__(self, workdir: Path, command: str) -> None:
        workdir.mkdir(parents=True, exist_ok=True)
        self._file = (workdir / FILE).open("a+")
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            self._file.seek(0)
            held = self._file.read()
            self._file.close()
            raise UsageError(f"{workdir} is being trained by {told(held)}; wait, or stop it first") from error
        except OSError as error:
            if error.errno not in (errno.ENOLCK, errno.ENOTSUP, errno.ENOSYS):
                raise
            print(f"{workdir} is on a file system without locks: see to it that nothing else trains there")
        self._file.truncate(0)
        self._file.write(json.dumps(holder(command)))
        self._file.flush()

    def require(self) -> None:
        """It is not lost before the process ends."""

    def __enter__(self) -> Lock:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._file.close()


def holder(command: str) -> dict[str, Any]:
    """What is said of this process."""
    return {
        "process": os.getpid(),
        "host": socket.gethostname(),
        "since": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "command": command,
    }


def told(text: str) -> str:
    """The holder, from what it left in the file."""
    try:
        held = json.loads(text)
        return f"process {held['process']} on {held['host']} since {held['since']} ({held['command']})"
    except (ValueError, KeyError, TypeError):
        return "another process"
