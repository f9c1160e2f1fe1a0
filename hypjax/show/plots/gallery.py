"""Queries and what was found for them: the most certain and the least certain ones."""

import textwrap
from collections.abc import Callable, Sequence

import numpy as np
from jaxtyping import Array, Bool, Float, Int, UInt8
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from hypjax.show.plots import style

SYMBOLS = {True: "✓", False: "✗"}
# In image widths; the query stands a little apart, and two lines of a name fit below each image.
CELL_WIDTH, CELL_HEIGHT, NEIGHBORS_FROM, BADGE = 1.17, 1.62, 1.4, 0.21
INCHES = 0.8


def gallery(
    image: Callable[[int], UInt8[np.ndarray, "h w 3"]],
    neighbors: Int[Array | np.ndarray, "n k"],
    distances: Float[Array | np.ndarray, "n k"],
    labels: Int[Array | np.ndarray, "n"],
    uncertainty: Float[Array | np.ndarray, "n"],
    *,
    class_names: Sequence[str] | None = None,
    gallery_image: Callable[[int], UInt8[np.ndarray, "h w 3"]] | None = None,
    gallery_labels: Int[Array | np.ndarray, "m"] | None = None,
    valid: Bool[Array | np.ndarray, "n"] | None = None,
    rows: int = 7,
    title: str = "What is found",
    axes: Sequence[Axes] | np.ndarray | None = None,
) -> Figure:
    """Draw queries with their five nearest neighbors, the most certain on the left, the least on the right.

    A neighbor of the query's class has a blue frame and ✓, any other a thick orange one and ✗. Below the
    query stand its uncertainty u and its class, below a neighbor its distance d and, when it is wrong, its
    class. No class is queried twice on one side.

    Args:
        image: Image of a query by its index, uint8 [h, w, 3], of any size.
        neighbors: Gallery indices, nearest first; the first five are shown.
        distances: Their distances.
        labels: Labels of the queries.
        uncertainty: In [0, 1] for each query.
        class_names: Name of each label; the number itself by default.
        gallery_image: Image of a gallery item; that of a query by default.
        gallery_labels: Labels of the gallery; those of the queries by default.
        valid: Queries that may be shown, for example those with a right answer; all by default.
        rows: Queries on each side.
        title: Title of a new figure.
        axes: Two, for the most and for the least certain; those of a new figure by default.

    Raises:
        ValueError: no query may be shown, or there are fewer than two axes.
    """
    neighbors, distances = np.asarray(neighbors)[:, :5], np.asarray(distances)[:, :5]
    labels, uncertainty = np.asarray(labels), np.asarray(uncertainty)
    found = (labels if gallery_labels is None else np.asarray(gallery_labels))[neighbors]
    candidates = np.flatnonzero(np.ones(len(labels), bool) if valid is None else np.asarray(valid))
    if len(candidates) == 0:
        raise ValueError("no query may be shown: valid leaves none")
    order = candidates[np.argsort(uncertainty[candidates], kind="stable")]
    sides = {"Most certain": order, "Least certain": order[::-1]}
    shown = {side: _one_of_each_class(ranked, labels, rows) for side, ranked in sides.items()}
    across = NEIGHBORS_FROM + CELL_WIDTH * neighbors.shape[1]
    down = CELL_HEIGHT * max(map(len, shown.values()))

    def name(label):
        return str(label) if class_names is None else class_names[label]

    caption = "u: uncertainty of the query.   d: distance of the neighbor.   ✓ same class.   ✗ another class, named."
    size = INCHES * 2 * across + 0.2, INCHES * down + 0.95
    figure, places = style.panels(axes, 2, size, title, caption=caption)
    for ax, (side, ranked) in zip(places, sides.items(), strict=True):
        style.plain(ax)
        ax.set(xlim=(-0.06, across), ylim=(down, -0.06), aspect="equal", anchor="N")
        tenth = ranked[: -(-len(ranked) // 10)]
        right = np.mean(found[tenth, 0] == labels[tenth])
        ax.set_title(f"{side} queries  (of this tenth, {right:.0%} find their class first)", pad=4)
        for row, query in enumerate(shown[side].tolist()):
            top = row * CELL_HEIGHT
            _picture(ax, image(query), 0, top, style.ink(), 1.0)
            _below(ax, 0, top, f"u = {uncertainty[query]:.3f}", name(labels[query]), style.ink())
            for column, item in enumerate(neighbors[query].tolist()):
                place = (NEIGHBORS_FROM + column * CELL_WIDTH, top)
                right, text = found[query, column] == labels[query], f"d = {distances[query, column]:.2f}"
                _neighbor(ax, (gallery_image or image)(item), *place, bool(right), text, name(found[query, column]))
    return figure


def _one_of_each_class(ranked, labels, rows):
    first = np.sort(np.unique(labels[ranked], return_index=True)[1])
    return ranked[first[:rows]]


def _picture(axes: Axes, pixels, left, top, color, thickness):
    axes.imshow(pixels, extent=(left, left + 1, top + 1, top), interpolation="antialiased", zorder=1)
    frame = {"fill": False, "edgecolor": color, "linewidth": thickness, "joinstyle": "miter"}
    axes.add_patch(Rectangle((left, top), 1, 1, zorder=2, **frame))


def _neighbor(axes, pixels, left, top, right, text, name):
    color = style.RIGHT if right else style.WRONG
    _picture(axes, pixels, left, top, color, 1.6 if right else 2.6)
    corner = (left + 1 - BADGE, top)
    axes.add_patch(Rectangle(corner, BADGE, BADGE, facecolor=color, edgecolor=color, zorder=3))
    symbol = {"fontsize": 8, "fontweight": "bold", "ha": "center", "va": "center", "zorder": 4}
    axes.text(corner[0] + BADGE / 2, top + BADGE / 2, SYMBOLS[right], color="white", **symbol)
    _below(axes, left, top, text, "" if right else name, color)


def _below(axes, left, top, value, name, color):
    """Write a value below an image, and a name in at most two lines."""
    lines = textwrap.wrap(name, 15)
    if len(lines) > 2:
        lines = [lines[0], style.shorten(" ".join(lines[1:]), 15)]
    for i, (line, ink) in enumerate([(value, style.ink()), *((line, color) for line in lines)]):
        axes.text(left, top + 1.05 + 0.165 * i, line, fontsize=6.8, color=ink, va="top", parse_math=False)
