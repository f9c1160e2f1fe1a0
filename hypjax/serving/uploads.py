"""What a request asks, read from what it sends; whatever cannot be read is an error of one line."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
from starlette.datastructures import UploadFile
from starlette.exceptions import HTTPException
from starlette.requests import Request

from hypjax.data.decode import decode
from hypjax.data.errors import DataError
from hypjax.run.trained import Trained
from hypjax.serving.answering import UNKNOWN, Question

# Tried in turn on the bytes themselves; what a request says that it sends does not matter.
FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF")
MOST_NEIGHBORS = 1_000
FIELD = 2**16  # bytes of a form's field that is no file
DOCUMENT = 2**20  # bytes of a JSON document


async def fields_of(request: Request) -> dict[str, Any]:
    """The fields of a form, or the keys of a JSON object, and the parameters of the address that these lack.

    Raises:
      HTTPException: it is neither, or a damaged one.
    """
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind in ("multipart/form-data", "application/x-www-form-urlencoded"):
        try:
            sent: Any = dict(await request.form(max_files=1, max_fields=8, max_part_size=FIELD))
        except (ValueError, KeyError) as error:  # of a header of a part
            raise HTTPException(400, "the form is damaged") from error
    elif kind == "application/json":
        sent = document(await body_of(request))
    else:
        raise HTTPException(415, "send a form (multipart/form-data) with a field `image`, or a JSON object")
    return {**request.query_params, **sent}


async def body_of(request: Request) -> bytes:
    """A body that is no picture.

    Raises:
      HTTPException: it is too large for one.
    """
    body = bytearray()
    async for part in request.stream():
        body += part
        if len(body) > DOCUMENT:
            raise HTTPException(413, f"a JSON document has at most {DOCUMENT:,} bytes here")
    return bytes(body)


def document(body: bytes) -> dict[str, Any]:
    """A JSON object.

    Raises:
      HTTPException: it is none.
    """
    try:
        held = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise HTTPException(400, "the body is no JSON document") from error
    if not isinstance(held, dict):
        raise HTTPException(400, "the body is no JSON object")
    return held


def picture_of(fields: dict[str, Any]) -> UploadFile | None:
    """The uploaded picture, if there is one.

    Raises:
      HTTPException: `image` is no file.
    """
    image = fields.get("image")
    if image is not None and not isinstance(image, UploadFile):
        raise HTTPException(400, "the field `image` holds no file")
    return image


def view_of(upload: UploadFile, model: Trained) -> np.ndarray:
    """What a model sees of an uploaded picture.

    Raises:
      HTTPException: it does not decode, is of another format, or would have too many pixels.
    """
    try:
        image = decode(upload.file.read(), name="the upload", shorter_side=model.shorter_side, formats=FORMATS)
    except DataError as error:
        raise HTTPException(415, str(error).partition("; --config")[0]) from error
    return model.view(image)


def question_of(fields: dict[str, Any]) -> Question:
    """What is asked, but for an uploaded picture.

    Raises:
      HTTPException: a field out of range, or not one of `image`, `vector` and `path`.
    """
    if sum(fields.get(name) is not None for name in ("image", "vector", "path")) != 1:
        raise HTTPException(400, "send one of: image, vector, path")
    path, where = (fields.get(name) or "" for name in ("path", "where"))
    if not isinstance(path, str) or not isinstance(where, str):
        raise HTTPException(400, "path and where are texts")
    if fields.get("path") == "":
        raise HTTPException(404, "the index holds no image ''")
    k = number(fields, "k", 10)
    if k != int(k) or not 1 <= k <= MOST_NEIGHBORS:
        raise HTTPException(400, f"k must be a whole number from 1 to {MOST_NEIGHBORS:,}")
    risk = number(fields, "risk", UNKNOWN)
    if not np.isnan(risk) and not 0 < risk < 1:
        raise HTTPException(400, "risk must lie in (0, 1)")
    uncertainty = number(fields, "uncertainty", UNKNOWN)
    if not np.isnan(uncertainty) and not 0 <= uncertainty <= 1:
        raise HTTPException(400, "uncertainty must lie in [0, 1]")
    point = None if fields.get("vector") is None else vector(fields["vector"])
    return Question(None, point, uncertainty, path, int(k), where, None if np.isnan(risk) else risk)


def number(fields: dict[str, Any], name: str, otherwise: float) -> float:
    """A field as a number; `otherwise` where it is missing or empty.

    Raises:
      HTTPException: it is none.
    """
    given = fields.get(name)
    if given in (None, ""):
        return otherwise
    try:
        if isinstance(given, bool) or not np.isfinite(value := float(given)):
            raise ValueError
    except (TypeError, ValueError, OverflowError):
        raise HTTPException(400, f"{name} must be a number") from None
    return value


def vector(given: Any) -> np.ndarray:
    """A point as it was sent, float32 [.].

    Raises:
      HTTPException: it is no list of finite numbers.
    """
    if not isinstance(given, list) or not all(type(value) in (int, float) for value in given):
        raise HTTPException(400, "vector must be a list of numbers, the point as /embed gives it")
    with np.errstate(over="ignore"):
        try:
            point = np.array(given, np.float64).astype(np.float32)
        except OverflowError:
            point = np.array([np.inf], np.float32)
    if not len(point) or not np.isfinite(point).all():
        raise HTTPException(400, "vector must hold finite numbers")
    return point
