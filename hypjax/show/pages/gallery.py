"""The gallery of a search: each query beside what it finds, thumbnails written into the page."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from os import PathLike
from typing import NamedTuple

import numpy as np
from PIL import Image

from hypjax.data import atomic
from hypjax.data.places import as_path
from hypjax.show import html

SIDE = 224  # pixels of a thumbnail's longer side: sharp at twice the width it is shown at


class Found(NamedTuple):
    """One query and its neighbors.

    Attributes:
      query: its name.
      uncertainty: its uncertainty, in [0, 1].
      image: gives its pixels uint8 [h, w, 3], or None where there is no image any more.
      names: of the neighbors, nearest first.
      distances: to them.
      uncertainties: theirs.
      images: give their pixels.
    """

    query: str
    uncertainty: float
    image: Callable[[], np.ndarray | None]
    names: Sequence[str]
    distances: Sequence[float]
    uncertainties: Sequence[float]
    images: Sequence[Callable[[], np.ndarray | None]]


def gallery(path: str | PathLike[str], searches: Sequence[Found], *, title: str, caption: str) -> None:
    """Writes the page.

    Args:
      path: where it goes.
      searches: the queries with what they found; their images are asked for one at a time.
      title: of the page.
      caption: a line below it.
    """
    body = [
        f"<h1>{html.text(title)}</h1>",
        f'<p class="lead">{html.text(caption)}</p>',
        '<p class="muted">d is the distance to the query in the geometry of the model, nearest first; u is an image\'s '
        "own uncertainty, from 0, certain, to 1.</p>",
        *(search(found) for found in searches),
    ]
    atomic.write_text(as_path(path), html.document(f"{title} – hypjax", body))


def search(found: Found) -> str:
    """One query and its neighbors as HTML."""
    neighbors = [
        picture(image(), name, f"<b>d {distance:.3f}</b> · u {uncertainty:.3f}", number)
        for number, (name, distance, uncertainty, image) in enumerate(
            zip(found.names, found.distances, found.uncertainties, found.images, strict=True), 1
        )
    ]
    query = picture(found.image(), found.query, f"query · <b>u {found.uncertainty:.3f}</b>")
    return (
        f'<section class="search">\n<div class="query">{query}</div>\n'
        f'<div class="found">\n{"".join(neighbors)}</div>\n</section>'
    )


def picture(pixels: np.ndarray | None, name: str, values: str, number: int | None = None) -> str:
    """A thumbnail with its values and its name below; the values are HTML.

    Args:
      pixels: uint8 [h, w, 3], or None for a file that is gone.
      name: of the file.
      values: to stand below the image.
      number: its rank, if it has one.
    """
    if pixels is None:
        frame = "the file is not there"
    else:
        frame = f'<img src="{html.image_data(thumbnail(pixels), "jpeg")}" alt="{html.text(name)}">'
    rank = "" if number is None else f"{number}. "
    breakable = html.text(name).replace("/", "/<wbr>")
    return (
        f'<div class="picture"><div class="frame">{frame}</div>{rank}{values}'
        f'<span class="path">{breakable}</span></div>\n'
    )


def thumbnail(pixels: np.ndarray, side: int = SIDE) -> bytes:
    """A small JPEG of an image uint8 [h, w, 3], its longer side of so many pixels, never larger than the image."""
    image = Image.fromarray(pixels)
    image.thumbnail((side, side), Image.Resampling.LANCZOS)
    file = io.BytesIO()
    image.save(file, "JPEG", quality=85)
    return file.getvalue()
