"""k-means in any geometry, and how well its clusters agree with the classes."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float, Int
from scipy.special import entr  # type: ignore[import-untyped]

from hypjax.geometry import Manifold
from hypjax.retrieval.neighbors import knn

ROUNDS = 64  # of seeding, at most
DOUBT = 1e-5  # of a distance, more than its rounding
SEEDED = 2**12  # points whose distances to the starts of a round are held at a time
GATHERED = 2**14  # points that are laid out for midpoints at a time


def nmi(
    points: Float[Array | np.ndarray, "n d"],
    labels: Int[Array | np.ndarray, "n"],
    manifold: Manifold,
    *,
    seed: int = 0,
) -> float:
    """How well k-means in the points' geometry, one cluster a class, finds the classes.

    `mutual_information` of labels and clusters. Points of the ball and those of the sheet over them score the same.

    Example:
        >>> from hypjax.geometry import Poincare
        >>> nmi(np.array([[0.0], [0.8], [0.1], [0.81]], np.float32), np.array([7, 3, 7, 3]), Poincare(1.0))
        1.0

    Args:
        points: Points [n, d] of the manifold.
        labels: Their classes.
        manifold: Whose distance and midpoint cluster them.
        seed: Of the starts.

    Returns:
        A value in [0, 1]; nan without points or where one is not finite.

    References:
        Song et al., Deep Metric Learning via Lifted Structured Feature Embedding, CVPR 2016, for the protocol.
    """
    if len(labels) == 0 or not np.isfinite(points).all():
        return float("nan")
    return mutual_information(labels, kmeans(points, len(np.unique(labels)), manifold, seed=seed))


def mutual_information(labels: Int[Array | np.ndarray, "n"], clusters: Int[Array | np.ndarray, "n"]) -> float:
    """Normalized mutual information of two ways to group n things, in [0, 1].

    2 I / (H(labels) + H(clusters)),  I = H(labels) + H(clusters) − H(both);  1 when both are a single group.

    Example:
        >>> round(mutual_information(np.array([0, 0, 1, 1]), np.array([7, 7, 3, 3])), 6)
        1.0
    """
    pairs = np.stack([np.asarray(labels), np.asarray(clusters)])
    apart = sum(_entropy(np.unique(side, return_counts=True)[1]) for side in pairs)
    joint = _entropy(np.unique(pairs, axis=1, return_counts=True)[1])
    return 1.0 if apart == 0 else float(np.clip(2 * (apart - joint) / apart, 0, 1))


def _entropy(counts: np.ndarray) -> float:
    return float(entr(counts / counts.sum()).sum())


def kmeans(
    points: Float[Array | np.ndarray, "n d"],
    clusters: int,
    manifold: Manifold,
    *,
    seed: int = 0,
    iterations: int = 50,
) -> Int[np.ndarray, "n"]:
    """Cluster points by Lloyd's iteration: each to the nearest center, each center to the midpoint of its points.

    In hyperbolic space and on the sphere the midpoint has the least sum of sinh²(√c d/2), or sin²(d/2), of which
    distances are a growing function: so no iteration makes that sum larger. A point looks at all centers again only
    where one that moved, or its own that did, could have changed what is nearest [ours]. n × clusters is never held.
    A cluster that loses all its points keeps its center.

    The starts are those of k-means|| without oversampling: in at most 64 rounds, equally many points of each drawn,
    without replacement, in proportion to the squared distance from those of earlier rounds. Up to 64 clusters that is
    k-means++.

    Example:
        >>> from hypjax.geometry import Euclidean
        >>> assigned = kmeans(jnp.array([[0.0], [5.0], [0.1], [5.2]]), 2, Euclidean())
        >>> bool(assigned[0] == assigned[2] != assigned[1] == assigned[3])
        True

    Args:
        points: Points [n, d] of the manifold.
        clusters: Number of clusters, 1 ≤ clusters ≤ n.
        manifold: Whose distance and midpoint are taken.
        seed: Equal seeds give equal clusters.
        iterations: At most this many; stops as soon as nothing moves.

    Returns:
        Cluster of each point, 0 … clusters − 1.

    Raises:
        ValueError: clusters is not within [1, n].

    References:
        Arthur and Vassilvitskii, k-means++: The Advantages of Careful Seeding, SODA 2007; Bahmani et al., Scalable
        K-Means++, VLDB 2012; Efraimidis and Spirakis, Weighted Random Sampling with a Reservoir, 2006.
    """
    if not 1 <= clusters <= len(points):
        raise ValueError(f"{clusters} clusters asked of {len(points)} points: use between 1 and {len(points)}")
    points, on_device = np.asarray(points), jnp.asarray(points)
    centers = points[np.asarray(_spread_starts(on_device, manifold, jax.random.key(seed), clusters))]
    assigned, others = _nearest(points, centers, manifold)
    touched = np.ones(clusters, bool)
    for _ in range(iterations):
        before, centers = centers, np.asarray(_midpoints(on_device, assigned, centers, manifold, touched))
        moved = np.flatnonzero(np.any(centers != before, axis=1))
        # No other center is nearer than `others`: each that moves is measured again. Where the own one may be farther
        # than that, all are.
        others = np.minimum(others, _rivals(points, centers, moved, assigned, manifold))
        own = np.asarray(_own(on_device, centers, assigned, manifold))
        doubtful = np.flatnonzero(~(own < (1 - DOUBT) * others))
        if not len(doubtful):
            break
        again, others[doubtful] = _nearest(points[doubtful], centers, manifold)
        changed = assigned[doubtful] != again
        touched = np.isin(np.arange(clusters), [assigned[doubtful][changed], again[changed]])
        assigned[doubtful] = again
        if not changed.any():
            break
    return assigned


def _nearest(points, centers, manifold):
    """The nearest center of each point, and how far the second is."""
    k = min(2, len(centers))
    found, distances = knn(points, centers, k=k, distance=manifold.pairwise_dist)
    return np.array(found[:, 0]), np.array(distances[:, 1]) if k == 2 else np.full(len(points), np.inf, np.float32)


def _rivals(points, centers, moved, assigned, manifold):
    """How far the nearest of the moved centers is that is not the point's own."""
    if not len(moved):
        return np.inf
    found, distances = knn(points, centers[moved], k=min(2, len(moved)), distance=manifold.pairwise_dist)
    return np.min(np.where(moved[found] == assigned[:, None], np.inf, distances), axis=1).astype(np.float32)


@jax.jit
def _own(points, centers, assigned, manifold):
    return manifold.dist(points, centers[assigned])


@functools.partial(jax.jit, static_argnames="clusters")
def _spread_starts(points, manifold, key, clusters):
    """Rows of the starts [clusters]."""
    batch, size = -(-clusters // ROUNDS), min(SEEDED, len(points))
    filled = jnp.pad(points, ((0, -len(points) % size), (0, 0)), mode="edge")
    blocks = filled.reshape(-1, size, points.shape[1])

    def draw(sqdist, key):
        # The largest sums of log weight and Gumbel noise are a draw in proportion to the weights.
        rows = lax.top_k(jnp.log(sqdist) + jax.random.gumbel(key, sqdist.shape, sqdist.dtype), batch)[1]
        nearest = lax.map(lambda some: jnp.min(manifold.pairwise_dist(some, points[rows]), axis=1), blocks)
        return jnp.minimum(sqdist, jnp.square(nearest.reshape(-1)[: len(points)])), rows

    # Before the first round all points are equally far away.
    everywhere = jnp.full(len(points), jnp.finfo(points.dtype).max, points.dtype)
    return lax.scan(draw, everywhere, jax.random.split(key, -(-clusters // batch)))[1].reshape(-1)[:clusters]


def _midpoints(points, assigned, centers, manifold, touched):
    """The midpoints of the clusters that were touched.

    Those of similar size lie side by side, filled up with points that weigh nothing.
    """
    order, sizes = np.argsort(assigned, kind="stable"), np.bincount(assigned, minlength=len(centers))
    centers, starts = jnp.asarray(centers), np.cumsum(sizes) - sizes
    widths = 4 ** np.ceil(np.log2(np.maximum(sizes, 16)) / 2).astype(int)
    touched = touched & (sizes > 0)
    for width in np.unique(widths[touched]):
        members, place = np.flatnonzero((widths == width) & touched), np.arange(width)[None]
        step = max(1, min(len(centers), GATHERED // width))
        while step > 512 and 8 * len(members) <= step:
            step //= 8
        for first in range(0, len(members), step):
            chosen = np.resize(members[first : first + step], step)  # repeated: each width is one shape
            within = place < sizes[chosen, None]
            rows = order[np.where(within, starts[chosen, None] + place, 0)]
            centers = _with_midpoints(points, centers, chosen, rows, within, manifold)
    return centers


@jax.jit
def _with_midpoints(points, centers, chosen, rows, within, manifold):
    return centers.at[chosen].set(manifold.midpoint(points[rows], within.astype(points.dtype)))
