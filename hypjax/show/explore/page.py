"""The disk that one can walk in as a page: one file, nothing loaded from elsewhere."""

from __future__ import annotations

import io
import json
import re
from collections.abc import Callable, Mapping
from functools import cache
from importlib import resources
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from hypjax.show import html
from hypjax.show.explore.world import evenly

MODULES = ("geometry", "colors", "paint", "places", "view", "thumbnails", "frame", "disk", "controls", "explorer",
           "standalone")  # fmt: skip
FILES = resources.files("hypjax.show.explore")


class Part(NamedTuple):
    """The disk as a part of a page.

    Attributes:
      body: HTML, with the world in it as data that no browser runs.
      script: that fills it.
      style: of its elements.
    """

    body: str
    script: str
    style: str


def page(world: Mapping[str, Any], *, title: str = "Embeddings in the Poincaré disk") -> str:
    """A whole page that shows a world.

    Args:
      world: from `world`; with `neighbors`, indices [n, k], the selected point is joined to its nearest; with
        `thumbnails`, from `thumbnails`, there are pictures.
      title: of the page.
    """
    shown = part(world)
    lead = (
        f"{len(world['paths']):,} pictures; {world['how']}. Where points stand in a narrow ring, distances from the "
        "origin are drawn apart in their order, until the true radius is asked for."
    )
    body = [f"<h1>{html.text(title)}</h1>", f'<p class="lead">{html.text(lead)}</p>', shown.body]
    return html.document(title, body, style=shown.style, script=shown.script)


def part(world: Mapping[str, Any]) -> Part:
    """What shows a world within a page; as `page`."""
    data = json.dumps(world, separators=(",", ":")).replace("<", "\\u003c")
    body = f'<div id="explorer" class="disk"></div>\n<script type="application/json" id="world">{data}</script>'
    return Part(body, script(), FILES.joinpath("disk.css").read_text(encoding="utf-8"))


def thumbnails(
    image: Callable[[int], np.ndarray | None], count: int, *, most: int = 400, side: int = 48
) -> dict[str, Any]:
    """Small pictures of some points, evenly chosen, on one sheet.

    Args:
      image: gives the pixels uint8 [h, w, 3] of a point, or None.
      count: of points.
      most: pictures.
      side: of each, in pixels.

    Returns:
      What JSON can hold: `sheet`, a JPEG as the address of data; `side`; `columns` of the sheet; `of`, their points.
    """
    found = [(index, pixels) for index in evenly(count, most).tolist() if (pixels := image(index)) is not None]
    columns = max(1, round(len(found) ** 0.5))
    sheet = Image.new("RGB", (side * columns, side * max(1, -(-len(found) // columns))), "white")
    for number, (_, pixels) in enumerate(found):
        tile = Image.fromarray(pixels)
        tile.thumbnail((side, side), Image.Resampling.LANCZOS)
        left, top = side * (number % columns), side * (number // columns)
        sheet.paste(tile, (left + (side - tile.width) // 2, top + (side - tile.height) // 2))
    file = io.BytesIO()
    sheet.save(file, "JPEG", quality=80)
    shown = html.image_data(file.getvalue(), "jpeg")
    return {"sheet": shown, "side": side, "columns": columns, "of": [index for index, _ in found]}


@cache
def script() -> str:
    """The modules as one script."""
    parts = [FILES.joinpath(f"{name}.js").read_text(encoding="utf-8") for name in MODULES]
    joined = re.sub(r"^import [^;]*;\n|^export (?=function|class|const)", "", "\n".join(parts), flags=re.MULTILINE)
    return f'(() => {{\n"use strict";\n{joined}\nstandalone();\n}})();'
