"""What the addresses take and give: as an OpenAPI document, and as a page that needs no network."""

from __future__ import annotations

from functools import cache
from typing import Any

import hypjax
from hypjax.show import html

POLICY = html.POLICY
NUMBER, TEXT, TRUTH = {"type": "number"}, {"type": "string"}, {"type": "boolean"}
WHOLE = {"type": "integer"}


def _or_null(schema: dict[str, Any]) -> dict[str, Any]:
    return {**schema, "type": [schema["type"], "null"]}


def _many(schema: dict[str, Any]) -> dict[str, Any]:
    return {"type": "array", "items": schema}


def _object(**fields: dict[str, Any]) -> dict[str, Any]:
    return {"type": "object", "properties": fields}


def _told(schema: dict[str, Any], words: str) -> dict[str, Any]:
    return {**schema, "description": words}


def _parameter(name: str, schema: dict[str, Any], words: str, *, required: bool = False) -> dict[str, Any]:
    return {"name": name, "in": "query", "schema": schema, "description": words, "required": required}


def _answer(schema: dict[str, Any], kind: str = "application/json") -> dict[str, Any]:
    return {"description": "The answer.", "content": {kind: {"schema": schema}}}


def _refusals(*statuses: int) -> dict[str, Any]:
    said = {
        400: "Something asked for is out of range or cannot be read.",
        401: "The token is missing or another one.",
        404: "The index holds no such image.",
        408: "The body came too slowly.",
        413: "The body is too large.",
        415: "The upload is no picture of a known format, or has too many pixels.",
        503: "Too many ask at once; try again in a while.",
    }
    schema = _object(error=_told(TEXT, "One line."))
    return {
        str(status): {"description": said[status], "content": {"application/json": {"schema": schema}}}
        for status in statuses
    }


def _get(
    summary: str,
    schema: dict[str, Any],
    *parameters: dict[str, Any],
    kind: str = "application/json",
    open: bool = False,
) -> dict[str, Any]:
    refusals = _refusals(*([400] if parameters else []), *([] if open else [401]))
    told = {"summary": summary, "parameters": list(parameters), "responses": {"200": _answer(schema, kind), **refusals}}
    return {"get": {**told, "security": [] if open else [{"token": []}]}}


def _post(summary: str, words: str, schema: dict[str, Any], body: dict[str, Any]) -> dict[str, Any]:
    responses = {"200": _answer(schema), **_refusals(400, 401, 404, 408, 413, 415, 503)}
    return {
        "post": {"summary": summary, "description": words, "requestBody": {"content": body}, "responses": responses}
    }


_PICTURE = _told({"type": "string", "format": "binary"}, "A JPEG, PNG, WebP, GIF, BMP or TIFF file.")
_SEARCH = {
    "k": _told(WHOLE, "Neighbors, from 1 to 1,000; 10 by default."),
    "where": _told(TEXT, 'What a neighbor must fulfill: uncertainty < 0.4 and path like "2024/%".'),
    "risk": _told(NUMBER, "The share of answers that may be wrong, in (0, 1); needs a calibrated index."),
}
_CHANGES = _told(WHOLE, "Grows when the index has changed.")
_NOTICES = _told(_many(TEXT), "What is not well: of the index on the disk, and of its calibration.")
_FOUND = _object(
    query=_object(
        path=_or_null(TEXT),
        uncertainty=_or_null(NUMBER),
        x=_told(_or_null(NUMBER), "Its place on the map."),
        y=_or_null(NUMBER),
    ),
    neighbors=_many(_object(path=TEXT, distance=NUMBER, uncertainty=NUMBER)),
    p_wrong=_told(_or_null(NUMBER), "The chance that the first neighbor is of another class than the query."),
    given=_told(_or_null(TRUTH), "Whether the first neighbor is sure enough for the risk; null where none was named."),
    unlike=_told(_or_null(TRUTH), "Whether the index seems to hold nothing like the query."),
    higher=_told(TEXT, "What the query is surely of, where its class is not sure enough."),
    enough=_told(WHOLE, "So many neighbors probably hold the right class; 0 where no risk was named."),
    words=_told(_many(TEXT), "The same in words."),
    changes=_CHANGES,
)
_PATHS = {
    "/": _get("The page.", TEXT, kind="text/html", open=True),
    "/about": _get(
        "What the index is.",
        _object(
            run=TEXT,
            step=WHOLE,
            geometry=TEXT,
            curvature=_or_null(NUMBER),
            distance=TEXT,
            count=WHOLE,
            calibrated=TRUTH,
            risks=_many(NUMBER),
            proven=_told(_many(NUMBER), "Those of the risks that can be kept to."),
            promises=_told({"type": "object"}, "Of each risk, what is proven, as a line; none without a calibration."),
            levels=_told(_many(TEXT), "Of the hierarchy, finest first."),
            folder=TEXT,
            changes=_CHANGES,
            notices=_NOTICES,
        ),
    ),
    "/map": _get(
        "Where the images lie in the unit disk; at most 20,000 of them.",
        _object(
            paths=_many(TEXT),
            x=_many(NUMBER),
            y=_many(NUMBER),
            uncertainty=_many(NUMBER),
            levels=_many(_object(name=TEXT, names=_many(TEXT), codes=_many(WHOLE))),
        ),
    ),
    "/image": _get(
        "A small picture of an indexed image.",
        {"type": "string", "format": "binary"},
        _parameter("path", TEXT, "As the index has it.", required=True),
        _parameter("side", WHOLE, "The longer side, from 16 to 1,024 pixels; 96 by default."),
        kind="image/jpeg",
    ),
    "/search": _post(
        "The nearest images.",
        "By one of: a picture; a point, as /embed gives it; the path of an indexed image, which does not find itself. "
        "The other fields may stand in the address too.",
        _FOUND,
        {
            "multipart/form-data": {"schema": _object(image=_PICTURE, **_SEARCH)},
            "application/json": {
                "schema": _object(
                    vector=_many(NUMBER),
                    uncertainty=_told(NUMBER, "Of the vector, as /embed gives it; without it nothing is judged."),
                    path=TEXT,
                    **_SEARCH,
                )
            },
        },
    ),
    "/embed": _post(
        "The embedding of a picture.",
        "A point of the geometry, and how uncertain the model is of the picture.",
        _object(point=_many(NUMBER), uncertainty=NUMBER),
        {"multipart/form-data": {"schema": _object(image=_PICTURE)}},
    ),
    "/queue": _get(
        "The images that the model is least sure of, least sure first.",
        _object(items=_many(_object(path=TEXT, label=TEXT, uncertainty=NUMBER, p_wrong=_or_null(NUMBER)))),
        _parameter("limit", WHOLE, "So many at most, from 1 to 1,000; 200 by default."),
    ),
    "/healthz": _get(
        "That the server is well, and what it is not well about.",
        _object(status=TEXT, count=WHOLE, changes=_CHANGES, notices=_NOTICES),
        open=True,
    ),
    "/metrics": _get("What was counted, for Prometheus.", TEXT, kind="text/plain"),
}
DOCUMENT = {
    "openapi": "3.1.0",
    "info": {
        "title": "hypjax serve",
        "version": hypjax.__version__,
        "description": "Searches an index of embedded pictures. Errors are JSON of one line. Where the server was "
        "started with a token, each request bears it: Authorization: Bearer TOKEN.",
    },
    "components": {"securitySchemes": {"token": {"type": "http", "scheme": "bearer"}}},
    "security": [{"token": []}],
    "paths": _PATHS,
}


@cache
def page() -> str:
    """The document as HTML."""
    info: Any = DOCUMENT["info"]
    body = [f"<h1>{html.text(info['title'])}</h1>", f'<p class="lead">{html.text(info["description"])}</p>']
    for path, methods in _PATHS.items():
        for method, told in methods.items():
            body += _section(f"{method.upper()} {path}", told)
    return html.document("hypjax serve", body)


def _section(title: str, told: dict[str, Any]) -> list[str]:
    parts = [f"<h2><code>{html.text(title)}</code></h2>", f"<p>{html.text(told['summary'])}</p>"]
    if "description" in told:
        parts.append(f"<p>{html.text(told['description'])}</p>")
    if told.get("parameters"):
        rows = [[f"?{one['name']}=", _kind(one["schema"]), one["description"]] for one in told["parameters"]]
        parts.append(html.table(["parameter", "is", "says"], rows))
    for kind, held in told.get("requestBody", {}).get("content", {}).items():
        parts += [f"<p>Takes {html.text(kind)}:</p>", _fields(held["schema"])]
    for status, answer in told["responses"].items():
        for kind, held in answer["content"].items() if status == "200" else ():
            parts += [f"<p>Gives {html.text(kind)}{':' if 'properties' in held['schema'] else '.'}</p>"]
            parts += [_fields(held["schema"])] if "properties" in held["schema"] else []
    refusals = [[status, one["description"]] for status, one in told["responses"].items() if status != "200"]
    return parts + ([html.details("Errors", html.table(["status", "says"], refusals))] if refusals else [])


def _fields(schema: dict[str, Any]) -> str:
    rows = [[name, _kind(field), field.get("description", "")] for name, field in schema["properties"].items()]
    return html.table(["field", "is", "says"], rows)


def _kind(schema: dict[str, Any]) -> str:
    """A schema in a few words.

    Examples:
      >>> _kind({"type": "array", "items": {"type": ["number", "null"]}})
      'list of number or null'
    """
    if schema["type"] == "array":
        return f"list of {_kind(schema['items'])}"
    if schema["type"] == "object":
        fields = schema.get("properties", {})
        return "{" + ", ".join(f"{name}: {_kind(field)}" for name, field in fields.items()) + "}"
    kinds = schema["type"] if isinstance(schema["type"], list) else [schema["type"]]
    return "file" if schema.get("format") == "binary" else " or ".join(kinds)
