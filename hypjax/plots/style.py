"""One look for all pictures: colors safe for the color-blind, quiet axes, figures that know no screen."""

import warnings
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib import font_manager
from matplotlib.axes import Axes
from matplotlib.figure import Figure

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
    "legend.frameon": False,
    "lines.linewidth": 1.6,
    "savefig.dpi": 150,
    "savefig.facecolor": "white",
}


def figure(width: float, height: float) -> Figure:
    """An empty figure of a size in inches, arranged by itself when saved; no window, no global state."""
    return Figure(figsize=(width, height), layout="constrained")


def save(picture: Figure, path: str | PathLike[str]) -> None:
    """Write a PNG, making its folder where needed; a letter that no font has is drawn as a box, without a word."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing from")
        picture.savefig(path, format="png")


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
