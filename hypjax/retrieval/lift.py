"""The Lorentz lift and its like: vectors whose inner products order points as their distances do.

    hyperbolic   −cosh(√c d) = ⟨(−t', s'), (t, s)⟩,  t = (1 + c‖x‖²)/(1 − c‖x‖²),  s = 2√c x/(1 − c‖x‖²)
    Euclidean    (‖x'‖² − d²)/2 = ⟨(−1, x'), (‖x‖²/2, x)⟩,  and so on the sphere, where d is the chord

So an index for inner products, such as a vector database, serves every geometry. In float32 the lift loses digits: at
radius ρ its products are e^{2ρ} and cancel. What it finds is to be measured again; `hypjax.retrieval.Index` does.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Array, Float, Int

from hypjax.geometry import Euclidean, Lorentz, Manifold, Sphere
from hypjax.geometry.manifold import HYPERBOLIC

FLAT = (Euclidean, Sphere)


class Flattened(NamedTuple):
    """Points as factors of float64, with which their distance grows with (‖b' − b‖² + e' + e) a' a.

    Attributes:
        scale: Of coordinates, b = scale · x; on the sheet x is the space part [n].
        stretch: a [n].
        excess: e: 0; of the zero vector under the cosine, which is at a right angle to all, 1; inf where a coordinate
            is not finite [n].
    """

    scale: Float[np.ndarray, "n"]
    stretch: Float[np.ndarray, "n"]
    excess: Float[np.ndarray, "n"]


def lift_gallery(points: Float[Array | np.ndarray, "m d"], manifold: Manifold) -> Float[np.ndarray, "m d1"]:
    """Lift points so that their inner product with a lifted query is largest for the nearest.

    (t, s) in hyperbolic space, (‖x‖²/2, x) elsewhere; see above.

    Example:
        >>> from hypjax.geometry import Poincare
        >>> points = np.array([[0.0, 0.0], [0.5, 0.0]], np.float32)
        >>> lifted = lift_gallery(points, Poincare(1.0))
        >>> cosh = -lift_queries(points, Poincare(1.0)) @ lifted.T  # of the distance
        >>> np.arccosh(cosh[0].astype(float)).round(3).tolist()
        [0.0, 1.099]

    Args:
        points: Of the manifold: ball, sheet (time first), flat space or unit sphere.
        manifold: One of these four.

    Returns:
        Vectors [m, D + 1], D the dimension of the space (on the sphere: of the unit vectors).

    Raises:
        ValueError: Another manifold, a curvature that is not positive, points that are not finite or not inside the
            ball.
    """
    require_finite(points)
    return lift(points, manifold).astype(np.float32)


def lift_queries(points: Float[Array | np.ndarray, "n d"], manifold: Manifold) -> Float[np.ndarray, "n d1"]:
    """Lift queries to what `lift_gallery` makes of the gallery: (−t, s) in hyperbolic space, (−1, x) elsewhere.

    Args:
        points: Of the manifold.
        manifold: As in `lift_gallery`.

    Returns:
        Vectors [n, D + 1].

    Raises:
        ValueError: As `lift_gallery`.
    """
    lifted = lift_gallery(points, manifold)
    lifted[:, 0] = -lifted[:, 0] if isinstance(manifold, HYPERBOLIC) else -1
    return lifted


def require_finite(points: Float[Array | np.ndarray, "n d"]) -> None:
    """Checks that all coordinates are finite.

    Raises:
        ValueError: Some are not.
    """
    if not np.isfinite(points).all():
        raise ValueError("points must be finite; some are not")


def is_cosine(distance: str, manifold: Manifold) -> bool:
    """Whether a distance by name is the cosine's and not the geodesic one.

    Raises:
        ValueError: An unknown name, or one that this manifold does not have.
    """
    if distance != "geodesic" and not (distance == "cosine" and isinstance(manifold, Sphere)):
        raise ValueError(f"distance {distance!r} of {manifold} has no inner product; use retrieval.knn")
    return distance == "cosine"


def require_search(
    queries: Float[Array | np.ndarray, "n d"],
    k: int,
    exclude: Int[Array | np.ndarray, "n"] | None,
    shape: tuple[int, int],
) -> tuple[Float[np.ndarray, "n d"], Int[np.ndarray, "n"]]:
    """Checks a search of an index of this shape.

    Returns:
        Queries, and for each the row that must not be found, −1 for none.

    Raises:
        ValueError: As `Index.search`.
    """
    queries = np.asarray(queries)
    excluded = np.full(len(queries), -1) if exclude is None else np.asarray(exclude)
    available = shape[0] - bool((excluded >= 0).any())
    if len(queries) == 0 or queries.shape[1] != shape[1]:
        raise ValueError(f"queries of shape {queries.shape} for an index of shape {shape}")
    if not 1 <= k <= available:
        raise ValueError(f"k={k} neighbors asked for, but each query has {available} points to choose from")
    require_finite(queries)
    return queries, excluded


def lift(points: Float[Array | np.ndarray, "m d"], manifold: Manifold, *, cosine: bool = False) -> np.ndarray:
    """What `lift_gallery` gives, in float64; (inf, 0) where a coordinate is not finite."""
    scale, stretch, excess = flatten(points, manifold, cosine=cosine)
    base = scale[:, None] * coordinates(points, manifold)
    lost = np.isinf(excess)
    base[lost] = 0
    if isinstance(manifold, HYPERBOLIC):
        first, rest = 2 * stretch - 1, 2 * stretch[:, None] * base
    else:
        first, rest = (np.einsum("ij,ij->i", base, base) + excess) / 2, base
    return np.concatenate([np.where(lost, np.inf, first)[:, None], rest], axis=1)


def coordinates(points: Float[Array | np.ndarray, "m d"], manifold: Manifold) -> Float[np.ndarray, "m D"]:
    """The coordinates x that a scale belongs to, as they are."""
    return np.asarray(points)[:, 1:] if isinstance(manifold, Lorentz) else np.asarray(points)


def flatten(points: Float[Array | np.ndarray, "m d"], manifold: Manifold, *, cosine: bool = False) -> Flattened:
    """The factors of points, in float64.

    Args:
        points: Of the manifold.
        manifold: One of four.
        cosine: On the sphere, vectors of any length that are compared by their angle.

    Raises:
        ValueError: As `lift_gallery`, but for points that are not finite.
    """
    if not isinstance(manifold, HYPERBOLIC + FLAT):
        raise ValueError(f"no inner product orders the points of {manifold}; use retrieval.knn")
    x = coordinates(points, manifold).astype(np.float64)
    square = np.einsum("ij,ij->i", x, x)
    finite = np.isfinite(points).all(axis=1)
    excess, one = np.where(finite, 0.0, np.inf), np.ones(len(x))
    square[~finite] = 0
    if not isinstance(manifold, HYPERBOLIC):
        zero = finite & (square == 0)
        return (
            Flattened(1 / np.sqrt(np.where(square > 0, square, 1)), one, excess + zero)
            if cosine
            else Flattened(one, one, excess)
        )
    c = float(np.asarray(manifold.c))
    if isinstance(manifold, Lorentz):
        stretch = (1 + np.sqrt(1 + c * square)) / 2
        return Flattened(np.sqrt(c) / (2 * stretch), stretch, excess)
    gap = 1 - c * square
    if (gap <= 0).any():
        raise ValueError(f"points must lie inside the ball of radius 1/√c = {1 / np.sqrt(c):.4g}; some do not")
    return Flattened(np.sqrt(c) * one, 1 / gap, excess)
