"""The k smallest scores of each query against one slab of a gallery, selected where the scores are computed."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.sharding import Mesh
from jax.sharding import PartitionSpec as P
from jax.tree_util import Partial
from jaxtyping import Array, Float, Int

from hypjax.geometry import numerics

QUERIES = 128  # whose scores against a slab are held at a time
CHUNK = 8  # items that are first compared among each other


@functools.partial(jax.jit, static_argnames=("k", "mesh"))
def on_device(
    queries: Float[Array, "n d"],
    exclude: Int[Array, "n"],
    items: Float[Array, "s e"],
    count: Int[Array, ""],
    score: Partial,
    *,
    k: int,
    mesh: Mesh | None = None,
) -> tuple[Int[Array, "n k"], Float[Array, "n k"]]:
    """The k smallest of every query, in blocks of queries, spread over a mesh.

    Args:
        queries: Whatever `score` takes.
        exclude: For each query an item that must not be found, −1 for none.
        items: Of which the first `count` can be found.
        count: How many.
        score: `(queries [b, d], items [s, e]) -> [b, s]`.
        k: How many of each query, at most s.
        mesh: Of one axis.

    Returns:
        Items int32 [n, k], −1 where there are no more, and scores, smallest first; of equal ones the lower item first.
        A score that is not finite ranks behind all others and is returned as inf.
    """
    local = functools.partial(_in_blocks, k=k)
    if mesh is not None:
        spread = P(mesh.axis_names)
        local = jax.shard_map(local, mesh=mesh, in_specs=(spread, spread, P(), P(), P()), out_specs=(spread, spread))
    return local(queries, exclude, items, count, score)


def _in_blocks(queries, exclude, items, count, score, *, k):
    index = jnp.arange(len(items), dtype=jnp.int32)
    size = min(QUERIES, len(queries))

    def nearest(block):
        asking, excluded = block
        scores = score(asking, items)
        # Real scores stay below the inf of what may not be found, so that an overflow cannot hide an item.
        largest = jnp.finfo(scores.dtype).max
        scores = jnp.where(scores < largest, scores, largest)
        scores = jnp.where((index >= count)[None] | (index[None] == excluded[:, None]), jnp.inf, scores)
        scores, rows = _bottom(scores, k)
        return jnp.where(jnp.isinf(scores), -1, rows), jnp.where(scores < largest, scores, jnp.inf)

    rows, scores = lax.map(nearest, (_blocks(queries, size), _blocks(exclude, size)))
    return rows.reshape(-1, k)[: len(queries)], scores.reshape(-1, k)[: len(queries)]


def inner_products(queries: Float[Array, "b d"], items: Float[Array, "s d"]) -> Float[Array, "b s"]:
    """Inner products, as float32 in the end."""
    return numerics.matmul(queries, items.T).astype(jnp.float32)


def _blocks(rows, size):
    """Cut rows into blocks [blocks, size, ...]; the last is filled with copies of its last row."""
    padded = jnp.pad(rows, [(0, -len(rows) % size)] + [(0, 0)] * (rows.ndim - 1), mode="edge")
    return padded.reshape(-1, size, *rows.shape[1:])


def _bottom(scores, k):
    """The k smallest of each row [b, s], equal ones by their place, and their places.

    They lie in the k chunks whose smallest is smallest: each of k better chunks would hold a better item.
    """
    if scores.shape[1] % CHUNK or scores.shape[1] // CHUNK <= k:
        found, place = lax.top_k(-scores, k)
        return -found, place.astype(jnp.int32)
    chunks = scores.reshape(len(scores), -1, CHUNK)
    chosen = jnp.sort(lax.top_k(-jnp.min(chunks, axis=2), k)[1], axis=1)
    within = jnp.take_along_axis(chunks, chosen[:, :, None], axis=1).reshape(len(scores), -1)
    found, place = lax.top_k(-within, k)
    rows = jnp.take_along_axis(chosen, place // CHUNK, axis=1) * CHUNK + place % CHUNK
    return -found, rows.astype(jnp.int32)


def on_host(
    queries: Float[np.ndarray, "n d"],
    exclude: Int[np.ndarray, "n"],
    items: Float[Array | np.ndarray, "s e"],
    count: int,
    *,
    k: int,
    score: Partial,
) -> tuple[Int[np.ndarray, "n k"], Float[np.ndarray, "n k"]]:
    """As `on_device` of a block of queries on a CPU, where NumPy selects ten times faster; k ≤ count, s % CHUNK = 0."""
    wanted = min(count, k + 1)  # one more, for the one that may not be found
    scores, smallest = map(np.asarray, _masked(queries, items, count, score))
    rows, values = _sorted(scores, *_part(scores, smallest, wanted))
    own = rows == exclude[:, None]
    if own.any():
        # It goes behind all others, as an empty place.
        order = np.argsort(own, axis=1, kind="stable")
        rows, values = (
            np.take_along_axis(np.where(own, empty, side), order, axis=1)
            for side, empty in ((rows, -1), (values, values.dtype.type(np.inf)))
        )
    rows, values = rows[:, :k], values[:, :k]
    return rows.astype(np.int32), np.where(values < np.finfo(values.dtype).max, values, np.inf)


@jax.jit
def _masked(queries, items, count, score):
    scores = score(queries, items)
    largest = jnp.finfo(scores.dtype).max
    scores = jnp.where(scores < largest, scores, largest)
    return _with_chunks(jnp.where((jnp.arange(len(items)) < count)[None], scores, jnp.inf))


def _with_chunks(scores):
    """Scores [b, s], and the smallest of each chunk [b, s / CHUNK]."""
    return scores, jnp.min(scores.reshape(len(scores), -1, CHUNK), axis=2)


class HostProducts:
    """The k smallest products on a CPU, of any order, and any of equal ones.

    The products of one block of queries take the memory of the last, since to get new memory from the system would cost
    as much as to multiply.
    """

    def __init__(self) -> None:
        self._scores: Array | None = None

    def __call__(
        self,
        queries: Float[np.ndarray, "n d"],
        exclude: Int[np.ndarray, "n"],
        items: Float[Array | np.ndarray, "s d"],
        count: int,
        *,
        k: int,
    ) -> tuple[Int[np.ndarray, "n k"], Float[np.ndarray, "n k"]]:
        """Rows [n, k], −1 for what is none of the first `count`, and products float32 [n, k]; s % CHUNK = 0.

        None is excluded. What follows the first `count` must have the largest products.
        """
        shape = (len(queries), len(items))
        if self._scores is None or self._scores.shape != shape:
            self._scores = jax.device_put(np.empty(shape, np.float32), may_alias=False)  # which compiles nothing
        self._scores, smallest = _products(queries, items, self._scores)
        rows, values = _part(np.asarray(self._scores), np.asarray(smallest), k)
        return (np.where(rows < count, rows, -1) if count < len(items) else rows), values


@functools.partial(jax.jit, donate_argnums=2, keep_unused=True)
def _products(queries, items, memory):
    return _with_chunks(inner_products(queries, items))


def _part(scores, smallest, k):
    """The k smallest of each row, any of equal ones, in any order: places and scores."""
    n, chunks = smallest.shape
    row = np.arange(n)[:, None]
    within, places = scores, np.arange(chunks)[None]
    if chunks > k:
        places = np.argpartition(smallest, k - 1, axis=1)[:, :k]
        # `take` copies whole chunks, thirty times faster than indexing.
        within = np.take(scores.reshape(-1, CHUNK), (places + chunks * row).reshape(-1), axis=0).reshape(n, -1)
    best = np.argpartition(within, k - 1, axis=1)[:, :k] if k < within.shape[1] else np.arange(k)[None]
    rows = np.take(places, best // CHUNK + places.shape[1] * (row if chunks > k else 0)) * CHUNK + best % CHUNK
    return np.broadcast_to(rows, (n, k)), np.take(within, best + within.shape[1] * row)


def _sorted(scores, rows, values):
    """The k smallest in their order, equal ones by their place: also where it was chance which of them are there."""
    order = np.argsort(values, axis=1)
    rows, values = np.take_along_axis(rows, order, axis=1), np.take_along_axis(values, order, axis=1)
    k = rows.shape[1]
    tied = (values[:, 1:] == values[:, :-1]).any(axis=1) | (np.count_nonzero(scores <= values[:, -1:], axis=1) > k)
    for i in np.flatnonzero(tied):
        last = values[i, -1]
        below = np.flatnonzero(scores[i] < last)
        rows[i] = np.concatenate([below, np.flatnonzero(scores[i] == last)[: k - len(below)]])
        rows[i] = rows[i, np.lexsort((rows[i], scores[i, rows[i]]))]
        values[i] = scores[i, rows[i]]
    return rows, values
