"""Clients of a server, for `benchmarks/serving.py`: some that ask as fast as they can, hostile ones, slow ones."""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import json
import struct
import threading
import time
import zlib
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import NamedTuple

BOUNDARY = "between"
FORM = {"Content-Type": f"multipart/form-data; boundary={BOUNDARY}"}
JSON = {"Content-Type": "application/json"}


class Load(NamedTuple):
    """What clients met that asked for a while.

    Attributes:
      seconds: that each request took, ascending.
      statuses: of the answers; 0 where none came.
      lasted: seconds.
    """

    seconds: list[float]
    statuses: Counter[int]
    lasted: float


def form(picture: bytes, **fields: object) -> bytes:
    """A form with a picture."""
    said = [f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="{k}"\r\n\r\n{v}\r\n' for k, v in fields.items()]
    file = f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="image"; filename="query.jpg"\r\n\r\n'
    return "".join([*said, file]).encode() + picture + f"\r\n--{BOUNDARY}--\r\n".encode()


def ask(
    port: int, method: str, path: str, body: bytes | Iterable[bytes] | None = None, headers=FORM
) -> tuple[int, bytes]:
    """One request: the status and the body that come."""
    with contextlib.closing(http.client.HTTPConnection("127.0.0.1", port, timeout=30)) as connection:
        connection.request(method, path, body, headers)
        answer = connection.getresponse()
        return answer.status, answer.read()


def load(port: int, bodies: Sequence[bytes], clients: int, seconds: float) -> Load:
    """Clients, each of which asks again as soon as it is answered.

    Args:
      port: of the server.
      bodies: forms that they send in turn.
      clients: how many there are.
      seconds: for how long they go on.
    """
    took: list[float] = []
    statuses: Counter[int] = Counter()
    began = time.perf_counter()

    def client(number: int) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        while (asked := time.perf_counter()) - began < seconds:
            number += clients
            try:
                connection.request("POST", "/search", bodies[number % len(bodies)], FORM)
                answer = connection.getresponse()
                answer.read()
                statuses[answer.status] += 1
            except (OSError, http.client.HTTPException):
                statuses[0] += 1
                connection.close()
            took.append(time.perf_counter() - asked)
        connection.close()

    threads = [threading.Thread(target=client, args=(number,)) for number in range(clients)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return Load(sorted(took), statuses, time.perf_counter() - began)


def bomb() -> bytes:
    """A PNG of a hundred bytes that says that it has 2.5 thousand million pixels."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = struct.pack(">IIBBBBB", 50_000, 50_000, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(b"\0")) + chunk(b"IEND", b"")


def hostile(port: int) -> Iterable[tuple[str, int, str]]:
    """Requests that are none: what each is, the status and the line that come."""
    large = form(b"\0" * 100_000_000)
    parts = (large[start : start + 2**20] for start in range(0, len(large), 2**20))
    quoted = json.dumps({"vector": [0.0], "where": "path == '\" or 1 == 1"}).encode()
    asked: dict[str, tuple] = {
        "a PNG of 100 bytes and 2.5 thousand million pixels": ("POST", "/search", form(bomb())),
        "an upload of 100 MB": ("POST", "/search", large),
        "the same without saying how long it is": ("POST", "/search", parts),
        "text as a picture": ("POST", "/search", form(b"I am a picture")),
        "`/image?path=../../../etc/passwd`": ("GET", "/image?path=../../../etc/passwd"),
        '`{"path": "../../../etc/passwd"}`': ("POST", "/search", b'{"path": "../../../etc/passwd"}', JSON),
        "`/page/../serve.py`": ("GET", "/page/../serve.py"),
        "a filter with quotes": ("POST", "/search", quoted, JSON),
        "100,000 brackets as JSON": ("POST", "/search", b"[" * 100_000, JSON),
        "another name in `Host`": ("GET", "/about", None, {"Host": "evil.example"}),
    }
    for name, words in asked.items():
        status, body = ask(port, *words)
        yield name, status, json.loads(body)["error"]


async def slow(port: int, count: int, seconds: float, search: bytes) -> tuple[list[float], Counter[str], list[float]]:
    """Connections that send a byte a second, half of them of a head and half of a body.

    Args:
      port: of the server.
      count: how many there are.
      seconds: after which those that are still open are given up.
      search: a form that an ordinary client sends meanwhile, again and again.

    Returns:
      After how many seconds each was closed, what it was told, and how long the ordinary searches took.
    """
    head = b"POST /search HTTP/1.1\r\nHost: localhost\r\n"
    body = head + b"Content-Type: application/json\r\nContent-Length: 9999\r\n\r\n"
    closed: list[float] = []
    told: Counter[str] = Counter()

    async def one(number: int) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        began, received = time.perf_counter(), b""
        writer.write(body if number % 2 else head)
        try:
            while time.perf_counter() - began < seconds:
                writer.write(b"a")
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(1):
                        while part := await reader.read(4096):
                            received += part
                        break
        except OSError:
            pass  # closed before it was read
        finally:
            writer.close()
        closed.append(time.perf_counter() - began)
        told[received[9:12].decode() or "closed"] += 1

    async def ordinary() -> list[float]:
        took = []
        while True:
            asked = time.perf_counter()
            status, _ = await asyncio.to_thread(ask, port, "POST", "/search", search)
            took.append(time.perf_counter() - asked if status == 200 else float("inf"))
            await asyncio.sleep(0.2)
            if slow_ones.done():
                return took

    slow_ones = asyncio.gather(*(one(number) for number in range(count)))
    took = await ordinary()
    await slow_ones
    return sorted(closed), told, took
