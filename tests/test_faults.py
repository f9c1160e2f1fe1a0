"""The short form of benchmarks/faults.py: a run that is broken ends as if it was not."""

import gc
import importlib
import json
import random
import shutil
from pathlib import Path

import jax
import jax.numpy as jnp
import optax
import pytest

from hypjax.run.checkpoint import Checkpoints
from hypjax.training.state import create_state

PROGRAMS = Path(__file__).parent.parent / "benchmarks"


@pytest.fixture(scope="module")
def program():
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(PROGRAMS))
        yield importlib.import_module("faults")


@pytest.fixture
def broken_runs(program):
    return importlib.import_module("broken_runs")


@pytest.fixture(scope="module")
def two_checkpoints(tmp_path_factory):
    """Of noise, which does not get smaller, so that one array lies beside the names and one among them."""
    workdir = tmp_path_factory.mktemp("run")
    with Checkpoints(workdir / "checkpoints") as checkpoints:
        for step in (3, 6):
            noise = jax.random.normal(jax.random.key(step), (64, 64))
            made = create_state({"params": {"head": {"kernel": noise, "bias": noise[0, :2]}}}, optax.sgd(0.1))
            checkpoints.save(made.replace(step=jnp.int32(step)), {"next_index": step})
    return workdir


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # Orbax's tasks, at a damaged file
@pytest.mark.parametrize("cut", [True, False], ids=["cut", "flipped"])
def test_a_file_cut_or_a_bit_flipped_costs_one_checkpoint_at_most(broken_runs, two_checkpoints, tmp_path, cut):
    breaking = importlib.import_module("breaking")
    newest = broken_runs.state_of(two_checkpoints, "last")
    shutil.copytree(two_checkpoints, tmp_path / "run")
    shutil.rmtree(tmp_path / "run" / "checkpoints" / "6")
    before = broken_runs.state_of(tmp_path / "run", "last")
    assert (newest[1], before[1]) == ([3, 6], [3])
    found = []
    for index in range(cut, len(breaking.files_of(two_checkpoints)), 2):  # the program takes each file both ways
        shutil.rmtree(tmp_path / "run")
        shutil.copytree(two_checkpoints, tmp_path / "run")
        breaking.damage(breaking.files_of(tmp_path / "run")[index], random.Random(index), cut=cut)
        found.append(broken_runs.state_of(tmp_path / "run", "last"))
        assert found[-1] in (newest, before)
    assert before in found
    gc.collect()  # what those tasks leave is complained about here, and not in a later test


def test_what_is_lost_is_told(program, broken_runs, tmp_path):
    for step in (1, 2):
        with (tmp_path / "metrics.jsonl").open("a") as file:
            file.write(json.dumps({"step": step, "loss": 0.5 * step, "images_per_second": 7.0}) + "\n")
    (tmp_path / "config.json").write_text("{}")
    assert broken_runs.rows_of(tmp_path) == [{"step": 1, "loss": 0.5}, {"step": 2, "loss": 1.0}]
    held = broken_runs.Held(b"{}", broken_runs.lines_of(tmp_path), 2)
    gone_on = broken_runs.Ended(0, ["resuming after step 2"], [])
    assert held.lost(tmp_path, gone_on) == []
    (tmp_path / "metrics.jsonl").write_text('{"step": 1}\n')
    (tmp_path / "config.json").write_text("{} ")
    told = held.lost(tmp_path, broken_runs.Ended(0, ["resuming after step 1"], []))
    assert [line.partition(",")[0] for line in told] == [
        "config.json changed",
        "checkpoint 2 was there",
        "lines of the metrics changed",
    ]
    came = [program.Came("stopped", True, []), program.Came("", False, told)]
    assert list(program.table([("a fault", came)]))[-1] == "| a fault | 2 | 1 | 1 | 1 |"


def test_the_page_keeps_what_stands_around_its_table(program, tmp_path):
    page = tmp_path / "page.md"
    page.write_text(f"before\n{program.START}\nan older one\n{program.END}\nafter\n")
    program.write(page, ["a table"], "")
    assert page.read_text() == f"before\n{program.START}\n\na table\n\n{program.END}\nafter\n"
    program.write(page, ["made:", "", "| a fault | 20 | 1 |", "| another | 5 | 0 |", "", "longest"], "")
    program.write(page, ["made otherwise:", "", "| a fault | 20 | 0 |", "", "longer"], "a fault")
    rows = "made:\n\n| a fault | 20 | 0 |\n| another | 5 | 0 |\n\nlongest"
    assert page.read_text() == f"before\n{program.START}\n\n{rows}\n\n{program.END}\nafter\n"
