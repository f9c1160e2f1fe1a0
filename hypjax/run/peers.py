"""The processes that work as one: what each says at the start, what process 0 decides, and who ends, and why.

A connection from each of them to process 0, beside JAX's own. JAX notices after a minute or so that a process is gone,
and then aborts the others; here it is heard at once, by all, in one line. A signal that any of them gets is passed on
to process 0, which alone saves and then ends them all.
"""

from __future__ import annotations

import json
import os
import queue
import socket
import sys
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from multiprocessing.connection import Connection, wait
from typing import Any, NoReturn

import jax

import hypjax

ENDED = 1.0  # seconds that process 0 waits for the others to be gone before it goes
SETTLED = 10.0  # seconds that what is being written may take once a process is gone
_LONGEST = 2**28  # bytes of a message
# A host without power says nothing: the system asks after ten seconds of silence, and four times more, and waits as
# long, in milliseconds, for what was sent to be received.
_KEPT_ALIVE = {
    "TCP_KEEPIDLE": 10,
    "TCP_KEEPALIVE": 10,
    "TCP_KEEPINTVL": 5,
    "TCP_KEEPCNT": 4,
    "TCP_USER_TIMEOUT": 30_000,
}


class Peers:
    """This process among those that it works with; alone it is process 0 of 1.

    All must call `share`, `from_chief` and `close` in the same order. A process that ends by itself meanwhile ends the
    others too, wherever they are.

    Args:
      index: of this process.
      hosts: on which each of them runs.
      connections: of process 0 to each of the others, by their index; of another to process 0.

    Attributes:
      index: of this process.
      count: how many there are.
      asked: told on process 0, in a thread, of a signal that another got; ends all, unless one who saves takes over.
      settle: waits on process 0 for what is being written, before a process that is gone ends this one.
    """

    def __init__(
        self, index: int = 0, hosts: tuple[str, ...] = ("",), connections: Mapping[int, Connection] | None = None
    ) -> None:
        self.index, self.count, self._hosts = index, len(hosts), hosts
        self.asked: Callable[[int], None] = lambda number: self.end(128 + number, hypjax.ended_by(number))
        self.settle: Callable[[], None] = lambda: None
        self._connections = dict(connections or {})
        self._there = dict(self._connections)  # those that may still say something
        self._values: dict[int, queue.SimpleQueue[Any]] = {other: queue.SimpleQueue() for other in self._connections}
        self._sending, self._ends = threading.Lock(), threading.Lock()
        self._ending = False
        self._listener = threading.Thread(target=self._listen, name="peers", daemon=True)
        if self._connections:
            self._listener.start()

    @property
    def chief(self) -> bool:
        """Whether this is process 0, which decides and writes."""
        return self.index == 0

    def named(self, index: int) -> str:
        """A process in words."""
        return f"process {index} of {self.count} on {self._hosts[index]}"

    def share(self, value: Any) -> list[Any]:
        """What each process says, by its index, on all of them.

        Args:
          value: this one's; JSON can hold it.
        """
        if not self.chief:
            self._send(0, value=value)
            return list(self._values[0].get())
        values = [value, *(self._values[other].get() for other in sorted(self._connections))]
        for other in self._connections:
            self._send(other, value=values)
        return values

    def from_chief(self, value: Any) -> Any:
        """What process 0 says, on all of them.

        Args:
          value: of process 0; that of the others is not looked at. JSON can hold it.
        """
        if not self.chief:
            return self._values[0].get()
        for other in self._connections:
            self._send(other, value=value)
        return value

    def ask(self, number: int) -> None:
        """Passes a signal on to process 0."""
        self._send(0, asked=number)

    def close(self) -> None:
        """Waits until all are here, and JAX has parted them, after which each may go without a word."""
        self.share(None)
        if self._connections:
            # At the end of the process JAX would wait for one that is gone for minutes, and nobody would hear of it.
            jax.distributed.shutdown()
        self.share(None)
        for other in self._connections:
            self._send(other, bye=True)

    def end(self, status: int, line: str, told: str = "") -> NoReturn:
        """Ends all processes.

        Args:
          status: with which.
          line: the reason, for the console of this one.
          told: for those of the others; the same if it is empty.
        """
        with self._ends:  # who comes second waits for the end here
            self._ending = True
            with suppress(OSError):  # nobody may listen any more
                sys.stdout.flush()
                print(line, file=sys.stderr, flush=True)
            for other in self._connections:
                self._send(other, end=[status, told or line])
            if self.chief and self._connections:
                self._leave_last()
            os._exit(status)

    def _leave_last(self) -> None:
        """JAX's service dies with process 0, and with it whoever is still there, in many lines."""
        if threading.current_thread() is self._listener:
            deadline = time.monotonic() + ENDED
            while self._there and time.monotonic() < deadline:
                self._hear(deadline - time.monotonic())
        else:
            self._listener.join(ENDED)

    def _send(self, other: int, **message: Any) -> None:
        with self._sending:
            send(self._connections[other], message)

    def _listen(self) -> None:
        while self._there:
            self._hear(None)

    def _hear(self, seconds: float | None) -> None:
        for ready in wait(list(self._there.values()), seconds):
            other = next(index for index, held in self._there.items() if held is ready)
            message = receive(self._there[other])
            if message is None or "bye" in message:
                del self._there[other]
            if not self._ending:
                self._heed(other, message)

    def _heed(self, other: int, message: dict[str, Any] | None) -> None:
        if message is None:
            self._settle()
            self.end(1, f"stopped: {self.named(other)} is gone, killed or with its host; the same command goes on")
        elif "value" in message:
            self._values[other].put(message["value"])
        elif "asked" in message:
            self.asked(message["asked"])
        elif "end" in message:
            self._settle()
            self.end(*message["end"])

    def _settle(self) -> None:
        settling = threading.Thread(target=self.settle, daemon=True)
        settling.start()
        settling.join(SETTLED)


ALONE = Peers()
_here = ALONE


def here() -> Peers:
    """The processes that this one works with."""
    return _here


def work_with(peers: Peers) -> None:
    """Makes them the processes that this one works with, so that its end is theirs (`hypjax.run.status`)."""
    global _here
    _here = peers


def over(connected: socket.socket) -> Connection:
    """Makes a connection to a process of a socket to its host."""
    connected.settimeout(None)
    connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    connected.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in _KEPT_ALIVE.items():
        if hasattr(socket, name):  # each system has some
            connected.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)
    return Connection(connected.detach())


def send(connection: Connection, message: dict[str, Any]) -> None:
    """Sends a message; of one that is gone the listener hears."""
    with suppress(OSError):
        connection.send_bytes(json.dumps(message, default=float).encode())


def receive(connection: Connection) -> dict[str, Any] | None:
    """The next message; None where the other is gone, or is none of ours."""
    try:
        message = json.loads(connection.recv_bytes(_LONGEST))
    except (OSError, EOFError, ValueError):
        return None
    return message if isinstance(message, dict) else None
