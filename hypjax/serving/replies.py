"""Answers as they are sent: what was found, and what was not to be done, as JSON."""

from __future__ import annotations

import json
import math
from typing import Any

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from hypjax.serving import overview
from hypjax.serving.answering import Missing, Question, Reply
from hypjax.serving.batching import Full
from hypjax.stores import calibrations


class Answer(JSONResponse):
    """JSON of ASCII, in which names of files are whole that are no UTF-8."""

    def render(self, content: Any) -> bytes:
        """The content as bytes."""
        return json.dumps(content, allow_nan=False, separators=(",", ":")).encode("ascii")


def found_of(reply: Reply, question: Question) -> dict[str, Any]:
    """What a search found, as the page takes it."""
    answer, snapshot = reply.answer, reply.snapshot
    if answer is None:
        raise ValueError("nothing was searched for")
    word, known = answer.word, not math.isnan(reply.uncertainty)
    place = overview.place(snapshot, reply.point)
    return {
        "query": {
            "path": question.path or None,
            "uncertainty": reply.uncertainty if known else None,
            "x": place[0],
            "y": place[1],
        },
        "neighbors": [
            {"path": hit.path, "distance": hit.distance, "uncertainty": hit.uncertainty} for hit in answer.hits
        ],
        "p_wrong": word.probability if word else None,
        "given": word.given if word else None,
        "unlike": word.unlike if word and snapshot.calibrated else None,
        "higher": word.higher if word else "",
        "enough": word.enough if word else 0,
        "words": [*calibrations.told(word, len(snapshot.gallery))] if word else [],
        "changes": snapshot.changes,
    }


async def refused(request: Request, error: Exception) -> Response:
    """What who asked can mend, as one line."""
    if isinstance(error, HTTPException):
        headers = {**(error.headers or {})}
        return Answer({"error": " ".join(error.detail.split())}, error.status_code, headers)
    status = 503 if isinstance(error, Full) else 404 if isinstance(error, Missing) else 400
    headers = {"Retry-After": "1"} if status == 503 else {}
    return Answer({"error": " ".join(str(error).split()) or "the request was broken off"}, status, headers)


async def failed(request: Request, error: Exception) -> Response:
    """What nobody foresaw: who asked is told no more than that, the log has all of it."""
    return Answer({"error": "the server failed at this; its log says how"}, 500)
