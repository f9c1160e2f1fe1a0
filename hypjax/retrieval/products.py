"""The search by inner products of lifted points, whose order is that of exact distances.

The lift orders a gallery by inner products (see `hypjax.retrieval.lift`), but in float32 it loses digits. So an index
takes more candidates than asked for, measures them in float64 without cancellation, and knows by how much a product may
be wrong: where an item that is no candidate could still be among the k nearest, the products are taken again in
float64, and if need be more candidates. The order is therefore that of exact distances, whatever the radius [ours].
"""

import contextlib
import functools
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from threading import Lock

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from hypjax.geometry import Lorentz, Manifold, Sphere
from hypjax.retrieval.lift import (
    HYPERBOLIC,
    Flattened,
    coordinates,
    flatten,
    lift,
)
from hypjax.retrieval.rows import Rows
from hypjax.retrieval.scan import SLAB, Slab, padded, rounded, scan

SPARE = 32  # candidates beyond k at first
BLOCK = 2**21  # coordinates that are lifted at a time
GATHERED = 2**24  # coordinates of candidates that are laid out at a time
TOGETHER = 1024  # queries that are searched for at a time, where the lifted gallery is kept
KEPT = 2**25  # coordinates of a gallery that is lifted once for many queries
PAIRS = 2**22  # of a query and a candidate that are held at a time
FAR = float(np.finfo(np.float32).max)  # a lifted coordinate that makes a product the largest
WHOLE = 4  # a gallery of so many times the candidates is measured whole
# Sizes that something is compiled for: of queries whose candidates are measured at once, and of small galleries.
MEASURED = (1, 16, 256)
GALLERIES = (64, 256, 1024, 4096, 16384)


class Products:
    """The search by inner products, of a gallery that lies in memory or is read slab by slab.

    Args:
        gallery: Points [m, .] or `Rows` of them. One that is not finite is infinitely far from all.
        manifold: One of the four.
        cosine: On the sphere, of vectors of any length.
    """

    def __init__(self, gallery: np.ndarray | Rows, manifold: Manifold, *, cosine: bool = False) -> None:
        self._gallery, self._manifold, self._cosine = gallery, manifold, cosine
        self._kept: list[Slab] | None = None
        self._longest, self._longer = 0.0, Lock()  # the greatest length of a lifted vector, seen by two threads
        self._coarse = False  # whether products of float32 were seen to tell too little

    def keep(self) -> None:
        """Keeps the lifted gallery, for many searches."""
        if self._kept is not None:
            return
        self._kept = [Slab(jnp.asarray(slab.items), slab.size) for slab in self._slabs(np.float32)]

    def nearest(
        self, queries: np.ndarray, k: int, exclude: np.ndarray, *, index: type, distance: type, gaps: bool = False
    ) -> tuple[np.ndarray, np.ndarray]:
        """Rows [n, k] and distances [n, k] of these types, or their gaps, in the order of exact distances."""
        rows: np.ndarray = np.empty((len(queries), k), index)
        distances: np.ndarray = np.empty((len(queries), k), distance)
        at_once = max(1, PAIRS // rounded(k + SPARE))
        if isinstance(self._gallery, np.ndarray) and len(queries) > TOGETHER and self._gallery.size <= KEPT:
            self.keep()
        if self._kept is not None:
            at_once = min(TOGETHER, at_once)

        def search(part: np.ndarray, *, wide: bool = False) -> np.ndarray:
            rows[part], measured, left = self._some(queries[part], k, exclude[part], wide)
            distances[part] = measured if gaps else self.distance(measured)
            return part[left]

        # Parts of about one size: nothing is compiled for what would be left over.
        parts = np.array_split(np.arange(len(queries)), -(-len(queries) // at_once))
        # Of two threads one multiplies while the other sorts; a gallery that is read slab by slab is read by one.
        together = self._kept is not None and len(parts) > 1
        # Those that products of float32 cannot tell wait for each other: for them the gallery is lifted anew.
        left = np.concatenate([*(_pair().map if together else map)(search, parts), np.arange(0)])
        for start in range(0, len(left), at_once):
            search(left[start : start + at_once], wide=True)
        return rows, distances

    def _some(
        self, queries: np.ndarray, k: int, exclude: np.ndarray, wide: bool
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Rows and gaps of as many queries as are held at a time, and those that products of float32 did not tell."""
        n, m = len(queries), len(self._gallery)
        rows, gaps, left = np.zeros((n, k), np.int64), np.zeros((n, k)), [np.arange(0)]
        todo = [(np.arange(n), rounded(k + SPARE), wide or self._coarse)]
        while todo:
            pending, width, wide = todo.pop()
            everything = WHOLE * width >= m
            width = rounded(m) if everything else width
            at_once = max(1, PAIRS // width)
            if len(pending) > at_once:
                todo.append((pending[at_once:], width, wide))
                pending = pending[:at_once]
            asking, excluded = queries[pending], exclude[pending]
            if everything:
                items = np.pad(np.arange(m), (0, width - m), constant_values=-1)
                candidates, bound = np.broadcast_to(items, (len(pending), width)), np.full(len(pending), np.inf)
            else:
                candidates, bound = self._candidates(asking, width, np.float64 if wide else np.float32)
            found, gap = self.measured(asking, candidates, k, excluded)
            certain = (gap[:, -1] < bound) | everything
            rows[pending[certain]], gaps[pending[certain]] = found[certain], gap[certain]
            if not certain.all():
                self._coarse |= certain.mean() < 0.5
                if wide:  # already, it is a matter of very many that lie equally far
                    todo.append((pending[~certain], 4 * width, True))
                else:
                    left.append(pending[~certain])
        return rows, gaps, np.concatenate(left)

    def measured(
        self, queries: np.ndarray, candidates: np.ndarray, k: int, exclude: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """The k nearest [n, k] of the candidates [n, width] and their gaps, NaN of what is excluded or no row (−1)."""
        gap = self._gaps(queries, candidates)
        gap[(candidates == exclude[:, None]) | (candidates < 0)] = np.nan  # behind all
        return _first(candidates, gap, k)

    def distance(self, gap: np.ndarray) -> np.ndarray:
        """What a gap is a distance of."""
        if isinstance(self._manifold, HYPERBOLIC):
            return 2 / np.sqrt(float(np.asarray(self._manifold.c))) * np.arcsinh(np.sqrt(gap))
        if self._cosine:
            return gap / 2
        if isinstance(self._manifold, Sphere):
            return 2 * np.arcsin(np.minimum(np.sqrt(gap) / 2, 1))
        return np.sqrt(gap)

    def _candidates(self, queries: np.ndarray, width: int, dtype: type):
        """Candidates [n, width] of each query, and a bound [n] below which no gap of another can lie.

        A product of vectors that were rounded to u, summed in any order, is off by at most (terms + 4) u ‖a‖‖b‖.
        """
        hyperbolic = isinstance(self._manifold, HYPERBOLIC)
        lifted = lift(queries, self._manifold, cosine=self._cosine)
        lost = np.isinf(lifted[:, 0])
        offset = np.where(lost, np.inf, -1.0 if hyperbolic else lifted[:, 0])
        lifted[:, 0] = -lifted[:, 0] if hyperbolic else -1
        lifted[lost] = 0
        asking: np.ndarray = np.concatenate([-lifted, offset[:, None]], axis=1).astype(dtype)
        wide = dtype is np.float64
        with _float64() if wide else contextlib.nullcontext():
            slabs = self._slabs(dtype) if self._kept is None or wide else iter(self._kept)
            rows, scores = scan(asking, slabs, k=width, host=wide)
        last = np.minimum(scores.max(axis=1).astype(np.float64), FAR)
        lengths = np.linalg.norm(lifted, axis=1) * self._longest + np.where(lost, 0, np.abs(offset))
        slack = 1.01 * (asking.shape[1] + 4) * np.finfo(dtype).eps / 2 * lengths + 2.0**-23 * np.abs(last)
        # Where the last candidate is infinitely far, all others are among them; if it is no overflow.
        endless = np.where(lengths < 1e30, np.inf, -np.inf)
        return rows, np.where(last < FAR, (last - slack) * (0.5 if hyperbolic else 2), endless)

    def _slabs(self, dtype: type) -> Iterator[Slab]:
        """The lifted gallery and a coordinate 1, slab by slab; the greatest length of its vectors on the way."""
        for start in range(0, len(self._gallery), SLAB):
            slab = np.asarray(self._gallery[start : start + SLAB])
            lifted = np.zeros((rounded(len(slab)), coordinates(slab[:1], self._manifold).shape[1] + 2), dtype)
            lifted[:, -1], lifted[len(slab) :, 0] = 1, FAR  # what fills a slab up, or is not finite
            for part in _parts(slab):
                block = lift(slab[part], self._manifold, cosine=self._cosine)
                lost = np.isinf(block[:, 0])
                block[lost, 0] = 0
                longest = np.sqrt(np.einsum("ij,ij->i", block, block).max())
                with self._longer:
                    self._longest = max(self._longest, longest)
                block[lost, 0] = FAR
                lifted[part, :-1] = block
            yield Slab(lifted, len(slab))

    @functools.cached_property
    def _whole(self) -> tuple[np.ndarray, Flattened]:
        """A gallery in memory and its factors; a small one is filled up to one of few sizes."""
        gallery = np.asarray(self._gallery)
        parts = [flatten(gallery[part], self._manifold, cosine=self._cosine) for part in _parts(gallery)]
        factors = Flattened(*(np.concatenate(side) for side in zip(*parts, strict=True)))
        size = next((size for size in GALLERIES if size >= len(gallery)), len(gallery))
        return jax.tree.map(lambda side: padded(side, size), (gallery, factors))

    def _gaps(self, queries: np.ndarray, rows: np.ndarray) -> np.ndarray:
        """(‖b' − b‖² + e' + e) a' a in float64 for the candidates [n, width]: what every distance grows with."""
        (n, width), d = rows.shape, queries.shape[1]
        whole = isinstance(self._gallery, np.ndarray) and rows.size >= len(self._gallery)
        most = min(n, GATHERED // (width * d))
        size = max(size for size in MEASURED if size <= max(1, most))
        measure = functools.partial(_gaps, skip=int(isinstance(self._manifold, Lorentz)))
        of_queries = flatten(queries, self._manifold, cosine=self._cosine)
        gaps = np.empty(rows.shape)
        with _float64():
            held = jax.device_put(self._whole) if whole else None
            for start in range(0, n, size):
                part = slice(start, start + size)
                chosen = padded(np.maximum(rows[part], 0), size)  # what is no row is not looked at
                if held is None:
                    points = np.asarray(self._gallery[chosen.reshape(-1)])
                    others = points, flatten(points, self._manifold, cosine=self._cosine)
                    chosen = np.arange(chosen.size).reshape(chosen.shape)
                else:
                    others = held
                asking = jax.tree.map(lambda side, part=part: padded(side[part], size), (queries, of_queries))
                gaps[part] = np.asarray(measure(*asking, *others, chosen))[: n - start]
        return gaps


@functools.cache
def _pair() -> ThreadPoolExecutor:
    """Two threads, always the same: memory that a thread has set free goes to none but itself."""
    return ThreadPoolExecutor(2, thread_name_prefix="searching")


@functools.partial(jax.jit, static_argnames="skip")
def _gaps(queries, of_queries, points, of_points, rows, *, skip):
    def measure(asking):
        query, (scale, stretch, excess), chosen = asking
        factors = jax.tree.map(lambda side: side[chosen], of_points)
        # Of what was float32, the difference of two coordinates loses nothing in float64.
        apart = factors.scale[:, None] * points[chosen, skip:].astype(jnp.float64) - (scale * query[skip:])[None]
        excess = excess + factors.excess
        gap = (_summed(jnp.square(apart)) + excess) * factors.stretch * stretch
        return jnp.where(jnp.isinf(excess), jnp.inf, gap)

    return lax.map(measure, (queries, of_queries, rows))


def _summed(terms):
    """The sum of each row, half upon half as far as that goes: one after the other takes XLA up to twice as long."""
    while terms.shape[1] > 16 and terms.shape[1] % 2 == 0:
        left, right = jnp.split(terms, 2, axis=1)
        terms = left + right
    return jnp.sum(terms, axis=1)


def _first(rows: np.ndarray, gap: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    """The k smallest gaps of each query, of equal ones the lower row first."""
    order = np.argsort(gap, axis=1, kind="stable")[:, : k + 1]
    nearest = np.take_along_axis(gap, order, axis=1)
    tied = (nearest[:, 1:] == nearest[:, :-1]).any(axis=1)
    order[tied] = np.lexsort((rows[tied], gap[tied]), axis=1)[:, : k + 1]
    order = order[:, :k]
    return np.take_along_axis(rows, order, axis=1), np.take_along_axis(gap, order, axis=1)


def _parts(points: np.ndarray) -> Iterator[slice]:
    """Slices of as many points as are worked on in float64 at a time."""
    step = max(1, BLOCK // points.shape[1])
    return (slice(start, min(start + step, len(points))) for start in range(0, len(points), step))


@contextlib.contextmanager
def _float64() -> Iterator[None]:
    with jax.enable_x64(True), jax.default_device(jax.local_devices(backend="cpu")[0]):
        yield
