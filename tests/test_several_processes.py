"""Processes that work as one, on this machine: the figures of a single one, whatever becomes of some of them."""

import json
import shutil
import signal
import time

import numpy as np
import pytest

from tests.pictures import save_pictures
from tests.programs import finish, run, start_together, tiny

pytestmark = pytest.mark.slow

# Each image is in each batch, which eight devices can share; the rate keeps what is rounded differently small, and
# without validation classes most starts have nothing to evaluate, which is half of what a tiny run takes.
SHARED = (
    "--config.data.validation=0",
    "--config.batch.samples_per_class=4",
    "--config.optimizer.learning_rate=1e-4",
    "--config.evaluation.degraded_test_queries=0",
)
LONG = (
    "--config.steps=300",
    "--config.most_epochs=0.0",
    "--config.checkpoint.every=100",
    "--config.checkpoint.keep=9",
)


def rows(workdir):
    return [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]


def losses(workdir):
    return {row["step"]: row["loss"] for row in rows(workdir) if "loss" in row}


def results(workdir):
    return json.loads((workdir / "results.json").read_text())


def assert_same_figures(found, expected):
    assert found.keys() == expected.keys()
    for name, value in found.items():
        assert value == pytest.approx(expected[name], abs=1e-3, nan_ok=True), name


def complaints(ended):
    """What a process said on stderr, a line each, without what the collectives of other libraries say."""
    return [line for line in ended[2].splitlines() if line.strip()]


def taken(process, workdir, step):
    """Waits until a step is logged."""
    while max(losses(workdir), default=0) < step:
        assert process.poll() is None, finish(process)[2]
        time.sleep(0.05)


def forget_after(step, workdir):
    """Drops the rows of steps that are taken again, which its next start does too, but later."""
    kept = [row for row in rows(workdir) if row["step"] <= step]
    (workdir / "metrics.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in kept))


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
    words = tiny(folder, workdir, *SHARED)
    status, _, err = run(*words)
    assert status == 0, err
    return workdir


def test_four_processes_of_two_devices_are_one_of_one(single, folder, tmp_path):
    """Though process 0 alone can see the workdir."""
    (tmp_path / "file").touch()
    words = tiny(folder, tmp_path / "run", *SHARED)
    elsewhere = f"--workdir={tmp_path / 'file' / 'run'}"  # no folder can be there
    ends = [finish(process) for process in start_together(*words, each=lambda index: [elsewhere] * bool(index))]
    assert [end[0] for end in ends] == [0] * 4, ends
    assert "8 cpu device(s) in 4 process(es)" in ends[0][1]
    # The collectives greet on their own, from threads that interrupt each other; of ours only process 0 speaks.
    said = [line for end in ends[1:] for line in end[1].splitlines()]
    assert [line for line in said if line.strip() and "[Gloo]" not in line and "peer ranks" not in line] == []
    found, expected = losses(tmp_path / "run"), losses(single)
    assert found.keys() == expected.keys()
    np.testing.assert_allclose([*found.values()], [*expected.values()], rtol=1e-3)
    assert_same_figures(results(tmp_path / "run"), results(single))


def test_two_processes_evaluate_to_the_figures_of_one(single, tmp_path):
    shutil.copytree(single, tmp_path / "run")
    (tmp_path / "run" / "results.json").unlink()
    ends = [
        finish(process)
        for process in start_together("--workdir", tmp_path / "run", module="hypjax.evaluate", count=2, devices=1)
    ]
    assert [end[0] for end in ends] == [0, 0], ends
    assert_same_figures(results(tmp_path / "run"), results(single))


def test_two_processes_embed_a_share_each_into_the_file_of_one(single, folder, tmp_path):
    photos = shutil.copytree(folder / "test", tmp_path / "photos")
    (photos / "none.png").write_bytes(b"none")
    words = ["--workdir", single, "--images", photos, "--batch=4"]
    two = start_together(*words, "--out", tmp_path / "two.npz", module="hypjax.embed", count=2, devices=1)
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


def test_killed_stopped_and_resumed_by_others_it_ends_as_the_unbroken_run(folder, tmp_path):
    """Saved by 1, resumed by 4 of which one is killed, by 4 of which one is asked to stop, and by 2 to the end."""
    unbroken, broken = tmp_path / "unbroken", tmp_path / "broken"
    status, _, err = run(*tiny(folder, unbroken, *SHARED, *LONG))
    assert status == 0, err
    shutil.copytree(unbroken, broken)
    (broken / "results.json").unlink()
    forget_after(100, broken)
    for path in (broken / "checkpoints").iterdir():
        if path.name != "100":
            shutil.rmtree(path)
    words = tiny(folder, broken, *SHARED, *LONG)

    four = start_together(*words, devices=1)
    taken(four[0], broken, 103)
    four[1].kill()
    began = time.monotonic()
    ends = [finish(process) for process in four]
    assert time.monotonic() - began < 60
    assert [end[0] for end in ends] == [1, -signal.SIGKILL, 1, 1], ends
    for end in (ends[0], *ends[2:]):
        assert complaints(end)[-1].startswith("stopped: process 1 of 4 on "), end[2]
        assert len(complaints(end)) == 1, end[2]

    forget_after(100, broken)
    four = start_together(*words, devices=1)
    taken(four[0], broken, 103)
    four[2].send_signal(signal.SIGTERM)
    began = time.monotonic()
    ends = [finish(process) for process in four]
    assert time.monotonic() - began < 25
    assert [end[0] for end in ends] == [143] * 4, ends
    saved = max(int(path.name) for path in (broken / "checkpoints").iterdir() if path.name.isdecimal())
    assert 103 <= saved < 300
    for end in ends:
        assert complaints(end)[-1].endswith(f"stopped by SIGTERM, step {saved} is saved; the same command resumes")

    ends = [finish(process) for process in start_together(*words, count=2, devices=1)]
    assert [end[0] for end in ends] == [0, 0], ends
    assert f"resuming after step {saved}" in ends[0][1]
    found, expected = losses(broken), losses(unbroken)
    assert found.keys() == expected.keys()
    np.testing.assert_allclose([*found.values()], [*expected.values()], rtol=1e-3)
    assert_same_figures(results(broken), results(unbroken))


def test_processes_that_were_started_otherwise_are_refused_on_all(folder, tmp_path):
    words = tiny(folder, tmp_path / "run", *SHARED)
    other = ["--config.optimizer.weight_decay=0.5", "--config.seed=3"]
    ends = [finish(process) for process in start_together(*words, count=2, each=lambda index: other * index)]
    for end in ends:
        assert end[0] == 2
        (line,) = complaints(end)
        assert line.startswith("error: start all processes alike; they differ, from process 0 to process 1: ")
        assert "optimizer.weight_decay: " in line
        assert "seed: 0 -> 3" in line
    assert not (tmp_path / "run").exists()
