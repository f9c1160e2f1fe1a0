import jax.numpy as jnp
import jaxtyping
import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from hypjax.geometry import Euclidean
from hypjax.retrieval import retrieval_figures


def euclidean(x, y):
    return jnp.sqrt(jnp.sum((x[:, None, :] - y[None, :, :]) ** 2, axis=-1))


def embeddings(labels, seed=0, noise=0.8):
    rng = np.random.default_rng(seed)
    centers = np.random.default_rng(9).normal(size=(8, 5))
    return (centers[labels] + noise * rng.normal(size=(len(labels), 5))).astype(np.float32)


LABELS = np.array([0, 0, 0, 1, 1, 2, 2, 2, 2, 3, 4, 4])
ANCESTORS = np.array([[0, 0], [0, 0], [1, 0], [1, 0], [2, 1]])


@pytest.fixture
def searched():
    uncertainty = np.random.default_rng(1).random(len(LABELS)).astype(np.float32)
    points = embeddings(LABELS)
    result = retrieval_figures(
        points,
        LABELS,
        distance=euclidean,
        uncertainty=uncertainty,
        ancestors=ANCESTORS,
        level_names=["subgroup", "group"],
        manifold=Euclidean(),
    )
    return points, uncertainty, result


@pytest.mark.slow
def test_all_figures_are_there_as_floats(searched):
    figures = searched[2].figures
    ranking = {"recall@1", "recall@2", "recall@4", "recall@8", "r_precision", "map@r", "nmi"}
    hierarchy = {"agreement@class", "agreement@subgroup", "agreement@group", "lca_height"}
    hierarchy |= {"recall@1@subgroup", "recall@1@group", "nearest_lca_height"}
    scores = ("", "_nearest_distance", "_distance_ratio")
    uncertain = {f"uncertainty_{kind}{score}" for kind in ("auroc", "aurc") for score in scores}
    uncertain |= {"uncertainty_aurc_ideal", "uncertainty_aurc_random"}
    assert set(figures) == ranking | hierarchy | uncertain | {"queries", "queries_without_match"}
    assert all(type(value) is float and np.isfinite(value) for value in figures.values())


def test_figures_equal_a_loop_over_sorted_rows(searched):
    points, uncertainty, result = searched
    separation = np.linalg.norm(points[:, None] - points[None], axis=-1)
    hits, wrong, kept, averages, shared = {1: [], 4: []}, [], [], [], []
    for i, label in enumerate(LABELS):
        order = [j for j in np.argsort(separation[i]) if j != i]
        right = LABELS[order] == label
        r = int(right.sum())
        if r == 0:
            continue
        for k, found in hits.items():
            found.append(right[:k].any())
        averages.append(sum(right[: j + 1].mean() for j in range(r) if right[j]) / r)
        wrong.append(not right[0])
        kept.append(uncertainty[i])
        shared.append([right[0], *(ANCESTORS[LABELS[order[0]]] == ANCESTORS[label]), True])
    assert result.figures["queries"] == 11
    assert result.figures["queries_without_match"] == 1
    assert result.figures["recall@1"] == pytest.approx(np.mean(hits[1]))
    assert result.figures["recall@4"] == pytest.approx(np.mean(hits[4]))
    for level, name in enumerate(("subgroup", "group"), 1):
        assert result.figures[f"recall@1@{name}"] == pytest.approx(np.mean([path[level] for path in shared]))
    assert result.figures["nearest_lca_height"] == pytest.approx(np.mean([path.index(True) for path in shared]))
    assert result.figures["map@r"] == pytest.approx(np.mean(averages))
    assert result.figures["uncertainty_auroc"] == pytest.approx(roc_auc_score(wrong, kept), abs=1e-6)
    assert result.figures["uncertainty_aurc_random"] == pytest.approx(1 - np.mean(hits[1]))


def test_neighbors_are_returned_for_pictures(searched):
    result = searched[2]
    assert result.neighbors.shape == result.distances.shape == (12, 8)
    assert not np.any(result.neighbors == np.arange(12)[:, None])
    np.testing.assert_array_equal(result.wrong, LABELS[result.neighbors[:, 0]] != LABELS)
    np.testing.assert_array_equal(result.valid, LABELS != 3)


def test_query_and_gallery_sets():
    queries, gallery = np.array([0, 1, 5]), np.array([0, 1, 1, 2])
    result = retrieval_figures(
        embeddings(queries, noise=0.01),
        queries,
        gallery=(embeddings(gallery, seed=1, noise=0.01), gallery),
        distance=euclidean,
        ks=(1,),
    )
    assert result.figures["recall@1"] == 1
    assert result.figures["queries_without_match"] == 1
    assert result.neighbors[0, 0] == 0
    assert "nmi" not in result.figures


def test_degraded_queries_do_not_find_their_own_clean_image():
    clean = embeddings(LABELS)
    own = np.arange(len(LABELS))
    degraded = retrieval_figures(clean + 0.01, LABELS, gallery=(clean, LABELS), exclude=own, distance=euclidean)
    assert not np.any(degraded.neighbors == own[:, None])
    assert degraded.figures["queries_without_match"] == 1


def test_enough_neighbors_for_the_largest_class():
    labels = np.repeat([0, 1], 30)
    result = retrieval_figures(embeddings(labels, noise=0.01), labels, distance=euclidean, ks=(1,))
    assert result.neighbors.shape == (60, 29)
    assert result.figures["r_precision"] == 1


def test_nothing_to_count_is_nan_and_not_an_error():
    labels = np.arange(4)
    doubt = np.ones(4, np.float32)
    result = retrieval_figures(
        embeddings(labels), labels, distance=euclidean, ks=(1, 2), uncertainty=doubt, manifold=Euclidean()
    )
    assert result.figures["queries"] == 0
    assert np.isnan([result.figures[name] for name in ("recall@1", "map@r", "nmi", "uncertainty_auroc")]).all()


def test_sizes_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match="1 level names"):
        retrieval_figures(embeddings(LABELS), LABELS, distance=euclidean, ancestors=ANCESTORS, level_names=["a"])
    with pytest.raises(ValueError, match="k=8 neighbors"):
        retrieval_figures(embeddings(LABELS[:5]), LABELS[:5], distance=euclidean)


def test_labels_of_another_length_are_refused(monkeypatch):
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)  # users have no shape checks
    with pytest.raises(ValueError, match="3 embeddings with 4 labels"):
        retrieval_figures(np.ones((3, 2), np.float32), np.zeros(4, int), distance=euclidean)
