"""How well a tree, and the radius, agree with a known hierarchy. All counting is exact, on the host, in NumPy."""

from collections.abc import Callable
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from hypjax.retrieval.tree import Tree, class_midpoints


class TreeQuality(NamedTuple):
    """How well a tree agrees with a known hierarchy, at each of its levels.

    Attributes:
        purity: Dendrogram purity, in (0, 1]; nan at a level where no two leaves share a group.
        purity_by_chance: Its mean over all ways to hand the same groups out to the leaves.
        triplets: Share of right triplets, in [0, 1], ½ by chance whatever the tree; nan at a level without triplets.
    """

    purity: list[float]
    purity_by_chance: list[float]
    triplets: list[float]


def tree_quality(tree: Tree, groups: Int[Array | np.ndarray, "n levels"]) -> TreeQuality:
    """Score a tree against a known hierarchy, exactly: every pair and every triplet of leaves counts.

    Dendrogram purity is the mean, over pairs of leaves of one group, of the share of that group among the leaves below
    their lowest common ancestor. A triplet (i, j, k), i and j of one group and k of another, is right when lca(i,j) is
    deeper than lca(i,k), and half right when the two are the same node::

        purity = mean_ij |{leaves below lca(i,j) of i's group}| / |{leaves below lca(i,j)}|
        triplets = mean_ijk 1[lca(i,j) below lca(i,k)] + ½ 1[lca(i,j) = lca(i,k)]

    Groups handed out at random make triplets right by ½, since j and k then trade places, and purity as large as
    `purity_by_chance`: of the other s − 2 leaves below a common ancestor, (n_g − 2) / (n − 2) are expected to belong to
    the group [ours]. A star scores exactly what chance does.

    Example:
        >>> import jax.numpy as jnp
        >>> from hypjax.retrieval.tree import linkage_tree
        >>> distance = lambda x, y: jnp.abs(x[:, None, 0] - y[None, :, 0])
        >>> tree = linkage_tree(jnp.array([[0.0], [1.0], [5.0], [6.0]]), distance=distance)
        >>> quality = tree_quality(tree, np.array([[0], [0], [1], [1]]))
        >>> quality.purity, [round(p, 3) for p in quality.purity_by_chance], quality.triplets
        ([1.0], [0.667], [1.0])

    Args:
        tree: Over n leaves.
        groups: Group of each leaf at each level, nearest first, such as the ancestors of its class.

    Returns:
        A figure a level.

    Raises:
        ValueError: groups are not given for each leaf.

    References:
        Heller and Ghahramani, Bayesian Hierarchical Clustering, ICML 2005.
    """
    groups = np.asarray(groups)
    if len(groups) != tree.leaves:
        raise ValueError(f"groups of {len(groups)} leaves given for a tree of {tree.leaves}: pass one row a leaf")
    by_level = [_quality(tree, np.unique(level, return_inverse=True)[1]) for level in groups.T]
    return TreeQuality(*([figures[i] for figures in by_level] for i in range(3)))


class RadiusOrder(NamedTuple):
    """Whether what is general lies nearer the origin, at each level of a hierarchy.

    Attributes:
        share: Of classes that lie farther out than the midpoint of their group, groups of one class left out; nan
            where no group has two.
        by_chance: The same where the same groups are handed out at random, once. A midpoint of things that lie apart
            is nearer the origin than they are, whatever they have in common.
        of_groups: Of groups of the level below that lie farther out than the midpoint of theirs, likewise; nan at the
            first level.
        radius: Of the midpoint of each class's group [n, levels]; nan where it has no other class.
    """

    share: list[float]
    by_chance: list[float]
    of_groups: list[float]
    radius: Float[np.ndarray, "n levels"]


def radius_order(
    points: Float[Array | np.ndarray, "n d"],
    groups: Int[Array | np.ndarray, "n levels"],
    *,
    midpoint: Callable[..., Array],
    radius: Callable[[Array], Array],
    seed: int = 0,
) -> RadiusOrder:
    """Ask whether the midpoints of groups lie nearer the origin than what they are made of [ours].

    Example:
        >>> from hypjax.geometry import euclidean
        >>> points, groups = np.array([[1.0, 0.0], [0.0, 1.0], [3.0, 0.0], [1.0, 0.0]]), np.array([[0], [0], [1], [1]])
        >>> radius_order(points, groups, midpoint=euclidean.weighted_midpoint, radius=euclidean.dist0).share
        [0.75]

    Args:
        points: Of a geometry, one a class.
        groups: Of each at each level, nearest first.
        midpoint: See `class_midpoints`.
        radius: Points [m, d] to their distances to the origin [m].
        seed: Of the random groups.

    Returns:
        Three figures a level, and radii.
    """
    points, groups = jnp.asarray(points), np.asarray(groups)
    own, order = np.asarray(radius(points)), np.random.default_rng(seed).permutation(len(points))

    def above(group: np.ndarray) -> np.ndarray:
        radii = np.asarray(radius(class_midpoints(points, group, midpoint=midpoint)))
        _, place, count = np.unique(group, return_inverse=True, return_counts=True)
        return np.where(count > 1, radii, np.nan)[place]

    radii = np.array([above(level) for level in groups.T]).T
    of_groups = [float("nan")] * len(groups.T)
    for level in range(1, len(groups.T)):
        _, first, count = np.unique(groups[:, level - 1], return_index=True, return_counts=True)
        _, place, below = np.unique(groups[first, level], return_inverse=True, return_counts=True)
        inner = np.where(below[place] > 1, radii[first, level], np.nan)  # else it is the same classes as what is below
        of_groups[level] = _share(inner, np.where(count > 1, radii[first, level - 1], own[first]))
    by_chance = [_share(above(level[order]), own) for level in groups.T]
    return RadiusOrder([_share(level, own) for level in radii.T], by_chance, of_groups, radii)


def _share(inner, outer):
    """Of the pairs whose inner radius is known, how many lie as they should."""
    known = ~np.isnan(inner)
    return float(np.mean(inner[known] < outer[known])) if known.any() else float("nan")


def _quality(tree, group):
    """Purity, purity by chance and triplets at one level, from how many of each group lie below each node."""
    n, below = tree.leaves, np.zeros((len(tree.parent), group.max(initial=0) + 1))
    below[np.arange(n), group] = 1
    for node, parent in enumerate(tree.parent[:-1]):
        below[parent] += below[node]
    child, parent = np.arange(len(below) - 1), tree.parent[:-1]
    size, total = below.sum(axis=1, keepdims=True), below[-1]

    def meeting(count):
        """Pairs whose lowest common ancestor is each node."""
        pairs = count * (count - 1) / 2
        met = pairs.copy()
        np.subtract.at(met, parent, pairs[child])
        return met * (np.arange(len(met)) >= n)[:, None]

    with np.errstate(invalid="ignore"):
        met = meeting(below)
        purity = np.sum(met * below / size) / met.sum()
        weight = met.sum(axis=0) / met.sum()
        share = np.where(n > 2, (total - 2) / max(n - 2, 1), 0)
        expected = (2 + (size - 2) * share[None]) / size
        chance = np.sum(meeting(size) / (n * (n - 1) / 2) * expected * weight[None]) if n > 1 else np.nan

        # Pairs of one group that part at a node, i below this child of it, and what of other groups lies where.
        parting = below[child] * (below[parent] - below[child])
        others = size - below
        right, tied = others[-1] - others[parent], others[parent] - others[child]
        triplets = np.sum(parting * (right + tied / 2)) / np.sum(parting * others[-1])
    return float(purity), float(chance), float(triplets)
