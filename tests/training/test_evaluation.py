import jax.numpy as jnp
import numpy as np
import pytest

from hypjax.show.console import summary, warnings
from hypjax.training import sharding
from hypjax.training.embedding import Embedded
from hypjax.training.evaluation import Evaluator, Response, radius_figures
from hypjax.training.space import create_space
from tests.data.toy import Toy


def test_radius_figures_count_the_saturated():
    radius = np.array([0.5, 1.0, 1.97, 2.0], np.float32)
    figures = radius_figures(radius, 1 - radius / 2, clip_radius=2.0)
    assert figures["saturated_share"] == 0.5
    np.testing.assert_allclose(figures["radius_mean"], 1.3675)
    np.testing.assert_allclose(figures["uncertainty_std"], np.std([0.75, 0.5, 0.015, 0.0]), rtol=1e-5)


def test_a_warning_when_more_than_half_saturate_or_all_are_as_uncertain():
    equal = {"recall@1": 0.5, "body_recall@1": 0.5}
    assert not list(warnings({"saturated_share": 0.5, **equal}))
    (line,) = warnings({"saturated_share": 0.51, **equal})
    assert line.startswith("  warning: 51% of the embeddings lie at the clip radius")
    (line,) = warnings({"saturated_share": 0.0, "uncertainty_std": 3e-8, **equal})
    assert "one and the same for all images" in line


def test_a_warning_when_the_embedding_finds_a_point_less_than_its_encoder():
    assert not list(warnings({"saturated_share": 0.0, "recall@1": 0.591, "body_recall@1": 0.6}))
    worse = {"saturated_share": 0.0, "recall@1": 0.589, "body_recall@1": 0.6}
    (line,) = warnings(worse, refits=False)  # as where points are learned, for which a fitted head is refused
    assert line.endswith("try a larger head.dim")
    (line,) = warnings(worse)
    assert "finds less than the encoder's bare features by cosine (0.589 against 0.600)" in line


def test_a_warning_when_training_has_made_the_encoder_worse():
    figures = {"saturated_share": 0.0, "recall@1": 0.555, "body_recall@1": 0.591}
    assert not list(warnings({**figures, "body_recall@1": 0.555, "body_before_recall@1": 0.564}))
    line, _ = warnings({**figures, "body_before_recall@1": 0.723})
    assert "found more by cosine before it was trained (0.723 against 0.555)" in line
    assert "`frozen` behind the colon" in line
    (line,) = warnings({**figures, "body_before_recall@1": 0.591})  # of an encoder that was not trained
    assert "finds less than the encoder's bare features" in line


@pytest.mark.slow
def test_the_plain_searches_stand_beside_the_embedding_on_the_console():
    figures = on_a_line(untrained={"sign": -1.0}).figures
    lines = "\n".join(summary("test", figures))
    for name, words in (("direction", "by angle alone"), ("body", "bare features"), ("body_before", "before training")):
        assert f"{words} {figures[f'{name}_recall@1']:.3f}" in lines
    assert "before training" not in "\n".join(summary("test", on_a_line().figures))


def test_figures_that_were_left_out_are_not_spoken_of():
    figures = {"recall@1": 0.5, "map@r": 0.25, "saturated_share": 0.0, "uncertainty_std": 0.1}
    assert list(summary("test", figures)) == ["  test: recall@1 0.500  map@r 0.250  saturated 0.000"]
    assert not list(warnings(figures))


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


def on_a_line(queries=None, untrained=None, **options):
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
        features = points if "sign" not in variables else points.at[:, 0].set(jnp.cos(20 * points[:, 0]))
        return Embedded(features, points, points, points[:, 0], points[:, 0] / 9)

    evaluator = Evaluator(
        embedder, lambda params: space, sharding.data_mesh(), reader, clip_radius=9.0, ks=(1,), **options
    )
    return evaluator({}, source, degraded_queries=7, untrained=untrained)


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


@pytest.mark.slow
def test_bare_features_before_training_are_those_of_the_untrained_encoder():
    figures = on_a_line(untrained={"sign": -1.0}).figures
    directions = np.stack([np.cos(20 * PLACES), np.ones_like(PLACES)], axis=1).astype(np.float64)
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    cosines = directions @ directions.T
    np.fill_diagonal(cosines, -2)
    labels = np.repeat(np.arange(3), LABELS)
    right = labels[cosines.argmax(axis=1)] == labels
    assert figures["body_before_recall@1"] == pytest.approx(right.mean())
    assert figures["body_before_recall@1"] != figures["body_recall@1"] == figures["direction_recall@1"]
    assert "body_before_recall@1" not in on_a_line().figures
