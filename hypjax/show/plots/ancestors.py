"""A known tree in the Poincaré disk: images, classes and ancestors, geodesics along the tree, entailment cones."""

import itertools
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Array, Float, Int
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from matplotlib.patches import Polygon

from hypjax.geometry import Poincare, cones, poincare
from hypjax.show.flattening import Flattening, flattening
from hypjax.show.plots import style
from hypjax.show.plots.disk import rings

STEPS = 24  # places of a geodesic that are joined by lines


def ancestors(
    points: Float[Array | np.ndarray, "n d"],
    paths: Int[Array | np.ndarray, "n levels"],
    level_names: Sequence[str],
    names: Sequence[str],
    *,
    c: ArrayLike,
    k: float = 0.1,
    title: str = "A known tree in the disk",
    ax: Axes | None = None,
) -> Figure:
    """Draw images in the Poincaré disk with the tree that they belong to.

    A node, a class or an ancestor, lies at the midpoint of its images. Dots are images, thin lines the geodesics from
    each node to its parent, disks the ancestors, larger higher up; the shaded cones are the entailment cones of the
    topmost ones (see `geometry.cones`). Points and nodes keep their own radius, hence their true distance from the
    origin; of more than two dimensions angles are projected as in `disk`, and geodesics and cones are those of the
    drawn places [ours]. What the caption says is of all dimensions: how many images lie in the cone of the ancestor on
    each level, and in how many pairs of a node and its parent the parent lies nearer the origin.

    Args:
        points: Of the ball of curvature −c, ‖x‖ < 1/√c.
        paths: Class of each image and its ancestors, the nearest first, as ids; one or more levels.
        level_names: What the levels are called, the classes' first.
        names: Of the topmost level's nodes, by id; of more than nine the smaller ones share gray.
        c: Curvature.
        k: Of the cones.
        title: Title of a new figure.
        ax: Where to draw; in a new figure by default.

    Raises:
        ValueError: there are no points, or points outside the ball.
    """
    points, paths, c = np.asarray(points), np.asarray(paths), float(np.asarray(c))
    if not len(points):
        raise ValueError("there are no points to draw")
    farthest = float(np.linalg.norm(points, axis=1).max())
    if not farthest * np.sqrt(c) < 1 + 1e-6:
        raise ValueError(f"a point of norm {farthest:.6g} lies outside the ball of radius {1 / np.sqrt(c):.6g}")
    plane = flattening(points, paths[:, -1])
    rows, legend = style.largest_groups(paths[:, -1], names)
    palette = [*style.COLORS[: len(legend)], style.OTHER]
    levels = [_level(points, column, c) for column in paths.T]
    caption = _caption(points, levels, level_names, c, k, plane)
    figure, (ax,) = style.panels(ax, 1, (9.6, 8.6), title, caption=caption)
    extent = rings(ax, farthest, c)
    _draw(ax, points, levels, np.array(palette)[rows], plane, c, k)
    ax.set(xlim=(-1.02 * extent, 1.02 * extent), ylim=(-1.02 * extent, 1.02 * extent), aspect="equal")
    for name, color in zip(legend, palette, strict=False):
        ax.scatter([], [], s=40, color=color, label=style.shorten(name, 24))
    ax.legend(loc="upper left", bbox_to_anchor=(0.97, 1), handletextpad=0.1, borderaxespad=0, title=level_names[-1])
    return figure


class _Level(NamedTuple):
    """Nodes of a level: their midpoints [m, d], the node of each image [n], an image of each node [m]."""

    midpoints: np.ndarray
    of_image: np.ndarray
    first: np.ndarray


def _level(points: np.ndarray, ids: np.ndarray, c: float) -> _Level:
    """The nodes of some ids, at their images' `weighted_midpoint`, which is the centroid on the Lorentz sheet."""
    _, first, of_image = np.unique(ids, return_index=True, return_inverse=True)
    points = points.astype(np.float64)
    gap = 1 - c * np.square(points).sum(axis=1)
    lifted = np.column_stack([2 / gap - 1, 2 * points / gap[:, None]])
    sums = np.zeros((len(first), lifted.shape[1]))
    np.add.at(sums, of_image, lifted)
    time, space = sums[:, :1], sums[:, 1:]
    length = np.sqrt(np.square(time) - c * np.square(space).sum(axis=1, keepdims=True))
    return _Level(space / (time + length), of_image, first)


def _draw(
    ax: Axes, points: np.ndarray, levels: Sequence[_Level], colors: np.ndarray, plane: Flattening, c: float, k: float
) -> None:
    top = levels[-1]
    for node, outline in zip(top.first, _cones(plane(top.midpoints), c, k), strict=True):
        ax.add_patch(Polygon(outline, facecolor=(colors[node], 0.1), edgecolor=(colors[node], 0.4), zorder=0.7))
    x, y = plane(points).T
    ax.scatter(x, y, s=4, c=colors, alpha=0.55, linewidths=0, zorder=1)
    for number, (below, lines) in enumerate(zip(levels, _branches(levels, plane, c), strict=False)):
        look: dict[str, Any] = {"linewidths": 0.5 + 0.6 * number, "alpha": 0.5, "zorder": 2}
        ax.add_collection(LineCollection(list(lines), colors=list(colors[below.first]), **look))
    for number, level in enumerate(levels):
        x, y = plane(level.midpoints).T
        size = (7, 45, 170, 320)[min(number, 3)]
        edge = style.ink(0)
        ax.scatter(x, y, s=size, c=colors[level.first], linewidths=0.4, edgecolors=[edge], zorder=3 + number)


def _branches(levels: Sequence[_Level], plane: Flattening, c: float) -> list[np.ndarray]:
    """For each level but the topmost the geodesics [m, steps, 2] from its places to those of the parents."""
    pairs = list(itertools.pairwise(levels))
    if not pairs:
        return []
    starts = [plane(below.midpoints) for below, _ in pairs]
    ends = [plane(above.midpoints[above.of_image[below.first]]) for below, above in pairs]
    lines = _geodesics(np.concatenate(starts), np.concatenate(ends), c)
    return np.split(lines, np.cumsum([len(start) for start in starts])[:-1])


def _geodesics(start: np.ndarray, end: np.ndarray, c: float) -> np.ndarray:
    """Places [m, steps, 2] of the geodesics between places [m, 2]."""
    times = jnp.linspace(0, 1, STEPS)[:, None]
    lines = _between(times, *(jnp.asarray(side, jnp.float32) for side in (start, end)), c)
    return np.swapaxes(np.asarray(lines), 0, 1)


@jax.jit
def _between(times, start, end, c):
    return poincare.geodesic(times, start[None], end[None], c=c)


def _cones(places: np.ndarray, c: float, k: float) -> list[np.ndarray]:
    """The outline [·, 2] of the cone at each place: its two sides, and the rim between them."""
    outlines = []
    for left, right in np.asarray(_sides(jnp.asarray(places, jnp.float32), c, k)):
        start, end = np.unwrap([np.arctan2(*side[-1][::-1]) for side in (right, left)]).tolist()
        along = np.linspace(start, end, 2 * STEPS)
        rim = np.linalg.norm(right[-1]) * np.stack([np.cos(along), np.sin(along)], axis=1)
        outlines.append(np.concatenate([left, rim[::-1], right[::-1]]))
    return outlines


@jax.jit
def _sides(apexes, c, k):
    """The geodesics [m, 2, steps, 2] that leave apexes [m, 2] at the half-aperture on either side, to the rim."""
    space = Poincare(c)
    width = cones.half_aperture(space, apexes, k=k)
    angles = jnp.arctan2(apexes[:, 1], apexes[:, 0])[:, None] + jnp.stack([-width, width], axis=1)
    # exp takes vectors of the ball's own coordinates: a hyperbolic length is λ times theirs.
    lengths = jnp.linspace(0, 12, 4 * STEPS)[None] / (jnp.sqrt(c) * poincare.conformal_factor(apexes, c=c)[:, None])
    vectors = lengths[:, None, :, None] * jnp.stack([jnp.cos(angles), jnp.sin(angles)], axis=-1)[:, :, None, :]
    return space.expmap(jnp.broadcast_to(apexes[:, None, None], vectors.shape), vectors)


@jax.jit
def _inside(apexes, points, c, k):
    """Which points [n, d] lie in the cones of their apexes [levels, n, d]."""
    space = Poincare(c)
    return cones.exterior_angle(space, apexes, points[None]) <= cones.half_aperture(space, apexes, k=k)


def _caption(
    points: np.ndarray, levels: Sequence[_Level], level_names: Sequence[str], c: float, k: float, plane: Flattening
) -> str:
    apexes = np.stack([level.midpoints[level.of_image] for level in levels])
    inside = np.asarray(_inside(jnp.asarray(apexes, jnp.float32), jnp.asarray(points, jnp.float32), c, k)).mean(axis=1)
    shares = ", ".join(f"of their {name} {share:.0%}" for name, share in zip(level_names, inside, strict=True))
    flat = plane.how == "as they are"
    angle = "" if flat else ", angles projected"
    lines = [
        f"{len(points)} images in the Poincaré disk of curvature −{c:.3g}{angle}; nodes at the midpoints of their "
        "images, joined by geodesics.",
        f"Images that lie within the cone (K = {k:g}) {shares}"
        + ("." if flat else f": in all {points.shape[1]} dimensions; drawn are cones of the places in the disk."),
    ]
    above = []
    for (below, level), name in zip(itertools.pairwise(levels), level_names[1:], strict=True):
        radius = [np.linalg.norm(side.midpoints, axis=1) for side in (level, below)]
        parent = level.of_image[below.first]
        several = np.bincount(parent)[parent] > 1  # an only child is where its parent is
        if several.any():
            nearer = np.mean(radius[0][parent][several] < radius[1][several])
            above.append(f"{nearer:.0%} of those with a {name}")
    if above:
        told = ", ".join(above)
        lines.append(f"Pairs of a node and a parent of several whose parent lies nearer the origin: {told}.")
    return "\n".join(lines)
