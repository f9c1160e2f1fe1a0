import itertools

import jax
import numpy as np
import pytest
from sklearn.metrics import normalized_mutual_info_score

from hypjax.retrieval import kmeans, nmi


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
    assert nmi(labels, clusters) == pytest.approx(normalized_mutual_info_score(labels, clusters), abs=1e-9)


def test_nmi_of_single_groups_and_of_independent_ones():
    assert nmi(np.zeros(4, int), np.ones(4, int)) == 1
    assert nmi(np.array([0, 0, 1, 1]), np.array([0, 1, 0, 1])) == pytest.approx(0, abs=1e-12)
    assert nmi(np.array([0, 0, 1, 1]), np.zeros(4, int)) == 0


def cloud(seed=0):
    return np.random.default_rng(seed).normal(size=(90, 10)).astype(np.float32)


def test_kmeans_finds_separate_groups_and_its_starts_are_spread_out():
    points, labels = blobs()
    assert nmi(labels, kmeans(points, 6)) > 0.9
    one_step = [nmi(labels, kmeans(points, 6, seed=seed, iterations=1)) for seed in range(10)]
    at_random = [nmi(labels, nearest_of(points, points[np.random.default_rng(s).choice(90, 6)])) for s in range(10)]
    assert np.mean(one_step) > np.mean(at_random) + 0.1


def nearest_of(points, centers):
    return np.argmin(((points[:, None] - centers[None]) ** 2).sum(-1), axis=1)


def test_kmeans_stops_where_no_point_would_move():
    points = cloud()
    assigned = np.asarray(kmeans(points, 6, iterations=200))
    centers = np.stack([points[assigned == c].mean(0) for c in range(6)])
    np.testing.assert_array_equal(assigned, nearest_of(points, centers))


def test_more_iterations_never_cluster_worse():
    points = cloud(1)
    costs = [inertia(points, np.asarray(kmeans(points, 6, iterations=i))) for i in (1, 2, 4, 50)]
    assert all(later <= earlier + 1e-3 for earlier, later in itertools.pairwise(costs))
    assert costs[-1] < costs[0]


def test_kmeans_depends_on_the_seed_and_not_on_blocks():
    points = cloud(2)
    first = kmeans(points, 6, seed=3)
    np.testing.assert_array_equal(first, kmeans(points, 6, seed=3, block=32))
    assert np.any(np.asarray(first) != np.asarray(kmeans(points, 6, seed=4)))


def test_kmeans_of_duplicates_and_of_one_point_a_cluster():
    assert np.all(np.asarray(kmeans(np.ones((5, 2), np.float32), 3)) == 0)
    assert sorted(np.asarray(kmeans(np.eye(4, dtype=np.float32), 4)).tolist()) == [0, 1, 2, 3]


@pytest.mark.parametrize("clusters", [0, 6])
def test_impossible_numbers_of_clusters_are_refused(clusters):
    with pytest.raises(ValueError, match=f"{clusters} clusters"):
        kmeans(np.ones((5, 2), np.float32), clusters)


def test_kmeans_never_holds_points_times_clusters():
    from hypjax.retrieval.clustering import _kmeans

    points, key = jax.ShapeDtypeStruct((8192, 4), np.float32), jax.eval_shape(lambda: jax.random.key(0))
    memory = _kmeans.lower(points, key, 2000, 5, 256).compile().memory_analysis()
    assert memory.temp_size_in_bytes < 8192 * 2000 * 4 / 8
