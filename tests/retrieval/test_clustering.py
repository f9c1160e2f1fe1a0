import itertools

import jax
import numpy as np
import pytest
from sklearn.metrics import normalized_mutual_info_score

from hypjax.geometry import Euclidean, Lorentz, Poincare, Product, Sphere
from hypjax.retrieval import Shares, clustering, kmeans, mutual_information, nmi

FLAT = Euclidean()


def blobs(groups=6, size=15, d=4, spread=0.1, seed=0):
    rng = np.random.default_rng(seed)
    labels = np.repeat(np.arange(groups), size)
    order = rng.permutation(len(labels))
    points = (4 * np.eye(groups, d + groups)[labels] + spread * rng.normal(size=(len(labels), d + groups)))[order]
    return points.astype(np.float32), labels[order]


def inertia(points, assigned):
    return sum(np.sum((points[assigned == c] - points[assigned == c].mean(0)) ** 2) for c in np.unique(assigned))


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_nmi_equals_scikit_learn(seed):
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 7, 300)
    clusters = np.where(rng.random(300) < 0.5, labels, rng.integers(0, 9, 300)) * 10
    assert mutual_information(labels, clusters) == pytest.approx(
        normalized_mutual_info_score(labels, clusters), abs=1e-9
    )


def test_nmi_of_single_groups_and_of_independent_ones():
    assert mutual_information(np.zeros(4, int), np.ones(4, int)) == 1
    assert mutual_information(np.array([0, 0, 1, 1]), np.array([0, 1, 0, 1])) == pytest.approx(0, abs=1e-12)
    assert mutual_information(np.array([0, 0, 1, 1]), np.zeros(4, int)) == 0


def cloud(seed=0):
    return np.random.default_rng(seed).normal(size=(90, 10)).astype(np.float32)


@pytest.mark.slow
def test_kmeans_finds_separate_groups_and_its_starts_are_spread_out():
    points, labels = blobs()
    assert nmi(points, labels, FLAT) > 0.9
    one_step = [mutual_information(labels, kmeans(points, 6, FLAT, seed=seed, iterations=1)) for seed in range(10)]
    at_random = [
        mutual_information(labels, nearest_of(points, points[np.random.default_rng(s).choice(90, 6)]))
        for s in range(10)
    ]
    assert np.mean(one_step) > np.mean(at_random) + 0.1


def nearest_of(points, centers):
    return np.argmin(((points[:, None] - centers[None]) ** 2).sum(-1), axis=1)


@pytest.mark.slow
def test_kmeans_stops_where_no_point_would_move():
    points = cloud()
    assigned = np.asarray(kmeans(points, 6, FLAT, iterations=200))
    centers = np.stack([points[assigned == c].mean(0) for c in range(6)])
    np.testing.assert_array_equal(assigned, nearest_of(points, centers))


def test_more_iterations_never_cluster_worse():
    points = cloud(1)
    costs = [inertia(points, np.asarray(kmeans(points, 6, FLAT, iterations=i))) for i in (1, 2, 4, 50)]
    assert all(later <= earlier + 1e-3 for earlier, later in itertools.pairwise(costs))
    assert costs[-1] < costs[0]


@pytest.mark.slow
def test_kmeans_depends_on_the_seed_alone(monkeypatch):
    points = cloud(2)
    first = kmeans(points, 6, FLAT, seed=3)
    monkeypatch.setattr(clustering, "GATHERED", 1)
    np.testing.assert_array_equal(first, kmeans(points, 6, FLAT, seed=3))
    assert np.any(np.asarray(first) != np.asarray(kmeans(points, 6, FLAT, seed=4)))


@pytest.mark.slow
def test_kmeans_of_duplicates_and_of_one_point_a_cluster():
    assert np.all(np.asarray(kmeans(np.ones((5, 2), np.float32), 3, FLAT)) == 0)
    assert sorted(np.asarray(kmeans(np.eye(4, dtype=np.float32), 4, FLAT)).tolist()) == [0, 1, 2, 3]


@pytest.mark.parametrize("clusters", [0, 6])
def test_impossible_numbers_of_clusters_are_refused(clusters):
    with pytest.raises(ValueError, match=f"{clusters} clusters"):
        kmeans(np.ones((5, 2), np.float32), clusters, FLAT)


def deep_tangents(radius, seed=0):
    """Classes in a few directions at several depths; the origin's scale says little about distances far out."""
    rng = np.random.default_rng(seed)
    labels = np.repeat(np.arange(12), 10)
    lengths, directions = radius * rng.uniform(0.5, 1, 12), rng.normal(size=(12, 4))
    tangents = lengths[:, None] * directions / np.linalg.norm(directions, axis=1, keepdims=True)
    return (tangents[labels] + 0.2 * rng.normal(size=(len(labels), 4))).astype(np.float32), labels


@pytest.mark.slow
@pytest.mark.parametrize(("c", "radius"), [(0.1, 1.0), (1.0, 3.0)])
def test_ball_and_sheet_score_the_same(c, radius):
    tangents, labels = deep_tangents(radius)
    ball, sheet = (nmi(np.asarray(space.embed(tangents)), labels, space, seed=3) for space in (Poincare(c), Lorentz(c)))
    assert ball == pytest.approx(sheet, abs=1e-6)
    assert ball > 0.6


@pytest.mark.slow
@pytest.mark.parametrize("space", [Poincare(1.0), Product((Sphere(), FLAT), (2, 2))])
def test_every_point_ends_nearest_to_its_clusters_midpoint(space):
    points = np.asarray(space.embed(deep_tangents(2.0)[0]))
    assigned = np.asarray(kmeans(points, 7, space, iterations=200))
    midpoint = jax.jit(jax.vmap(lambda weights: space.midpoint(points, weights)))
    centers = np.asarray(midpoint((assigned == np.arange(7)[:, None]).astype(np.float32)))
    np.testing.assert_array_equal(assigned, np.argmin(space.pairwise_dist(points, centers), axis=1))


@pytest.mark.slow
def test_more_clusters_than_rounds_are_spread_out_too():
    points, labels = blobs(groups=100, size=4)
    assert mutual_information(labels, kmeans(points, 100, FLAT, iterations=0)) > 0.93


def test_points_that_are_not_finite_have_no_nmi():
    points, labels = blobs()
    points[3, 1] = np.nan
    assert np.isnan(nmi(points, labels, FLAT))


def test_kmeans_never_holds_points_times_clusters():
    points, starts = (jax.ShapeDtypeStruct((n, 4), np.float32) for n in (8192, -(-2000 // clustering.ROUNDS)))
    compiled = clustering._nearer.lower(points, jax.ShapeDtypeStruct((8192,), np.float32), starts, FLAT).compile()
    assert compiled.memory_analysis().temp_size_in_bytes < 8192 * 2000 * 4 / 8


@pytest.mark.slow
def test_points_that_are_not_looked_at_again_would_not_have_moved():
    """The clusters of Lloyd's iteration as textbooks have it, which looks at every center for every point."""
    space, clusters = Poincare(0.5), 25
    points = np.asarray(space.embed(0.8 * np.random.default_rng(4).normal(size=(400, 3)).astype(np.float32)))
    take, alone = points.__getitem__, Shares.whole(len(points))
    starts = clustering._spread_starts(points, take, alone, space, jax.random.key(2), clusters)
    centers, everyone = points[np.asarray(starts)], np.ones(clusters, bool)
    assigned = np.argmin(space.pairwise_dist(points, centers), axis=1)
    for iteration in range(1, 51):
        centers = clustering._midpoints(take, alone, assigned, centers, space, everyone)
        assigned = np.argmin(space.pairwise_dist(points, centers), axis=1)
        if iteration in (1, 4, 50):
            found = kmeans(points, clusters, space, seed=2, iterations=iteration)
            np.testing.assert_array_equal(found, assigned, err_msg=f"after {iteration}")
