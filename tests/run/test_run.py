import json
import os
import subprocess
import sys

import jax
import pytest

from configs.hyp_uml import get_config
from hypjax.data.errors import UsageError
from hypjax.run import Run
from hypjax.run.metrics import as_json
from hypjax.training import sharding
from tests.pictures import untrained_run


def begun(folder, **settings):
    """A workdir of a run that has taken six steps."""
    config = get_config("quick")
    config.update(settings)
    (folder / "config.json").write_text(json.dumps(as_json(config.to_dict())))
    rows = [{"step": 3, "validation/recall@1": 0.7}, {"step": 6, "loss": 1.0, "validation/recall@1": 0.5}]
    (folder / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return config


def test_a_run_tells_what_it_is_and_how_far(tmp_path):
    begun(tmp_path)
    run = Run.open(tmp_path)
    assert (run.config.name, run.begun, run.finished, run.results) == ("hyp_uml", True, False, None)
    assert [row["step"] for row in run.metrics] == [3, 6]
    assert run.validated == {"recall@1": 0.5}
    assert (run.manifest, run.pictures, run.takes_features) == ({}, {}, False)
    (tmp_path / "results.json").write_text('{"recall@1": 0.25}')
    (tmp_path / "disk.png").write_bytes(b"")
    assert (run.finished, run.results, list(run.pictures)) == (True, {"recall@1": 0.25}, ["disk"])


def test_the_best_state_has_figures_of_its_own(tmp_path):
    begun(tmp_path, evaluation={"state": "best"})
    (tmp_path / "best" / "3").mkdir(parents=True)
    run = Run.open(tmp_path)
    assert run.validated == {"recall@1": 0.7}
    assert run.is_fitted(3)
    assert not run.is_fitted(3, "last")


def test_where_no_state_was_the_best_the_last_is_tested(tmp_path):
    """Its figure was no number at any validation."""
    begun(tmp_path, evaluation={"state": "best"})
    run = Run.open(tmp_path)
    assert (run.tested, run.validated) == ("last", {"recall@1": 0.5})
    (tmp_path / "best" / "3").mkdir(parents=True)
    assert run.tested == "best"


def test_what_is_no_run_is_refused(tmp_path):
    with pytest.raises(UsageError, match="holds no run"):
        Run.open(tmp_path / "none")
    assert not (tmp_path / "none").exists()
    begun(tmp_path)
    with pytest.raises(UsageError, match="holds no trained model: no whole checkpoint"):
        Run.open(tmp_path).restore(sharding.data_mesh())


def test_training_takes_a_workdir_for_its_settings_and_nobody_else_meanwhile(tmp_path):
    config = get_config("quick")
    with Run.open(tmp_path / "new", "train", config=config) as run:
        assert not run.begun
        assert as_json(Run.open(tmp_path / "new").config.to_dict()) == as_json(config.to_dict())  # a reader may
        with pytest.raises(UsageError, match="is being trained by process"):
            Run.open(tmp_path / "new", "train", config=config)
    begun(tmp_path / "new")
    config.seed = 5
    with pytest.raises(UsageError, match=r"holds a run with other settings \(seed: 0 -> 5\)"):
        Run.open(tmp_path / "new", "train", config=config)
    config.seed, config.log.every = 0, 3
    with Run.open(tmp_path / "new", "train", config=config):
        pass  # where it is logged is no other run; and the one that was refused has let go


def test_data_that_were_moved_or_named_from_elsewhere_make_no_other_run(tmp_path):
    config = begun(tmp_path, data={"source": "folder", "dir": "photos"})
    config.data.dir = "../photos"
    with pytest.raises(UsageError, match=r"other settings \(data.dir: photos -> ../photos\)"):
        Run.open(tmp_path, "train", config=config)  # nobody knows which pictures it was trained on
    (tmp_path / "environment.json").write_text('{"digest": {"train": "1"}}')
    with Run.open(tmp_path, "train", config=config) as run:
        assert Run.open(tmp_path).config.data.dir == "photos"
        run.keep_data_dir()
    assert Run.open(tmp_path).config.data.dir == "../photos"


def test_without_its_settings_no_state_is_trained_any_further(tmp_path):
    config = begun(tmp_path)
    (tmp_path / "checkpoints" / "6").mkdir(parents=True)
    with Run.open(tmp_path, "train", config=config):
        pass
    (tmp_path / "config.json").unlink()
    with pytest.raises(UsageError, match=r"holds checkpoints and no config.json, .*; bring it back"):
        Run.open(tmp_path, "train", config=config)
    assert not (tmp_path / "config.json").exists()


def test_states_without_their_metrics_are_not_taken_for_other_settings(tmp_path):
    config = begun(tmp_path)
    (tmp_path / "checkpoints" / "6").mkdir(parents=True)
    (tmp_path / "metrics.jsonl").unlink()
    config.seed = 5
    with pytest.raises(UsageError, match=r"holds a run with other settings \(seed: 0 -> 5\)"):
        Run.open(tmp_path, "train", config=config)


def test_a_damaged_line_of_metrics_is_passed_over_and_damaged_settings_are_named(tmp_path):
    begun(tmp_path)
    with (tmp_path / "metrics.jsonl").open("ab") as file:
        file.write(b'{"step": 7, "lo\xff": 1}\n{"st\xff": 8}\n[9]\n\xff\n')
    assert [row["step"] for row in Run.open(tmp_path).metrics] == [3, 6, 7]
    (tmp_path / "config.json").write_bytes(b'{"seed": \xff}')
    with pytest.raises(UsageError, match=r"config.json is damaged"):
        Run.open(tmp_path)


def test_a_run_whose_figures_are_damaged_is_not_finished(tmp_path):
    begun(tmp_path)
    for content in ('{"rec', "[]", ""):
        (tmp_path / "results.json").write_text(content)
        assert (Run.open(tmp_path).finished, Run.open(tmp_path).results) == (False, None)


@pytest.mark.slow
def test_a_reader_changes_nothing_and_needs_no_training_data():
    workdir, photos = untrained_run()
    before = {path: path.stat().st_mtime_ns for path in workdir.rglob("*")}
    photos.rename(photos.with_name("moved"))
    try:
        variables, step = Run.open(workdir).restore(sharding.data_mesh())
    finally:
        photos.with_name("moved").rename(photos)
    assert step == 0
    assert {"params", "objective"} <= set(variables)
    assert all(leaf.sharding.num_devices == jax.device_count() for leaf in jax.tree.leaves(variables))
    assert {path: path.stat().st_mtime_ns for path in workdir.rglob("*")} == before


READING = """
import sys
from hypjax.run import Run
from hypjax.training import sharding
print(Run.open(sys.argv[1]).restore(sharding.data_mesh())[1])
open(sys.argv[1] + "/written", "w")
"""


@pytest.mark.slow
def test_a_file_system_that_cannot_be_written_is_read():
    """A mount of its own, since root may write into any folder; others can't mount, and find folders closed."""
    workdir, _ = untrained_run()
    folders = [workdir, *(path for path in workdir.rglob("*") if path.is_dir())] if os.geteuid() else []
    mount = 'mount --bind "$1" "$1" && mount -o remount,ro,bind "$1" && exec "$0" -c "$2" "$1"'
    alone = [] if os.geteuid() else ["unshare", "--mount", "sh", "-c", mount]
    if alone and subprocess.run([*alone[:2], "true"], check=False).returncode:
        pytest.skip("root may write everywhere, and nothing can be mounted here")
    words = [sys.executable, str(workdir), READING] if alone else [sys.executable, "-c", READING, str(workdir)]
    modes = {path: path.stat().st_mode for path in folders}
    try:
        for path in folders:
            path.chmod(0o555)
        ended = subprocess.run([*alone, *words], capture_output=True, text=True, check=False)
    finally:
        for path, mode in modes.items():
            path.chmod(mode)
    assert ended.stdout == "0\n", ended.stderr
    assert "Read-only file system" in ended.stderr or "Permission denied" in ended.stderr
