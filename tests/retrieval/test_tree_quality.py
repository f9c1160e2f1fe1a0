"""How well a tree keeps groups together: loops over pairs and triplets, chance, and trees whose figures are known."""

import itertools

import numpy as np
import pytest

from hypjax.retrieval.tree import Tree, linkage_tree, proxy_tree
from hypjax.retrieval.tree_quality import tree_quality
from tests.retrieval.trees import cloud, distance, nested, path


def random_tree(n, seed):
    """Up to three branches a node, of any depth."""
    rng = np.random.default_rng(seed)
    parent, open_nodes, node = {}, list(range(n)), n
    while len(open_nodes) > 1:
        taken = rng.choice(len(open_nodes), min(len(open_nodes), int(rng.integers(2, 4))), replace=False)
        parent |= {open_nodes[i]: node for i in taken}
        open_nodes = [other for i, other in enumerate(open_nodes) if i not in taken] + [node]
        node += 1
    return as_tree(np.array([*(parent[i] for i in range(node - 1)), -1]), n)


def as_tree(parent, n):
    nothing = np.zeros(len(parent), int)
    return Tree(parent, nothing, np.zeros(len(parent)), nothing - 1, n)


def oracle_quality(tree, group):
    """Purity and triplets by walking up from every pair and every triplet."""
    n = tree.leaves
    paths = [path(tree, i) for i in range(n)]
    lca = {(i, j): next(v for v in paths[i] if v in paths[j]) for i in range(n) for j in range(n)}
    purity, triplets = [], []
    for i, j in itertools.permutations(range(n), 2):
        if group[i] == group[j]:
            below = [k for k in range(n) if lca[i, j] in paths[k]]
            purity.append(np.mean([group[k] == group[i] for k in below]))
            for k in range(n):
                if group[k] != group[i]:
                    together, apart = (len(path(tree, v)) for v in (lca[i, j], lca[i, k]))
                    triplets.append((together > apart) + (together == apart) / 2)
    return np.mean(purity) if purity else np.nan, np.mean(triplets) if triplets else np.nan


@pytest.mark.parametrize("seed", range(6))
def test_quality_is_that_of_loops_over_pairs_and_triplets(seed):
    rng = np.random.default_rng(seed)
    n = int(rng.integers(4, 11))
    tree, groups = random_tree(n, seed), rng.integers(0, 3, (n, 2)) * 7
    quality = tree_quality(tree, groups)
    for level in range(2):
        purity, triplets = oracle_quality(tree, groups[:, level])
        np.testing.assert_allclose(quality.purity[level], purity, rtol=1e-12)
        np.testing.assert_allclose(quality.triplets[level], triplets, rtol=1e-12)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(4))
def test_chance_is_the_mean_over_all_orders_of_the_groups(seed):
    tree, groups = random_tree(6, seed), np.array([0, 0, 0, 1, 1, 2])
    orders = np.array(list(itertools.permutations(range(6))))
    quality = tree_quality(tree, groups[orders].T)
    np.testing.assert_allclose(np.mean(quality.purity), quality.purity_by_chance[0], rtol=1e-12)
    np.testing.assert_allclose(np.mean(quality.triplets), 0.5, rtol=1e-12)
    np.testing.assert_allclose(quality.purity_by_chance, quality.purity_by_chance[0], rtol=1e-12)


def test_a_tree_that_knows_the_hierarchy_is_perfect():
    points, groups = nested([3, 4, 2, 3, 1, 5])
    middles = [points[groups[:, level] == g].mean(0) for level in range(2) for g in np.unique(groups[:, level])]
    proxies = np.stack([*middles, points.mean(0)])
    for tree in (linkage_tree(points, distance=distance), proxy_tree(points, proxies, distance=distance)):
        quality = tree_quality(tree, groups)
        assert quality.purity == [1, 1]
        assert quality.triplets == [1, 1]
        assert max(quality.purity_by_chance) < 0.6


def test_a_star_scores_what_chance_does():
    points, groups = nested([3, 4, 2, 3])
    tree = proxy_tree(points, points[:1], distance=distance)
    assert tree.parent.tolist() == [12] * 12 + [-1]
    quality = tree_quality(tree, groups)
    np.testing.assert_allclose(quality.purity, quality.purity_by_chance, rtol=1e-12)
    assert quality.triplets == [0.5, 0.5]
    pairs = np.array([3, 6, 1, 3])
    np.testing.assert_allclose(quality.purity[0], np.sum(pairs * np.array([3, 4, 2, 3]) / 12) / pairs.sum())


def test_levels_without_pairs_or_triplets_have_no_figure():
    tree = linkage_tree(cloud(4), distance=distance)
    quality = tree_quality(tree, np.array([[0, 5], [1, 5], [2, 5], [3, 5]]))
    assert np.isnan([quality.purity[0], quality.purity_by_chance[0], *quality.triplets]).all()
    assert quality.purity[1] == pytest.approx(1)
    assert quality.purity_by_chance[1] == pytest.approx(1)
    assert tree_quality(tree, np.zeros((4, 0), int)) == ([], [], [])
