"""Connections that do not wait for ever: uvicorn has no limit on the time that the head of a request may take."""

from __future__ import annotations

import asyncio
import json
import math
import resource

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

HEAD = 5.0  # seconds for the head of a request
STUCK = 10.0  # seconds in which who is answered must take something of it
LOOK = 1.0  # seconds between two looks at a connection
MOST = 4096  # connections, where the system allows as many open files
SPARE = 128  # files that are open besides


class Connection(H11Protocol):
    """A connection that is closed where its request or its reader is too slow.

    Where there are too many, the one that has asked nothing for longest makes room for a new one.
    """

    most = MOST

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begins to wait for the head of a request."""
        super().connection_made(transport)
        self.idle = self.loop.time()  # since when nothing is answered; ∞ while something is
        self._awaited: float | None = self.idle  # since when a head is awaited, of which a part may be there
        self._unsent, self._moved = 0, self.idle
        self._look = self.loop.call_later(LOOK, self._watch)
        if len(self.connections) > self.most:
            min(self.connections, key=lambda held: getattr(held, "idle", math.inf)).give_way()  # type: ignore[union-attr]

    def data_received(self, data: bytes) -> None:
        """Takes what came."""
        super().data_received(data)
        if self.conn.their_state is not h11.IDLE:
            self._awaited, self.idle = None, math.inf
        elif self._awaited is None:
            self._awaited = self.loop.time()

    def on_response_complete(self) -> None:
        """Goes on to the next request, if one comes."""
        self.idle = self.loop.time()
        super().on_response_complete()

    def connection_lost(self, exc: Exception | None) -> None:
        """Looks at it no more."""
        self._look.cancel()
        super().connection_lost(exc)

    def send_400_response(self, msg: str) -> None:
        """Answers what is no HTTP, in JSON as all else."""
        self.refuse(400, "Bad Request", "this is no HTTP request, or its head is too large")

    def refuse(self, status: int, phrase: str, reason: str) -> None:
        """Answers without a request and closes."""
        body = json.dumps({"error": reason}).encode()
        head = f"HTTP/1.1 {status} {phrase}\r\ncontent-type: application/json\r\ncontent-length: {len(body)}\r\n"
        self.transport.write(head.encode() + b"connection: close\r\n\r\n" + body)
        self.transport.close()

    def give_way(self) -> None:
        """Makes room for another connection."""
        self.connections.discard(self)
        self.refuse(503, "Service Unavailable", "too many connections")

    def _watch(self) -> None:
        now, unsent = self.loop.time(), self.transport.get_write_buffer_size()
        if unsent < self._unsent or not unsent:
            self._moved = now
        self._unsent = unsent
        if now - self._moved > STUCK:
            self.transport.abort()
            return
        if self._awaited is not None and now - self._awaited > HEAD and not self.transport.is_closing():
            self.refuse(408, "Request Timeout", f"the head of the request took more than {HEAD:g} seconds")
        self._look = self.loop.call_later(LOOK, self._watch)


def allow_files() -> int:
    """Has the system allow this process as many open files as it may have.

    Returns:
      How many connections it can have then.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = MOST + SPARE if hard == resource.RLIM_INFINITY else min(hard, MOST + SPARE)
    if soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    return min(MOST, max(soft, wanted) - SPARE)
