"""What a user meets: runs that end, are killed, resumed, spread over devices, or given bad input."""

import json
import shutil
import signal
import socket
import time

import numpy as np
import pytest

from hypjax.run.lock import Lock
from tests.pictures import save_pictures
from tests.programs import finish, run, start

TINY = [  # a network small enough to train in seconds
    "--config.encoder.sizes={'width': 32, 'depth': 1, 'heads': 2}",
]


def rows(workdir):
    return [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]


def losses(workdir):
    return np.array([row["loss"] for row in rows(workdir) if "loss" in row])


def results(workdir):
    return json.loads((workdir / "results.json").read_text())


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Ten classes of four noisy color fields."""
    return save_pictures(tmp_path_factory.mktemp("images with spaces"), classes=10, each=4)


def tiny(folder, workdir, *more):
    return [
        "--config",
        f"configs/hyp_uml.py:quick,encoder=vit_ti8,data=folder,data_dir={folder}",
        *TINY,
        "--config.batch.classes=4",
        "--config.batch.samples_per_class=4",
        "--config.data.fractions=(0.4, 0.3, 0.3)",
        "--config.evaluation.ks=(1, 2)",
        f"--workdir={workdir}",
        *more,
    ]


@pytest.fixture(scope="module")
def finished(folder, tmp_path_factory):
    """An unbroken run."""
    workdir = tmp_path_factory.mktemp("finished") / "run"
    status, out, err = run(*tiny(folder, workdir))
    assert status == 0, err
    return workdir, out


@pytest.mark.slow
def test_a_run_leaves_what_the_readme_promises(finished):
    workdir, out = finished
    left = {"config.json", "environment.json", "metrics.jsonl", "checkpoints", "results.json", "report.html"}
    assert left <= {p.name for p in workdir.iterdir()}
    assert len(list(workdir.glob("*.png"))) >= 4
    assert len(losses(workdir)) >= 10
    assert len(list((workdir / "checkpoints").iterdir())) == 2
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
    status, out, _ = run(*tiny(folder, workdir))
    assert (status, "is finished" in out) == (0, True)
    assert (workdir / "results.json").stat().st_mtime_ns == before


@pytest.mark.slow
def test_evaluate_gives_the_same_figures(finished):
    workdir, _ = finished
    before = results(workdir)
    status, out, err = run(f"--workdir={workdir}", module="hypjax.evaluate")
    assert status == 0, err
    assert "recall@1 " in out
    for name, value in results(workdir).items():
        assert value == pytest.approx(before[name], abs=1e-6, nan_ok=True), name


@pytest.mark.slow
def test_a_folder_is_embedded_and_searched_with_its_model(finished, folder, tmp_path):
    workdir, _ = finished
    index, page = tmp_path / "index.npz", tmp_path / "found.html"
    status, _, err = run(f"--workdir={workdir}", f"--images={folder}", f"--out={index}", module="hypjax.embed")
    assert status == 0, err
    with np.load(index) as held:
        assert len(held["paths"]) == len(held["points"]) == len(held["uncertainty"]) == 40
    query = shutil.copy(folder / "class 3" / "1.png", tmp_path / "ask me.png")
    words = [f"--workdir={workdir}", f"--index={index}", f"--query={query}", "--k=5", f"--out={page}"]
    status, out, err = run(*words, module="hypjax.search")
    assert status == 0, err
    found = [line.split() for line in out.splitlines()[2:7]]
    assert (found[0][0], float(found[0][1]), " ".join(found[0][3:])) == ("1", 0, "class 3/1.png")
    distances = [float(row[1]) for row in found]
    assert distances == sorted(distances)
    assert "data:image/" in page.read_text()


def wait_for(path, seconds=200):
    deadline = time.monotonic() + seconds
    while not path.exists() and time.monotonic() < deadline:
        time.sleep(0.02)
    assert path.exists()


@pytest.mark.slow
def test_killed_and_resumed_ends_as_if_unbroken(finished, folder, tmp_path):
    unbroken, _ = finished
    workdir = tmp_path / "killed"
    process = start(*tiny(folder, workdir))
    wait_for(workdir / "checkpoints" / "6")
    process.send_signal(signal.SIGKILL)
    process.communicate()
    status, out, err = run(f"--workdir={workdir}", module="hypjax.evaluate")
    assert status == 0, err
    assert "the checkpoint of step 6 of 12" in out
    assert (workdir / "results-step-6.json").exists()
    assert not (workdir / "results.json").exists()  # which would mark it as finished
    status, out, err = run(*tiny(folder, workdir))
    assert status == 0, err
    assert "resuming after step 6" in out
    np.testing.assert_allclose(losses(workdir), losses(unbroken), atol=1e-6)
    for name, value in results(unbroken).items():
        assert results(workdir)[name] == pytest.approx(value, abs=1e-6), name


@pytest.mark.slow
@pytest.mark.parametrize(
    ("config", "more"),
    [
        ("hier.py:quick,geometry=lorentz,miner=easy_positive", ("--config.learn_curvature=true",)),
        ("eps.py:quick,geometry=poincare,regularizer=hier", ("--config.memory.size=40",)),
        ("ghm.py:quick,frozen,loss=soft_triple", ()),
    ],
)
def test_proxies_memory_and_features_survive_a_kill(config, more, folder, tmp_path):
    def words(workdir):
        flag, chosen, *rest = tiny(folder, workdir, *more, f"--config.features.dir={tmp_path / 'features'}")
        return [flag, chosen.replace("hyp_uml.py:quick", config), *rest]

    unbroken, killed = tmp_path / "unbroken", tmp_path / "killed"
    status, _, err = run(*words(unbroken))
    assert status == 0, err
    process = start(*words(killed))
    wait_for(killed / "checkpoints" / "6")
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert not (killed / "results.json").exists()
    status, out, err = run(*words(killed))
    assert status == 0, err
    assert "resuming after step 6" in out
    np.testing.assert_allclose(losses(killed), losses(unbroken), atol=1e-6)
    for name, value in results(unbroken).items():
        assert results(killed)[name] == pytest.approx(value, abs=1e-5, nan_ok=True), name


@pytest.mark.slow
def test_a_truncated_checkpoint_gives_way_on_another_device_count(finished, folder, tmp_path):
    unbroken, _ = finished
    workdir = tmp_path / "truncated"
    shutil.copytree(unbroken, workdir)
    (workdir / "results.json").unlink()
    for path in (workdir / "checkpoints" / "12").rglob("*"):
        if path.is_file():
            path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    status, out, err = run(*tiny(folder, workdir), devices=8)
    assert status == 0, err
    assert "checkpoint 12 is damaged and was set aside" in out
    assert "resuming after step 6" in out
    np.testing.assert_allclose(losses(workdir), losses(unbroken), rtol=1e-3)


@pytest.mark.slow
def test_eight_devices_and_two_processes_log_the_losses_of_one(finished, folder, tmp_path):
    unbroken, _ = finished
    assert run(*tiny(folder, tmp_path / "eight"), devices=8)[0] == 0
    np.testing.assert_allclose(losses(tmp_path / "eight"), losses(unbroken), rtol=1e-3)

    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = free.getsockname()[1]
    words = tiny(folder, tmp_path / "two", f"--coordinator=localhost:{port}", "--num_processes=2")
    pair = [start(*words, f"--process_id={i}") for i in range(2)]
    ends = [finish(process) for process in pair]
    assert [status for status, _, _ in ends] == [0, 0], ends[0][2] + ends[1][2]
    assert "2 cpu device(s) in 2 process(es)" in ends[0][1]
    # The collectives greet on their own; of ours only process 0 speaks.
    assert all(line.startswith("[Gloo]") for line in ends[1][1].splitlines())
    np.testing.assert_allclose(losses(tmp_path / "two"), losses(unbroken), rtol=1e-3)
    assert results(tmp_path / "two")["recall@1"] == pytest.approx(results(unbroken)["recall@1"], abs=1e-3)


@pytest.mark.slow
def test_divergence_stops_with_the_step_and_keeps_the_last_good_checkpoint(folder, tmp_path):
    workdir = tmp_path / "diverged"
    poison = ["--config.optimizer.learning_rate=1e30", "--config.optimizer.warmup=0.6", "--config.checkpoint.every=1"]
    status, _, err = run(*tiny(folder, workdir, *poison))
    assert status == 1
    assert err.startswith("stopped: the loss or its gradient is not finite at step ")
    assert "optimizer.learning_rate" in err
    assert "Traceback" not in err
    last = int(err.partition("the last good checkpoint is ")[2].partition(".")[0])
    assert max(int(path.name) for path in (workdir / "checkpoints").iterdir()) == last
    assert all(np.isfinite(row["loss"]) for row in rows(workdir) if "loss" in row)


@pytest.mark.slow
def test_pictures_that_were_added_cost_a_run_nothing(finished, folder, tmp_path):
    """Evaluation reads the model alone; training refuses in a line, since labels would belong to other images."""
    workdir, grown = tmp_path / "run", tmp_path / "images"
    shutil.copytree(finished[0], workdir)
    shutil.copytree(folder, grown)
    for label in range(10):
        shutil.copy(grown / f"class {label}" / "0.png", grown / f"class {label}" / "more.png")
    before = sorted(path.relative_to(workdir) for path in (workdir / "checkpoints").rglob("*"))
    status, _, err = run(f"--workdir={workdir}", f"--data_dir={grown}", module="hypjax.evaluate")
    assert status == 0, err
    assert sorted(path.relative_to(workdir) for path in (workdir / "checkpoints").rglob("*")) == before
    assert not (workdir / "damaged-checkpoints").exists()
    (workdir / "results.json").unlink()
    kept = (workdir / "metrics.jsonl").read_bytes()
    config = json.loads((workdir / "config.json").read_text())
    config["data"]["dir"] = str(grown)
    (workdir / "config.json").write_text(json.dumps(config))
    with Lock(workdir, "python -m hypjax.train"):
        assert "is being trained by process" in refused(*tiny(grown, workdir))
    assert "the training images are not those that" in refused(*tiny(grown, workdir))
    assert (workdir / "metrics.jsonl").read_bytes() == kept


@pytest.mark.slow
def test_checkpoints_are_written_by_the_clock_too(folder, tmp_path):
    words = ["--config.checkpoint.every=0", "--config.checkpoint.minutes=1e-9", "--config.checkpoint.keep=20"]
    status, _, err = run(*tiny(folder, tmp_path / "run", *words))
    assert status == 0, err
    assert {path.name for path in (tmp_path / "run" / "checkpoints").iterdir()} == {str(step) for step in range(1, 13)}


@pytest.mark.slow
def test_sigterm_saves_and_the_run_ends_as_if_unbroken(finished, folder, tmp_path):
    workdir = tmp_path / "stopped"
    rare = ["--config.checkpoint.every=0", "--config.evaluation.every=0", "--config.steps=150"]
    process = start(*tiny(folder, workdir, *rare))
    while not (workdir / "metrics.jsonl").exists() or len(losses(workdir)) < 2:
        time.sleep(0.2)
        assert process.poll() is None, finish(process)[2]
    process.send_signal(signal.SIGTERM)
    status, _, err = finish(process)
    assert (status, err.strip()) == (143, "stopped by SIGTERM; the same command resumes")
    status, out, err = run(*tiny(folder, workdir, *rare))
    assert status == 0, err
    assert "resuming after step" in out
    status, _, err = run(*tiny(folder, tmp_path / "unbroken", *rare))
    assert status == 0, err
    np.testing.assert_array_equal(losses(workdir), losses(tmp_path / "unbroken"))
    assert results(workdir) == results(tmp_path / "unbroken")


def refused(*words):
    status, _, err = run(*words)
    assert status == 2, err
    assert len(err.strip().splitlines()) == 1, err
    return err


@pytest.mark.slow
@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "no config given"),
        (["--config", "configs/missing.py"], "does not exist"),
        (["--config", "configs/hyp_uml.py", "--config.stepz=3"], "stepz"),
        (["--config", "configs/hyp_uml.py:data=cifar"], "data set 'cifar' is unknown; there are: emoji, folder"),
        (["--config", "configs/hyp_uml.py:data=folder,data_dir=/no/such"], "/no/such does not exist"),
        (["--config", "configs/hyp_uml.py:geometry=klein"], "geometry 'klein' is unknown"),
        (["--config", "configs/hyp_uml.py", "--config.batch.classes=800"], "there are 739"),
        (["--config", "configs/hyp_uml.py:encoder=vgg"], "vgg"),
        (["--config", "configs/hyp_uml.py", "--config.steps=0"], "steps must be at least 1"),
        (["--config", "configs/hier.py:loss=proxy_nca,miner=easy_positive"], "compares images with proxies"),
    ],
)
def test_bad_input_is_one_line_and_status_2(words, message, tmp_path):
    assert message in refused(*words, f"--workdir={tmp_path / 'run'}")


@pytest.mark.slow
def test_a_workdir_of_another_config_is_refused(finished, folder):
    workdir, _ = finished
    assert "seed: 0 -> 1" in refused(*tiny(folder, workdir, "--config.seed=1"))


@pytest.mark.slow
def test_a_corrupt_image_is_named_or_skipped(folder, tmp_path):
    broken = tmp_path / "images"
    shutil.copytree(folder, broken)
    for label in range(10):
        (broken / f"class {label}" / "9.png").write_bytes(b"not a picture")
    assert "9.png" in refused(*tiny(broken, tmp_path / "stops"))
    status, out, err = run(*tiny(broken, tmp_path / "skips", "--config.data.skip_corrupt=true"))
    assert status == 0, err
    assert "skipped 10" in out + err


@pytest.mark.slow
def test_a_small_folder_needs_no_settings_of_its_own(folder, tmp_path):
    words = ["--config", f"configs/hyp_uml.py:quick,encoder=vit_ti8,data=folder,data_dir={folder}", *TINY]
    status, _, err = run(*words, f"--workdir={tmp_path / 'run'}")
    assert status == 0, err
    figures = results(tmp_path / "run")
    assert {"recall@1", "recall@2"} <= set(figures)


@pytest.mark.slow
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
    words = ["--config", "configs/hyp_uml.py:quick"] if message == "exists" else []
    status, _, err = run(*words, f"--workdir={tmp_path / 'run'}", module=module)
    assert (status, len(err.strip().splitlines())) == (2, 1), err
    assert message in err


@pytest.mark.slow
def test_a_class_with_one_image_is_left_out(folder, tmp_path):
    lonely = tmp_path / "images"
    shutil.copytree(folder, lonely)
    for i in range(1, 4):
        (lonely / "class 3" / f"{i}.png").unlink()
    status, out, err = run(*tiny(lonely, tmp_path / "run"))
    assert status == 0, err
    assert "left out 1 class with a single image ('class 3')" in out + err
