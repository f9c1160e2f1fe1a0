"""Trees over points: loops over sets, the order of leaves, what is left of one; and midpoints of classes."""

import functools
import itertools

import jax
import numpy as np
import pytest

from hypjax.geometry import lorentz, poincare, sphere
from hypjax.retrieval.tree import _midpoints, class_midpoints, linkage_tree, proxy_tree, restrict
from hypjax.retrieval.tree_quality import tree_quality
from tests.retrieval.trees import cloud, distance, nested, path

C = 0.5


def ball_points(n, seed=0):
    directions = cloud(n, seed=seed)
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    return (
        directions * np.random.default_rng(seed).uniform(0.1, 0.9, (n, 1)).astype(np.float32) / np.sqrt(np.float32(C))
    )


def clades(tree):
    """Leaves below each inner node, and which proxy and height it has."""
    found = {
        node: frozenset(i for i in range(tree.leaves) if node in path(tree, i)) for node in range(len(tree.parent))
    }
    return {found[v]: (int(tree.proxy[v]), float(tree.height[v])) for v in range(tree.leaves, len(tree.parent))}


def agglomerate(n, height, proxy):
    """Merges the two sets of leaves whose union is lowest, and drops those with the proxy of the next one above."""
    sets, merged = [frozenset([i]) for i in range(n)], []
    while len(sets) > 1:
        a, b = min(itertools.combinations(sets, 2), key=lambda pair: height(*pair))
        merged.append((a | b, proxy(a | b), height(a, b)))
        sets = [s for s in sets if s not in (a, b)] + [a | b]
    kept = {}
    for union, prototype, at in reversed(merged):
        above = min((s for s in kept if union < s), key=len, default=None)
        if above is None or prototype is None or kept[above][0] != prototype:
            kept[union] = (-1 if prototype is None else prototype, at)
    return kept


def same_clades(found, expected):
    assert found.keys() == expected.keys()
    for leaves, (proxy, height) in expected.items():
        assert found[leaves][0] == proxy
        np.testing.assert_allclose(found[leaves][1], height, rtol=1e-6)


def is_well_formed(tree):
    nodes = np.arange(len(tree.parent))
    assert tree.parent[-1] == -1
    assert tree.depth[-1] == 0
    assert np.all(tree.parent[:-1] > nodes[:-1])
    np.testing.assert_array_equal(np.setdiff1d(nodes, tree.parent), np.arange(tree.leaves))
    assert np.all(np.bincount(tree.parent[:-1], minlength=len(nodes))[tree.leaves :] >= 2)
    np.testing.assert_array_equal(tree.depth[:-1], tree.depth[tree.parent[:-1]] + 1)
    assert np.all(tree.height[:-1] <= tree.height[tree.parent[:-1]])
    np.testing.assert_array_equal(tree.height[: tree.leaves], 0)
    np.testing.assert_array_equal(tree.proxy[: tree.leaves], -1)


@pytest.mark.parametrize(("n", "p", "seed"), [(2, 3, 0), (9, 4, 1), (12, 30, 2), (14, 200, 3), (14, 14, 4)])
def test_the_proxy_tree_is_that_of_loops_over_sets(n, p, seed):
    leaves, proxies = cloud(n, seed=seed), 0.7 * cloud(p, seed=seed + 50)
    reach = distance(leaves, proxies)
    tree = proxy_tree(leaves, proxies, distance=distance)
    is_well_formed(tree)
    expected = agglomerate(
        n,
        lambda s, t: min(max(reach[i, r] for i in s | t) for r in range(p)),
        lambda s: min(range(p), key=lambda r: max(reach[i, r] for i in s)),
    )
    same_clades(clades(tree), expected)


@pytest.mark.parametrize(("n", "seed"), [(2, 0), (7, 1), (13, 2)])
def test_the_linkage_tree_is_that_of_loops_over_sets(n, seed):
    leaves = cloud(n, seed=seed)
    between = distance(leaves, leaves)
    tree = linkage_tree(leaves, distance=distance)
    is_well_formed(tree)
    expected = agglomerate(n, lambda s, t: np.mean([between[i, j] for i in s for j in t]), lambda s: None)
    same_clades(clades(tree), expected)


def test_two_leaves_meet_in_hier_s_lowest_common_ancestor():
    leaves, proxies = cloud(2), cloud(40, seed=1)
    to_proxies = distance(leaves, proxies)
    tree = proxy_tree(leaves, proxies, distance=distance)
    assert tree.proxy[-1] == np.argmin(np.maximum(to_proxies[0], to_proxies[1]))


def test_a_proxy_tree_knows_only_the_order_of_distances():
    leaves, proxies = cloud(20), cloud(30, seed=1)
    tree = proxy_tree(leaves, proxies, distance=distance)
    warped = proxy_tree(leaves, proxies, distance=lambda x, y: np.expm1(distance(x, y)))
    np.testing.assert_array_equal(tree.parent, warped.parent)
    np.testing.assert_array_equal(tree.proxy, warped.proxy)


@pytest.mark.slow
def test_both_models_of_hyperbolic_space_have_one_tree():
    leaves, proxies = (ball_points(n, seed=n) for n in (12, 20))
    ball = proxy_tree(leaves, proxies, distance=jax.jit(functools.partial(poincare.pairwise_dist, c=C)))
    lift = jax.jit(functools.partial(lorentz.from_poincare, c=C))
    sheet_distance = jax.jit(functools.partial(lorentz.pairwise_dist, c=C))
    sheet = proxy_tree(lift(leaves), lift(proxies), distance=sheet_distance)
    np.testing.assert_array_equal(ball.parent, sheet.parent)
    np.testing.assert_array_equal(ball.proxy, sheet.proxy)
    np.testing.assert_allclose(ball.height, sheet.height, rtol=1e-4)


def test_a_tree_on_the_sphere_needs_no_origin():
    points, groups = nested([3, 4, 2, 3])
    tops = [points[groups[:, 1] == g].mean(0) for g in range(2)]
    proxies = np.stack([*tops, points.mean(0)])
    points, proxies = (x / np.linalg.norm(x, axis=1, keepdims=True) for x in (points, proxies))
    tree = proxy_tree(points, proxies, distance=jax.jit(sphere.pairwise_dist))
    assert sorted(tree.proxy.tolist()[-3:-1]) == [0, 1]
    assert tree.proxy[-1] == 2
    assert tree_quality(tree, groups).purity[1] == 1


@pytest.mark.parametrize(
    "make", [linkage_tree, lambda x, distance: proxy_tree(x, cloud(25, seed=9), distance=distance)]
)
def test_the_order_of_leaves_does_not_matter(make):
    leaves, groups = cloud(18), np.random.default_rng(0).integers(0, 4, (18, 2))
    order = np.random.default_rng(1).permutation(18)
    tree, moved = make(leaves, distance=distance), make(leaves[order], distance=distance)
    renamed = {frozenset(order[list(leaves)].tolist()): rest for leaves, rest in clades(moved).items()}
    same_clades(renamed, clades(tree))
    quality, again = tree_quality(tree, groups), tree_quality(moved, groups[order])
    np.testing.assert_allclose(np.ravel(again), np.ravel(quality), rtol=1e-12)


def test_equal_points_make_a_star():
    points, proxies = np.ones((5, 3), np.float32), cloud(4)
    for tree in (linkage_tree(points, distance=distance), proxy_tree(points, proxies, distance=distance)):
        is_well_formed(tree)
        assert tree.parent.tolist() == [5, 5, 5, 5, 5, -1]


def test_a_proxy_above_all_others_does_not_repeat():
    points = np.array([[0.0], [1.0], [2.0], [40.0]], np.float32)
    tree = proxy_tree(points, np.array([[1.0], [20.0]], np.float32), distance=distance)
    assert tree.parent.tolist() == [4, 4, 4, 5, 5, -1]
    assert tree.proxy.tolist()[4:] == [0, 1]
    assert tree.height.tolist()[4:] == [1, 20]


def test_a_single_leaf_is_a_tree():
    for tree in (linkage_tree(cloud(1), distance=distance), proxy_tree(cloud(1), cloud(3), distance=distance)):
        assert tree.parent.tolist() == [-1]
        assert tree.leaves == 1
        assert np.isnan(np.ravel(tree_quality(tree, np.array([[0]])))).all()


def test_what_is_left_of_a_tree_keeps_its_shape():
    tree = proxy_tree(cloud(16), cloud(30, seed=1), distance=distance)
    kept = np.array([11, 2, 3, 15, 7, 0])
    rest = restrict(tree, kept)
    is_well_formed(rest)
    whole = sorted(clades(tree).items(), key=lambda clade: -len(clade[0]))
    expected = {leaves & frozenset(kept.tolist()): node for leaves, node in whole}  # the smallest clade comes last
    found = {frozenset(kept[list(leaves)].tolist()): node for leaves, node in clades(rest).items()}
    same_clades(found, {leaves: node for leaves, node in expected.items() if len(leaves) > 1})
    for whole_again, before in zip(restrict(tree, np.arange(16)), tree, strict=True):
        np.testing.assert_array_equal(whole_again, before)
    assert restrict(tree, np.array([5])).parent.tolist() == [-1]


def test_midpoints_are_those_of_each_class_alone():
    points = ball_points(9)
    labels = np.array([7, 2, 2, 7, 5, 2, 7, 7, 2])
    found = class_midpoints(points, labels, midpoint=functools.partial(poincare.weighted_midpoint, c=C))
    for k, midpoint in zip((2, 5, 7), np.asarray(found), strict=True):
        own = points[labels == k].astype(np.float64)
        factor = 2 / (1 - C * np.sum(own**2, axis=1))
        m = factor @ own / np.sum(factor - 1)
        np.testing.assert_allclose(midpoint, m / (1 + np.sqrt(1 - C * m @ m)), atol=1e-6)


@pytest.mark.slow
def test_midpoints_of_classes_of_very_different_sizes():
    labels = np.random.default_rng(0).permutation(np.repeat(np.arange(5), [1, 8, 9, 70, 2]))
    points = ball_points(len(labels))
    midpoint = functools.partial(poincare.weighted_midpoint, c=C)
    found = class_midpoints(points, labels, midpoint=midpoint)
    alone = [jax.jit(midpoint)(points[labels == k]) for k in range(5)]
    np.testing.assert_allclose(found, np.stack(alone), atol=1e-6)


def test_bad_arguments_are_refused():
    points = cloud(4)
    with pytest.raises(ValueError, match="got 4 and 0"):
        proxy_tree(points, points[:0], distance=distance)
    with pytest.raises(ValueError, match="needs leaves"):
        linkage_tree(points[:0], distance=distance)
    broken = points.copy()
    broken[1, 2] = np.nan
    with pytest.raises(ValueError, match="7 distances are not finite"):
        linkage_tree(broken, distance=distance)
    with pytest.raises(ValueError, match="4 distances are not finite"):
        proxy_tree(points, broken[1:2], distance=distance)
    tree = linkage_tree(points, distance=distance)
    with pytest.raises(ValueError, match="groups of 3 leaves given for a tree of 4"):
        tree_quality(tree, np.zeros((3, 1), int))
    for leaves in ([], [0, 0], [4], [-1]):
        with pytest.raises(ValueError, match="distinct and within"):
            restrict(tree, np.array(leaves, int))


def test_midpoints_at_another_curvature_compile_nothing():
    points, labels, before = ball_points(9), np.repeat(np.arange(3), 3), _midpoints._cache_size()
    weighted_midpoint = jax.jit(poincare.weighted_midpoint)
    for c in (0.2, 0.5):
        bound = jax.tree_util.Partial(poincare.weighted_midpoint, c=c)
        found = class_midpoints(points, labels, midpoint=bound)
        for k in range(3):
            expected = weighted_midpoint(points[labels == k], np.ones(3, np.float32), c=c)
            np.testing.assert_allclose(found[k], expected, rtol=1e-5, atol=1e-6)
    assert _midpoints._cache_size() == before + 1
