"""Exact nearest neighbors under any pairwise distance, streamed over queries and gallery."""

import functools
from collections.abc import Callable
from types import MethodType
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.tree_util import Partial
from jaxtyping import Array, Float, Int

from hypjax.geometry import Manifold
from hypjax.retrieval.rows import Rows


def knn(
    queries: Float[Array | np.ndarray, "n d"],
    gallery: Float[Array | np.ndarray, "m d"] | Rows,
    *,
    k: int,
    distance: Callable[[Array, Array], Array],
    exclude: Int[Array | np.ndarray, "n"] | None = None,
    query_block: int = 256,
    gallery_block: int = 4096,
    slab: int = 2**16,
) -> tuple[Int[Array, "n k"], Float[Array, "n k"]]:
    """Find the k nearest gallery items of every query, exactly.

    indices[i] = argsort_j distance(queries[i], gallery[j]) [:k],  without j = exclude[i]

    One block of distances, `query_block × gallery_block`, exists at a time and is merged into the k best so
    far; a gallery larger than a slab goes to the device slab by slab. Equal distances keep the lower gallery
    index first. A distance that is not finite ranks behind all others and is returned as inf. Compiled once
    for each shape and each `distance` object, so pass the same callable again. Of a manifold's method, or a
    `jax.tree_util.Partial`, another curvature compiles nothing.

    Example:
        >>> points = jnp.array([[0.0], [1.0], [3.0], [3.5]])
        >>> indices, distances = knn(points, points, k=1, exclude=jnp.arange(4),
        ...                          distance=lambda x, y: jnp.abs(x - y.T))
        >>> indices[:, 0].tolist(), distances[:, 0].tolist()
        ([1, 0, 3, 2], [1.0, 1.0, 0.5, 0.5])

    Args:
        queries: Points [n, d] of any geometry.
        gallery: Points [m, d] of the same geometry, or `Rows` that give them.
        k: Neighbors for each query, 1 ≤ k ≤ the gallery items left to it.
        distance: `(x [n, d], y [m, d]) -> [n, m]`.
        exclude: For each query the gallery index that must not be found, its own when queries are part of the
            gallery; −1 excludes nothing. By index, because duplicates of the query have distance 0 too.
        query_block: Queries scored at a time.
        gallery_block: Gallery items scored at a time.
        slab: Gallery items on the device at a time.

    Returns:
        Gallery indices int32 [n, k] and distances [n, k], nearest first.

    Raises:
        ValueError: k is below 1 or above the number of available items, there is no query, or a block is
            below 1.
    """
    n, m = len(queries), len(gallery)
    if min(query_block, gallery_block, slab) < 1:
        raise ValueError(f"blocks must be positive, got {query_block=}, {gallery_block=}, {slab=}")
    if n == 0:
        raise ValueError("there is no query to search for")
    available = m - _excludes_any(exclude)
    if not 1 <= k <= available:
        raise ValueError(f"k={k} neighbors asked for, but each query has {available} gallery items to choose from")
    excluded = jnp.full(n, -1, jnp.int32) if exclude is None else jnp.asarray(exclude, jnp.int32)
    queries = jnp.asarray(queries)
    best: Any = ()
    for start in range(0, m, slab):
        items = jnp.asarray(gallery[start : start + slab] if m > slab or isinstance(gallery, Rows) else gallery)
        found = _knn(
            queries,
            items,
            jnp.where((excluded >= start) & (excluded < start + len(items)), excluded - start, -1),
            k=min(k, len(items)),
            distance=as_argument(distance),
            query_block=min(query_block, n),
            gallery_block=min(gallery_block, len(items)),
        )
        best = _merged(best, found, start, k) if m > slab else found
    return best


@functools.partial(jax.jit, static_argnames="k")
def _merged(best, found, start, k):
    """The k best of those so far and those of a slab, which begins at `start`."""
    indices = jnp.where(found[0] >= 0, found[0] + start, -1)
    distances = found[1]
    if best:  # they come first: equal distances keep the lower index
        indices, distances = (jnp.concatenate(pair, axis=1) for pair in zip(best, (indices, distances), strict=True))
    if indices.shape[1] <= k:
        return indices, distances
    # A place that nothing fills ranks behind a distance that is not finite, which is inf too.
    largest = jnp.finfo(distances.dtype).max
    rank = jnp.where(indices < 0, jnp.inf, jnp.minimum(distances, largest))
    _, place = lax.top_k(-rank, k)
    return jnp.take_along_axis(indices, place, axis=1), jnp.take_along_axis(distances, place, axis=1)


def as_argument(function: Callable) -> Partial:
    """A function as an argument of compiled ones: itself static; what a `Partial` binds, or a manifold's c, traced."""
    if isinstance(function, Partial):
        return function
    if isinstance(function, MethodType) and isinstance(function.__self__, Manifold):
        return Partial(function.__func__, function.__self__)
    return Partial(function)


def _excludes_any(exclude: Array | np.ndarray | None) -> bool:
    if exclude is None or isinstance(exclude, jax.core.Tracer):
        return exclude is not None
    return bool(np.any(np.asarray(exclude) >= 0))


@functools.partial(jax.jit, static_argnames=("k", "query_block", "gallery_block"))
def _knn(queries, gallery, exclude, *, k, distance, query_block, gallery_block):
    n, m = len(queries), len(gallery)
    gallery_blocks = _blocks(gallery, gallery_block)
    query_blocks = _blocks(queries, query_block)
    starts = jnp.arange(len(gallery_blocks), dtype=jnp.int32) * gallery_block
    dtype = jax.eval_shape(distance, query_blocks[0], gallery_blocks[0]).dtype
    # Real distances stay below the inf of empty slots, so that an overflow cannot leave a slot unfilled.
    largest = jnp.finfo(dtype).max

    def nearest(block):
        points, excluded = block

        def merge(best, step):
            items, start = step
            index = start + jnp.arange(gallery_block, dtype=jnp.int32)
            separation = distance(points, items)
            separation = jnp.where(separation < largest, separation, largest)
            unavailable = (index[None, :] >= m) | (index[None, :] == excluded[:, None])
            separation = jnp.where(unavailable, jnp.inf, separation)
            # The best so far come first: top_k prefers the first of equals, hence the lower gallery index.
            closeness, place = lax.top_k(-jnp.concatenate([best[0], separation], axis=1), k)
            kept = jnp.take_along_axis(best[1], jnp.minimum(place, k - 1), axis=1)
            return (-closeness, jnp.where(place < k, kept, start + place - k)), None

        empty = (jnp.full((query_block, k), jnp.inf, dtype), jnp.full((query_block, k), -1, jnp.int32))
        (distances, indices), _ = lax.scan(merge, empty, (gallery_blocks, starts))
        return indices, jnp.where(distances < largest, distances, jnp.inf)

    indices, distances = lax.map(nearest, (query_blocks, _blocks(exclude, query_block)))
    return indices.reshape(-1, k)[:n], distances.reshape(-1, k)[:n]


def _blocks(rows, size):
    """Cut rows into blocks [blocks, size, ...]; the last is filled with copies of its last row."""
    padding = -len(rows) % size
    padded = jnp.pad(rows, [(0, padding)] + [(0, 0)] * (rows.ndim - 1), mode="edge")
    return padded.reshape(-1, size, *rows.shape[1:])
