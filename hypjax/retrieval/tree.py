"""The tree that proxies, or the embeddings alone, span over their leaves, and its agreement with a known hierarchy.

Leaves are points of any geometry, as a rule the midpoints of classes. Only distances are asked for, so that a tree
needs neither an origin nor coordinates. All counting runs on the host, in NumPy.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int
from scipy.cluster.hierarchy import linkage  # type: ignore[import-untyped]
from scipy.spatial.distance import squareform  # type: ignore[import-untyped]

from hypjax.retrieval.scan import as_argument

Distance = Callable[[Array, Array], Array]
_ROOM = 8  # classes of up to 8, 64, 512, … points are computed alike
_SAME = 1e-6  # of the root's height: merges closer than this are one


class Tree(NamedTuple):
    """A rooted tree over n leaves; an inner node has two children or more.

    Nodes are numbered from the leaves, 0 … n − 1 in the order given, up to the root, which comes last; a parent comes
    after its children.

    Attributes:
        parent: Parent of each node; −1 for the root.
        depth: Edges up to the root.
        height: Distance at which a node's branches meet; 0 for leaves, growing towards the root.
        proxy: Which proxy an inner node is; −1 for leaves, and everywhere in a tree without proxies.
        leaves: n.
    """

    parent: Int[np.ndarray, "nodes"]
    depth: Int[np.ndarray, "nodes"]
    height: Float[np.ndarray, "nodes"]
    proxy: Int[np.ndarray, "nodes"]
    leaves: int


def class_midpoints(
    points: Float[Array | np.ndarray, "n d"],
    labels: Int[Array | np.ndarray, "n"],
    *,
    midpoint: Callable[[Array, Array], Array],
) -> Float[Array, "classes d"]:
    """The midpoint of each class that occurs, in ascending order of labels.

    Example:
        >>> from hypjax.geometry import euclidean
        >>> points = jnp.array([[0.0], [2.0], [5.0]])
        >>> class_midpoints(points, np.array([3, 3, 4]), midpoint=euclidean.weighted_midpoint).tolist()
        [[1.0], [5.0]]

    Args:
        points: Points of a geometry.
        labels: Class of each.
        midpoint: Points [n, d] and weights [n] to a point [d]: a geometry's `weighted_midpoint`, its curvature bound.
    """
    points, (_, labels, counts) = jnp.asarray(points), np.unique(labels, return_inverse=True, return_counts=True)
    order, ends = np.argsort(labels, kind="stable"), np.cumsum(counts)
    # Classes of like size together, filled up with weight 0: a class costs what it holds, and few shapes are compiled.
    room = _ROOM ** np.maximum(np.ceil(np.log(counts) / np.log(_ROOM)), 1).astype(int)
    found = jnp.zeros((len(counts), points.shape[1]), points.dtype)
    for size in np.unique(room).tolist():
        chosen = np.flatnonzero(room == size)
        place = np.arange(size)
        within = place < counts[chosen, None]
        rows = order[np.where(within, (ends - counts)[chosen, None] + place, 0)]
        found = found.at[chosen].set(_midpoints(points, rows, within, as_argument(midpoint)))
    return found


@jax.jit
def _midpoints(points, rows, within, midpoint):
    return jax.lax.map(lambda own: midpoint(points[own[0]], own[1].astype(points.dtype)), (rows, within))


def proxy_tree(
    leaves: Float[Array | np.ndarray, "n d"], proxies: Float[Array | np.ndarray, "p d"], *, distance: Distance
) -> Tree:
    """The tree of HIER's proxies over leaves: a set's ancestor is the proxy whose smallest ball holds all of it [ours].

    For two leaves that is HIER's lowest common ancestor, argmin_ρ max(d(i,ρ), d(j,ρ)); for a set of them::

        r(S) = min_ρ max_{i ∈ S} d(i,ρ),    the ancestor ρ(S) is the argmin

    Leaves are merged from the bottom, always the two branches with the smallest r(S ∪ T): minimax linkage, with the
    proxies as its prototypes. r never falls on the way up. A merge at its parent's height, or with its parent's
    proxy, is not a node of its own, so that few proxies make a flat tree: one proxy, a star. Proxies that are
    nobody's ancestor do not occur. The tree depends on the order of distances alone, hence not on their scale.

    Example:
        >>> distance = lambda x, y: jnp.abs(x[:, None, 0] - y[None, :, 0])
        >>> leaves, proxies = jnp.array([[0.0], [1.0], [5.0], [6.0]]), jnp.array([[0.5], [3.0], [5.5]])
        >>> tree = proxy_tree(leaves, proxies, distance=distance)
        >>> tree.parent.tolist(), tree.proxy.tolist()
        ([4, 4, 5, 5, 6, 6, -1], [-1, -1, -1, -1, 0, 2, 1])

    Args:
        leaves: Points, at least one; time grows with n² p and memory with n² + n p.
        proxies: Points of the same geometry, at least one.
        distance: All-pairs distance, ``([n, d], [p, d]) -> [n, p]``.

    Raises:
        ValueError: there are no leaves or no proxies, or a distance is not finite.

    References:
        Kim et al., HIER: Metric Learning Beyond Class Labels via Hierarchical Regularization, CVPR 2023.
        Bien and Tibshirani, Hierarchical Clustering with Prototypes via Minimax Linkage, JASA 2011.
    """
    if min(len(leaves), len(proxies)) == 0:
        raise ValueError(f"a proxy tree needs leaves and proxies, got {len(leaves)} and {len(proxies)}")
    reach = _finite(distance(jnp.asarray(leaves), jnp.asarray(proxies)))  # [n, p]: max distance of a set to each proxy
    n = len(reach)
    joint = np.stack([np.maximum(row, reach).min(axis=1) for row in reach])  # [n, n]: r(S ∪ T)
    np.fill_diagonal(joint, np.inf)
    nearest = joint.argmin(axis=1)
    node, merges, heights, chosen = np.arange(n), [], [], []
    for _ in range(n - 1):
        a = int(joint[np.arange(n), nearest].argmin())
        b = int(nearest[a])
        merges.append((node[a], node[b]))
        reach[a] = np.maximum(reach[a], reach[b])
        heights.append(reach[a].min())
        chosen.append(reach[a].argmin())
        node[a] = n + len(merges) - 1
        alive = np.isfinite(joint[a])
        alive[[a, b]] = False, False
        joint[a] = np.where(alive, np.maximum(reach[a], reach).min(axis=1), np.inf)
        joint[:, a], joint[b], joint[:, b] = joint[a], np.inf, np.inf
        # r only grows, so that no other row can have come to prefer the merged set.
        stale = np.flatnonzero((nearest == a) | (nearest == b) | (np.arange(n) == a))
        nearest[stale] = joint[stale].argmin(axis=1)
    return _tree(np.array(merges, int).reshape(-1, 2), heights, chosen, n)


def linkage_tree(leaves: Float[Array | np.ndarray, "n d"], *, distance: Distance) -> Tree:
    """The tree of the leaves alone, by average linkage: what a model without proxies is compared by.

    Always the two branches S, T with the smallest mean_{i ∈ S, j ∈ T} d(i,j) are merged. A merge at its parent's height
    is not a node of its own: equal points make a star rather than an order that nothing speaks for.

    Example:
        >>> distance = lambda x, y: jnp.abs(x[:, None, 0] - y[None, :, 0])
        >>> linkage_tree(jnp.array([[0.0], [1.0], [5.0], [6.0]]), distance=distance).parent.tolist()
        [4, 4, 5, 5, 6, 6, -1]

    Args:
        leaves: Points, at least one; time and memory grow with n².
        distance: All-pairs distance, ``([n, d], [n, d]) -> [n, n]``.

    Raises:
        ValueError: there are no leaves, or a distance is not finite.

    References:
        Sokal and Michener, A Statistical Method for Evaluating Systematic Relationships, 1958.
    """
    if len(leaves) == 0:
        raise ValueError("a tree needs leaves, got none")
    distances = _finite(distance(jnp.asarray(leaves), jnp.asarray(leaves)))
    n = len(distances)
    if n == 1:
        return _tree(np.zeros((0, 2), int), [], [], 1)
    steps = linkage(squareform((distances + distances.T) / 2, checks=False), "average")
    return _tree(steps[:, :2].astype(int), steps[:, 2], np.full(n - 1, -1), n)


def restrict(tree: Tree, leaves: Int[Array | np.ndarray, "k"]) -> Tree:
    """The tree that is left over some leaves, in the order given: nodes with a single branch left are skipped.

    Example:
        >>> distance = lambda x, y: jnp.abs(x[:, None, 0] - y[None, :, 0])
        >>> tree = linkage_tree(jnp.array([[0.0], [1.0], [5.0], [6.0]]), distance=distance)
        >>> restrict(tree, np.array([0, 1, 3])).parent.tolist()
        [3, 3, 4, 4, -1]

    Args:
        tree: Any.
        leaves: Those to keep, at least one, each once.

    Raises:
        ValueError: no leaf is kept, a leaf is kept twice, or there is none of that number.
    """
    kept = np.asarray(leaves)
    if not len(kept) or len(np.unique(kept)) < len(kept) or kept.min() < 0 or kept.max() >= tree.leaves:
        raise ValueError(f"leaves to keep must be distinct and within [0, {tree.leaves}), got {kept.tolist()}")
    branches = np.zeros(len(tree.parent), int)
    branches[kept] = 1
    for node, parent in enumerate(tree.parent[:-1]):
        branches[parent] += branches[node] > 0
    inner = tree.leaves + np.flatnonzero(branches[tree.leaves :] >= 2)
    return _number(tree.parent, np.concatenate([kept, inner]), tree.height, tree.proxy, len(kept))


def _finite(distances):
    distances = np.array(distances)  # a copy, for the caller to write into
    if not np.isfinite(distances).all():
        raise ValueError(f"{np.sum(~np.isfinite(distances))} distances are not finite: the embeddings have diverged")
    return distances


def _tree(merges, heights, chosen, n) -> Tree:
    """Numbers merges of two as a tree, those at one with the node above them left out."""
    parent = np.full(2 * n - 1, -1)
    parent[merges] = np.arange(n, 2 * n - 1)[:, None]
    height = np.concatenate([np.zeros(n), np.asarray(heights, np.float64)])
    proxy = np.concatenate([np.full(n, -1), np.asarray(chosen, int)])
    joined = np.arange(2 * n - 1)  # the node that each is at one with
    for node in range(2 * n - 3, n - 1, -1):
        above = joined[parent[node]]
        same_height = height[above] - height[node] <= _SAME * height[-1]
        if same_height or proxy[above] == proxy[node] >= 0:
            joined[node] = above
    kept = np.flatnonzero(joined == np.arange(2 * n - 1))
    return _number(parent, kept, height, proxy, n)


def _number(parent, kept, height, proxy, leaves) -> Tree:
    """The tree of the nodes `kept`, renumbered in this order; each hangs under the nearest kept node above it."""
    number = np.full(len(parent) + 1, -1)  # the last entry, number −1, stands for what is above the root
    number[kept] = np.arange(len(kept))
    up, depth = np.full(len(parent) + 1, -1), np.full(len(parent) + 1, -1)
    for node in range(len(parent) - 1, -1, -1):
        above = parent[node]
        up[node] = above if number[above] >= 0 else up[above]
        depth[node] = depth[up[node]] + 1
    return Tree(number[up[kept]], depth[kept], height[kept], proxy[kept], leaves)
