"""A tree over classes or images: a dendrogram on a ring, images at its leaves."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from jaxtyping import Array, Int, UInt8
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle

from hypjax.show.plots import style

MOST = 150  # leaves that a ring has room for
NAME = 23  # letters of a leaf's name
# In units of the ring's radius: how far the names reach, how much wider the legend needs it, the largest image.
EXTENT, LEGEND, IMAGE = 1.47, 0.3, 0.2
INCHES = 3.8  # of that radius


def tree(
    parent: Int[Array | np.ndarray, "nodes"],
    image: Callable[[int], UInt8[np.ndarray, "h w 3"]] | None,
    group: Int[Array | np.ndarray, "n"],
    group_names: Sequence[str],
    *,
    leaf_names: Sequence[str] | None = None,
    title: str = "Tree",
    caption: str = "",
    ax: Axes | None = None,
) -> Figure:
    """Draw a tree as a ring of leaves around its root, colored by known group.

    A leaf's image has a frame in the color of its group. A branch has the color of the group that most of its leaves
    belong to, the paler the smaller their majority: where tree and groups agree, branches are of one strong color,
    and a leaf of another color stands out. A node is the larger, and the nearer to the center, the more leaves are
    below it. Branches of one node are sorted by group, which a tree leaves open.

    Args:
        parent: Parent of each node, leaves first as node 0 … n − 1, a parent after its children, −1 for the root, which
            is last; such as `hypjax.retrieval.tree.Tree.parent`. Sixty leaves are easy to read: choose from a
            larger tree by `choose_leaves` and `hypjax.retrieval.tree.restrict`.
        image: Image of a leaf by its number, uint8 [h, w, 3], of any size; None for squares in the group's color.
        group: Known group of each leaf, an index into `group_names`.
        group_names: Names for the legend; of more than nine groups the smaller ones share gray.
        leaf_names: Name of each leaf; none by default.
        title: Title of a new figure.
        caption: What to add below a new figure, such as how the leaves were chosen or what the tree scores.
        ax: Where to draw; in a new figure by default.

    Raises:
        ValueError: there is no leaf or there are more than a ring has room for, or `parent` is no such tree.
    """
    parent, group = np.asarray(parent), np.asarray(group)
    n = len(group)
    if not 1 <= n <= MOST:
        raise ValueError(f"a ring holds 1 to {MOST} leaves, got {n}: choose_leaves and restrict make a tree smaller")
    _check(parent, n)
    row, names = style.largest_groups(group, group_names)
    below = _below(parent, row, len(names) + 1)
    angle = _angles(parent, below, n)
    size, radius = below.sum(axis=1), _radii(parent, below.sum(axis=1))
    color = np.array([to_rgb(c) for c in [*style.COLORS[: len(names)], style.OTHER]])
    tint = _tints(below, color)

    text = "Frame: known group of a leaf. Branch: the group most of its leaves belong to, paler where they are mixed. "
    text += "A node lies the farther out the fewer leaves and levels are below it.\n" + caption
    inches = INCHES * (2 * EXTENT + LEGEND), INCHES * 2 * EXTENT + 0.8
    figure, (ax,) = style.panels(ax, 1, inches, title, caption=text.rstrip())
    style.plain(ax)
    ax.set(xlim=(-EXTENT - LEGEND, EXTENT), ylim=(-EXTENT, EXTENT), aspect="equal")
    _branches(ax, parent, angle, radius, size, tint)
    _nodes(ax, angle[n:], radius[n:], size[n:], tint[n:])
    side = min(IMAGE, 0.78 * 2 * np.pi / n)  # not quite 1/√2 of a step on the wider ring of images: corners don't meet
    for leaf in range(n):
        name = "" if leaf_names is None else leaf_names[leaf]
        pixels = None if image is None else image(leaf)
        _leaf(ax, pixels, angle[leaf], side, color[row[leaf]], name, n)
    _legend(ax, row, names, color)
    return figure


def choose_leaves(
    groups: Int[Array | np.ndarray, "n levels"], *, most: int = 60, siblings: int = 4
) -> Int[np.ndarray, "k"]:
    """Leaves for a picture, chosen by the known hierarchy and not by the tree: as many from each topmost group.

    Of a topmost group those of its largest groups at the nearest level are taken, `siblings` of each, so that leaves
    that belong together are there to be seen. Without levels they are spread evenly; where there is room for all, all.

    Example:
        >>> choose_leaves(np.array([[0, 0], [0, 0], [0, 0], [1, 0], [2, 1]]), most=4, siblings=2).tolist()
        [0, 2, 4]

    Args:
        groups: Group of each leaf at each level, nearest first.
        most: Number of leaves, at most; of more topmost groups than that only the largest are there.
        siblings: Leaves of one group at the nearest level, at most.

    Returns:
        Indices of leaves, ascending.
    """
    groups = np.asarray(groups)
    if len(groups) <= most:
        return np.arange(len(groups))
    if groups.shape[1] == 0:
        return _spread(np.arange(len(groups)), most)
    tops = _by_size(groups[:, -1])[:most]
    chosen = [np.zeros(0, int)]
    for top in tops:
        inside = np.flatnonzero(groups[:, -1] == top)
        nearest = groups[inside, 0]
        ranked = np.concatenate([_spread(inside[nearest == g], siblings) for g in _by_size(nearest)])
        chosen.append(ranked[: most // len(tops)])
    return np.sort(np.concatenate(chosen))


def _by_size(ids):
    """The ids that occur, the most frequent first."""
    ids, counts = np.unique(ids, return_counts=True)
    return ids[np.argsort(-counts, kind="stable")]


def _spread(members, most):
    return members[np.unique(np.linspace(0, len(members) - 1, min(most, len(members))).round().astype(int))]


def _check(parent, n):
    nodes = np.arange(len(parent))
    above = parent[:-1]
    grown = len(parent) > 0 and parent[-1] == -1 and np.all(above > nodes[:-1]) and np.all(above < len(parent))
    if not grown or not np.array_equal(np.setdiff1d(nodes, above), np.arange(n)):
        raise ValueError(f"parent is no tree over {n} leaves, these first, each parent later, the root last: {parent}")


def _below(parent, row, rows):
    """Leaves of each group below each node [nodes, rows]."""
    below = np.zeros((len(parent), rows))
    below[np.arange(len(row)), row] = 1
    for node, above in enumerate(parent[:-1]):
        below[above] += below[node]
    return below


def _angles(parent, below, n):
    """Angle of each node: leaves in even steps around the ring, from the top, an inner node amid its branches."""
    # By the mean group rather than the largest: mixed branches come between those that they are a mixture of.
    place = below @ np.arange(below.shape[1]) / below.sum(axis=1)
    order = np.lexsort((-below.sum(axis=1), place))
    branches: list[list[int]] = [[] for _ in parent]
    for node in order.tolist():
        if parent[node] >= 0:
            branches[parent[node]].append(node)
    leaves, waiting = [], [len(parent) - 1]
    while waiting:
        node = waiting.pop()
        waiting.extend(reversed(branches[node]))
        if node < n:
            leaves.append(node)
    angle = np.zeros(len(parent))
    angle[leaves] = np.pi / 2 - 2 * np.pi * (np.arange(n) + 0.5) / n
    for node in range(n, len(parent)):
        ends = angle[branches[node]]
        angle[node] = (ends.min() + ends.max()) / 2
    return angle


def _radii(parent, size):
    """Radius of each node, 0 for the root and 1 for leaves: halfway between what leaves and levels below ask for."""
    depth, levels = np.zeros(len(parent)), np.zeros(len(parent))
    for node, above in enumerate(parent[:-1]):
        levels[above] = max(levels[above], levels[node] + 1)
    for node in range(len(parent) - 2, -1, -1):
        depth[node] = depth[parent[node]] + 1
    by_leaves = 1 - np.log(size) / np.log(max(size.max(), 2))
    return (by_leaves + depth / np.maximum(depth + levels, 1)) / 2


def _tints(below, color):
    """Color of each node [nodes, 3]: that of its largest group, the paler the smaller the majority."""
    share = below.max(axis=1) / below.sum(axis=1)
    strength = np.clip((share - 1 / 3) / (1 - 1 / 3), 0, 1)[:, None] ** 1.5
    return strength * color[below.argmax(axis=1)] + (1 - strength) * np.array(style.ink(0.15))


def _polar(radius, angle):
    return np.stack([radius * np.cos(angle), radius * np.sin(angle)])


def _branches(axes: Axes, parent, angle, radius, size, tint):
    """From each node straight inwards to where its parent is, then along the ring to it."""
    for node in np.argsort(-size[:-1], kind="stable").tolist():
        above = parent[node]
        turn = np.linspace(angle[node], angle[above], max(2, int(60 * abs(angle[node] - angle[above]))))
        x, y = np.concatenate([_polar(radius[[node]], angle[[node]]), _polar(radius[above], turn)], axis=1)
        axes.plot(x, y, color=tint[node], linewidth=1.1 + 0.5 * np.log2(size[node]), solid_capstyle="round", zorder=1)


def _nodes(axes: Axes, angle, radius, size, tint):
    x, y = _polar(radius, angle)
    axes.scatter(x, y, s=26 + 6 * size, c=tint, edgecolors=style.ink(0), linewidths=1.2, zorder=2)


def _leaf(axes: Axes, pixels, angle, side, color, name, n):
    center = _polar(1 + 0.7 * side, angle)
    left, bottom = center - side / 2
    if pixels is not None:
        axes.imshow(pixels, extent=(left, left + side, bottom, bottom + side), interpolation="antialiased", zorder=3)
    frame = {"fill": pixels is None, "facecolor": color, "edgecolor": color, "linewidth": 1.8, "joinstyle": "miter"}
    axes.add_patch(Rectangle((left, bottom), side, side, zorder=4, **frame))
    turned = np.degrees(angle) % 360
    flipped = 90 < turned < 270
    x, y = _polar(1 + 1.5 * side, angle)
    turn: Any = {"rotation": turned + 180 * flipped, "rotation_mode": "anchor", "ha": "right" if flipped else "left"}
    letters: Any = {"fontsize": float(np.clip(500 / n, 4.5, 8)), "va": "center", "parse_math": False}
    axes.text(x, y, style.shorten(name, NAME), **turn, **letters)


def _legend(axes: Axes, row, names, color):
    counts = np.bincount(row, minlength=len(names))
    marks = [Line2D([], [], marker="s", linestyle="", color=color[i], markersize=7) for i in range(len(names))]
    texts = [f"{style.shorten(name, 26)}  ({count})" for name, count in zip(names, counts, strict=True)]
    legend = axes.legend(marks, texts, loc="upper left", bbox_to_anchor=(0, 1), borderaxespad=0, handletextpad=0.2)
    for text in legend.get_texts():
        text.set_parse_math(False)
