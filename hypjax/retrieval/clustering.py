"""k-means in any geometry, and how well its clusters agree with the classes."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float, Int
from scipy.special import entr  # type: ignore[import-untyped]

from hypjax.geometry import Manifold
from hypjax.retrieval.neighbors import knn
from hypjax.retrieval.shares import Shares

ROUNDS = 64  # of seeding, at most
DOUBT = 1e-5  # of a distance, more than its rounding
SEEDED = 2**12  # points whose distances to the starts of a round are held at a time
GATHERED = 2**14  # points that are laid out for midpoints at a time


def nmi(
    points: Float[Array | np.ndarray, "own d"],
    labels: Int[Array | np.ndarray, "n"],
    manifold: Manifold,
    *,
    seed: int = 0,
    shares: Shares | None = None,
) -> float:
    """How well k-means in the points' geometry, one cluster a class, finds the classes.

    `mutual_information` of labels and clusters. Points of the ball and those of the sheet over them score the same.

    Example:
        >>> from hypjax.geometry import Poincare
        >>> nmi(np.array([[0.0], [0.8], [0.1], [0.81]], np.float32), np.array([7, 3, 7, 3]), Poincare(1.0))
        1.0

    Args:
        points: Points [n, d] of the manifold, or those of this process.
        labels: Classes of all.
        manifold: Whose distance and midpoint cluster them.
        seed: Of the starts.
        shares: Which process holds which; None for points that are all here.

    Returns:
        A value in [0, 1]; nan without points or where one is not finite.

    References:
        Song et al., Deep Metric Learning via Lifted Structured Feature Embedding, CVPR 2016, for the protocol.
    """
    shares = Shares.whole(len(points)) if shares is None else shares
    if len(labels) == 0 or shares.total(np.array(not np.isfinite(points).all(), np.int32)):
        return float("nan")
    clusters = kmeans(points, len(np.unique(labels)), manifold, seed=seed, shares=shares)
    return mutual_information(labels, shares.gather(clusters))


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
    points: Float[Array | np.ndarray, "own d"],
    clusters: int,
    manifold: Manifold,
    *,
    seed: int = 0,
    iterations: int = 50,
    shares: Shares | None = None,
) -> Int[np.ndarray, "own"]:
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
        points: Points [n, d] of the manifold, or those of this process.
        clusters: Number of clusters, 1 ≤ clusters ≤ n.
        manifold: Whose distance and midpoint are taken.
        seed: Equal seeds give equal clusters, whoever holds the points.
        iterations: At most this many; stops as soon as nothing moves.
        shares: Which process holds which point; each assigns its own. None for points that are all here.

    Returns:
        Cluster of each of these points, 0 … clusters − 1.

    Raises:
        ValueError: clusters is not within [1, n].

    References:
        Arthur and Vassilvitskii, k-means++: The Advantages of Careful Seeding, SODA 2007; Bahmani et al., Scalable
        K-Means++, VLDB 2012; Efraimidis and Spirakis, Weighted Random Sampling with a Reservoir, 2006.
    """
    shares = Shares.whole(len(points)) if shares is None else shares
    if not 1 <= clusters <= len(shares):
        raise ValueError(f"{clusters} clusters asked of {len(shares)} points: use between 1 and {len(shares)}")
    points, on_device = np.asarray(points), jnp.asarray(points)
    take = functools.partial(shares.take, points)
    centers = take(_spread_starts(on_device, take, shares, manifold, jax.random.key(seed), clusters))
    assigned, others = _nearest(points, centers, manifold)
    everyone, touched = shares.gather(assigned), np.ones(clusters, bool)
    for _ in range(iterations):
        before, centers = centers, _midpoints(take, shares, everyone, centers, manifold, touched)
        moved = np.flatnonzero(np.any(centers != before, axis=1))
        # No other center is nearer than `others`: each that moves is measured again. Where the own one may be farther
        # than that, all are.
        others = np.minimum(others, _rivals(points, centers, moved, assigned, manifold))
        own = np.asarray(_own(on_device, centers, assigned, manifold))
        doubtful = np.flatnonzero(~(own < (1 - DOUBT) * others))
        assigned = assigned.copy()
        assigned[doubtful], others[doubtful] = _nearest(points[doubtful], centers, manifold)
        then, everyone = everyone, shares.gather(assigned)
        changed = then != everyone
        if not changed.any():
            break
        touched = np.isin(np.arange(clusters), [then[changed], everyone[changed]])
    return assigned


def _nearest(points, centers, manifold):
    """The nearest center of each point, and how far the second is."""
    if not len(points):
        return np.empty(0, np.int32), np.empty(0, np.float32)
    k = min(2, len(centers))
    found, distances = knn(points, centers, k=k, distance=manifold.pairwise_dist)
    return np.array(found[:, 0]), np.array(distances[:, 1]) if k == 2 else np.full(len(points), np.inf, np.float32)


def _rivals(points, centers, moved, assigned, manifold):
    """How far the nearest of the moved centers is that is not the point's own."""
    if not len(moved) or not len(points):
        return np.inf
    found, distances = knn(points, centers[moved], k=min(2, len(moved)), distance=manifold.pairwise_dist)
    return np.min(np.where(moved[found] == assigned[:, None], np.inf, distances), axis=1).astype(np.float32)


@jax.jit
def _own(points, centers, assigned, manifold):
    return manifold.dist(points, centers[assigned])


def _spread_starts(points, take, shares, manifold, key, clusters):
    """Rows of the starts [clusters]."""
    batch = -(-clusters // ROUNDS)
    # Before the first round all points are equally far away.
    sqdist = jnp.full(len(points), jnp.finfo(points.dtype).max, points.dtype)
    rounds = []
    keys = jax.random.split(key, -(-clusters // batch))
    for turn in range(len(keys)):
        scores, places = map(np.asarray, _drawn(sqdist, keys, turn, shares.own, len(shares), batch))
        rounds.append(_largest(scores, shares.own[places], shares, batch))
        starts = take(rounds[-1])
        sqdist = _nearer(points, sqdist, starts, manifold) if len(points) else sqdist
    return np.concatenate(rounds)[:clusters]


@functools.partial(jax.jit, static_argnames=("count", "batch"))
def _drawn(sqdist, keys, turn, own, count, batch):
    # The largest sums of log weight and Gumbel noise are a draw in proportion to the weights.
    noise = jax.random.gumbel(keys[turn], (count,), sqdist.dtype)[own]
    return lax.top_k(jnp.log(sqdist) + noise, min(batch, len(own)))


def _largest(scores, rows, shares, batch):
    """Of those that each process proposes the rows of the largest scores, of equal ones the lower row."""
    if shares.allgather is None:
        return rows
    proposed = np.full((batch, 2), (-np.inf, len(shares)))  # what is missing comes behind all
    proposed[: len(rows)] = np.stack([scores, rows], axis=1)
    scores, rows = shares.allgather(proposed).reshape(-1, 2).T
    return rows[np.lexsort((rows, -scores))[:batch]].astype(int)


@jax.jit
def _nearer(points, sqdist, starts, manifold):
    """The squared distance to the nearest start, after those of a round."""
    size = min(SEEDED, len(points))
    blocks = jnp.pad(points, ((0, -len(points) % size), (0, 0)), mode="edge").reshape(-1, size, points.shape[1])
    nearest = lax.map(lambda some: jnp.min(manifold.pairwise_dist(some, starts), axis=1), blocks)
    return jnp.minimum(sqdist, jnp.square(nearest.reshape(-1)[: len(points)]))


def _midpoints(take, shares, assigned, centers, manifold, touched):
    """The midpoints of the clusters that were touched, of points that are taken by their rows.

    Those of similar size lie side by side, filled up with points that weigh nothing. Processes take turns.
    """
    order, sizes = np.argsort(assigned, kind="stable"), np.bincount(assigned, minlength=len(centers))
    starts, centers = np.cumsum(sizes) - sizes, centers.copy()
    widths = 4 ** np.ceil(np.log2(np.maximum(sizes, 16)) / 2).astype(int)
    touched, maker, turn = touched & (sizes > 0), np.zeros(len(centers), np.int32), 0
    for width in np.unique(widths[touched]):
        members, place = np.flatnonzero((widths == width) & touched), np.arange(width)[None]
        step = max(1, min(len(centers), GATHERED // width))
        while step > 512 and 8 * len(members) <= step:
            step //= 8
        for first in range(0, len(members), step):
            chosen = members[first : first + step]
            within = np.zeros((step, width), bool)  # of one shape for each width
            within[: len(chosen)] = place < sizes[chosen, None]
            taken = take(order[(starts[chosen, None] + place)[within[: len(chosen)]]])
            maker[chosen] = turn
            if turn == shares.process:
                points = np.zeros((step, width, centers.shape[1]), centers.dtype)
                points[within] = taken
                centers[chosen] = np.asarray(_means(points, within, manifold))[: len(chosen)]
            turn = (turn + 1) % shares.processes
    made = dataclasses.replace(shares, holder=maker)
    return made.gather(centers[made.own])


@jax.jit
def _means(points, within, manifold):
    return manifold.midpoint(points, within.astype(points.dtype))
