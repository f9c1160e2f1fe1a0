"""A gallery that is kept for many searches, exact ones."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Array, Float, Int

from hypjax.geometry import Manifold
from hypjax.retrieval.lift import is_cosine, require_finite, require_search
from hypjax.retrieval.products import Products


class Neighbors(NamedTuple):
    """What a search finds.

    Attributes:
        indices: Rows of the gallery int64 [n, k], nearest first; equal distances keep the lower row first.
        distances: Their distances float64 [n, k].
    """

    indices: Int[np.ndarray, "n k"]
    distances: Float[np.ndarray, "n k"]


class Index:
    """A gallery to be searched, exactly, for the nearest points in its geometry.

    Example:
        >>> from hypjax.geometry import Poincare
        >>> gallery = np.array([[0.0, 0.0], [0.9, 0.0], [0.0, 0.3]], np.float32)
        >>> index = Index(gallery, Poincare(1.0))
        >>> found = index.search(np.array([[0.1, 0.1]], np.float32), k=2)
        >>> found.indices.tolist(), found.distances.round(3).tolist()
        ([[0, 2]], [[0.285, 0.469]])

    Args:
        points: Points [m, .] of the manifold, float32 or float64. They are not copied.
        manifold: `Poincare`, `Lorentz`, `Euclidean` or `Sphere`.
        distance: `geodesic`; on the sphere also `cosine`, 1 − ⟨x, y⟩ of the unit vectors.

    Raises:
        ValueError: An unknown name, no point, or as `lift_gallery`.
    """

    def __init__(
        self, points: Float[Array | np.ndarray, "m d"], manifold: Manifold, *, distance: str = "geodesic"
    ) -> None:
        cosine = is_cosine(distance, manifold)
        if len(points) == 0:
            raise ValueError("an index needs at least one point")
        self.points = np.asarray(points)
        require_finite(self.points)
        self._products = Products(self.points, manifold, cosine=cosine)
        self._products.keep()

    def __len__(self) -> int:
        return len(self.points)

    def search(
        self,
        queries: Float[Array | np.ndarray, "n d"],
        k: int,
        *,
        exclude: Int[Array | np.ndarray, "n"] | None = None,
    ) -> Neighbors:
        """Find the k nearest points of each query, in the order of their exact distances.

        Args:
            queries: Points of the same manifold.
            k: Neighbors for each query, 1 ≤ k ≤ the points left to it.
            exclude: For each query a row that must not be found, −1 for none.

        Returns:
            Rows and distances, nearest first.

        Raises:
            ValueError: k is out of range, there is no query, or as `lift_gallery`.
        """
        queries, excluded = require_search(queries, k, exclude, self.points.shape)
        return Neighbors(*self._products.nearest(queries, k, excluded, index=np.int64, distance=np.float64))
