"""What a user meets: runs that end, are killed, resumed, spread over devices, or given bad input."""

import fcntl
import json
import shutil
import signal
import time

import jax
import numpy as np
import pytest
from orbax.checkpoint import v1 as ocp

from tests.pictures import save_pictures
from tests.programs import LIGHT, ROOT, THIRDS, finish, run, start, tiny


def rows(workdir):
    return [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]


def losses(workdir):
    return np.array([row["loss"] for row in rows(workdir) if "loss" in row])


def results(workdir):
    return json.loads((workdir / "results.json").read_text())


def saved(workdir):
    """The steps of which there is a checkpoint."""
    return sorted(int(path.name) for path in (workdir / "checkpoints").iterdir() if path.name.isdecimal())


def state_of(workdir, step):
    """The leaves of a checkpoint by their paths."""
    path, here = workdir / "checkpoints" / str(step), jax.sharding.SingleDeviceSharding(jax.devices()[0])
    held = ocp.checkpointables_metadata(path).metadata["state"]
    like = {name: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=here) for name, leaf in held.items()}
    return ocp.load_checkpointables(path, {"state": like})["state"]


def done(*words, **options):
    """What a program says that does what it is asked for."""
    status, out, err = run(*words, **options)
    assert status == 0, err
    return out + err


def refused(*words, **options):
    """The one line of a program that refuses what it is asked for."""
    status, _, err = run(*words, **options)
    assert status == 2, err
    assert len(err.strip().splitlines()) == 1, err
    return err


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
def folder(tmp_path_factory):
    """Ten classes of four noisy color fields."""
    return save_pictures(tmp_path_factory.mktemp("images with spaces"), classes=10, each=4)


@pytest.fixture(scope="module")
def finished(folder, tmp_path_factory):
    """An unbroken run with all that a run leaves, and what it printed."""
    workdir = tmp_path_factory.mktemp("finished") / "run"
    return workdir, done(*tiny(folder, workdir, THIRDS), drawn=True)


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
def test_a_run_leaves_what_the_readme_promises(finished):
    workdir, out = finished
    left = {"config.json", "environment.json", "metrics.jsonl", "checkpoints", "results.json", "report.html"}
    assert left <= {p.name for p in workdir.iterdir()}
    assert len([p for p in workdir.glob("*.png") if p.stat().st_size > 1000]) == 7
    assert len(losses(workdir)) >= 10
    assert saved(workdir) == [6, 12]
    figures = results(workdir)
    assert 0 <= figures["recall@1"] <= figures["recall@2"] <= 1
    assert {"map@r", "r_precision", "nmi", "uncertainty_auroc", "blur_rank_correlation"} <= set(figures)
    validated = [row["step"] for row in rows(workdir) if "validation/saturated_share" in row]
    assert validated == [0, 6, 12]  # the first before training, to compare with
    assert "1 cpu device(s) in 1 process(es)" in out
    assert len(out.splitlines()) < 30


@pytest.mark.slow
def test_a_finished_run_says_so(finished, folder):
    workdir, _ = finished
    before = (workdir / "results.json").stat().st_mtime_ns
    assert "is finished" in done(*tiny(folder, workdir, THIRDS))
    assert (workdir / "results.json").stat().st_mtime_ns == before


@pytest.mark.slow
def test_evaluate_gives_the_same_figures(finished, tmp_path):
    workdir, before = tmp_path / "run", results(finished[0])
    shutil.copytree(finished[0], workdir)
    (workdir / "results.json").write_text("{}")
    assert "recall@1 " in done(f"--workdir={workdir}", module="hypjax.evaluate")
    assert results(workdir) == {name: pytest.approx(value, abs=1e-6, nan_ok=True) for name, value in before.items()}


@pytest.mark.slow
def test_a_folder_is_embedded_and_searched_with_its_model(finished, folder, tmp_path):
    workdir, _ = finished
    index, page = tmp_path / "index.npz", tmp_path / "found.html"
    done(f"--workdir={workdir}", f"--images={folder}", f"--out={index}", module="hypjax.embed")
    with np.load(index) as held:
        assert len(held["paths"]) == len(held["points"]) == len(held["uncertainty"]) == 40
    query = shutil.copy(folder / "class 3" / "1.png", tmp_path / "ask me.png")
    words = [f"--workdir={workdir}", f"--index={index}", f"--query={query}", "--k=5", f"--out={page}"]
    found = [line.split() for line in done(*words, module="hypjax.search").splitlines()[2:7]]
    assert (found[0][0], float(found[0][1]), " ".join(found[0][3:])) == ("1", 0, "class 3/1.png")
    distances = [float(row[1]) for row in found]
    assert distances == sorted(distances)
    assert "data:image/" in page.read_text()


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


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "no config given"),
        (["--config", "configs/missing.py"], "does not exist"),
        (["--config", f"{ROOT}/configs/hyp_uml.py", "--config.stepz=3"], "'stepz'; did you mean steps?"),
        (
            ["--config", f"{ROOT}/configs/hyp_uml.py:data=cifar"],
            "data set 'cifar' is unknown; there are: emoji, folder",
        ),
        (["--config", f"{ROOT}/configs/hyp_uml.py:data=folder,data_dir=/no/such"], "/no/such does not exist"),
        (["--config", f"{ROOT}/configs/hyp_uml.py:geometry=klein"], "geometry 'klein' is unknown"),
        (["--config", f"{ROOT}/configs/hyp_uml.py", "--config.batch.classes=800"], "there are 739"),
        (["--config", f"{ROOT}/configs/hyp_uml.py:encoder=vgg"], "vgg"),
        (["--config", f"{ROOT}/configs/hyp_uml.py", "--config.steps=0"], "steps must be at least 1"),
        (["--config", f"{ROOT}/configs/hier.py:loss=proxy_nca,miner=easy_positive"], "compares images with proxies"),
    ],
)
def test_bad_input_is_one_line_and_status_2(words, message, tmp_path):
    assert message in refused(*words, f"--workdir={tmp_path / 'run'}")


@pytest.mark.parametrize("name", ["train", "evaluate", "compare", "embed", "search", "serve"])
def test_a_bad_word_is_one_line_and_status_2(name):
    assert "verbos" in refused("--verbos=1", module=f"hypjax.{name}")


@pytest.mark.slow
def test_so_it_is_in_a_process_of_its_own():
    status, out, err = finish(start("--verbos=1"))
    assert (status, out, len(err.splitlines())) == (2, "", 1), err
    assert err.startswith("error: ")


@pytest.mark.slow
def test_a_workdir_of_another_config_is_refused(short, folder):
    assert "seed: 0 -> 1" in refused(*tiny(folder, short, THIRDS, *LIGHT, "--config.seed=1"))


@pytest.mark.slow
def test_a_corrupt_image_is_named_or_skipped_and_a_class_with_one_image_is_left_out(folder, tmp_path):
    broken = tmp_path / "images"
    shutil.copytree(folder, broken)
    for label in range(10):
        (broken / f"class {label}" / "9.png").write_bytes(b"not a picture")
    for i in range(1, 4):
        (broken / "class 3" / f"{i}.png").unlink()
    words = tiny(broken, tmp_path / "run", THIRDS, *LIGHT)
    assert "9.png" in refused(*words)
    shutil.rmtree(tmp_path / "run", ignore_errors=True)
    out = done(*words, "--config.data.skip_corrupt=true")
    assert "skipped 10" in out
    assert "left out 1 class with a single image ('class 3')" in out


def test_patience_needs_validations(folder, tmp_path):
    for number, pictures in enumerate(folder.iterdir()):
        shutil.copytree(pictures, tmp_path / ("train" if number < 6 else "test") / pictures.name)
    words = tiny(tmp_path, tmp_path.with_name("run"), "--config.patience=2")
    assert "counts validations" in refused(*words, "--config.evaluation.every=0")
    assert "need validation classes" in refused(*words, "--config.data.validation=0.0")


@pytest.mark.slow
def test_a_small_folder_needs_no_settings_of_its_own(folder, tmp_path):
    said = done(*tiny(folder, tmp_path / "run", "--config.most_epochs=1.0"))
    assert "they go through the training images 1 times (most_epochs)" in said, said
    assert {"recall@1", "recall@2"} <= set(results(tmp_path / "run"))


@pytest.mark.parametrize(
    ("prepare", "message"),
    [
        (lambda path: path.write_text("a file"), "exists"),
        (lambda path: (path.mkdir(), (path / "config.json").write_text("{")), "config.json is damaged"),
    ],
)
def test_a_workdir_that_is_none_is_refused_in_one_line(prepare, message, tmp_path):
    prepare(tmp_path / "run")
    module = "hypjax.train" if message == "exists" else "hypjax.evaluate"
    words = ["--config", f"{ROOT}/configs/hyp_uml.py:quick"] if message == "exists" else []
    assert message in refused(*words, f"--workdir={tmp_path / 'run'}", module=module)
