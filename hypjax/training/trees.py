"""The trees of a trained model, of its proxies and of its embeddings alone, against the known hierarchy."""

from __future__ import annotations

from functools import partial
from typing import NamedTuple

import jax
import numpy as np
from jaxtyping import Float, Int

from hypjax.data.source import Source
from hypjax.geometry import Sphere, radial
from hypjax.retrieval import Shares, Tree, class_midpoints, linkage_tree, proxy_tree, radius_order, tree_quality
from hypjax.retrieval.scan import as_argument
from hypjax.retrieval.tree_quality import TreeQuality
from hypjax.training.space import Space

_distances = jax.jit(lambda distance, x, y: distance(x, y))
MOST_CLASSES = 1000  # joining prototypes takes the third power of their number
TOGETHER = 2**16  # images, about, whose classes' midpoints are taken at a time


class Trees(NamedTuple):
    """Trees whose leaves are classes of a source.

    Attributes:
      classes: of each leaf: all of them, or evenly spaced ones where there are more than `MOST_CLASSES`.
      linkage: by average linkage of the classes' midpoints.
      minimax: by minimax linkage with HIER's proxies as its prototypes; with the midpoints themselves for a model
        without, so that the two compare like for like.
      learned: whether the prototypes are learned proxies.
    """

    classes: Int[np.ndarray, " leaves"]
    linkage: Tree
    minimax: Tree
    learned: bool


def grow(
    points: Float[np.ndarray, "own d"],
    shares: Shares,
    source: Source,
    space: Space,
    proxies: Float[np.ndarray, "p d"] | None,
) -> tuple[Trees | None, dict[str, float]]:
    """Trees over the classes of a source, and their agreement with its hierarchy.

    Args:
      points: of every image of the source that this process holds.
      shares: which process holds which.
      source: the images.
      space: where the points live.
      proxies: HIER's, as points; None for a model without.

    Returns:
      The trees, on process 0 alone; and by level of the hierarchy purity, what it would be by chance, the share of
      right triplets, and whether the radius orders generality.
    """
    count = len(source.ancestors)
    classes = np.unique(np.linspace(0, count - 1, min(count, MOST_CLASSES)).astype(int))
    leaves = _midpoints(points, shares, source.labels, classes, space)
    manifold, radii = radial(space.manifold, leaves)
    middle = not isinstance(manifold, Sphere)  # which has none
    of_level = [f"{kind}_tree_{what}" for kind in ("linkage", "minimax") for what in TreeQuality._fields]
    of_level += ["radius_order", "radius_order_by_chance"] * middle
    names, trees = [f"{figure}@{level}" for figure in of_level for level in source.level_names], None
    values = np.zeros(len(names))
    if not shares.process:
        trees = _trees(leaves, classes, space, proxies)
        groups = source.ancestors[classes]
        found = [*tree_quality(trees.linkage, groups), *tree_quality(trees.minimax, groups)]
        if middle:
            found += radius_order(radii, groups, midpoint=manifold.midpoint, radius=manifold.dist0)
        values = np.concatenate(found)
    return trees, dict(zip(names, shares.total(values).tolist(), strict=True))


def _trees(leaves: np.ndarray, classes: np.ndarray, space: Space, proxies: np.ndarray | None) -> Trees:
    held = None if proxies is None else jax.jit(space.manifold.project)(proxies)
    distance = partial(_distances, as_argument(space.distance))
    return Trees(
        classes,
        linkage_tree(leaves, distance=distance),
        proxy_tree(leaves, leaves if held is None else held, distance=distance),
        held is not None,
    )


def _midpoints(
    points: np.ndarray, shares: Shares, labels: np.ndarray, classes: np.ndarray, space: Space
) -> Float[np.ndarray, "leaves d"]:
    """The midpoints of classes, of as many at a time as each process can hold the images of."""
    chosen = np.flatnonzero(np.isin(labels, classes))
    chosen = chosen[np.argsort(labels[chosen], kind="stable")]
    ends = np.searchsorted(labels[chosen], classes, side="right")
    parts = np.split(chosen, ends[np.flatnonzero(np.diff(ends // TOGETHER))])
    midpoint = space.manifold.midpoint
    found = [class_midpoints(shares.take(points, part), labels[part], midpoint=midpoint) for part in parts if len(part)]
    return np.concatenate(found)
