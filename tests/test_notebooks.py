"""The notebooks: fit to be read as they are committed, and every cell of them runs and finds what its prose says."""

import ast
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests import compiling

NOTEBOOKS = sorted((Path(__file__).parent.parent / "notebooks").glob("*.ipynb"))
MOST_BYTES = 800_000  # of a notebook with what it shows

# Runs notebooks, their cells one after another, then holds what they found against expressions.
RUNNER = """
import json, sys
for notebook, cells, expected in json.load(sys.stdin):
    names = {"__name__": "__main__"}
    for number, cell in enumerate(cells):
        exec(compile(cell, f"{notebook}, cell {number}", "exec"), names)
    for expectation in expected:
        assert eval(expectation, names), f"{notebook}: {expectation}"
"""

# What is done less often here than by a reader, and with fewer pictures.
LESS = {
    "1_hyperbolic_geometry": {},
    "2_compose_an_objective": {
        "range(3)": "range(1)",
        "np.full(3,": "np.full(1,",
        "labels % 3": "labels % 6",
        "in MINERS:": "in MINERS[::5]:",
        "in SOFTMAX + HINGES + BY_PROXY:": "in SOFTMAX[:1] + HINGES[-1:] + BY_PROXY[-1:]:",
    },
    "3_look_at_a_model": {"steps=150": "steps=30", "every=150": "every=30", "features.views=2": "features.views=1"},
}
FEW = """
from hypjax.data import catalog
from hypjax.data.emoji import Emoji
from hypjax.data.source import subset

catalog.Emoji = lambda part: subset(whole := Emoji(part), [i for i, label in enumerate(whole.labels) if label < 120])
"""

# What the prose promises of what the code finds.
EXPECTED = {
    "1_hyperbolic_geometry": [
        "counts == [1, 7, 21, 56]",
        "abs(turned - area) < 1e-3",
        "abs(jnp.rad2deg(angle_at(foot, b, p)) - 90) < 0.01",
        "all(abs(angle - 120) < 0.01 for angle in between)",
        "total_distance(meeting) < total_distance(midpoint)",
        "disk_errors[-1] < disk_errors[0] < plane_errors[-1] < plane_errors[0]",
        "delta(jnp.asarray(D)) == 0",
    ],
    "2_compose_an_objective": [
        "values[-10:].mean() < 0.6 * values[:10].mean()",
        "after > before + 0.02 and after > bare",
        "all(np.mean(of_seeds) > before for of_seeds in recalls.values())",
    ],
    "3_look_at_a_model": [
        "workdir.name == 'in_a_hurry' and model.step == config.steps",
        "len(points) == len(source) and len(source.class_names) == 120",
        "found.figures['recall@1'] > 0.2",
        "min(quality.triplets) > 0.5",
        "promised['answer_auroc'] > 0.6 and promised['calibration_error'] < 0.15",
        "doubts.shape == (18,) and np.ptp(doubts[::6]) < 1e-4",  # level 0 is the same picture three times
    ],
}


def read(path):
    return json.loads(path.read_text(encoding="utf-8"))


def source(cell):
    return "".join(cell["source"])


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_is_fit_to_be_read(path):
    notebook = read(path)
    assert (notebook["nbformat"], notebook["nbformat_minor"]) == (4, 5)
    first, second = notebook["cells"][:2]
    assert first["cell_type"] == "markdown"
    assert source(first).startswith(f"# {path.name[0]}. ")
    assert second["cell_type"] == "code"
    assert len({cell["id"] for cell in notebook["cells"]}) == len(notebook["cells"])
    for cell in notebook["cells"]:
        if cell["cell_type"] == "code":
            ast.parse(source(cell))
            assert len(source(cell).splitlines()) <= 55
            for output in cell["outputs"]:
                assert output["output_type"] in ("stream", "display_data", "execute_result")
                assert output.get("name") != "stderr"
    shown = [json.dumps(cell.get("outputs", [])) for cell in notebook["cells"]]
    text = re.sub(r'"image/png": "[^"]*"', "", "".join(shown))
    assert not re.search(r"(/home|/root|/tmp|/work|/Users|[A-Z]:\\)", text)
    assert path.stat().st_size < MOST_BYTES


def test_there_are_three_and_each_is_run():
    assert [path.stem for path in NOTEBOOKS] == list(EXPECTED)


def cells_of(path):
    cells = [source(cell) for cell in read(path)["cells"] if cell["cell_type"] == "code"]
    if path.stem == "3_look_at_a_model":
        cells.insert(0, FEW)
    for usual, less in LESS[path.stem].items():
        assert any(usual in cell for cell in cells)
        cells = [cell.replace(usual, less) for cell in cells]
    return cells


@pytest.mark.slow
def test_the_notebooks_run_and_find_what_they_say(tmp_path):
    """In one process, one after another, each with names of its own."""
    folder = tmp_path / "notebooks"
    folder.mkdir()
    environment = {name: value for name, value in os.environ.items() if name not in ("XLA_FLAGS", "HYPJAX_WORKDIR")}
    environment |= {"JAX_PLATFORMS": "cpu", "MPLBACKEND": "agg", "XLA_FLAGS": compiling.FLAGS}
    warnings = ["-W", "error", "-W", "ignore::DeprecationWarning", "-W", "ignore::PendingDeprecationWarning"]
    finished = subprocess.run(
        [sys.executable, *warnings, "-c", RUNNER],
        input=json.dumps([(path.stem, cells_of(path), EXPECTED[path.stem]) for path in NOTEBOOKS]),
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert finished.returncode == 0, finished.stderr[-3000:]
