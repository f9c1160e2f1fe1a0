"""k-means, and how well its clusters agree with the classes."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float, Int


def kmeans(
    points: Float[Array | np.ndarray, "n d"],
    clusters: int,
    *,
    seed: int = 0,
    iterations: int = 50,
    block: int = 2048,
) -> Int[Array, "n"]:
    """Cluster points by Lloyd's iteration from k-means++ starts.

    Works on Euclidean coordinates and takes those of the ball as they are; points are assigned in blocks, so
    n × clusters is never held. A cluster that loses all its points keeps its center.

    Example:
        >>> assigned = kmeans(jnp.array([[0.0], [5.0], [0.1], [5.2]]), 2)
        >>> bool(assigned[0] == assigned[2] != assigned[1] == assigned[3])
        True

    Args:
        points: Points [n, d].
        clusters: Number of clusters, 1 ≤ clusters ≤ n.
        seed: Equal seeds give equal clusters.
        iterations: At most this many; stops as soon as nothing moves.
        block: Points assigned at a time.

    Returns:
        Cluster of each point, 0 … clusters − 1.

    Raises:
        ValueError: clusters is not within [1, n].

    References:
        Arthur and Vassilvitskii, k-means++: The Advantages of Careful Seeding, SODA 2007.
    """
    if not 1 <= clusters <= len(points):
        raise ValueError(f"{clusters} clusters asked of {len(points)} points: use between 1 and {len(points)}")
    points = jnp.asarray(points)
    return _kmeans(points, jax.random.key(seed), clusters, iterations, min(block, len(points)))


@functools.partial(jax.jit, static_argnames=("clusters", "block"))
def _kmeans(points, key, clusters, iterations, block):
    n, d = points.shape
    padded = jnp.pad(points, ((0, -n % block), (0, 0))).reshape(-1, block, d)

    def assign(centers):
        offset = jnp.sum(centers**2, axis=1) / 2

        def nearest(rows):
            # ‖x‖² is the same for every center and cannot change which is nearest.
            return jnp.argmin(offset[None, :] - jnp.matmul(rows, centers.T, precision="highest"), axis=1)

        return lax.map(nearest, padded).reshape(-1)[:n]

    def lloyd(state):
        centers, assigned, _, step = state
        total = jax.ops.segment_sum(points, assigned, clusters)
        size = jax.ops.segment_sum(jnp.ones(n, points.dtype), assigned, clusters)
        centers = jnp.where(size[:, None] > 0, total / jnp.maximum(size, 1)[:, None], centers)
        moved = assign(centers)
        return centers, moved, jnp.any(moved != assigned), step + 1

    centers = _spread_starts(points, key, clusters)
    start = (centers, assign(centers), jnp.array(True), 0)
    return lax.while_loop(lambda state: state[2] & (state[3] < iterations), lloyd, start)[1]


def _spread_starts(points, key, clusters):
    """k-means++: every next center is drawn in proportion to the squared distance from those before."""

    def draw(nearest, chance):
        mass = jnp.cumsum(nearest)
        place = jnp.searchsorted(mass, chance * mass[-1], side="right")
        center = points[jnp.minimum(place, len(points) - 1)]
        distance = jnp.sum((points - center[None, :]) ** 2, axis=1)
        return jnp.where(distance < nearest, distance, nearest), center

    # Before the first center all points are equally far away, so it is drawn uniformly.
    everywhere = jnp.full(len(points), jnp.finfo(points.dtype).max / len(points) / 2, points.dtype)
    return lax.scan(draw, everywhere, jax.random.uniform(key, (clusters,), points.dtype))[1]


def nmi(labels: Int[Array | np.ndarray, "n"], clusters: Int[Array | np.ndarray, "n"]) -> float:
    """Normalized mutual information of classes and clusters, in [0, 1].

    I(labels; clusters) / ½ (H(labels) + H(clusters));  1 when both are a single group.

    Example:
        >>> round(nmi(np.array([0, 0, 1, 1]), np.array([7, 7, 3, 3])), 6)
        1.0
    """
    _, labels = np.unique(np.asarray(labels), return_inverse=True)
    _, clusters = np.unique(np.asarray(clusters), return_inverse=True)
    width = clusters.max(initial=0) + 1
    cells, counts = np.unique(labels.astype(np.int64) * width + clusters, return_counts=True)
    of_labels, of_clusters = np.bincount(labels) / len(labels), np.bincount(clusters) / len(labels)
    joint = counts / len(labels)
    mutual = np.sum(joint * np.log(joint / (of_labels[cells // width] * of_clusters[cells % width])))
    entropy = -np.sum(of_labels * np.log(of_labels)) - np.sum(of_clusters * np.log(of_clusters))
    return 1.0 if entropy == 0 else float(max(0.0, 2 * mutual / entropy))
