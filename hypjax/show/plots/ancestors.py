"""A known tree in the Poincaré disk: images, classes and ancestors, geodesics along the tree, entailment cones."""

import itertools
from collections.abc import Sequence
from typing import NamedTuple

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
from hypjax.retrieval import class_midpoints
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
    plane, space = flattening(points, paths[:, -1]), Poincare(c)
    rows, legend = style.largest_groups(paths[:, -1], names)
    palette = [*style.COLORS[: len(legend)], style.OTHER]
    levels = [_level(points, column, space) for column in paths.T]
    caption = _caption(points, levels, level_names, space, k, plane)
    figure, (ax,) = style.panels(ax, 1, (9.6, 8.6), title, caption=caption)
    extent = rings(ax, farthest, c)
    _draw(ax, points, levels, np.array(palette)[rows], plane, space, k)
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


def _level(points: np.ndarray, ids: np.ndarray, space: Poincare) -> _Level:
    _, first, of_image = np.unique(ids, return_index=True, return_inverse=True)
    return _Level(np.asarray(class_midpoints(points, of_image, midpoint=space.midpoint)), of_image, first)


def _draw(
    ax: Axes,
    points: np.ndarray,
    levels: Sequence[_Level],
    colors: np.ndarray,
    plane: Flattening,
    space: Poincare,
    k: float,
) -> None:
    for node, apex in zip(levels[-1].first, plane(levels[-1].midpoints), strict=True):
        outline = _cone(apex, space, k)
        ax.add_patch(Polygon(outline, facecolor=(colors[node], 0.1), edgecolor=(colors[node], 0.4), zorder=0.7))
    x, y = plane(points).T
    ax.scatter(x, y, s=4, c=colors, alpha=0.55, linewidths=0, zorder=1)
    for number, (below, above) in enumerate(itertools.pairwise(levels)):
        parents = above.midpoints[above.of_image[below.first]]
        lines = list(_geodesics(plane(below.midpoints), plane(parents), float(np.asarray(space.c))))
        width = 0.5 + 0.6 * number
        ax.add_collection(
            LineCollection(lines, colors=list(colors[below.first]), linewidths=width, alpha=0.5, zorder=2)
        )
    for number, level in enumerate(levels):
        x, y = plane(level.midpoints).T
        size = (7, 45, 170, 320)[min(number, 3)]
        edge = style.ink(0)
        ax.scatter(x, y, s=size, c=colors[level.first], linewidths=0.4, edgecolors=[edge], zorder=3 + number)


def _geodesics(start: np.ndarray, end: np.ndarray, c: float) -> np.ndarray:
    """Places [m, steps, 2] of the geodesics between places [m, 2]."""
    times = jnp.linspace(0, 1, STEPS)[:, None]
    return np.swapaxes(np.asarray(_between(times, *(jnp.asarray(side, jnp.float32) for side in (start, end)), c)), 0, 1)


@jax.jit
def _between(times, start, end, c):
    return poincare.geodesic(times, start[None], end[None], c=c)


def _cone(place: np.ndarray, space: Poincare, k: float) -> np.ndarray:
    """The outline [·, 2] of the cone at a place: its two sides, and the rim between them."""
    apex = jnp.asarray(place, jnp.float32)
    outward = jnp.arctan2(apex[1], apex[0])
    angles = outward + cones.half_aperture(space, apex, k=k) * jnp.array([[-1.0], [1.0]])
    lengths = jnp.linspace(0, 12, 4 * STEPS) / jnp.sqrt(space.c)
    # exp takes vectors of the ball's own coordinates: a hyperbolic length is λ times theirs.
    vectors = (lengths / poincare.conformal_factor(apex, c=space.c))[None, :, None]
    sides = vectors * jnp.stack([jnp.cos(angles), jnp.sin(angles)], axis=-1)
    left, right = np.asarray(space.expmap(jnp.broadcast_to(apex, sides.shape), sides))
    start, end = np.unwrap([np.arctan2(*side[-1][::-1]) for side in (right, left)]).tolist()
    along = np.linspace(start, end, 2 * STEPS)
    rim = np.linalg.norm(right[-1]) * np.stack([np.cos(along), np.sin(along)], axis=1)
    return np.concatenate([left, rim[::-1], right[::-1]])


def _caption(
    points: np.ndarray,
    levels: Sequence[_Level],
    level_names: Sequence[str],
    space: Poincare,
    k: float,
    plane: Flattening,
) -> str:
    inside, above = [], []
    for level, name in zip(levels, level_names, strict=True):
        apexes = jnp.asarray(level.midpoints)[level.of_image]
        angles = cones.exterior_angle(space, apexes, jnp.asarray(points))
        share = float(jnp.mean(angles <= cones.half_aperture(space, apexes, k=k)))
        inside.append(f"of their {name} {share:.0%}")
    for (below, level), name in zip(itertools.pairwise(levels), level_names[1:], strict=True):
        radius = [np.asarray(space.dist0(jnp.asarray(side))) for side in (level.midpoints, below.midpoints)]
        above.append(f"{np.mean(radius[0][level.of_image[below.first]] < radius[1]):.0%} of those with a {name}")
    angle = "" if plane.how == "as they are" else ", angles projected"
    curvature = f"−{float(np.asarray(space.c)):.3g}"
    lines = [
        f"{len(points)} images in the Poincaré disk of curvature {curvature}{angle}; nodes at the midpoints of their "
        "images, joined by geodesics.",
        f"Images that lie within the cone (K = {k:g}) {', '.join(inside)}.",
    ]
    if above:
        lines.append(f"Pairs of a node and its parent whose parent lies nearer the origin: {', '.join(above)}.")
    return "\n".join(lines)
