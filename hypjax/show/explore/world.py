"""A world to walk in: where points lie in the Poincaré disk, and what is known of them, as plain values."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import PurePosixPath
from typing import Any

import numpy as np

from hypjax.data.folder import read_folders
from hypjax.data.places import as_path
from hypjax.data.source import dense
from hypjax.geometry import name_of, radial
from hypjax.geometry import named as geometry_named
from hypjax.show.flattening import Flattening, flattening

FAR = 4.0  # of flat points nearly all lie within this hyperbolic distance of the origin
OUTERMOST = 1 - 1e-9  # radius
DIGITS = 6  # to which distances are kept

FOLDERS = {"folder 1": "top folder", "folder 2": "second folder", "folder 3": "third folder"}
HOW = {
    "as they are": "the embeddings are two-dimensional and lie as they are",
    "angle": "every distance from the origin is exact; angles are directions projected onto the first two principal "
    "components of the groups' mean directions",
    "projected": "all norms agree, so points are projected onto the first two principal components of group means",
}


def world(
    points: Any,
    paths: Sequence[str],
    uncertainty: Any,
    *,
    geometry: str,
    curvature: float | None,
    levels: Sequence[tuple[str, Sequence[Any]]] | None = None,
    limit: int = 20_000,
) -> dict[str, Any]:
    """Lays points out in the unit Poincaré disk.

    A point of hyperbolic space keeps its own distance from the origin, in units in which the curvature is −1: it lies
    at the radius √c‖x‖. Its angle is a projection, see `hypjax.show.flattening`. Without a curvature the disk shows
    flat space: norms (on the sphere, where all agree, those of an orthogonal projection) become hyperbolic distances
    from the origin, times one factor that brings 98 % of them within 4 [ours].

    Args:
      points: of the geometry [n, .], an array or whatever gives rows by indices.
      paths: of n files, or other names.
      uncertainty: in [0, 1] [n].
      geometry: `poincare`, `lorentz`, or any other, which is taken for flat coordinates; of several joined by +, see
        `hypjax.geometry.named`, the disk shows the first hyperbolic one, or flat one, or else the first.
      curvature: c > 0 of these two.
      levels: the hierarchy, finest first: a name, and the group of each point. By default the folders of the paths.
      limit: of more points so many are kept, evenly chosen.

    Returns:
      What JSON can hold: `paths`, `x`, `y`, `uncertainty`, `levels` (each with `name`, `names` of groups and `codes` of
      points), `geometry`, `curvature`, `how` they are laid out as a sentence, and `map`, which `place` needs.

    Raises:
      ValueError: there are no points, or not as many paths, uncertainties or groups of a level.
    """
    count = len(paths)
    if not 0 < count == len(uncertainty) == points.shape[0]:
        raise ValueError(
            f"{points.shape[0]} points, {count} paths, {len(uncertainty)} uncertainties; at least 1 of each"
        )
    if wrong := [f"{name} names {len(of)}" for name, of in levels or () if len(of) != count]:
        raise ValueError(f"a level names the group of each of {count} points, but {wrong[0]}")
    chosen = evenly(count, limit)
    kept = [paths[i] for i in chosen.tolist()]
    named = folders(kept) if levels is None else [(name, [of[i] for i in chosen.tolist()]) for name, of in levels]
    grouped = [(name, *dense(np.array(of, np.str_))) for name, of in named]
    rows, kind = _shown(np.asarray(points[chosen], np.float64), geometry)
    rows, flat = _in_ball(rows, kind, curvature), _is_flat(kind)
    norms = np.linalg.norm(rows, axis=1)
    group = grouped[-1][2] if grouped else np.arange(len(rows))
    plane = flattening(rows, group, spherical=flat and len(rows) > 1 and bool(norms.std() < 1e-3 * norms.mean()))
    scale = FAR / max(float(np.quantile(np.linalg.norm(plane(rows), axis=1), 0.98)), 1e-12) if flat else None
    told = {"how": plane.how, "axes": plane.axes.tolist(), "scale": scale}
    x, y = _places(rows, told).T
    of_part = "" if kind == geometry else f"of {geometry} the {kind} part is shown: "
    return {
        "paths": kept,
        "x": _rounded(x, x, y),
        "y": _rounded(y, x, y),
        "uncertainty": np.asarray(uncertainty, np.float64)[chosen].round(4).tolist(),
        "levels": [
            {"name": name, "names": [str(group) for group in groups], "codes": codes.tolist()}
            for name, groups, codes in grouped
        ],
        "geometry": geometry,
        "curvature": curvature,
        "how": of_part
        + (HOW[plane.how].replace("every distance", "every norm, up to one factor,") if flat else HOW[plane.how]),
        "map": told,
    }


def place(point: Any, world: Mapping[str, Any]) -> tuple[float, float]:
    """Where a further point of the geometry lies in the disk of a world.

    Args:
      point: of the same geometry [.].
      world: from `world`.
    """
    rows = _in_ball(*_shown(np.asarray(point, np.float64)[None], world["geometry"]), world["curvature"])
    ((x, y),) = _places(rows, world["map"]).tolist()
    return x, y


def evenly(count: int, most: int) -> np.ndarray:
    """At most so many of a number of points, evenly chosen, in order.

    Examples:
      >>> evenly(5, 3).tolist()
      [0, 2, 4]
    """
    return np.linspace(0, count - 1, min(count, most)).round().astype(int)


def folders(paths: Sequence[str]) -> list[tuple[str, list[str]]]:
    """The folders of paths as levels, finest first; none where all lie in one.

    Examples:
      >>> folders(["birds/owl/1.png", "birds/jay/1.png"])[0]
      ('class', ['birds/owl', 'birds/jay'])
      >>> folders(["birds/owl/1.png", "birds/jay/1.png"])[1]
      ('top folder', ['birds', 'birds'])
    """
    of = [PurePosixPath(path).parent.parts or (".",) for path in paths]
    if len(set(of)) < 2:
        return []
    found = read_folders(as_path("."), of)
    levels = [("class", found.class_names), *((FOLDERS.get(name, name), names) for name, names in found.levels)]
    return [(name, [names[label] for label in found.labels.tolist()]) for name, names in levels]


def _shown(points: np.ndarray, geometry: str) -> tuple[np.ndarray, str]:
    """What the disk shows of points of several spaces, and the name of that one; others as they are."""
    if "+" not in geometry:
        return points, geometry
    manifold, points = radial(geometry_named(geometry, 1.0), points)
    return points, name_of(manifold)


def _is_flat(geometry: str) -> bool:
    return geometry not in ("poincare", "lorentz")


def _in_ball(points: np.ndarray, geometry: str, curvature: float | None) -> np.ndarray:
    """Points of a hyperbolic space in the unit ball; others as they are."""
    if _is_flat(geometry):
        return points
    if curvature is None or not curvature > 0:
        raise ValueError(f"geometry {geometry!r} needs a curvature parameter c > 0, not {curvature}")
    root = math.sqrt(curvature)
    if geometry == "poincare":
        return root * points
    space = root * points[:, 1:]
    return space / (1 + np.sqrt(1 + np.square(space).sum(axis=1, keepdims=True)))


def _places(rows: np.ndarray, told: Mapping[str, Any]) -> np.ndarray:
    """Places [n, 2] in the unit disk of points that `_in_ball` gave."""
    places = Flattening(told["how"], np.array(told["axes"]))(rows)
    radius = np.linalg.norm(places, axis=1, keepdims=True)
    wanted = radius if told["scale"] is None else np.tanh(told["scale"] * radius / 2)
    return places * np.minimum(wanted, OUTERMOST) / np.maximum(radius, 1e-300)


def _rounded(values: np.ndarray, x: np.ndarray, y: np.ndarray) -> list[float]:
    """Coordinates with as many digits as their distance from the boundary asks for."""
    digits = DIGITS + np.ceil(-np.log10(1 - np.hypot(x, y))).astype(int)
    return [round(value, places) for value, places in zip(values.tolist(), digits.tolist(), strict=True)]
