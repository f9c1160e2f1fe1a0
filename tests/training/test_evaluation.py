import jax.numpy as jnp
import numpy as np
import pytest

from hypjax.evaluate import warnings
from hypjax.training import sharding
from hypjax.training.evaluation import Embedded, Evaluator, Response, radius_figures
from hypjax.training.space import create_space
from tests.data.toy import Toy


def embedded(radius):
    radius = np.asarray(radius, np.float32)
    blank = np.zeros((len(radius), 2), np.float32)
    return Embedded(blank, blank, blank, radius, 1 - radius / 2)


def test_radius_figures_count_the_saturated():
    figures = radius_figures(embedded([0.5, 1.0, 1.97, 2.0]), clip_radius=2.0)
    assert figures["saturated_share"] == 0.5
    np.testing.assert_allclose(figures["radius_mean"], 1.3675)
    np.testing.assert_allclose(figures["uncertainty_std"], np.std([0.75, 0.5, 0.015, 0.0]), rtol=1e-5)


def test_a_warning_when_more_than_half_saturate():
    assert not list(warnings({"saturated_share": 0.5}))
    (line,) = warnings({"saturated_share": 0.51})
    assert line.startswith("  warning: 51% of the embeddings lie at the clip radius")


def test_response_ranks_by_level():
    rising = np.array([[0.1, 0.3], [0.2, 0.4], [0.5, 0.6]], np.float32)
    wrong = np.array([[False, False], [False, True], [True, True]])
    distances = np.array([[[1, 2], [1, 2]], [[1, 4], [3, 4]], [[4, 4], [2, 3]]], np.float32)
    figures = Response((0.0, 0.5, 1.0), rising, wrong, distances).figures("blur")
    assert figures["blur_rank_correlation"] > 0.8
    assert figures["blur_recall@1"] == 0.25
    assert figures["blur_uncertainty_auroc"] == 1.0
    assert figures["blur_uncertainty_auroc_nearest_distance"] == 1.0  # 3, 4 and 2 are wrong, 1 is right
    assert figures["blur_uncertainty_auroc_distance_ratio"] == 1.0
    backwards = Response((0.0, 0.5, 1.0), rising, wrong, distances[::-1]).figures("blur")
    np.testing.assert_allclose(backwards["blur_uncertainty_auroc_nearest_distance"], 2 / 3)  # 3, 1, 1 wrong; 1 right
    assert Response((0.0, 0.5, 1.0), rising[::-1], wrong, distances).figures("blur")["blur_rank_correlation"] < -0.8


# Three classes on a line. Alone, the second image of class 0 finds its own class; in the gallery class 1 is nearest.
PLACES = np.array([0.0, 0.1, 1.5, 1.0, 1.1, 5.0, 5.1], np.float32)
LABELS = (3, 2, 2)


def on_a_line(queries=None, **options):
    """What an evaluator makes of these images, when a degraded image is where the clean one is."""
    source = Toy(counts=LABELS, ancestors=[()] * 3)
    source.queries = queries
    space = create_space("euclidean", c=1.0, distance="geodesic", uncertainty="radius", clip_radius=9.0)

    def reader(part, **degradation):
        chosen = getattr(part, "indices", np.arange(len(PLACES)))
        filled = np.resize(chosen, 8)
        yield {"features": PLACES[filled][:, None], "valid": np.arange(8) < len(chosen)}

    def embedder(variables, batch):
        points = jnp.concatenate([batch["features"], jnp.ones_like(batch["features"])], axis=1)
        return Embedded(points, points, points, points[:, 0], points[:, 0] / 9)

    evaluator = Evaluator(
        embedder, lambda params: space, sharding.data_mesh(), reader, clip_radius=9.0, ks=(1,), **options
    )
    return evaluator({}, source, degraded_queries=7)


@pytest.mark.slow
def test_a_data_sets_own_queries_search_its_gallery_only():
    alone = on_a_line()
    assert alone.figures["recall@1"] == pytest.approx(6 / 7)
    assert alone.figures["blur_recall@1"] == pytest.approx(6 / 7)
    queries = np.array([True, True, False, False, True, True, False])
    for options in ({}, {"query_gallery": True}):  # own queries go before the protocol
        given = on_a_line(queries, **options)
        np.testing.assert_array_equal(given.asking, [0, 1, 4, 5])
        assert given.figures["queries"] == 4
        assert given.retrieved.neighbors.max() < 3  # places in the gallery of three
        np.testing.assert_array_equal(given.retrieved.neighbors[:, 0], [1, 1, 1, 2])
        assert given.figures["recall@1"] == given.figures["blur_recall@1"] == 0.5
        assert given.responses["blur"].wrong.shape == (5, 4)
        assert "nmi" not in given.figures
    first = on_a_line(query_gallery=True)
    np.testing.assert_array_equal(first.asking, [0, 3, 5])
