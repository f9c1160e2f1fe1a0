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
    ancestors = np.arange(12)[:, None] // 4
    level_names = ("group",)


@pytest.mark.slow
def test_of_many_classes_evenly_spaced_ones_are_the_leaves(monkeypatch):
    space = create_space("poincare", c=0.1, distance="geodesic", uncertainty="radius", clip_radius=2.3)
    key = jax.random.key(0)
    groups = jax.random.normal(key, (3, 8))[Many.ancestors[Many.labels, 0]]
    points = np.asarray(space.manifold.embed(groups + 0.01 * jax.random.normal(key, (24, 8))))
    grow = partial(trees.grow, points, Shares.whole(24), Many, space, None)
    whole, figures = grow()
    assert whole.classes.tolist() == list(range(12))
    assert figures["linkage_tree_triplets@group"] == 1
    midpoints = [space.manifold.midpoint(points[Many.ancestors[Many.labels, 0] == group]) for group in range(3)]
    nearer = [
        space.manifold.dist0(midpoints[label // 4])
        < space.manifold.dist0(space.manifold.midpoint(points[[2 * label, 2 * label + 1]]))
        for label in range(12)
    ]
    assert figures["radius_order@group"] == np.mean(nearer)
    monkeypatch.setattr(trees, "MOST_CLASSES", 6)
    part, figures = grow()
    assert part.classes.tolist() == [0, 2, 4, 6, 8, 11]
    assert part.linkage.leaves == 6
    assert figures["linkage_tree_triplets@group"] == 1
