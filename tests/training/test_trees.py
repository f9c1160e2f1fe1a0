from functools import partial

import jax
import numpy as np
import pytest

from hypjax.retrieval import Shares
from hypjax.training import trees
from hypjax.training.space import create_space


class Many:
    """A source of twelve classes in three groups, as far as a tree looks at it."""

    labels = np.repeat(np.arange(12), 2)
    ancestors = np.arange(12)[:, None] // [2, 4]
    level_names = ("subgroup", "group")


@pytest.mark.slow
def test_of_many_classes_evenly_spaced_ones_are_the_leaves(monkeypatch):
    space = create_space("poincare", c=0.1, distance="geodesic", uncertainty="radius", clip_radius=2.3)
    key = jax.random.key(0)
    groups = jax.random.normal(key, (3, 8))[Many.labels // 4]
    points = np.asarray(space.manifold.embed(groups + 0.01 * jax.random.normal(key, (24, 8))))
    grow = partial(trees.grow, points, Shares.whole(24), Many, space, None)
    whole, figures = grow()
    assert whole.classes.tolist() == list(range(12))
    assert figures["linkage_tree_triplets@group"] == 1
    monkeypatch.setattr(trees, "MOST_CLASSES", 6)
    part, figures = grow()
    assert part.classes.tolist() == [0, 2, 4, 6, 8, 11]
    assert part.linkage.leaves == 6
    assert figures["linkage_tree_triplets@group"] == 1


@pytest.mark.parametrize("geometry", ["poincare", "euclidean"])
def test_every_kind_of_ancestor_is_held_against_what_descends_from_it(geometry):
    """As a loop over the pairs counts it; one subgroup has one class, and one class one image."""

    class Uneven(Many):
        labels = np.delete(np.repeat(np.arange(12), 2), 5)
        ancestors = np.stack([np.minimum(np.arange(12) // 2 + (np.arange(12) == 11), 6), np.arange(12) // 4], axis=1)

    space = create_space(geometry, c=0.1, distance="geodesic", uncertainty="radius", clip_radius=2.3)
    manifold, key = space.manifold, jax.random.key(3)
    points = np.asarray(manifold.embed(jax.random.normal(key, (23, 3))))
    figures = trees.grow(points, Shares.whole(23), Uneven, space, None)[1]
    classes = np.stack([manifold.midpoint(points[Uneven.labels == label]) for label in range(12)])
    found = {}

    def compare(kind, inner, outer):
        found.setdefault(kind, []).append(bool(manifold.dist0(inner) < manifold.dist0(outer)))

    for label, point in zip(Uneven.labels, points, strict=True):
        if np.sum(Uneven.labels == label) > 1:
            compare("radius_order_of_images@class", classes[label], point)
    for level, name in enumerate(Many.level_names):
        group = Uneven.ancestors[:, level]
        for ancestor in np.unique(group[np.bincount(group)[group] > 1]):
            above = manifold.midpoint(classes[group == ancestor])
            for label in np.flatnonzero(group == ancestor):
                compare(f"radius_order@{name}", above, classes[label])
                for point in points[Uneven.labels == label]:
                    compare(f"radius_order_of_images@{name}", above, point)
            for lower in np.unique(Uneven.ancestors[group == ancestor, 0]) if level else ():
                compare(
                    f"radius_order_of_groups@{name}", above, manifold.midpoint(classes[Uneven.ancestors[:, 0] == lower])
                )
    shares = {
        name: value for name, value in figures.items() if name.startswith("radius_order") and "chance" not in name
    }
    assert shares == pytest.approx({name: np.mean(values) for name, values in found.items()})
    assert any(0.05 < value < 0.95 for value in shares.values())
