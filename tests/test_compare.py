import json
import re
import sys

import jax
import pytest
from PIL import Image

from hypjax import compare, train
from hypjax.config import persistence
from hypjax.config.settings import default_settings
from hypjax.data import atomic
from hypjax.data.errors import UsageError
from hypjax.run import Run, starting, status
from hypjax.run.peers import Peers
from hypjax.run.status import DivergedError
from tests import programs
from tests.pictures import save_pictures

CONFIGS = ["configs/hyp_vit.py:quick", "sphere=configs/hyp_vit.py:quick,geometry=sphere"]


class Trainer:
    """Stands for training: leaves the files that a run leaves, and fails where it is told to."""

    def __init__(self):
        self.runs = []
        self.errors = {}

    def __call__(self, config, workdir):
        key = (workdir.parent.name, config.seed)
        self.runs.append(key)
        with Run.open(workdir, "train", config=config) as run:
            if run.finished:
                raise AssertionError(f"{key} was finished")
        if key in self.errors:
            raise self.errors[key]
        recall = 0.5 + 0.01 * config.seed + 0.1 * (config.geometry == "sphere")
        row = {"step": config.steps, "validation/recall@1": recall - 0.1}
        (workdir / "metrics.jsonl").write_text(json.dumps(row) + "\n")
        atomic.write_json(workdir / "results.json", {"recall@1": recall + 0.002 * config.seed})


@pytest.fixture
def trainer(monkeypatch):
    stand_in = Trainer()
    monkeypatch.setattr(train, "train", stand_in)
    monkeypatch.setattr(compare, "release", lambda: None)  # other tests go on with what they compiled
    return stand_in


def run(workdir, *words, seeds="0,1"):
    compare.main(["compare", f"--workdir={workdir}", f"--seeds={seeds}", *(words or CONFIGS)])


def record(workdir):
    return json.loads((workdir / "comparison.json").read_text())


def test_every_config_is_trained_with_every_seed_and_reported(trainer, tmp_path, capsys):
    run(tmp_path, CONFIGS[0], "--baseline", "sphere", "--config.head.dim=16", CONFIGS[1])
    assert trainer.runs == [("hyp_vit-quick", 0), ("sphere", 0), ("hyp_vit-quick", 1), ("sphere", 1)]
    held = persistence.load_config(tmp_path / "sphere" / "seed-1")
    assert (held.geometry, held.seed, held.head.dim, held.evaluation.test) == ("sphere", 1, 16, True)
    found = record(tmp_path)
    assert (found["baseline"], list(found["runs"])) == ("sphere", ["hyp_vit-quick", "sphere"])
    assert found["runs"]["sphere"]["figures"]["recall@1"]["values"] == {"0": 0.6, "1": pytest.approx(0.612)}
    out = capsys.readouterr().out
    assert re.search(r"\[4/4\] sphere, seed 1; about 0:00:0\d left in all", out)
    assert (tmp_path / "comparison.md").read_text().count("0.606 ± 0.008") == 1
    assert "0.606 ± 0.008" in out
    with Image.open(tmp_path / "comparison.png") as picture:
        assert min(picture.size) > 200


def test_what_is_finished_is_not_trained_again(trainer, tmp_path, capsys):
    trainer.errors["hyp_vit-quick", 1] = KeyboardInterrupt()
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path)
    trainer.errors.clear()
    trainer.runs.clear()
    run(tmp_path)
    assert trainer.runs == [("hyp_vit-quick", 1), ("sphere", 1)]
    assert "4 runs, 2 of them finished" in capsys.readouterr().out
    run(tmp_path, "--config.log.every=7", *CONFIGS, seeds="0,1,2")
    assert trainer.runs[2:] == [("hyp_vit-quick", 2), ("sphere", 2)]
    assert record(tmp_path)["runs"]["sphere"]["seeds"] == [0, 1, 2]


@pytest.mark.slow
@pytest.mark.parametrize("kind", [DivergedError, UsageError])
def test_a_run_that_fails_does_not_stop_the_others(kind, trainer, tmp_path, capsys):
    trainer.errors["sphere", 0] = kind("not finite\nat step 3")
    with pytest.raises(SystemExit) as ended:
        run(tmp_path, seeds="0,1,2")
    assert ended.value.code == 1
    assert len(trainer.runs) == 6
    assert capsys.readouterr().err.splitlines()[-1] == "failed: sphere seed 0"
    found = record(tmp_path)
    assert found["runs"]["sphere"]["seeds"] == [1, 2]
    assert "left out: sphere, seed 0: not finite at step 3" in found["notes"]
    trainer.errors.clear()
    run(tmp_path, seeds="0,1,2")
    assert trainer.runs[6:] == [("sphere", 0)]


def test_a_run_with_other_settings_is_neither_overwritten_nor_reported(trainer, tmp_path, capsys):
    run(tmp_path, CONFIGS[0])
    with pytest.raises(SystemExit):
        run(tmp_path, *CONFIGS, "--config.optimizer.learning_rate=1.0", seeds="0")
    assert "other settings (optimizer.learning_rate: 0.0005 -> 1.0)" in capsys.readouterr().err
    assert list(record(tmp_path)["runs"]) == ["sphere"]
    run(tmp_path, *CONFIGS, "--config.optimizer.learning_rate=1.0", "--report_only", seeds="0")
    found = record(tmp_path)
    assert list(found["runs"]) == ["sphere"]
    assert found["notes"][0] == (
        "left out: hyp_vit-quick, seed 0: other settings (optimizer.learning_rate: 0.0005 -> 1.0)"
    )


def test_all_runs_failing_is_one_line(trainer, tmp_path):
    trainer.errors["sphere", 0] = DivergedError("not finite")
    with pytest.raises(UsageError, match="no run is finished; left out: sphere, seed 0: not finite"):
        run(tmp_path, CONFIGS[1], seeds="0")


def test_a_search_leaves_the_test_classes_alone(trainer, tmp_path):
    run(tmp_path / "search", "--split=validation", *CONFIGS)
    assert not persistence.load_config(tmp_path / "search" / "sphere" / "seed-0").evaluation.test
    found = record(tmp_path / "search")
    assert (found["split"], found["runs"]["sphere"]["figures"]["recall@1"]["values"]) == (
        "validation",
        {"0": pytest.approx(0.5), "1": pytest.approx(0.51)},
    )


def test_runs_that_were_tested_serve_for_validation_too(trainer, tmp_path):
    run(tmp_path)
    run(tmp_path, "--split=validation", *CONFIGS)
    assert len(trainer.runs) == 4
    assert record(tmp_path)["split"] == "validation"


def test_a_report_trains_nothing_and_needs_no_configs(trainer, tmp_path):
    trainer.errors["sphere", 1] = KeyboardInterrupt()
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path)
    trainer.runs.clear()
    run(tmp_path, "--report_only", *CONFIGS)
    named = record(tmp_path)
    compare.main(["compare", f"--workdir={tmp_path}", "--report_only", "--baseline=hyp_vit-quick"])
    assert not trainer.runs
    assert record(tmp_path) == named
    assert named["runs"]["hyp_vit-quick"]["seeds"] == [0, 1]
    assert "left out: sphere, seed 1: not finished" in named["notes"]


def test_of_several_processes_0_reports_and_none_trains(trainer, tmp_path, monkeypatch):
    run(tmp_path)
    alone = record(tmp_path)
    (tmp_path / "comparison.json").unlink()
    for index, workdir in ((1, tmp_path / "elsewhere"), (0, tmp_path)):
        monkeypatch.setattr(starting, "start", lambda *given, index=index: Peers(index, ("here", "there"), {}))
        with pytest.raises(UsageError, match="compare trains in one process"):
            run(workdir)
        compare.main(["compare", f"--workdir={workdir}", "--report_only"])
        assert (tmp_path / "comparison.json").exists() == (index == 0)
    assert record(tmp_path) == alone
    assert not (tmp_path / "elsewhere").exists()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "no configs given"),
        (["configs/none.py"], "config file 'configs/none.py' does not exist"),
        ([*CONFIGS, "--baseline=none"], "baseline 'none' is unknown"),
        ([CONFIGS[0], CONFIGS[0]], "two configs are named 'hyp_vit-quick'"),
        ([*CONFIGS, "--seeds=0,0"], "--seeds must be different whole numbers"),
        ([*CONFIGS, "--config.seed=3"], "seeds are given as --seeds=0,1,2"),
        ([*CONFIGS, "--config.steps", "3"], "--config.steps needs its value in the same word"),
        (["--config", CONFIGS[0]], "configs are given as plain words"),
        ([*CONFIGS, "--config.stepz=3"], "unknown setting 'stepz'"),
        ([*CONFIGS, "--sedes=3"], "sedes"),
        ([*CONFIGS, "--split=train"], "split"),
        (["--report_only"], "holds no runs"),
    ],
)
def test_bad_usage_is_one_line_and_status_2(words, message, trainer, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["compare", f"--workdir={tmp_path / 'none'}", *words])
    with pytest.raises(SystemExit) as ended:
        status.run(compare.main)
    assert ended.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: ")
    assert message in line
    assert not trainer.runs
    assert not (tmp_path / "none").exists()


def test_time_left_counts_the_steps_that_are_left(tmp_path):
    config = default_settings()
    config.steps = 100
    runs = [compare.Job(name, 0, config, tmp_path / name) for name in ("half", "new", "other")]
    (tmp_path / "half").mkdir()
    (tmp_path / "half" / "config.json").write_text("{}")
    (tmp_path / "half" / "metrics.jsonl").write_text('{"step": 40}\n{"step": 50}\n')
    assert [compare.steps_left(each) for each in runs] == [50, 100, 100]
    assert compare.time_left(runs, {}) == ""
    assert compare.time_left(runs, {"half": 2.0, "new": 40.0}) == "about 1:43:20"  # 100 + 4000 + 100 · 21 seconds


@pytest.mark.slow
def test_two_configs_and_two_seeds_in_one_process(tmp_path, monkeypatch):
    released = []
    monkeypatch.setattr(jax, "clear_caches", lambda: released.append(None))  # other tests go on with what they compiled
    data = f"quick,encoder=vit_ti8,data=folder,data_dir={save_pictures(tmp_path / 'images', classes=10, each=4)}"
    words = [
        *("--workdir", tmp_path / "work dir", "--seeds", "0,1", "--baseline", "flat", "--metrics", "recall@1,nmi"),
        f"ball={programs.ROOT}/configs/hyp_vit.py:{data}",
        f"flat={programs.ROOT}/configs/hyp_vit.py:{data},geometry=euclidean",
        *programs.TINY,
        programs.THIRDS,
        "--config.evaluation.every=0",
        "--config.evaluation.degraded_queries=0",
        "--config.evaluation.degraded_test_queries=0",
        "--config.evaluation.figures=('nmi',)",
    ]
    status, out, err = programs.run(*words, module="hypjax.compare")
    assert (status, err) == (0, "")
    assert out.count("\n[") == len(released) == 4
    found = record(tmp_path / "work dir")
    assert found["metrics"] == ["recall@1", "nmi"]
    for name in ("ball", "flat"):
        values = found["runs"][name]["figures"]["recall@1"]["values"]
        for seed in ("0", "1"):
            results = json.loads((tmp_path / "work dir" / name / f"seed-{seed}" / "results.json").read_text())
            assert values[seed] == results["recall@1"]
    _, out, _ = programs.run(*words, module="hypjax.compare")
    assert "4 runs, 4 of them finished" in out
    assert len(released) == 4
    assert record(tmp_path / "work dir") == found
