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
) -> tuple[Trees, dict[str, float]]:
    """Trees over the classes of a source, and their agreement with its hierarchy.

    Args:
      points: of every image of the source that this process holds.
      shares: which process holds which.
      source: the images.
      space: where the points live.
      proxies: HIER's, as points; None for a model without.

    Returns:
      The trees; and by level of the hierarchy purity, what it would be by chance, the share of right triplets, and
      whether the radius orders generality.
    """
    count = len(source.ancestors)
    classes = np.unique(np.linspace(0, count - 1, min(count, MOST_CLASSES)).astype(int))
    leaves = _midpoints(points, shares, source.labels, classes, space)
    held = None if proxies is None else jax.jit(space.manifold.project)(proxies)
    distance = partial(_distances, as_argument(space.distance))
    trees = Trees(
        classes,
        linkage_tree(leaves, distance=distance),
        proxy_tree(leaves, leaves if held is None else held, distance=distance),
        held is not None,
    )
    figures: dict[str, float] = {}
    for kind, tree in {"linkage": trees.linkage, "minimax": trees.minimax}.items():
        quality = tree_quality(tree, source.ancestors[classes])
        for place, level in enumerate(source.level_names):
            figures |= {
                f"{kind}_tree_purity@{level}": quality.purity[place],
                f"{kind}_tree_purity_by_chance@{level}": quality.purity_by_chance[place],
                f"{kind}_tree_triplets@{level}": quality.triplets[place],
            }
    manifold, leaves = radial(space.manifold, leaves)
    if not isinstance(manifold, Sphere):  # which has no middle
        order = radius_order(leaves, source.ancestors[classes], midpoint=manifold.midpoint, radius=manifold.dist0)
        for level, share, by_chance in zip(source.level_names, *order, strict=True):
            figures |= {f"radius_order@{level}": share, f"radius_order_by_chance@{level}": by_chance}
    return trees, figures


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
