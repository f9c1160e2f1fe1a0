"""Embeddings in the Poincaré disk, at their true distance from the origin."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Array, Float, Int
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Circle

from hypjax.show.flattening import flattening
from hypjax.show.plots import style


def disk(
    points: Float[Array | np.ndarray, "n d"],
    group: Int[Array | np.ndarray, "n"],
    group_names: Sequence[str],
    uncertainty: Float[Array | np.ndarray, "n"],
    *,
    c: ArrayLike | None,
    title: str = "Embeddings",
    axes: Sequence[Axes] | np.ndarray | None = None,
) -> Figure:
    """Draw embeddings in a disk, colored by group, uncertain ones larger and paler.

    In the ball of curvature −c the boundary lies at 1/√c and the rings at equal hyperbolic distances from the
    origin. A point keeps its own radius ‖x‖, hence its true distance; only its angle is a projection: that of
    its direction onto the plane of the first two principal components of the groups' mean directions [ours].
    Points with d = 2 are drawn as they are.

    Without curvature the radius is the Euclidean norm; where all norms agree (the sphere) the disk holds the
    orthogonal projection onto that plane. A new figure says which.

    Args:
        points: Points of the ball, ‖x‖ < 1/√c, or any points when c is None. Lorentz points go through
            `lorentz.to_poincare` first.
        group: Group of each point, an index into `group_names`.
        group_names: Names for the legend; of more than nine groups the smaller ones share gray.
        uncertainty: In [0, 1].
        c: Curvature of the ball, or None for Euclidean space and the sphere.
        title: Title of a new figure.
        axes: Two, for the disk and for the uncertainty of each group; those of a new figure by default.

    Raises:
        ValueError: there are no points, points outside the ball, or fewer than two axes.
    """
    points, group, uncertainty = np.asarray(points, np.float64), np.asarray(group), np.asarray(uncertainty)
    if len(points) == 0:
        raise ValueError("there are no points to draw")
    norms = np.linalg.norm(points, axis=1)
    c = None if c is None else float(np.asarray(c))
    if c is not None and not norms.max() * np.sqrt(c) < 1 + 1e-6:
        raise ValueError(f"a point of norm {norms.max():.6g} lies outside the ball of radius {1 / np.sqrt(c):.6g}")
    plane = flattening(points, group, spherical=c is None and norms.std() < 1e-3 * norms.mean())
    places = plane(points)
    group, names = style.largest_groups(group, group_names)
    color = np.array([*style.COLORS[: len(names)], style.OTHER])

    caption = _caption(plane.how, c, len(points))
    figure, (left, right) = style.panels(axes, 2, (11.0, 7.2), title, caption=caption, width_ratios=[2.15, 1])
    extent = rings(left, norms.max(), c)
    order = np.random.default_rng(0).permutation(len(places))  # so that no group lies on top of the others
    shade = _shade(uncertainty)
    (x, y), area = places[order].T, (10 + 60 * shade[order] ** 2) * np.clip(1500 / len(places), 0.35, 1.5)
    left.scatter(x, y, s=area, c=color[group[order]], alpha=0.9 - 0.65 * shade[order], linewidths=0)
    left.set(xlim=(-1.02 * extent, 1.02 * extent), ylim=(-1.02 * extent, 1.02 * extent), aspect="equal")
    _strips(right, uncertainty, group, names, color)
    return figure


def _shade(uncertainty):
    """Uncertainty spread over [0, 1] by its own range, since often only a part of the scale is used."""
    low, high = np.quantile(uncertainty, [0.02, 0.98])
    return np.clip((uncertainty - low) / max(high - low, 1e-9), 0, 1) if high > low else np.full(len(uncertainty), 0.5)


def rings(axes: Axes, farthest: float, c: float | None) -> float:
    """Draw rings of constant distance, and the boundary where there is one; returns the radius to show."""
    style.plain(axes)
    if c is None:
        extent = 1.05 * max(farthest, 1e-6)
        radii = distances = _steps(extent)
    else:
        extent = 1 / np.sqrt(c)
        distances = _steps(2 * np.arctanh(0.95) / np.sqrt(c))
        radii = np.tanh(np.sqrt(c) * distances / 2) / np.sqrt(c)
        rim = {"facecolor": style.ink(0.02), "edgecolor": style.ink(), "linewidth": 1.4, "zorder": 0}
        axes.add_patch(Circle((0, 0), extent, **rim))
    look: Any = {"fontsize": 7.5, "color": style.ink(0.65), "ha": "center", "va": "center", "zorder": 3}
    box: Any = {"boxstyle": "round,pad=0.15", "facecolor": style.ink(0), "edgecolor": "none", "alpha": 0.85}
    for distance, radius in zip(distances, radii, strict=True):
        axes.add_patch(Circle((0, 0), radius, fill=False, edgecolor=style.ink(0.15), linewidth=0.9, zorder=0.5))
        axes.text(radius * np.sin(0.22), radius * np.cos(0.22), f"{distance:g}", bbox=box, **look)
    axes.plot(0, 0, marker="+", color=style.ink(0.65), markersize=8, zorder=0.6)
    return extent


def _steps(farthest):
    """About five round distances up to the farthest."""
    rough = farthest / 5
    scale = 10.0 ** np.floor(np.log10(rough))
    step = scale * next(factor for factor in (1, 2, 2.5, 5, 10) if factor * scale >= rough * 0.85)
    return np.arange(1, int(farthest / step) + 1) * step


def _strips(axes: Axes, uncertainty, group, names, color):
    """A row for each group: its legend, and where its uncertainty lies."""
    rng = np.random.default_rng(1)
    for row, name in enumerate(names):
        values = uncertainty[group == row]
        some = rng.choice(values, min(len(values), 300), replace=False)
        axes.scatter(some, row + rng.uniform(-0.13, 0.13, len(some)), s=5, color=color[row], alpha=0.35, linewidths=0)
        low, middle, high = np.quantile(values, [0.1, 0.5, 0.9])
        axes.plot([low, high], [row, row], color=color[row], linewidth=2.5, solid_capstyle="round")
        axes.plot(middle, row, "o", color=color[row], markersize=8, markeredgecolor=style.ink(0))
        label = f"{style.shorten(name, 30)}  ({len(values)})"
        axes.text(0.0, row - 0.26, label, transform=axes.get_yaxis_transform(), color=color[row],
                  fontweight="bold", va="bottom", parse_math=False)  # fmt: skip
    axes.set(ylim=(len(names) - 0.5, -0.75), xlabel="uncertainty u  (dot: median, bar: 80 % of images)")
    axes.set_title("Uncertainty by group (images)", loc="left")
    axes.set_yticks([])
    axes.spines[["left", "top", "right"]].set_visible(False)


def _caption(how, c, count):
    if c is not None:
        text = f"{count} images in the Poincaré disk, curvature −{c:.3g}, "
        text += f"boundary at 1/√c = {1 / np.sqrt(c):.3g}. "
        text += "Rings: hyperbolic distance from the origin; every radius is exact."
    else:
        text = f"{count} images in flat coordinates, without curvature. "
        text += "Rings: distance from the origin" + (" in the projection." if how == "projected" else ".")
    text += "\nUncertain images are larger and paler. "
    plane = "the first two principal components of the groups' mean directions"
    explained = {
        "as they are": "The embeddings are two-dimensional and drawn as they are.",
        "projected": f"All norms agree, so points are projected onto {plane}.",
        "angle": f"Angles: directions projected onto {plane}.",
    }
    return text + explained[how]
