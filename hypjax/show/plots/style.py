"""One look for all pictures, for whom it suits: colors safe for the color-blind, quiet axes; and a picture as a file.

What draws takes the look that is set where it is called, light or dark; `matplotlib.rc_context(style.RC)` around it,
and around the writing, gives that of the programs.
"""

import io
import warnings
from collections.abc import Sequence
from os import PathLike
from typing import Any

import numpy as np
from matplotlib import font_manager, rcParams
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from PIL import Image

from hypjax.data import atomic
from hypjax.data.places import as_path

INK, MUTED, FAINT = "#22262b", "#6b7280", "#d9dce1"
RIGHT, WRONG = "#0072b2", "#d55e00"

# Paul Tol's "muted" scheme: told apart with any color vision; gray is left for "other".
COLORS = ("#332288", "#cc6677", "#117733", "#ddaa33", "#88ccee", "#882255", "#44aa99", "#999933", "#aa4499")
OTHER = "#9aa0a8"

# Where DejaVu Sans has no letter, the first of these that the system has and that knows it.
SCRIPTS = (
    "Noto Sans CJK JP",
    "Noto Sans CJK SC",
    "Arial Unicode MS",
    "Hiragino Sans",
    "Microsoft YaHei",
    "Malgun Gothic",
)

RC: Any = {
    "font.family": ["DejaVu Sans", *(name for name in SCRIPTS if name in font_manager.get_font_names())],
    "font.size": 9,
    "text.color": INK,
    "axes.edgecolor": MUTED,
    "axes.labelcolor": INK,
    "axes.labelsize": 9,
    "axes.titlesize": 10,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": FAINT,
    "grid.linewidth": 0.6,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "xtick.labelsize": 8,
    "ytick.labelsize": 8,
    "legend.fontsize": 8,
    "legend.edgecolor": "none",
    "legend.framealpha": 0.8,
    "lines.linewidth": 1.6,
    "savefig.dpi": 150,
    "savefig.facecolor": "white",
}


class Sheet(Figure):
    """A figure that notebooks show when a cell ends with it, whether or not pyplot is there; they keep 256 colors."""

    def _repr_png_(self) -> bytes:
        whole, small = io.BytesIO(), io.BytesIO()
        _write(self, whole, dpi="figure")
        Image.open(whole).convert("RGB").quantize().save(small, "png", optimize=True)
        return small.getvalue()


def ink(strength: float | int = 1) -> tuple[float, float, float]:
    """The color of text in the style that is set, in parts of red, green and blue; at 0 that of the background."""
    text, paper = (np.array(to_rgb(rcParams[key])) for key in ("text.color", "axes.facecolor"))
    red, green, blue = (strength * text + (1 - strength) * paper).tolist()
    return red, green, blue


def panels(
    axes: Axes | Sequence[Axes] | np.ndarray | None,
    count: int,
    size: tuple[float, float],
    title: str = "",
    *,
    caption: str = "",
    columns: int | None = None,
    **layout: Any,
) -> tuple[Figure, list[Axes]]:
    """As many of the given axes as there are panels; else those of a new figure, which no window has to close.

    Its size is in inches, its title stands above and its caption below, its panels stand side by side, or as many of
    them as there are columns; `Figure.subplots` takes the rest. None of this touches a figure whose axes are given.

    Raises:
        ValueError: the given axes are too few.
    """
    if axes is not None:
        given = np.ravel(np.array(axes, object))
        if len(given) < count:
            raise ValueError(f"{count} panels need as many axes, got {len(given)}")
        return given[0].get_figure(root=True), given[:count].tolist()
    figure, columns = Sheet(figsize=size), columns or count
    figure.set_layout_engine("constrained", w_pad=0.08, h_pad=0.08)
    look: Any = {"x": 0.01, "ha": "left", "parse_math": False}
    if title:
        figure.suptitle(title, fontsize=13, fontweight="bold", **look)
    if caption:
        figure.supxlabel(caption, fontsize=8, color=ink(0.65), **look)
    grid = figure.subplots(-(-count // columns), columns, squeeze=False, **layout).ravel()
    for spare in grid[count:]:
        spare.remove()
    return figure, grid[:count].tolist()


def save(picture: Figure, path: str | PathLike[str]) -> None:
    """Write a PNG that is either whole or not there, making its folder where needed.

    A letter that no font has is drawn as a box, without a word.
    """
    with atomic.writing(as_path(path)) as file:
        _write(picture, file)


def _write(picture: Figure, file: Any, **options: Any) -> None:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing from")
        picture.savefig(file, format="png", **options)


def plain(axes: Axes) -> None:
    """Leave nothing of an axes but what is drawn into it."""
    axes.set_axis_off()
    axes.grid(False)


def shorten(name: str, length: int) -> str:
    """Cut a name to a length, saying so.

    Example:
        >>> shorten("smiling face with heart-eyes", 12)
        'smiling fac…'
    """
    return name if len(name) <= length else name[: length - 1].rstrip() + "…"


def largest_groups(group, names):
    """Renumber groups as rows of the legend; beyond one for each color, and a gray one, the smaller become "other"."""
    groups, place, sizes = np.unique(group, return_inverse=True, return_counts=True)
    if len(groups) <= len(COLORS) + 1:
        return place, [names[g] for g in groups]
    kept = np.sort(np.argsort(-sizes, kind="stable")[: len(COLORS)])
    row = np.full(len(groups), len(kept))
    row[kept] = np.arange(len(kept))
    return row[place], [*(names[g] for g in groups[kept]), f"{len(groups) - len(kept)} other groups"]
