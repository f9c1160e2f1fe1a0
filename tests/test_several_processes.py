"""Processes that work as one, on this machine: the figures of a single one, whatever becomes of some of them."""

import json
import os
import shutil
import signal
import time
from unittest import mock

import numpy as np
import pytest

from hypjax.run.metrics import MetricWriter
from tests.pictures import save_pictures
from tests.programs import finish, run, start_together, tiny
from tests.workdirs import results, rows, saved

pytestmark = pytest.mark.slow

# Each image is in each batch, which eight devices can share; the rate keeps what is rounded differently small, and
# without validation classes starts have nothing to evaluate, which is half of what a tiny run takes.
WORDS = (
    "--config.data.validation=0",
    "--config.batch.samples_per_class=4",
    "--config.optimizer.learning_rate=1e-4",
    "--config.evaluation.degraded_test_queries=0",
    "--config.steps=30",
    "--config.most_epochs=0.0",
    "--config.checkpoint.every=5",
    "--config.checkpoint.keep=9",
)


def losses(workdir):
    return {row["step"]: row["loss"] for row in rows(workdir) if "loss" in row}


def assert_same_figures(found, expected):
    assert found.keys() == expected.keys()
    for name, value in found.items():
        assert value == pytest.approx(expected[name], abs=1e-3, nan_ok=True), name


def complaints(ended):
    """What a process said on stderr, a line each, without what the collectives of other libraries say."""
    return [line for line in ended[2].splitlines() if line.strip()]


def taken(process, workdir, step):
    """Waits until a step is logged."""
    while not (workdir / "metrics.jsonl").exists() or max(losses(workdir), default=0) < step:
        assert process.poll() is None, finish(process)[2]
        time.sleep(0.05)


def stopped_after(step, workdir, words):
    """Goes on in this process, which is asked to stop once a step is logged; the one that is saved."""
    write = MetricWriter.write

    def written(writer, at, figures):
        write(writer, at, figures)
        if at == step:
            os.kill(os.getpid(), signal.SIGTERM)

    with mock.patch.object(MetricWriter, "write", written):
        status, _, err = run(*words)
    kept = saved(workdir)[-1]
    assert (status, kept >= step) == (143, True), err
    return kept


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Four classes to train on and three to test on."""
    drawn, split = (tmp_path_factory.mktemp(name) for name in ("drawn", "images"))
    save_pictures(drawn, classes=7, each=4)
    for place, path in enumerate(sorted(drawn.iterdir())):
        (split / ("train" if place < 4 else "test")).mkdir(exist_ok=True)
        path.rename(split / ("train" if place < 4 else "test") / path.name)
    return split


@pytest.fixture(scope="module")
def single(folder, tmp_path_factory):
    """What one process on one device makes of it."""
    workdir = tmp_path_factory.mktemp("single") / "run"
    status, _, err = run(*tiny(folder, workdir, *WORDS))
    assert status == 0, err
    return workdir


def assert_same_losses(workdir, single, steps=range(31)):
    found, expected = ({step: loss for step, loss in losses(run).items() if step in steps} for run in (workdir, single))
    assert found.keys() == expected.keys()
    np.testing.assert_allclose([*found.values()], [*expected.values()], rtol=1e-3)


def test_killed_stopped_and_resumed_by_others_it_ends_as_one_process_does(single, folder, tmp_path):
    """4 × 2 devices, one is killed; 1 goes on and stops, then 4, of which one is asked to stop; 2 come to the end."""
    workdir, words = tmp_path / "run", tiny(folder, tmp_path / "run", *WORDS)
    (tmp_path / "file").touch()
    elsewhere = f"--workdir={tmp_path / 'file' / 'run'}"  # no folder can be there: process 0 alone sees the workdir

    def four():
        return start_together(*words, each=lambda index: [elsewhere] * bool(index))

    processes = four()
    taken(processes[0], workdir, 6)
    processes[1].kill()
    began = time.monotonic()
    ends = [finish(process) for process in processes]
    assert time.monotonic() - began < 60
    assert [end[0] for end in ends] == [1, -signal.SIGKILL, 1, 1], ends
    for end in (ends[0], *ends[2:]):
        assert complaints(end)[-1].startswith("stopped: process 1 of 4 on "), end[2]
        assert len(complaints(end)) == 1, end[2]
    assert "8 cpu device(s) in 4 process(es)" in ends[0][1]
    # The collectives greet on their own, from threads that interrupt each other; of ours only process 0 speaks.
    said = [line for end in ends[1:] for line in end[1].splitlines()]
    assert [line for line in said if line.strip() and "[Gloo]" not in line and "peer ranks" not in line] == []
    assert (workdir / "checkpoints" / "5").exists()
    assert_same_losses(workdir, single, range(7))

    between = stopped_after(max(losses(workdir)) + 1, workdir, words)
    processes = four()
    taken(processes[0], workdir, between + 1)
    processes[2].send_signal(signal.SIGTERM)
    began = time.monotonic()
    ends = [finish(process) for process in processes]
    assert time.monotonic() - began < 25
    assert [end[0] for end in ends] == [143] * 4, ends
    kept = saved(workdir)[-1]
    assert between < kept < 30
    for end in ends:
        assert complaints(end)[-1].endswith(f"stopped by SIGTERM, step {kept} is saved; the same command resumes")

    ends = [finish(process) for process in start_together(*words, count=2, devices=1)]
    assert [end[0] for end in ends] == [0, 0], ends
    assert f"resuming after step {kept}" in ends[0][1]
    assert_same_losses(workdir, single)
    assert_same_figures(results(workdir), results(single))


def test_four_processes_evaluate_to_the_figures_of_one(single, tmp_path):
    shutil.copytree(single, tmp_path / "run")
    (tmp_path / "run" / "results.json").unlink()
    four = start_together("--workdir", tmp_path / "run", module="hypjax.evaluate")
    ends = [finish(process) for process in four]
    assert [end[0] for end in ends] == [0] * 4, ends
    (written,) = (tmp_path / "run").glob("results-step-*.json")  # its trainer finishes it, not who evaluates
    assert_same_figures(json.loads(written.read_text()), results(single))


def test_two_processes_embed_a_share_each_into_the_file_of_one(single, folder, tmp_path):
    photos = shutil.copytree(folder / "test", tmp_path / "photos")
    (photos / "none.png").write_bytes(b"none")
    words = ["--workdir", single, "--images", photos, "--batch=4"]
    nowhere = [f"--workdir={tmp_path / 'nowhere'}"]  # for process 1: the model is that of process 0
    two = start_together(
        *words,
        *("--out", tmp_path / "two.npz"),
        module="hypjax.embed",
        count=2,
        devices=1,
        each=lambda index: nowhere * index,
    )
    ends = [finish(process) for process in two]
    assert [end[0] for end in ends] == [0, 0], ends
    status, _, err = run(*words, "--out", tmp_path / "one.npz", module="hypjax.embed")
    assert status == 0, err
    assert "skipped" in ends[0][2]
    with np.load(tmp_path / "two.npz") as shared, np.load(tmp_path / "one.npz") as whole:
        assert shared["paths"].tolist() == whole["paths"].tolist()
        np.testing.assert_allclose(shared["points"], whole["points"], atol=1e-6)
        assert len(whole["points"]) == 12
    assert not (tmp_path / "two.npz.partial").exists()


def test_processes_that_were_started_otherwise_are_refused_on_all(folder, tmp_path):
    words = tiny(folder, tmp_path / "run", *WORDS)
    other = ["--config.optimizer.weight_decay=0.5", "--config.seed=3"]
    ends = [finish(process) for process in start_together(*words, count=2, each=lambda index: other * index)]
    for end in ends:
        assert end[0] == 2
        (line,) = complaints(end)
        # The other's line may come first, with the other's name before it.
        assert "error: start all processes alike; they differ, from process 0 to process 1: " in line
        assert "optimizer.weight_decay: " in line
        assert "seed: 0 -> 3" in line
    assert not (tmp_path / "run").exists()
