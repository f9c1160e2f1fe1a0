"""Exact neighbors of any geometry through inner products, which any index of them can serve, FAISS for one.

The lift orders a gallery by inner products (see `hypjax.retrieval.lift`), but in float32 it loses digits. So an index
takes more candidates than asked for, measures them in float64 without cancellation, and knows by how much a product may
be wrong: as long as an item that is no candidate could still be among the k nearest, it takes more. The order is
therefore that of exact distances, whatever the radius [ours].
"""

import itertools
from collections.abc import Iterator
from importlib import import_module
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Array, Float, Int

from hypjax.geometry import Manifold, Sphere, numerics
from hypjax.retrieval.lift import HYPERBOLIC, flatten, lift_gallery, lift_queries
from hypjax.retrieval.neighbors import knn

SPARE = 32  # candidates beyond k at first
ROUNDING = 2.0**-24  # half a unit in the last place of float32, relative
BLOCK = 2**24  # float64 coordinates that are measured at a time
PAIRS = 2**22  # of a query and a candidate that are held at a time


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
        points: Points [m, .] of the manifold, float32.
        manifold: `Poincare`, `Lorentz`, `Euclidean` or `Sphere`.
        distance: `geodesic`; on the sphere also `cosine`, 1 − ⟨x, y⟩.
        backend: `faiss` for an IndexFlatIP, `arrays` for JAX, or `auto` for FAISS where it is installed. Both find
            the same; on a TPU the bound takes for granted that a product at the highest precision is a float32 one.

    Raises:
        ValueError: An unknown name, no point, or as `lift_gallery`.
        ImportError: FAISS is asked for and not installed.
    """

    def __init__(
        self,
        points: Float[Array | np.ndarray, "m d"],
        manifold: Manifold,
        *,
        distance: str = "geodesic",
        backend: str = "auto",
    ) -> None:
        if distance != "geodesic" and not (distance == "cosine" and isinstance(manifold, Sphere)):
            raise ValueError(f"distance {distance!r} of {manifold} has no inner product; use retrieval.knn")
        if backend not in ("auto", "faiss", "arrays"):
            raise ValueError(f"backend {backend!r} is unknown; there are: auto, faiss, arrays")
        if len(points) == 0:
            raise ValueError("an index needs at least one point")
        self.points = np.asarray(points, np.float32)
        self.manifold, self.distance = manifold, distance
        self._longest = 0.0
        faiss = None if backend == "arrays" else _faiss(required=backend == "faiss")
        self.backend = "arrays" if faiss is None else "faiss"
        lifted = self._lifted()
        self._candidates = _by_arrays(lifted, len(points)) if faiss is None else _by_faiss(faiss, lifted)

    def __len__(self) -> int:
        return len(self.points)

    def _lifted(self) -> Iterator[np.ndarray]:
        """The lifted points in blocks, since lifting takes several float64 copies; their greatest length on the way."""
        step = max(1, BLOCK // self.points.shape[1])
        for start in range(0, len(self.points), step):
            block = lift_gallery(self.points[start : start + step], self.manifold)
            self._longest = max(self._longest, float(np.linalg.norm(block.astype(np.float64), axis=1).max()))
            yield block

    def search(
        self,
        queries: Float[Array | np.ndarray, "n d"],
        k: int,
        *,
        exclude: Int[Array | np.ndarray, "n"] | None = None,
    ) -> Neighbors:
        """Find the k nearest points of each query, in the order of their exact distances.

        Args:
            queries: Points of the same manifold, float32.
            k: Neighbors for each query, 1 ≤ k ≤ the points left to it.
            exclude: For each query a row that must not be found, −1 for none.

        Returns:
            Rows and distances, nearest first.

        Raises:
            ValueError: k is out of range, there is no query, or as `lift_gallery`.
        """
        queries = np.asarray(queries, np.float32)
        n, m = len(queries), len(self.points)
        excluded = np.full(n, -1) if exclude is None else np.asarray(exclude)
        available = m - bool((excluded >= 0).any())
        if n == 0 or queries.shape[1] != self.points.shape[1]:
            raise ValueError(f"queries of shape {queries.shape} for an index of shape {self.points.shape}")
        if not 1 <= k <= available:
            raise ValueError(f"k={k} neighbors asked for, but each query has {available} points to choose from")
        lifted = lift_queries(queries, self.manifold)
        slack = self._slack(lifted)
        indices, distances = np.empty((n, k), np.int64), np.empty((n, k))
        todo = [(np.arange(n), k + SPARE)]
        while todo:
            pending, width = todo.pop()
            width = min(width, m)
            at_once = max(1, PAIRS // width)
            if len(pending) > at_once:
                todo.append((pending[at_once:], width))
                pending = pending[:at_once]
            rows, last = self._rows(lifted[pending], width)
            gap = self._gaps(queries[pending], rows)
            gap[rows == excluded[pending, None]] = np.inf
            order = np.lexsort((rows, gap), axis=1)[:, :k]
            nearest = np.take_along_axis(gap, order, axis=1)
            # The product of what is no candidate is at most `last`, give or take what rounding may have done to it.
            certain = self._product(queries[pending], nearest[:, -1]) > last + slack[pending]
            done = pending[certain]
            indices[done] = np.take_along_axis(rows, order, axis=1)[certain]
            distances[done] = self._distance(nearest[certain])
            if not certain.all():
                todo.append((pending[~certain], 4 * width))
        return Neighbors(indices, distances)

    def _rows(self, lifted: np.ndarray, width: int) -> tuple[np.ndarray, np.ndarray]:
        """Candidates [n, width] of each query, and the smallest of their products [n]; −inf when none is left out."""
        if width == len(self.points):
            return np.tile(np.arange(width), (len(lifted), 1)), np.full(len(lifted), -np.inf)
        return self._candidates(lifted, width)

    def _slack(self, lifted: np.ndarray) -> np.ndarray:
        """How far a float32 product may be off, its vectors rounded and summed in any order: (terms + 4) u ‖a‖‖b‖."""
        lengths = np.linalg.norm(lifted.astype(np.float64), axis=1)
        return 1.01 * (lifted.shape[1] + 4) * ROUNDING * lengths * self._longest

    def _gaps(self, queries: np.ndarray, rows: np.ndarray) -> np.ndarray:
        """Σ(b' − b)² a' a in float64 for the candidates [n, width] of each query: what every distance grows with."""
        base, stretch = flatten(queries, self.manifold)
        gaps = np.empty(rows.shape)
        step = max(1, BLOCK // self.points.shape[1])
        for i in range(len(rows)):
            for start in range(0, rows.shape[1], step):
                part = slice(start, start + step)
                others, stretches = flatten(self.points[rows[i, part]], self.manifold)
                gaps[i, part] = np.sum(np.square(others - base[i]), axis=1) * stretches * stretch[i]
        return gaps

    def _product(self, queries: np.ndarray, gap: np.ndarray) -> np.ndarray:
        """The exact inner product of lifted vectors that belongs to a gap."""
        if isinstance(self.manifold, HYPERBOLIC):
            return -1 - 2 * gap
        return (np.sum(np.square(queries.astype(np.float64)), axis=1) - gap) / 2

    def _distance(self, gap: np.ndarray) -> np.ndarray:
        if isinstance(self.manifold, HYPERBOLIC):
            return 2 / np.sqrt(float(np.asarray(self.manifold.c))) * np.arcsinh(np.sqrt(gap))
        if self.distance == "cosine":
            return gap / 2
        if isinstance(self.manifold, Sphere):
            return 2 * np.arcsin(np.minimum(np.sqrt(gap) / 2, 1))
        return np.sqrt(gap)


def _faiss(*, required: bool) -> Any:
    try:
        return import_module("faiss")
    except ImportError as error:
        if required:
            raise ImportError('faiss is not installed: pip install -e ".[search]"') from error
        return None


def _by_faiss(faiss: Any, lifted: Iterator[np.ndarray]):
    first = next(lifted)
    flat = faiss.IndexFlatIP(first.shape[1])
    for block in itertools.chain([first], lifted):
        flat.add(block)

    def candidates(queries, width):
        products, rows = flat.search(queries, width)
        return rows, products[:, -1].astype(np.float64)

    return candidates


def _by_arrays(blocks: Iterator[np.ndarray], count: int):
    first = next(blocks)
    lifted, done = np.empty((count, first.shape[1]), np.float32), 0
    for block in itertools.chain([first], blocks):
        lifted[done : done + len(block)] = block
        done += len(block)

    def candidates(queries, width):
        n = len(queries)
        # What is left for another round is any number of queries: few shapes, few compilations.
        padded = np.resize(queries, (1 << (n - 1).bit_length(), queries.shape[1]))
        rows, negative = knn(padded, lifted, k=width, distance=_negative_product)
        return np.asarray(rows, np.int64)[:n], -np.asarray(negative, np.float64)[:n, -1]

    return candidates


def _negative_product(x, y):
    return -numerics.matmul(x, y.T)
