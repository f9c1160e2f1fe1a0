"""One request and its answer, within limits: on the bytes of a body, and on the time that they may take."""

from __future__ import annotations

import asyncio
import time
from typing import NamedTuple

from starlette.exceptions import HTTPException
from starlette.types import Message, Receive, Scope, Send

LINGER = 2.0  # seconds that what is still being sent is read after an early answer, which else would be lost on its way


class Limits(NamedTuple):
    """What a request may take.

    Attributes:
      bytes: of a body.
      all_bytes: of all bodies that are being read.
      grace: seconds until a body must be there, and
      rate: bytes a second that make them more.
    """

    bytes: int
    all_bytes: int
    grace: float = 8.0
    rate: float = 16_000.0


class Held:
    """Bytes of the bodies that are being read.

    Attributes:
      bytes: of all of them.
    """

    def __init__(self) -> None:
        self.bytes = 0


class Exchange:
    """Receives a body and sends an answer.

    Args:
      scope: of the request.
      receive: gives the body.
      send: takes the answer.
      limits: of the body.
      held: what all exchanges hold.
      headers: of each answer.

    Attributes:
      status: of the answer; 499 until there is one.
    """

    def __init__(
        self,
        scope: Scope,
        receive: Receive,
        send: Send,
        *,
        limits: Limits,
        held: Held,
        headers: list[tuple[bytes, bytes]],
    ) -> None:
        self.status = 499
        self._receive, self._send, self._limits, self._held, self._headers = receive, send, limits, held, headers
        sent = dict(scope["headers"])
        self._announced = int(sent.get(b"content-length", b"0"))  # h11 has seen to it that it is a number
        self._whole = not self._announced and b"transfer-encoding" not in sent
        self._bytes, self._began, self._late = 0, time.monotonic(), False

    async def receive(self) -> Message:
        """The next part of the body.

        Raises:
          HTTPException: it is too large, too slow, or there is no room for it.
        """
        if self._announced > self._limits.bytes:
            raise self._too_large()
        due = self._began + self._limits.grace + self._bytes / self._limits.rate
        try:
            message = await asyncio.wait_for(self._receive(), due - time.monotonic())
        except TimeoutError:
            self._late = True
            raise HTTPException(408, f"the body came too slowly: {self._bytes:,} bytes so far") from None
        size = len(message.get("body", b""))
        self._bytes += size
        self._held.bytes += size
        self._whole = not message.get("more_body", False)
        if self._bytes > self._limits.bytes:
            raise self._too_large()
        if self._held.bytes > self._limits.all_bytes:
            raise HTTPException(503, "too many uploads at once; try again in a while", {"Retry-After": "2"})
        return message

    async def send(self, message: Message) -> None:
        """Sends a part of the answer; what comes before the body was read ends the connection."""
        if message["type"] == "http.response.start":
            self.status = message["status"]
            given = {name for name, _ in message["headers"]}
            more = [(name, value) for name, value in self._headers if name not in given]
            closing = [] if self._whole else [(b"connection", b"close")]
            await self._send({**message, "headers": [*message["headers"], *more, *closing]})
        elif self._whole or self._late or message.get("more_body", False):
            await self._send(message)
        else:
            await self._send({**message, "more_body": True})
            await self._drain()
            await self._send({"type": "http.response.body", "body": b""})

    def close(self) -> None:
        """Gives back what it held."""
        self._held.bytes -= self._bytes

    async def _drain(self) -> None:
        """Reads what is on its way and keeps nothing of it."""
        try:
            async with asyncio.timeout(LINGER):
                while (await self._receive()).get("more_body", False):
                    pass
        except TimeoutError:
            pass

    def _too_large(self) -> HTTPException:
        return HTTPException(413, f"the body has more than {self._limits.bytes:,} bytes, which is the limit here")
