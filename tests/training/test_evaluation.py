import numpy as np

from hypjax.evaluate import warnings
from hypjax.training.evaluation import Embedded, Response, radius_figures


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
    figures = Response((0.0, 0.5, 1.0), rising, wrong).figures("blur")
    assert figures["blur_rank_correlation"] > 0.8
    assert figures["blur_recall@1"] == 0.25
    assert figures["blur_uncertainty_auroc"] == 1.0
    assert Response((0.0, 0.5, 1.0), rising[::-1], wrong).figures("blur")["blur_rank_correlation"] < -0.8
