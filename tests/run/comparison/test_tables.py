import json

import pytest

from hypjax.run.comparison import as_markdown, as_record, as_text, compare, heading


@pytest.fixture
def table():
    recalls = {"base": (0.50, 0.52, 0.51), "near_by": (0.51, 0.50, 0.52), "far": (0.60, 0.62, 0.611), "one": (0.55,)}
    given = {
        name: {seed: {"recall@1": value, "uncertainty_aurc": 1 - value} for seed, value in enumerate(values)}
        for name, values in recalls.items()
    }
    del given["near_by"][2]["uncertainty_aurc"]
    return compare(given, baseline="base", notes=["left out: one, seed 1: a|b"])


TEXT = """
Figures of the test classes, mean ± standard deviation over seeds

run              seeds  recall@1         uncertainty_aurc ↓
base (baseline)  3      0.510 ± 0.010    0.490 ± 0.010
near_by          3      0.510 ± 0.010    0.495 ± 0.007 (n=2)
far              3      0.610 ± 0.010 *  0.390 ± 0.010 *
one              1      0.550            0.450

Differences from base, paired by seed

figure              run      difference  95 % interval     p         p (Holm)  seeds
recall@1            near_by  +0.000      [-0.043, +0.043]  1.000     1.000     3
recall@1            far      +0.100      [+0.099, +0.102]  <0.001 *  <0.001 *  3
uncertainty_aurc ↓  near_by  +0.005      [-0.186, +0.196]  0.795     0.795     2
uncertainty_aurc ↓  far      -0.100      [-0.102, -0.099]  <0.001 *  <0.001 *  3

↓ smaller is better
p: paired t-test; p (Holm): corrected for the number of runs that are compared with the baseline; * below 0.05
left out: one, seed 1: a|b
not tested: one: fewer than two seeds in common with base
"""


def test_the_text_is_a_table(table):
    assert as_text(table, width=100) == TEXT.strip()


def test_a_narrow_console_gets_its_columns_below_each_other(table):
    lines = as_text(table, width=44).splitlines()
    assert [line.split()[2] for line in lines if line.startswith("run ")] == ["recall@1", "uncertainty_aurc"]
    assert len([line for line in lines if line.startswith("far ")]) == 2


def test_markdown_has_the_same_cells_and_escapes_markup(table):
    page = as_markdown(table)
    assert "| run | seeds | recall@1 | uncertainty_aurc ↓ |\n| --- | ---: | ---: | ---: |\n" in page
    assert "| far | 3 | 0.610 ± 0.010 \\* | 0.390 ± 0.010 \\* |" in page
    assert "| recall@1 | far | +0.100 | [+0.099, +0.102] | \\<0.001 \\* | \\<0.001 \\* | 3 |" in page
    assert "- left out: one, seed 1: a\\|b\n" in page
    assert {line.count(" | ") for line in page.splitlines() if line.startswith("|")} == {3, 6}


def test_the_record_survives_json_and_holds_every_value(table):
    record = json.loads(json.dumps(as_record(table), allow_nan=False))
    assert (record["split"], record["baseline"], record["metrics"]) == (
        "test",
        "base",
        ["recall@1", "uncertainty_aurc"],
    )
    far = record["runs"]["far"]
    assert far["seeds"] == [0, 1, 2]
    assert far["figures"]["recall@1"]["values"] == {"0": 0.60, "1": 0.62, "2": 0.611}
    assert far["figures"]["recall@1"]["difference"].keys() == {"mean", "low", "high", "p", "n", "p_holm"}
    assert record["runs"]["base"]["figures"]["recall@1"]["difference"] is None
    one = record["runs"]["one"]["figures"]["recall@1"]
    assert (one["mean"], one["std"], one["n"], one["difference"]) == (0.55, None, 1, None)
    assert record["notes"][0] == "left out: one, seed 1: a|b"


def test_without_tests_there_is_no_second_table():
    table = compare({"a": {0: {"recall@1": 0.5}}}, baseline="a")
    assert "Differences" not in as_text(table) + as_markdown(table)
    assert as_markdown(table).endswith("| a (baseline) | 1 | 0.500 |\n")


def test_arrows_mark_what_should_be_small():
    assert [heading(name) for name in ("recall@1", "lca_height")] == ["recall@1", "lca_height ↓"]
