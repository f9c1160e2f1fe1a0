"""The smallest scores of every query over a gallery that is read slab by slab: what any exact search is made of."""

from collections.abc import Callable, Iterable
from functools import partial
from types import MethodType
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P
from jax.tree_util import Partial
from jaxtyping import Array, Float, Int

from hypjax.geometry import Manifold
from hypjax.retrieval.selection import CHUNK, QUERIES, HostProducts, inner_products, on_device, on_host

BLOCKS = 16  # of queries, in one call of an accelerator
MOST = 5  # doublings of a block of queries, where the gallery is small
SLAB = 61_440  # gallery items on the device at a time; 128 queries' scores stay below 32 MB, which malloc keeps at hand


class Slab(NamedTuple):
    """A part of a gallery.

    Attributes:
        items: Whatever a score takes [s, e]; of few shapes, so that little is compiled anew.
        size: How many of them are of the gallery; others follow.
    """

    items: Float[Array | np.ndarray, "s e"]
    size: int


def scan(
    queries: Float[np.ndarray, "n d"],
    slabs: Iterable[Slab],
    *,
    k: int,
    score: Callable[[Array, Array], Array] | None = None,
    exclude: Int[np.ndarray, "n"] | None = None,
    host: bool = False,
) -> tuple[Int[np.ndarray, "n k"], Float[np.ndarray, "n k"]]:
    """The k items of the smallest scores for every query.

    Queries are spread over the devices of this process, the gallery comes to each of them.

    Args:
        queries: Whatever `score` takes.
        slabs: The gallery in its order, each slab but the last of equal size; k items in all, at least.
        k: How many.
        score: `(queries [b, d], items [s, e]) -> [b, s]`. By default inner products; then what fills a slab up must
            have the largest, none is excluded, the order is any, and it is any of equal ones that is found.
        exclude: For each query the item that must not be found, −1 for none.
        host: Whether it is the CPU that searches, whatever else there is.

    Returns:
        Items int32 [n, k] and scores [n, k], smallest first; of equal scores the lower item first. A score that is not
        finite ranks behind all others and is returned as inf.
    """
    select, at_once = _selector(score, host)
    best, start = None, 0
    for items, count in slabs:
        block = at_once << min(MOST, max(1, SLAB // len(items)).bit_length() - 1)
        own = np.full(len(queries), -1) if exclude is None else exclude - start
        own = np.where((own >= 0) & (own < count), own, -1).astype(np.int32)
        parts = []
        for first in range(0, len(queries), block):
            size = min(block, len(queries) - first)
            # Filled up to a whole block, or to 1, 2, 8, 32, 128, …: nothing is compiled for others.
            filled = min(block, 1 << ((size - 1).bit_length() | 1) if size > 1 else 1)
            asking = (padded(side[first : first + size], filled) for side in (queries, own))
            found = select(*asking, items, count, k=min(k, count))
            parts.append([np.asarray(side)[:size] for side in found])
        best = merged(best, [np.concatenate(side) for side in zip(*parts, strict=True)], start, k)
        start += count
    assert best is not None
    return best


def _selector(score: Callable | None, host: bool) -> tuple[Callable, int]:
    """What finds the k smallest of a block of queries in a slab, and how many queries it takes."""
    if jax.default_backend() != "cpu" and not host:
        devices = jax.local_devices()
        return partial(_spread, score=as_argument(score or inner_products), devices=devices), BLOCKS * QUERIES * len(
            devices
        )
    return HostProducts() if score is None else partial(on_host, score=as_argument(score)), QUERIES


def _spread(queries, exclude, items, count, *, k, score, devices):
    """`on_device`, of queries that are spread over several."""
    n = len(queries)
    if len(devices) == 1:
        return on_device(queries, exclude, items, count, score, k=k)
    mesh = Mesh(np.array(devices), ("queries",))
    items = jax.device_put(items, NamedSharding(mesh, P()))
    asking = tuple(padded(side, -(-n // mesh.size) * mesh.size) for side in (queries, exclude))
    asking = jax.device_put(asking, NamedSharding(mesh, P("queries")))
    return tuple(side[:n] for side in on_device(*asking, items, count, score, k=k, mesh=mesh))


def merged(best, found, start, k):
    """The k best of those so far and those of a slab, which begins at `start`; row −1 is none."""
    rows, scores = np.where(found[0] >= 0, found[0] + np.int32(start), np.int32(-1)), found[1]
    if best is None:
        return rows, scores
    # The best so far come first: equal scores keep the lower item.
    rows, scores = (np.concatenate(pair, axis=1) for pair in zip(best, (rows, scores), strict=True))
    # A place that nothing fills ranks behind a score that is not finite, which is inf too.
    rank = np.where(rows < 0, np.inf, np.minimum(scores, np.finfo(scores.dtype).max))
    place = np.argsort(rank, axis=1, kind="stable")[:, :k]
    return np.take_along_axis(rows, place, axis=1), np.take_along_axis(scores, place, axis=1)


def as_argument(function: Callable) -> Partial:
    """A function as an argument of compiled ones: itself static; what a `Partial` binds, or a manifold's c, traced."""
    if isinstance(function, Partial):
        return function
    if isinstance(function, MethodType) and isinstance(function.__self__, Manifold):
        return Partial(function.__func__, function.__self__)
    return Partial(function)


def rounded(count: int) -> int:
    """The least of few sizes, at most an eighth larger or by less than 8, that holds so many items."""
    step = max(CHUNK, 1 << max(0, (count - 1).bit_length() - 4))
    return -(-count // step) * step


def padded(rows: Any, size: int) -> Any:
    """As many rows as are wanted, the last repeated."""
    if len(rows) == size:
        return rows
    numeric = jnp if isinstance(rows, jax.Array) else np
    return numeric.pad(rows, [(0, size - len(rows))] + [(0, 0)] * (rows.ndim - 1), mode="edge")
