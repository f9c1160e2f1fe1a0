"""The application: what each address answers, over one model and one index."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from importlib import resources

from starlette.applications import Starlette
from starlette.datastructures import UploadFile
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp

from hypjax.data.errors import UsageError
from hypjax.serving import openapi, overview, replies, uploads
from hypjax.serving.answering import Answering, Question, Reply
from hypjax.serving.batching import Batcher, Full
from hypjax.serving.exchange import Limits
from hypjax.serving.guarding import Guard
from hypjax.serving.meters import Meters, resident_bytes
from hypjax.serving.replies import Answer
from hypjax.serving.resident import Resident
from hypjax.serving.thumbnails import SIDES, Thumbnails

WAITING = 256  # questions that wait to be answered; a further one is told to come again
LOOK = 1.0  # seconds between two looks whether the index has changed
UPLOADS = 64  # of the largest size that are read at the same time
STATIC = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
    ".png": "image/png",
    ".webmanifest": "application/manifest+json",
}
FOLDERS = (("hypjax.serving", "page"), ("hypjax.show", "explore"))


def create_app(
    resident: Resident, *, token: str = "", max_upload: int = 20_000_000, look: float = LOOK, **limits: float
) -> ASGIApp:
    """Makes the application, warmed up: what it will call is compiled.

    Args:
      resident: the model and the index.
      token: that requests must bear; "" for none, and then it answers to the names of this machine alone.
      max_upload: bytes of a body, at most.
      look: seconds between two looks whether the index has changed.
      limits: further fields of `exchange.Limits`.
    """
    answering = Answering(resident)
    answering.warm_up()
    overview.world(resident.snapshot)  # which every search names a place in
    server = _Server(resident, answering, static_files(), look)
    routes = [Route(path, server.route(answer), methods=[method]) for method, path, answer in server.routes()]
    app = Starlette(
        routes=routes,
        lifespan=server.lifespan,
        exception_handlers={
            **dict.fromkeys((HTTPException, UsageError, Full, ClientDisconnect), replies.refused),
            Exception: replies.failed,
        },
    )
    app.router.redirect_slashes = False
    return Guard(
        app,
        token=token,
        open_paths=("/", "/healthz", "/docs", "/openapi.json"),
        open_below="/page/",
        limits=Limits(max_upload, UPLOADS * max_upload, **limits),
        meters=server.meters,
    )


def static_files() -> dict[str, tuple[bytes, str]]:
    """The page's files by name: what they hold, and their kind; nothing else can be asked for."""
    found = {}
    for package, folder in FOLDERS:
        held = resources.files(package).joinpath(folder)
        for file in held.iterdir() if held.is_dir() else ():
            kind = STATIC.get(os.path.splitext(file.name)[1])
            if kind and file.is_file():
                found[file.name] = (file.read_bytes(), kind)
    return found


class _Server:
    """The answers to all addresses.

    Args:
      resident: the model and the index.
      answering: answers with them.
      files: of the page.
      look: seconds between two looks whether the index has changed.
    """

    def __init__(
        self, resident: Resident, answering: Answering, files: dict[str, tuple[bytes, str]], look: float
    ) -> None:
        self._resident, self._answering, self._files, self._look = resident, answering, files, look
        self._thumbnails = Thumbnails(resident)
        self.meters = Meters([path for _, path, _ in self.routes()])
        self._decoders = ThreadPoolExecutor(max(2, min(8, os.cpu_count() or 2)), thread_name_prefix="decoding")
        self._decoding = 0

    def routes(self) -> list[tuple[str, str, Callable[[Request], Awaitable[Response]]]]:
        """Method, path and answer of each address."""
        return [
            ("GET", "/", self.index),
            ("GET", "/page/{name}", self.page),
            ("GET", "/about", self.about),
            ("GET", "/map", self.map),
            ("GET", "/image", self.image),
            ("POST", "/search", self.search),
            ("POST", "/embed", self.embed),
            ("GET", "/queue", self.queue),
            ("GET", "/healthz", self.healthz),
            ("GET", "/metrics", self.metrics),
            ("GET", "/openapi.json", self.openapi),
            ("GET", "/docs", self.docs),
        ]

    def route(self, answer: Callable[[Request], Awaitable[Response]]) -> Callable[[Request], Awaitable[Response]]:
        """An answer whose request is done with in the end, an upload's file too."""

        async def answered(request: Request) -> Response:
            try:
                return await answer(request)
            finally:
                await request.close()

        return answered

    @asynccontextmanager
    async def lifespan(self, app: Starlette) -> AsyncIterator[None]:
        """What works while the server does: the thread that answers, and what looks after the index."""
        # A new filter takes a second for 100,000 images, in which those who ask without one are answered all the same.
        self._batchers: dict[bool, Batcher[Question, Reply]] = {
            filtered: Batcher(self._answering, most=self._answering.most, waiting=WAITING, seen=self.meters.batch)
            for filtered in (False, True)
        }
        looking = asyncio.create_task(self._keep_looking())
        try:
            yield
        finally:
            looking.cancel()
            with suppress(asyncio.CancelledError):
                await looking
            for batcher in self._batchers.values():
                await asyncio.to_thread(batcher.close)
            self._decoders.shutdown(cancel_futures=True)

    async def _keep_looking(self) -> None:
        while True:
            try:
                await asyncio.to_thread(self._resident.refresh)
                await asyncio.to_thread(overview.world, self._resident.snapshot)  # no request is to wait for it
            except Exception:  # it is looked at again, whatever was the matter
                logging.getLogger("uvicorn.error").exception("the index could not be looked at")
            await asyncio.sleep(self._look)

    async def index(self, request: Request) -> Response:
        """The page."""
        return self._file("index.html")

    async def page(self, request: Request) -> Response:
        """A file of the page."""
        return self._file(request.path_params["name"])

    def _file(self, name: str) -> Response:
        if name not in self._files:
            raise HTTPException(404, "the page has no such file")
        content, kind = self._files[name]
        return Response(content, media_type=kind, headers={"Cache-Control": "no-cache"})

    async def about(self, request: Request) -> Response:
        """What the index is."""
        return Answer(await asyncio.to_thread(overview.about, self._resident))

    async def map(self, request: Request) -> Response:
        """Where the images lie."""
        text = await asyncio.to_thread(overview.world_text, self._resident.snapshot)
        return Response(text, media_type="application/json")

    async def image(self, request: Request) -> Response:
        """A small picture."""
        given = request.query_params
        side = uploads.number(dict(given), "side", 96)
        if side not in SIDES:
            raise HTTPException(400, f"side must be a whole number from {SIDES[0]} to {SIDES[-1]}")
        found = await asyncio.to_thread(self._thumbnails.get, given.get("path", ""), int(side))
        headers = {"ETag": found.tag, "Cache-Control": "private, max-age=60"}
        if request.headers.get("if-none-match") == found.tag:
            return Response(status_code=304, headers=headers)
        return Response(found.jpeg, media_type="image/jpeg", headers=headers)

    async def search(self, request: Request) -> Response:
        """The nearest images."""
        fields = await uploads.fields_of(request)
        question = uploads.question_of(fields)
        reply = await self._asked(question, uploads.picture_of(fields))
        return Answer(await asyncio.to_thread(replies.found_of, reply, question))

    async def embed(self, request: Request) -> Response:
        """The embedding of a picture."""
        picture = uploads.picture_of(await uploads.fields_of(request))
        if picture is None:
            raise HTTPException(400, "send a form (multipart/form-data) with a field `image`")
        reply = await self._asked(Question(), picture)
        return Answer({"point": reply.point.tolist(), "uncertainty": reply.uncertainty})

    async def _asked(self, question: Question, picture: UploadFile | None) -> Reply:
        if picture is not None:
            if self._decoding >= WAITING:
                raise Full(f"{WAITING} pictures wait already; ask again in a while")
            self._decoding += 1
            try:
                view = await asyncio.get_running_loop().run_in_executor(
                    self._decoders, uploads.view_of, picture, self._resident.model
                )
            finally:
                self._decoding -= 1
            question = replace(question, view=view)
        return await self._batchers[bool(question.where)].ask(question)

    async def queue(self, request: Request) -> Response:
        """What the model is least sure of."""
        limit = uploads.number(dict(request.query_params), "limit", 200)
        if limit != int(limit) or not 1 <= limit <= overview.MOST_QUEUED:
            raise HTTPException(400, f"limit must be a whole number from 1 to {overview.MOST_QUEUED:,}")
        items = await asyncio.to_thread(overview.queue, self._resident.snapshot, int(limit))
        return Answer({"items": items})

    async def healthz(self, request: Request) -> Response:
        """That the server is well, and what it is not well about."""
        snapshot, notices = self._resident.snapshot, self._resident.notices
        return Answer({"status": "ok", "count": len(snapshot.gallery), "changes": snapshot.changes, "notices": notices})

    async def metrics(self, request: Request) -> Response:
        """What was counted."""
        snapshot = self._resident.snapshot
        text = self.meters.text(
            {
                "hypjax_index_images": ("Images that are searched.", len(snapshot.gallery)),
                "hypjax_index_changes": ("How often the index was replaced.", snapshot.changes),
                "process_resident_memory_bytes": ("Memory of the process.", resident_bytes()),
            }
        )
        return Response(text, media_type="text/plain; version=0.0.4; charset=utf-8")

    async def openapi(self, request: Request) -> Response:
        """What the addresses are, for programs."""
        return Answer(openapi.DOCUMENT)

    async def docs(self, request: Request) -> Response:
        """The same for people."""
        return Response(openapi.page(), media_type="text/html", headers={"Content-Security-Policy": openapi.POLICY})
