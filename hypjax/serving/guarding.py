"""Who may ask, and what every answer says: a token, the names that the server is called by, headers, counts."""

from __future__ import annotations

import hmac
import time
from collections.abc import Collection

from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from hypjax.serving.exchange import Exchange, Held, Limits
from hypjax.serving.meters import Meters

LOCAL = ("localhost", "127.0.0.1", "::1")
HEADERS = {
    "content-security-policy": "default-src 'self'; img-src 'self' blob: data:; style-src 'self'; base-uri 'none'; "
    "form-action 'self'; frame-ancestors 'none'",
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-resource-policy": "same-origin",
    "cache-control": "no-store",
}


class Guard:
    """Lets requests through to an application, each within limits, and counts them.

    Args:
      app: the application.
      token: that requests must bear; "" for none. Without one the server is for this machine, so that it answers only
        to the names of this machine: else a page from elsewhere could call it by a name of its own and read along.
      open_paths: that need no token.
      open_below: what these paths begin with needs none either.
      limits: of each request.
      meters: what counts them.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        token: str,
        open_paths: Collection[str],
        open_below: str,
        limits: Limits,
        meters: Meters,
    ) -> None:
        self._app, self._token, self._limits, self._meters = app, token.encode(), limits, meters
        self._open_paths, self._open_below, self._held = open_paths, open_below, Held()
        self._headers = [(name.encode(), value.encode()) for name, value in HEADERS.items()]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers, or lets the application answer."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        began = time.perf_counter()
        exchange = Exchange(scope, receive, send, limits=self._limits, held=self._held, headers=self._headers)
        refusal = self._refusal(scope)
        try:
            await (refusal or self._app)(scope, exchange.receive, exchange.send)
        finally:
            exchange.close()
            self._meters.answered(scope["path"], exchange.status, time.perf_counter() - began)

    def _refusal(self, scope: Scope) -> JSONResponse | None:
        """Why who asks is not let through, if so."""
        sent = dict(scope["headers"])
        if not self._token:
            if host_of(sent.get(b"host", b"").decode("latin-1")) in LOCAL:
                return None
            return JSONResponse({"error": "this server answers to 127.0.0.1 and localhost alone"}, 421)
        if scope["path"] in self._open_paths or scope["path"].startswith(self._open_below):
            return None
        kind, _, given = sent.get(b"authorization", b"").partition(b" ")
        if kind.lower() == b"bearer" and hmac.compare_digest(given.strip(), self._token):
            return None
        return JSONResponse(
            {"error": "the token is missing or another: Authorization: Bearer TOKEN"},
            401,
            {"WWW-Authenticate": "Bearer"},
        )


def host_of(header: str) -> str:
    """The name in a Host header, without the port.

    Examples:
      >>> host_of("127.0.0.1:8000"), host_of("[::1]:8000"), host_of("LOCALHOST")
      ('127.0.0.1', '::1', 'localhost')
    """
    if header.startswith("["):
        return header[1:].partition("]")[0]
    return header.partition(":")[0].lower()
