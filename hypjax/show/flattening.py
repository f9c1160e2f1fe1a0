"""Points of many dimensions in a plane: at their own radius, at a projected angle."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Array, Float, Int


class Flattening(NamedTuple):
    """How points come into the plane, later ones like those that it was made for.

    Attributes:
      how: `as they are`, `angle` (each keeps its norm, its direction is projected) or `projected` (orthogonally).
      axes: of the plane [2, d].
    """

    how: str
    axes: np.ndarray

    def __call__(self, points: Float[Array | np.ndarray, "n d"]) -> np.ndarray:
        """Places [n, 2] of points [n, d]."""
        points = np.asarray(points, np.float64)
        if self.how == "as they are":
            return np.pad(points, ((0, 0), (0, 2 - points.shape[1])))
        flat = points @ self.axes.T
        if self.how == "projected":
            return flat
        norms = np.linalg.norm(points, axis=1)
        return norms[:, None] * flat / np.maximum(np.linalg.norm(flat, axis=1), 1e-12 * norms + 1e-300)[:, None]


def flattening(
    points: Float[Array | np.ndarray, "n d"], group: Int[Array | np.ndarray, "n"], *, spherical: bool = False
) -> Flattening:
    """The plane of the first two principal components of the groups' mean directions, each as heavy as its group.

    Args:
      points: at least one. Of one or two dimensions they stay as they are.
      group: of each point.
      spherical: whether all norms agree, so that the norm says nothing and points are projected orthogonally.
    """
    points = np.asarray(points, np.float64)
    if points.shape[1] <= 2:
        return Flattening("as they are", np.eye(2)[:, : points.shape[1]])
    norms = np.linalg.norm(points, axis=1)
    directions = points / np.maximum(norms, 1e-12)[:, None]
    return Flattening("projected" if spherical else "angle", _plane_of_groups(directions, np.asarray(group)))


def _plane_of_groups(directions: np.ndarray, group: np.ndarray) -> np.ndarray:
    """First two principal axes [2, d] of the groups' mean directions, each as heavy as its group."""
    groups, place, sizes = np.unique(group, return_inverse=True, return_counts=True)
    if len(groups) > 2:
        sums = np.zeros((len(groups), directions.shape[1]))
        np.add.at(sums, place, directions)
        rows = np.sqrt(sizes)[:, None] * (sums / sizes[:, None] - directions.mean(axis=0))
    else:
        rows = directions - directions.mean(axis=0)
    return np.linalg.svd(rows, full_matrices=len(rows) < 2)[2][:2]
