import numpy as np
import pytest

from hypjax.retrieval import reliability
from hypjax.show.plots import degradation_response, reliability_diagram, risk_coverage_curve
from tests.show.plots.rendered import pixels


def curve(power, n=50):
    coverage = np.arange(1, n + 1) / n
    return coverage, 0.4 * coverage**power


def test_risk_coverage_shows_its_curves():
    one = pixels(risk_coverage_curve({"u": curve(1)}, ideal=curve(3)))
    two = pixels(risk_coverage_curve({"u": curve(1), "ratio": curve(0)}, ideal=curve(3)))
    assert min(one.shape[:2]) > 500
    assert one.std() > 5
    assert np.any(one != two)


def test_reliability_shows_what_is_told_and_what_comes_out():
    told = np.random.default_rng(0).uniform(size=4000)
    honest, liar = (np.random.default_rng(1).uniform(size=4000) < chance for chance in (told, told**3))
    figure = reliability_diagram(reliability(told, honest, bins=10))
    seen = next(line for line in figure.axes[0].lines if line.get_label() == "share wrong")
    np.testing.assert_allclose(seen.get_ydata(), seen.get_xdata(), atol=0.08)
    assert np.any(pixels(figure) != pixels(reliability_diagram(reliability(told, liar, bins=10))))
    few = reliability(np.array([0.05, 0.95]), np.array([False, True]), bins=10)
    line = next(line for line in reliability_diagram(few).axes[0].lines if line.get_label() == "share wrong")
    assert len(line.get_xdata()) == 2  # empty bins are left out


def test_degradation_shows_uncertainty_and_recall():
    levels, response = [0, 1, 2], {"blur": np.array([0.4, 0.5, 0.6]), "noise": np.array([0.4, 0.4, 0.45])}
    narrow = pixels(degradation_response(levels, response))
    wide = pixels(degradation_response(levels, response, recall_by_kind=response))
    assert narrow.std() > 5
    assert wide.shape[1] > 1.5 * narrow.shape[1]


def test_nothing_to_draw_and_wrong_lengths_are_refused():
    with pytest.raises(ValueError, match="no risk–coverage curve"):
        risk_coverage_curve({})
    with pytest.raises(ValueError, match="'blur'"):
        degradation_response([0, 1], {"blur": [0.1, 0.2, 0.3]})
    with pytest.raises(ValueError, match="no kind"):
        degradation_response([0, 1], {})
