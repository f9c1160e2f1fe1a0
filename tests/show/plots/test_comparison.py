import math

import matplotlib
import numpy as np
import pytest

from hypjax.show.plots.comparison import _broken, comparison
from tests.show.plots.rendered import pixels

FIGURES = {
    "recall@1": {"hyp_vit": [0.56, 0.57, 0.55], "hyp_uml": [0.55, 0.56, 0.57], "one seed": [0.5]},
    "auroc $_{odd}": {"hyp_vit": [0.5, 0.5, 0.5], "hyp_uml": [0.61, math.nan, 0.6]},
}


def test_a_picture_of_decent_size_is_drawn():
    shown = pixels(comparison(FIGURES, baseline="hyp_vit", title="a $title_ with markup"))
    assert shown.shape[0] > 250
    assert shown.shape[1] > 500
    assert shown.std() > 5


def test_dots_and_bars_stand_at_mean_and_deviation():
    axes = comparison(FIGURES, baseline="hyp_vit").axes[0]
    bars = [container for container in axes.containers if isinstance(container, matplotlib.container.ErrorbarContainer)]
    np.testing.assert_allclose([bar.lines[0].get_xdata()[0] for bar in bars], [0.56, 0.56, 0.5])
    ends = bars[0].lines[2][0].get_segments()[0][:, 0]
    np.testing.assert_allclose(ends, [0.55, 0.57])
    assert not bars[2].has_xerr  # one seed has no spread
    seeds = np.sort(axes.collections[-1].get_offsets()[:, 0])
    np.testing.assert_allclose(seeds, [0.55, 0.56, 0.57])
    assert [label.get_text() for label in axes.get_yticklabels()] == ["hyp_vit (baseline)", "hyp_uml", "one seed"]


def test_the_baselines_mean_is_marked():
    for baseline, lines in (("hyp_uml", [0.56]), ("unknown", []), (None, [])):
        axes = comparison(FIGURES, baseline=baseline).axes[0]
        marks = [line for line in axes.lines if list(line.get_ydata()) == [0, 1]]
        np.testing.assert_allclose([line.get_xdata()[0] for line in marks], lines)


def test_missing_and_nan_values_are_left_out():
    bars = comparison(FIGURES).axes[1].containers
    assert [round(float(bar.lines[0].get_xdata()[0]), 9) for bar in bars] == [0.5, 0.605]


def test_more_figures_than_columns_wrap():
    figure = comparison({f"figure {i}": {"run": [0.1 * i]} for i in range(5)})
    figure.draw_without_rendering()
    left = [axes.get_position().x0 for axes in figure.axes]
    assert len(left) == 5
    assert left[4] == pytest.approx(left[0])
    named = [axes.yaxis.get_tick_params()["labelleft"] for axes in figure.axes]
    assert named == [True, False, False, False, True]
    assert figure.axes[4].get_yticklabels()[0].get_text() == "run"


def test_nothing_to_draw_is_refused():
    with pytest.raises(ValueError, match=r"recall@1.*nothing to draw"):
        comparison({"recall@1": {"run": [math.nan]}})


def test_long_titles_are_broken_behind_underscores():
    assert _broken("recall@1") == "recall@1"
    assert _broken("occlusion_uncertainty_auroc_nearest_distance") == "occlusion_uncertainty_auroc_\nnearest_distance"
