"""The trees of a trained model, of its proxies and of its embeddings alone, against the known hierarchy."""

from __future__ import annotations

from collections.abc import Sequence
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
      right triplets, and whether the radius orders generality: of classes, of groups, and of images and their class
      or its groups.
    """
    count = len(source.ancestors)
    classes = np.unique(np.linspace(0, count - 1, min(count, MOST_CLASSES)).astype(int))
    leaves = _midpoints(points, shares, source.labels, classes, space)
    names = [f"{kind}_tree_{figure}" for kind in ("linkage", "minimax") for figure in TreeQuality._fields]
    trees, values = None, np.zeros((len(names), len(source.level_names)))
    if not shares.process:
        trees, groups = _trees(leaves, classes, space, proxies), source.ancestors[classes]
        values = np.array([*tree_quality(trees.linkage, groups), *tree_quality(trees.minimax, groups)])
    figures = _by_level(names, source.level_names, shares.total(values))
    return trees, figures | _radii(points, shares, source, space, leaves, classes)


def _by_level(names: Sequence[str], levels: Sequence[str], values: np.ndarray) -> dict[str, float]:
    return {
        f"{name}@{level}": float(value)
        for name, row in zip(names, values, strict=True)
        for level, value in zip(levels, row, strict=True)
    }


def _radii(
    points: np.ndarray, shares: Shares, source: Source, space: Space, leaves: np.ndarray, classes: np.ndarray
) -> dict[str, float]:
    """Whether ancestors lie nearer the origin than what descends from them: images, classes and groups."""
    manifold, leaves = radial(space.manifold, leaves)
    levels = list(source.level_names)
    if not levels or isinstance(manifold, Sphere):  # which has no middle
        return {}
    radius = jax.jit(manifold.dist0)
    order = radius_order(leaves, source.ancestors[classes], midpoint=manifold.midpoint, radius=radius)
    figures = _by_level(["radius_order", "radius_order_by_chance"], levels, np.array([order.share, order.by_chance]))
    figures |= _by_level(["radius_order_of_groups"], levels[1:], np.array([order.of_groups[1:]]))

    labels = source.labels[shares.own]
    chosen = np.isin(labels, classes)
    several = np.bincount(source.labels)[classes] > 1
    inner = np.column_stack([np.where(several, radius(leaves), np.nan), order.radius])
    inner = inner[np.searchsorted(classes, labels[chosen])]
    outer = np.asarray(radius(radial(space.manifold, points)[1]))[chosen, None]
    lie, known = shares.total(np.stack([np.sum(inner < outer, axis=0), np.sum(~np.isnan(inner), axis=0)]))
    with np.errstate(invalid="ignore"):
        return figures | _by_level(["radius_order_of_images"], ["class", *levels], (lie / known)[None])


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
