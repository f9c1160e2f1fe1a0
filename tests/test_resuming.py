"""Runs that are stopped, killed, damaged or changed: they go on as if unbroken, or say in a line why not."""

import fcntl
import json
import shutil
import signal
import time

import jax
import numpy as np
import pytest
from orbax.checkpoint import v1 as ocp

from tests.programs import LIGHT, THIRDS, done, finish, refused, run, start, tiny
from tests.workdirs import losses, results, saved


def state_of(workdir, step):
    """The leaves of a checkpoint by their paths."""
    path, here = workdir / "checkpoints" / str(step), jax.sharding.SingleDeviceSharding(jax.devices()[0])
    held = ocp.checkpointables_metadata(path).metadata["state"]
    like = {name: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=here) for name, leaf in held.items()}
    return ocp.load_checkpointables(path, {"state": like})["state"]


def assert_ends_like(workdir, unbroken, **tolerance):
    np.testing.assert_allclose(losses(workdir), losses(unbroken), **(tolerance or {"atol": 1e-6}))
    expected = results(unbroken)
    for name, value in results(workdir).items():
        assert value == pytest.approx(expected[name], abs=1e-3 if tolerance else 1e-5, nan_ok=True), name


def as_killed_after(step, finished, workdir):
    """What a run leaves that was killed before its last checkpoint."""
    shutil.copytree(finished, workdir)
    (workdir / "results.json").unlink()
    for later in saved(workdir):
        if later > step:
            shutil.rmtree(workdir / "checkpoints" / str(later))


@pytest.fixture(scope="module")
def short(folder, tmp_path_factory):
    """An unbroken run that leaves the test classes alone."""
    workdir = tmp_path_factory.mktemp("short") / "run"
    done(*tiny(folder, workdir, THIRDS, *LIGHT))
    return workdir


# Steps enough for a test to interrupt some of them.
LONG = (THIRDS, *LIGHT, "--config.steps=150", "--config.most_epochs=0.0")


@pytest.fixture(scope="module")
def long(folder, tmp_path_factory):
    """An unbroken run of many steps."""
    workdir = tmp_path_factory.mktemp("long") / "run"
    done(*tiny(folder, workdir, *LONG, "--config.checkpoint.every=0"))
    return workdir


@pytest.mark.slow
def test_stopped_killed_and_resumed_ends_as_if_unbroken(long, folder, tmp_path):
    workdir = tmp_path / "broken"
    words = tiny(folder, workdir, *LONG, "--config.checkpoint.every=50")
    process = start(*words)
    while not (workdir / "metrics.jsonl").exists() or len(losses(workdir)) < 2:
        time.sleep(0.02)
        assert process.poll() is None, finish(process)[2]
    process.send_signal(signal.SIGTERM)
    status, _, err = finish(process)
    stopped = max(saved(workdir))
    said = f"stopped by SIGTERM, step {stopped} is saved; the same command resumes"
    assert (status, err.strip()) == (143, said)

    process = start(*words)
    while max(saved(workdir)) < max(50, stopped + 1):
        time.sleep(0.02)
        assert process.poll() is None, finish(process)[2]
    process.send_signal(signal.SIGKILL)
    status, out, err = finish(process)
    assert status == -signal.SIGKILL, err
    assert f"resuming after step {stopped}" in out
    step = max(saved(workdir))
    out = done(f"--workdir={workdir}", module="hypjax.evaluate")
    assert f"the checkpoint of step {step} of 150" in out
    assert (workdir / f"results-step-{step}.json").exists()
    assert not (workdir / "results.json").exists()  # which would mark it as finished
    assert f"resuming after step {step}" in done(*words)
    assert_ends_like(workdir, long)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("config", "more"),
    [
        ("hier.py:quick,geometry=lorentz,batch.classes=4", ("--config.learn_curvature=true",)),
        ("eps.py:quick,batch.classes=4", ("--config.memory.size=40",)),
        ("ghm.py:quick,frozen,loss=soft_triple", ()),
    ],
)
def test_proxies_memory_and_features_survive_a_kill(config, more, folder, tmp_path):
    def words(workdir):
        return tiny(folder, workdir, THIRDS, *LIGHT, *more, f"--config.features.dir={tmp_path / 'kept'}", config=config)

    done(*words(tmp_path / "unbroken"))
    as_killed_after(6, tmp_path / "unbroken", tmp_path / "killed")
    assert "resuming after step 6" in done(*words(tmp_path / "killed"))
    assert_ends_like(tmp_path / "killed", tmp_path / "unbroken")


@pytest.mark.slow
def test_four_devices_log_the_losses_of_one_which_goes_on_from_what_they_saved(short, folder, tmp_path):
    workdir = tmp_path / "four"
    words = tiny(folder, workdir, THIRDS, *LIGHT)
    assert "4 cpu device(s) in 1 process(es)" in done(*words, devices=4)
    assert_ends_like(workdir, short, rtol=1e-3)
    (workdir / "results.json").unlink()
    for path in (workdir / "checkpoints" / "12").rglob("*"):
        if path.is_file():
            path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    out = done(*words)
    assert "checkpoint 12 is damaged and was set aside" in out
    assert "resuming after step 6" in out
    assert_ends_like(workdir, short, rtol=1e-3)


@pytest.mark.slow
def test_divergence_stops_with_the_step_and_keeps_the_last_good_checkpoint(folder, tmp_path):
    workdir = tmp_path / "diverged"
    poison = ["--config.optimizer.learning_rate=1e30", "--config.optimizer.warmup=0.6"]
    poison += ["--config.checkpoint.every=0", "--config.checkpoint.minutes=1e-9"]  # by the clock, after every step
    status, _, err = run(*tiny(folder, workdir, THIRDS, *LIGHT, *poison))
    assert status == 1
    assert err.startswith("stopped: the loss or its gradient is not finite at step ")
    assert "optimizer.learning_rate" in err
    assert "Traceback" not in err
    last = int(err.partition("the last good checkpoint is ")[2].partition(".")[0])
    assert saved(workdir) == [*range(1, last + 1)][-2:]
    assert all(np.isfinite(losses(workdir)))
    assert all(np.isfinite(leaf).all() for leaf in state_of(workdir, last).values())
    status, out, again = run(*tiny(folder, workdir, THIRDS, *LIGHT, *poison))
    assert (status, again) == (1, err)
    assert f"resuming after step {last}" in out


@pytest.mark.slow
def test_pictures_that_were_added_cost_a_run_nothing(short, folder, tmp_path):
    """Evaluation reads the model alone; training refuses in a line, since labels would belong to other images."""
    workdir, grown = tmp_path / "run", tmp_path / "images"
    shutil.copytree(short, workdir)
    shutil.copytree(folder, grown)
    for label in range(10):
        shutil.copy(grown / f"class {label}" / "0.png", grown / f"class {label}" / "more.png")
    before = sorted(path.relative_to(workdir) for path in (workdir / "checkpoints").rglob("*"))
    done(f"--workdir={workdir}", f"--data_dir={grown}", module="hypjax.evaluate")
    assert sorted(path.relative_to(workdir) for path in (workdir / "checkpoints").rglob("*")) == before
    assert not (workdir / "damaged-checkpoints").exists()
    (workdir / "results.json").unlink()
    kept = (workdir / "metrics.jsonl").read_bytes()
    config = json.loads((workdir / "config.json").read_text())
    config["data"]["dir"] = str(grown)
    (workdir / "config.json").write_text(json.dumps(config))
    words = tiny(grown, workdir, THIRDS, *LIGHT)
    with (workdir / ".lock").open("a") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        assert "is being trained by process" in refused(*words)
    assert "the training images are not those that" in refused(*words)
    assert (workdir / "metrics.jsonl").read_bytes() == kept


@pytest.mark.slow
def test_a_run_that_was_killed_before_its_first_state_begins_anew_on_data_that_were_moved(short, folder, tmp_path):
    workdir, moved = tmp_path / "run", tmp_path / "moved"
    workdir.mkdir()
    for name in ("config.json", "environment.json", "metrics.jsonl"):
        shutil.copy(short / name, workdir)
    shutil.copytree(folder, moved)
    out = done(*tiny(moved, workdir, THIRDS, *LIGHT))
    assert "resuming" not in out
    assert json.loads((workdir / "config.json").read_text())["data"]["dir"] == str(moved)


@pytest.mark.slow
def test_a_workdir_of_another_config_is_refused(short, folder):
    assert "seed: 0 -> 1" in refused(*tiny(folder, short, THIRDS, *LIGHT, "--config.seed=1"))
