import numpy as np
import pytest

from hypjax.show.plots import Panel, training_curves
from hypjax.show.plots.curves import _running_mean, _series_of
from tests.show.plots.rendered import pixels


def rows(steps=80):
    rng = np.random.default_rng(0)
    logged = [{"step": s, "loss": 2 + rng.random(), "grad_norm": rng.random() + 0.1} for s in range(steps)]
    for s in range(0, steps, 10):
        logged.append({"step": s, "validation/recall@1": s / steps, "validation/radius_mean": 1.5})
        logged[-1] |= {"validation/radius_std": 0.2, "validation/uncertainty_auroc": None}
    return logged


def test_a_picture_of_decent_size_is_drawn():
    shown = pixels(training_curves(rows(), title="a $title_ with markup"))
    assert min(shown.shape[:2]) > 500
    assert shown.std() > 5


def test_the_lines_are_the_figures():
    panel = [Panel("Loss", {"loss": "loss"})]
    for loss in ((2.0, 1.0), (1.0, 2.0)):
        figure = training_curves([{"step": i, "loss": value} for i, value in enumerate(loss)], panels=panel)
        np.testing.assert_array_equal(figure.axes[0].lines[0].get_xydata(), [*enumerate(loss)])


def test_missing_null_and_infinite_figures_are_gaps():
    logged = [{"step": 1, "loss": 2.0}, {"step": 2}, {"step": 3, "loss": None}, {"step": 4, "loss": float("inf")}]
    drawn = _series_of(Panel("Loss", {"loss": "loss", "absent": "absent"}), logged)
    np.testing.assert_array_equal(drawn["loss"], [[1, 2, 0]])
    assert list(drawn) == ["loss"]


def test_a_log_axis_leaves_zeros_out():
    logged = [{"step": 1, "grad_norm": 0.0}, {"step": 2, "grad_norm": 3.0}]
    drawn = _series_of(Panel("Norm", {"grad_norm": "norm"}, scale="log"), logged)
    np.testing.assert_array_equal(drawn["norm"][:, :2], [[2, 3]])


def test_a_single_row_can_be_drawn():
    assert min(pixels(training_curves([{"step": 0, "loss": 1.0}])).shape[:2]) > 300


def test_nothing_to_draw_is_refused():
    with pytest.raises(ValueError, match="none of 1 rows"):
        training_curves([{"step": 1, "other": 2.0}])


def test_running_mean_equals_a_loop():
    values = np.random.default_rng(0).random(12)
    expected = [values[max(0, i - 2) : i + 3].mean() for i in range(12)]
    np.testing.assert_allclose(_running_mean(values, 2), expected)
