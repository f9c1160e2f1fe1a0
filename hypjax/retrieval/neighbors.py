"""Exact nearest neighbors under any pairwise distance."""

from collections.abc import Callable, Iterator

import jax
import jax.numpy as jnp
import numpy as np
from jax.tree_util import Partial
from jaxtyping import Array, Float, Int

from hypjax.geometry import Euclidean, Lorentz, Manifold, Poincare, Sphere, sphere
from hypjax.retrieval.products import Products
from hypjax.retrieval.rows import Rows
from hypjax.retrieval.scan import SLAB, Slab, as_argument, merged, padded, rounded, scan
from hypjax.retrieval.selection import on_device
from hypjax.retrieval.shares import Blocks

GEODESICS = {kind.pairwise_dist for kind in (Poincare, Lorentz, Euclidean, Sphere)}


def knn(
    queries: Float[Array | np.ndarray, "n d"],
    gallery: Float[Array | np.ndarray, "m d"] | Rows | Blocks,
    *,
    k: int,
    distance: Callable[[Array, Array], Array],
    exclude: Int[Array | np.ndarray, "n"] | None = None,
) -> tuple[Int[Array | np.ndarray, "n k"], Float[Array | np.ndarray, "n k"]]:
    """Find the k nearest gallery items of every query, exactly.

    indices[i] = argsort_j distance(queries[i], gallery[j]) [:k],  without j = exclude[i]

    The distance of a manifold itself (`Poincare(c).pairwise_dist` and so on, `sphere.pairwise_cosine_distance`) is
    searched as `Index` does it, by inner products and measured in float64. Any other is computed for all pairs, of 128
    queries and a slab of 61,440 items at a time. Equal distances keep the lower gallery index first. A distance that is
    not finite ranks behind all others and is returned as inf. Compiled once for few shapes and each `distance` object,
    so pass the same callable again; of a `jax.tree_util.Partial`, other bound arrays compile nothing. Under
    transformations of JAX, all is computed and nothing measured again.

    Example:
        >>> points = jnp.array([[0.0], [1.0], [3.0], [3.5]])
        >>> indices, distances = knn(points, points, k=1, exclude=jnp.arange(4),
        ...                          distance=lambda x, y: jnp.abs(x - y.T))
        >>> indices[:, 0].tolist(), distances[:, 0].tolist()
        ([1, 0, 3, 2], [1.0, 1.0, 0.5, 0.5])

    Args:
        queries: Points [n, d] of any geometry.
        gallery: Points [m, d] of the same geometry, or `Rows` that give them; or `Blocks` of which several processes
            hold each a share: then all of them search, each for queries of its own, of which it may have none.
        k: Neighbors for each query, 1 ≤ k ≤ the gallery items left to it.
        distance: `(x [n, d], y [m, d]) -> [n, m]`.
        exclude: For each query the gallery index that must not be found, its own when queries are part of the
            gallery; −1 excludes nothing. By index, because duplicates of the query have distance 0 too.

    Returns:
        Gallery indices int32 [n, k] and distances [n, k], nearest first.

    Raises:
        ValueError: k is below 1 or above the number of available items, there is no query, or a point lies outside the
            ball.
    """
    n, m = len(queries), len(gallery)
    if n == 0 and not isinstance(gallery, Blocks):
        raise ValueError("there is no query to search for")
    available = m - _excludes_any(exclude)
    if not 1 <= k <= available:
        raise ValueError(f"k={k} neighbors asked for, but each query has {available} gallery items to choose from")
    distance = as_argument(distance)
    if any(isinstance(side, jax.core.Tracer) for side in (queries, gallery, exclude, *jax.tree.leaves(distance))):
        nobody = jnp.full(n, -1) if exclude is None else jnp.asarray(exclude)
        return on_device(jnp.asarray(queries), nobody, jnp.asarray(gallery), jnp.asarray(m), distance, k=k)
    excluded = np.full(n, -1, np.int32) if exclude is None else np.asarray(exclude)
    blocks = gallery if isinstance(gallery, Blocks) else [(0, gallery)]
    return _in_blocks(np.asarray(queries), blocks, m, k, distance, excluded)


def _in_blocks(queries, blocks, count, k, distance, exclude):
    """The k nearest of so many items, found in each block and merged."""
    best, known = None, _known(distance)
    for start, items in blocks:
        if not len(queries):
            continue  # this process has no query left, and gave its rows to those that have
        whole, here = len(items) == count, (exclude >= start) & (exclude < start + len(items))
        own, wanted = np.where(here, exclude - start, -1).astype(exclude.dtype), min(k, len(items))
        if known is None:
            found = scan(queries, _slabs(items), k=wanted, score=distance, exclude=own)
        else:
            manifold, cosine = known
            products = Products(items if isinstance(items, Rows) else np.asarray(items), manifold, cosine=cosine)
            found = products.nearest(
                queries, wanted, own, index=np.int32, distance=np.float32 if whole else np.float64, gaps=not whole
            )
        if whole:
            return found
        lost = np.isnan(found[1])  # of what is excluded, where a block has no others left
        best = merged(best, (np.where(lost, -1, found[0]), np.where(lost, np.inf, found[1])), start, k)
    if best is None:
        return np.empty((0, k), np.int32), np.empty((0, k), np.float32)
    return best[0], best[1] if known is None else products.distance(best[1]).astype(np.float32)


def _slabs(gallery: Array | np.ndarray | Rows) -> Iterator[Slab]:
    for start in range(0, len(gallery), SLAB):
        items = gallery[start : start + SLAB]
        yield Slab(padded(items, rounded(len(items))), len(items))


def _known(distance: Partial) -> tuple[Manifold, bool] | None:
    """The manifold whose own distance it is, and whether it is the cosine's."""
    if distance.func in GEODESICS and len(distance.args) == 1 and not distance.keywords:
        return distance.args[0], False
    if distance.func is sphere.pairwise_cosine_distance and not distance.args:
        return Sphere(), True
    return None


def _excludes_any(exclude: Array | np.ndarray | None) -> bool:
    if exclude is None or isinstance(exclude, jax.core.Tracer):
        return exclude is not None
    return bool(np.any(np.asarray(exclude) >= 0))
