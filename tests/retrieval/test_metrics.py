import jax.numpy as jnp
import numpy as np
import pytest

from hypjax.retrieval import hierarchy_quality, map_at_r, r_precision, recall_at_k, relevant_counts

LABELS = np.array([0, 0, 0, 1, 1, 2, 3, 3, 3, 3])


@pytest.fixture
def ranking():
    """A random order of all other items for each query."""
    rng = np.random.default_rng(0)
    n = len(LABELS)
    order = np.stack([rng.permutation(np.delete(np.arange(n), i)) for i in range(n)])
    return LABELS[order]


def test_relevant_counts_equal_a_loop():
    expected = [sum(LABELS[j] == LABELS[i] for j in range(10) if j != i) for i in range(10)]
    np.testing.assert_array_equal(relevant_counts(LABELS), expected)


def test_relevant_counts_in_a_gallery_with_missing_classes_and_exclusion():
    queries, gallery = np.array([0, 1, 7, 2]), np.array([1, 1, 2, 0, 5])
    np.testing.assert_array_equal(relevant_counts(queries, gallery), [1, 2, 0, 1])
    exclude = np.array([3, -1, 0, 0])
    np.testing.assert_array_equal(relevant_counts(queries, gallery, exclude=exclude), [0, 2, 0, 1])


@pytest.mark.parametrize("k", [1, 2, 4, 9])
def test_recall_equals_a_loop_and_leaves_singletons_out(ranking, k):
    valid = relevant_counts(LABELS) > 0
    hits = [LABELS[i] in ranking[i, :k].tolist() for i in range(10) if valid[i]]
    assert len(hits) == 9
    assert recall_at_k(ranking, LABELS, k=k, valid=valid) == pytest.approx(np.mean(hits))


def test_recall_without_valid_counts_every_query(ranking):
    hits = [LABELS[i] == ranking[i, 0] for i in range(10)]
    assert recall_at_k(ranking, LABELS, k=1) == pytest.approx(np.mean(hits))


def test_r_precision_and_map_at_r_equal_loops(ranking):
    relevant = relevant_counts(LABELS)
    precisions, averages = [], []
    for i in range(10):
        if relevant[i] == 0:
            continue
        right = [ranking[i, j] == LABELS[i] for j in range(relevant[i])]
        precisions.append(sum(right) / relevant[i])
        averages.append(sum(sum(right[: j + 1]) / (j + 1) for j in range(relevant[i]) if right[j]) / relevant[i])
    assert r_precision(ranking, LABELS, relevant=relevant) == pytest.approx(np.mean(precisions))
    assert map_at_r(ranking, LABELS, relevant=relevant) == pytest.approx(np.mean(averages))


def test_perfect_and_hopeless_rankings():
    labels, relevant = np.array([0, 1]), np.array([2, 2])
    perfect, hopeless = np.array([[0, 0, 1], [1, 1, 0]]), np.array([[1, 1, 0], [0, 0, 1]])
    for metric in (r_precision, map_at_r):
        assert metric(perfect, labels, relevant=relevant) == 1
        assert metric(hopeless, labels, relevant=relevant) == 0


def test_a_mean_over_no_query_is_nan():
    neighbor_labels, labels = np.array([[1]]), np.array([0])
    assert np.isnan(recall_at_k(neighbor_labels, labels, k=1, valid=np.array([False])))
    assert np.isnan(map_at_r(neighbor_labels, labels, relevant=np.array([0])))


@pytest.mark.parametrize("k", [0, 10])
def test_recall_beyond_the_neighbors_is_refused(ranking, k):
    with pytest.raises(ValueError, match=f"k={k} "):
        recall_at_k(ranking, LABELS, k=k)


def test_too_few_neighbors_for_r_are_refused(ranking):
    for metric in (r_precision, map_at_r):
        with pytest.raises(ValueError, match="k=3"):
            metric(ranking[:, :2], LABELS, relevant=relevant_counts(LABELS))


def test_jax_arrays_are_taken_too(ranking):
    relevant = relevant_counts(LABELS)
    given = map_at_r(jnp.asarray(ranking), jnp.asarray(LABELS), relevant=jnp.asarray(relevant))
    assert given == map_at_r(ranking, LABELS, relevant=relevant)


def test_hierarchy_quality_equals_a_loop(ranking):
    ancestors = np.array([[0, 0], [0, 0], [1, 0], [2, 1]])
    neighbor_labels = ranking[:, :4]
    agreement, heights = np.zeros(3), []
    for i in range(10):
        for other in neighbor_labels[i]:
            paths = [[c, *ancestors[c]] for c in (LABELS[i], other)]
            agree = [a == b for a, b in zip(*paths, strict=True)]
            agreement += np.array(agree) / neighbor_labels.size
            heights.append(agree.index(True) if True in agree else 3)
    quality = hierarchy_quality(neighbor_labels, LABELS, ancestors)
    np.testing.assert_allclose(quality.agreement, agreement, rtol=1e-6)
    assert quality.lca_height == pytest.approx(np.mean(heights))


def test_hierarchy_without_levels_and_with_queries_left_out():
    ancestors = np.zeros((3, 0), np.int32)
    neighbor_labels, labels = np.array([[0, 1], [2, 2]]), np.array([0, 1])
    quality = hierarchy_quality(neighbor_labels, labels, ancestors, valid=np.array([True, False]))
    np.testing.assert_allclose(quality.agreement, [0.5])
    assert quality.lca_height == 0.5
