import math

import numpy as np
import pytest
from scipy import stats

from hypjax.data.errors import UsageError
from hypjax.run import Run
from hypjax.run.comparison import METRICS, collect, compare
from hypjax.run.comparison.figures import read_figures

RECALL = {
    "base": (0.50, 0.52, 0.51),
    "better": (0.55, 0.58, 0.55),
    "same": (0.50, 0.52, 0.51),
    "worse": (0.4, 0.45, 0.37),
}


def figures(recalls=RECALL):
    return {
        name: {seed: {"recall@1": value, "map@r": value / 2} for seed, value in enumerate(values)}
        for name, values in recalls.items()
    }


def test_test_figures_come_from_the_results(finish):
    run = finish("a", 0, {"recall@1": 0.5, "uncertainty_auroc": math.nan, "validation/recall@1": 0.9})
    assert read_figures(Run.open(run), "test") == {"recall@1": 0.5}


def test_validation_figures_come_from_the_last_row(finish):
    run = finish("a", 0, {"recall@1": 0.5}, validation={"recall@1": 0.7, "map@r": None})
    assert read_figures(Run.open(run), "validation") == {"recall@1": 0.7}


def test_runs_that_have_no_figures_are_named(finish, tmp_path):
    finish("a", 0, {"recall@1": 0.5})
    finish("a", 1, {"recall@1": 0.6})
    finish("a", 2, {"recall@1": 0.7})
    finish("b", 0, {"validation/recall@1": 0.7})
    found, notes = collect(tmp_path, ["b", "a"], [2, 1, 0, 5], "test", {("a", 1): "diverged"})
    assert found == {"a": {2: {"recall@1": 0.7}, 0: {"recall@1": 0.5}}}
    assert notes == [
        "left out: b, seeds 2, 1, 5: not finished",
        "left out: b, seed 0: holds no test figures",
        "left out: a, seed 1: diverged",
        "left out: a, seed 5: not finished",
    ]


def test_cells_equal_numpy_and_scipy():
    table = compare(figures(), baseline="base")
    cell, base = table.rows["better"]["recall@1"], np.array(RECALL["base"])
    values = np.array(RECALL["better"])
    expected = stats.ttest_rel(values, base)
    assert cell.values == dict(enumerate(RECALL["better"]))
    np.testing.assert_allclose(cell.summary, [values.mean(), values.std(ddof=1), 3])
    np.testing.assert_allclose(
        cell.difference, [(values - base).mean(), *expected.confidence_interval(), expected.pvalue, 3]
    )
    # Three runs are compared, but one of them is the baseline again and has no p-value.
    p_values = [expected.pvalue, stats.ttest_rel(RECALL["worse"], base).pvalue]
    assert cell.p_holm == pytest.approx(max(2 * min(p_values), max(p_values) if p_values[0] > p_values[1] else 0))
    assert table.rows["base"]["recall@1"].difference is None
    assert math.isnan(table.rows["same"]["recall@1"].p_holm)
    assert table.notes == ("no p-value where the difference is the same for every seed",)


def test_seeds_are_paired_by_their_number():
    given = {
        "base": {2: {"recall@1": 0.3}, 0: {"recall@1": 0.1}, 1: {"recall@1": 0.2}},
        "run": {1: {"recall@1": 0.25}, 7: {"recall@1": 0.9}, 2: {"recall@1": 0.36}},
    }
    cell = compare(given, baseline="base").rows["run"]["recall@1"]
    assert cell.difference.n == 2
    assert cell.difference.mean == pytest.approx((0.05 + 0.06) / 2)
    assert cell.summary.n == 3


def test_one_seed_in_common_is_not_tested():
    given = figures({"base": (0.5, 0.6), "one": (0.7,), "two": (0.7, 0.9)})
    table = compare(given, baseline="base")
    assert table.rows["one"]["recall@1"].difference is None
    assert "not tested: one: fewer than two seeds in common with base" in table.notes
    assert table.rows["two"]["recall@1"].p_holm == table.rows["two"]["recall@1"].difference.p


def test_a_figure_may_be_missing_for_some_seeds():
    given = figures({"base": (0.5, 0.6, 0.7), "run": (0.7, 0.9, 0.8)})
    del given["run"][0]["map@r"], given["run"][1]["map@r"]
    table = compare(given, baseline="base")
    assert table.rows["run"]["map@r"].summary[::2] == (0.4, 1)
    assert table.notes == ("not tested: run, map@r: fewer than two seeds in common with base",)


def test_without_its_baseline_nothing_is_tested():
    table = compare(figures({"a": (0.5, 0.6)}), baseline="base")
    assert table.notes == ("nothing is tested: the baseline base has no finished run",)


def test_columns_are_those_asked_for_as_far_as_they_exist():
    assert compare(figures(), baseline="base").metrics == ("recall@1", "map@r") == METRICS[:2]
    table = compare(figures(), baseline="base", metrics=["map@r", "none"])
    assert table.metrics == ("map@r",)
    assert "in no run: none; there are: recall@1, map@r" in table.notes


def test_nothing_to_compare_is_one_line():
    with pytest.raises(UsageError, match="no run is finished; left out: a, seed 0: diverged"):
        compare({}, baseline="a", notes=["left out: a, seed 0: diverged"])
    with pytest.raises(UsageError, match="no run holds any of x; there are: recall@1, map@r"):
        compare(figures(), baseline="base", metrics=["x"])
