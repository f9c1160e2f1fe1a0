"""One trainer at a time on another machine's storage, which knows no locks: a lease that is renewed."""

from __future__ import annotations

import json
import secrets
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any

from hypjax.data import atomic
from hypjax.data.errors import UsageError
from hypjax.data.places import is_remote
from hypjax.run.lock import FILE, Hold, Lock, holder, told

RENEWED = 20.0  # seconds from one renewal to the next
EXPIRES = 90.0  # seconds after which a lease that was not renewed is anybody's
SETTLES = 1.0  # seconds until who has taken a lease looks whether it is still its own


class Lease:
    """The right to write into a workdir, as a context manager: a file that names the holder, renewed by a thread.

    A lease that was not renewed for `expires` seconds, as its holder was killed, is taken over. A holder that stood
    still for so long finds out before it writes again, and stops.

    Storage of objects gives no more than this. Between looking and writing another may write: of two that take a lease
    in the same moment the later writer has it, which both find out by looking again after `settles` seconds; should a
    write take longer than that, both train until the first renewal. The clocks of the hosts must agree to within a
    minute. A holder that stands still in the midst of a write, and goes on with it after the lease has gone to another,
    is not held back.

    Args:
      workdir: of the run.
      command: what is said of the holder.
      renewed: seconds from one renewal to the next.
      expires: seconds without a renewal.
      settles: seconds to wait before looking again.
      clock: seconds since 1970.

    Raises:
      UsageError: another process has it; says which.
    """

    def __init__(
        self,
        workdir: Path,
        command: str,
        *,
        renewed: float = RENEWED,
        expires: float = EXPIRES,
        settles: float = SETTLES,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._workdir, self._path = workdir, workdir / FILE
        self._every, self._expires, self._clock = renewed, expires, clock
        self._said = {**holder(command), "token": secrets.token_hex(8)}
        self._lock, self._ended, self._lost, self._seen = threading.Lock(), threading.Event(), "", clock()
        held = self._held()
        left = expires - (clock() - held.get("renewed", -expires))
        if left > 0:
            raise UsageError(
                f"{workdir} is being trained by {told(json.dumps(held))}; wait, or stop it first "
                f"(if it was killed, its hold ends in {left:.0f} s)"
            )
        self._write()
        time.sleep(settles)
        self.renew()
        self.require()
        self._thread = threading.Thread(target=self._keep, name="lease", daemon=True)
        self._thread.start()

    def _held(self) -> dict[str, Any]:
        """What the file says; nothing where there is none, or one that is damaged."""
        try:
            held = json.loads(self._path.read_bytes())
            float(held["renewed"])
        except (FileNotFoundError, ValueError, KeyError, TypeError):
            return {}
        return dict(held)

    def _write(self, renewed: float | None = None) -> None:
        now = self._clock()
        atomic.write_json(self._path, {**self._said, "renewed": now if renewed is None else renewed})
        self._seen = now

    def renew(self) -> None:
        """Says again who holds the workdir, unless another does by now."""
        with self._lock:
            if self._lost or self._ended.is_set():
                return
            held = self._held()
            if held and held.get("token") != self._said["token"]:
                self._lost = told(json.dumps(held))
            else:
                self._write()

    def _keep(self) -> None:
        while not self._ended.wait(self._every):
            try:
                self.renew()
            except Exception:  # storage that does not answer; `require` will see how long
                continue

    def require(self) -> None:
        """Checks that it was not lost; asks the storage where the last renewal lies too far back.

        Raises:
          UsageError: another has taken it; says which.
          OSError: the storage does not answer.
        """
        if self._clock() - self._seen > self._expires:
            self.renew()
        if self._lost:
            raise UsageError(
                f"{self._workdir} was taken over by {self._lost}, while this process stood still or could "
                "not reach it; it writes nothing more"
            )

    def __enter__(self) -> Lease:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._ended.set()
        # Where the storage does not answer, the lease expires.
        with self._lock, suppress(OSError):
            if not self._lost and self._held().get("token") == self._said["token"]:
                # The file stays: one who stood still meanwhile finds that another was there, and has gone.
                self._write(renewed=0.0)


def hold(workdir: Path, command: str) -> Hold:
    """Takes a workdir for a trainer, as the place where it lies allows: a lock, or a lease.

    Args:
      workdir: of the run; made where it is not there.
      command: what is said of the holder.

    Raises:
      UsageError: another process has it; says which.
    """
    return Lease(workdir, command) if is_remote(workdir) else Lock(workdir, command)
