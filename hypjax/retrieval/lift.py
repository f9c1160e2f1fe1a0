"""The Lorentz lift and its like: vectors whose inner products order points as their distances do.

    hyperbolic   −cosh(√c d) = ⟨(−t', s'), (t, s)⟩,  t = (1 + c‖x‖²)/(1 − c‖x‖²),  s = 2√c x/(1 − c‖x‖²)
    Euclidean    (‖x'‖² − d²)/2 = ⟨(−1, x'), (‖x‖²/2, x)⟩,  and so on the sphere, where d is the chord

So an index for inner products, such as a vector database, serves every geometry. In float32 the lift loses digits: at
radius ρ its products are e^{2ρ} and cancel. What it finds is to be measured again; `hypjax.retrieval.Index` does.
"""

import numpy as np
from jaxtyping import Array, Float

from hypjax.geometry import Euclidean, Lorentz, Manifold, Poincare, Sphere

HYPERBOLIC, FLAT = (Poincare, Lorentz), (Euclidean, Sphere)


def lift_gallery(points: Float[Array | np.ndarray, "m d"], manifold: Manifold) -> Float[np.ndarray, "m d1"]:
    """Lift points so that their inner product with a lifted query is largest for the nearest.

    (t, s) in hyperbolic space, (‖x‖²/2, x) elsewhere; see above.

    Example:
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
    base, stretch = flatten(points, manifold)
    if isinstance(manifold, HYPERBOLIC):
        first, rest = 2 * stretch - 1, 2 * stretch[:, None] * base
    else:
        first, rest = np.sum(np.square(base), axis=1) / 2, base
    return np.concatenate([first[:, None], rest], axis=1).astype(np.float32)


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


def flatten(points, manifold: Manifold) -> tuple[np.ndarray, np.ndarray]:
    """Coordinates b and stretch a in float64 with which d is a growing function of ‖b − b'‖² a a'."""
    if not isinstance(manifold, HYPERBOLIC + FLAT):
        raise ValueError(f"no inner product orders the points of {manifold}; use retrieval.knn")
    x = np.asarray(points, np.float64)
    if not np.isfinite(x).all():
        raise ValueError("points must be finite; some are not")
    if not isinstance(manifold, HYPERBOLIC):
        return x, np.ones(len(x))
    c = float(np.asarray(manifold.c))
    if isinstance(manifold, Lorentz):
        space = np.sqrt(c) * x[:, 1:]
        stretch = (1 + np.sqrt(1 + np.sum(np.square(space), axis=1))) / 2
        return space / (2 * stretch[:, None]), stretch
    base = np.sqrt(c) * x
    gap = 1 - np.sum(np.square(base), axis=1)
    if (gap <= 0).any():
        raise ValueError(f"points must lie inside the ball of radius 1/√c = {1 / np.sqrt(c):.4g}; some do not")
    return base, 1 / gap
