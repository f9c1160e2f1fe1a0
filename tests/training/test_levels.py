import jax
import jax.numpy as jnp
import numpy as np
import pytest

from hypjax.data.errors import UsageError
from hypjax.training.levels import create_levels, flat

# Six classes of three kinds, the first two kinds of one realm, the last of another.
ANCESTORS = np.array([[0, 0], [1, 0], [0, 0], [2, 1], [2, 1], [1, 0]])
TREE = create_levels(ANCESTORS, ["kind", "realm"])


def test_nodes_are_numbered_level_after_level_and_know_what_is_above_them():
    assert TREE.sizes == (6, 3, 2)
    np.testing.assert_array_equal(TREE.paths[:6], [[c, *above] for c, above in enumerate(ANCESTORS)])
    np.testing.assert_array_equal(TREE.paths[6:], [[-1, 0, 0], [-1, 1, 0], [-1, 2, 1], [-1, -1, 0], [-1, -1, 1]])
    assert [TREE.slice(level) for level in range(3)] == [slice(0, 6), slice(6, 9), slice(9, 11)]
    labels = np.array([3, -1, 0])
    np.testing.assert_array_equal(
        [TREE.labels(labels, level) for level in range(3)], [[3, -1, 0], [2, -1, 0], [1, -1, 0]]
    )
    np.testing.assert_array_equal(flat(3).labels(labels, 0), labels)


@pytest.mark.slow
def test_nodes_start_as_a_tree_whose_ancestors_lie_in_the_middle():
    vectors = np.asarray(TREE.start(jax.random.key(0), 4000, 1.5))
    lengths = np.linalg.norm(vectors, axis=1)
    np.testing.assert_allclose(lengths[:6], 1.5, rtol=0.05)
    np.testing.assert_allclose(lengths[6:9], 1.5 * np.sqrt(2 / 3), rtol=0.05)
    # A step of their own beyond the parent's, of no direction in common with others.
    steps = [vectors[node] - vectors[parent] for node, parent in ((0, 6), (2, 6), (1, 7), (6, 9), (7, 9), (8, 10))]
    gram = np.array(steps) @ np.array(steps).T
    np.testing.assert_allclose(gram, 0.75 * np.eye(6), atol=0.06)
    assert float(TREE.order(jnp.asarray(lengths))) == 1


def test_the_order_of_radii_is_the_share_of_right_pairs_of_ancestor_and_descendant():
    radii = np.random.default_rng(0).uniform(size=11).astype(np.float32)
    starts = (0, 6, 9)
    pairs = [
        (starts[level] + TREE.paths[node, level], node)
        for node in range(9)
        for level in range(1, 3)
        if node < starts[level]
    ]
    assert len(pairs) == 6 + 9
    expected = np.mean([radii[above] < radii[below] for above, below in pairs])
    np.testing.assert_allclose(TREE.order(jnp.asarray(radii)), expected, rtol=1e-6)


def test_levels_that_do_not_nest_are_refused_in_a_line():
    with pytest.raises(
        UsageError, match="levels color, size are no tree: what is one on 'color' is several further up"
    ):
        create_levels(np.array([[0, 0], [0, 1], [1, 1]]), ["color", "size"])
