"""The server around the application: its socket, its signals, its end."""

from __future__ import annotations

import asyncio
import signal
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

import uvicorn
from starlette.types import ASGIApp

from hypjax.data.errors import UsageError
from hypjax.run.status import Stopped
from hypjax.run.stopping import SIGNALS
from hypjax.serving.connections import Connection, allow_files

KEPT = 15  # seconds that a connection without a request is kept
PATIENCE = 5  # seconds in which answers that are under way may end after a signal


class Server(uvicorn.Server):
    """uvicorn's server, which ends as programs of this house do.

    Attributes:
      ended_by: the signal that came, or None.
    """

    ended_by: int | None = None

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Hears SIGTERM and Ctrl-C in the main thread; a second one does not wait for answers that are under way."""
        try:
            before = {number: signal.signal(number, self.handle_exit) for number in SIGNALS}
        except ValueError:  # in another thread, whose caller sets `should_exit`
            before = {}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Notes a signal."""
        self.force_exit = self.should_exit
        self.should_exit, self.ended_by = True, sig


def bound(host: str, port: int) -> socket.socket:
    """A socket at an address, not yet listening.

    Args:
      host: a name or an address.
      port: 0 for any that is free.

    Raises:
      UsageError: there is no such address here, or somebody else is there.
    """
    try:
        family, kind, protocol, _, place = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        made = socket.socket(family, kind, protocol)
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            made.bind(place)
        except OSError:
            made.close()
            raise
    except OSError as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else error
        raise UsageError(
            f"nothing can be served at {host} port {port} ({reason}); --port=0 takes a free one"
        ) from error
    return made


def create_server(app: ASGIApp) -> Server:
    """The application in a server that does not run yet."""
    Connection.most = allow_files()
    config = uvicorn.Config(
        app,
        http=Connection,
        ws="none",
        log_config=None,  # which would close the handlers of whoever logs already
        log_level="error",
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_keep_alive=KEPT,
        timeout_graceful_shutdown=PATIENCE,
    )
    return Server(config)


def run(app: ASGIApp, listening: socket.socket, *, ready: Callable[[str], None]) -> None:
    """Serves until a signal comes.

    Args:
      app: the application.
      listening: from `bound`.
      ready: hears of the address once requests are answered.

    Raises:
      Stopped: a signal came.
    """
    server = create_server(app)

    async def serve() -> None:
        serving = asyncio.create_task(server.serve(sockets=[listening]))
        while not server.started and not serving.done():
            await asyncio.sleep(0.01)
        if server.started:
            ready(address(listening))
        await serving

    asyncio.run(serve())
    if server.ended_by is not None:
        raise Stopped(server.ended_by)


def address(listening: socket.socket) -> str:
    """Of a socket, as a browser takes it."""
    host, port = listening.getsockname()[:2]
    return f"http://[{host}]:{port}/" if ":" in host else f"http://{host}:{port}/"
