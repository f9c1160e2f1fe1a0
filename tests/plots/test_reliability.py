import numpy as np
import pytest
from PIL import Image

from hypjax.plots import degradation_response, risk_coverage_curve


def picture_of(path):
    with Image.open(path) as picture:
        assert picture.format == "PNG"
        return np.asarray(picture.convert("L")).astype(int)


def curve(power, n=50):
    coverage = np.arange(1, n + 1) / n
    return coverage, 0.4 * coverage**power


def test_risk_coverage_shows_its_curves(tmp_path):
    risk_coverage_curve(tmp_path / "one.png", {"u": curve(1)}, ideal=curve(3))
    risk_coverage_curve(tmp_path / "two.png", {"u": curve(1), "ratio": curve(0)}, ideal=curve(3))
    one, two = picture_of(tmp_path / "one.png"), picture_of(tmp_path / "two.png")
    assert min(one.shape) > 500
    assert one.std() > 5
    assert np.any(one != two)


def test_degradation_shows_uncertainty_and_recall(tmp_path):
    levels, response = [0, 1, 2], {"blur": np.array([0.4, 0.5, 0.6]), "noise": np.array([0.4, 0.4, 0.45])}
    degradation_response(tmp_path / "u.png", levels, response)
    degradation_response(tmp_path / "both.png", levels, response, recall_by_kind=response)
    narrow, wide = picture_of(tmp_path / "u.png"), picture_of(tmp_path / "both.png")
    assert narrow.std() > 5
    assert wide.shape[1] > 1.5 * narrow.shape[1]


def test_nothing_to_draw_and_wrong_lengths_are_refused(tmp_path):
    with pytest.raises(ValueError, match="no risk–coverage curve"):
        risk_coverage_curve(tmp_path / "x.png", {})
    with pytest.raises(ValueError, match="'blur'"):
        degradation_response(tmp_path / "x.png", [0, 1], {"blur": [0.1, 0.2, 0.3]})
    with pytest.raises(ValueError, match="no kind"):
        degradation_response(tmp_path / "x.png", [0, 1], {})
