"""Bad input: one line that names it, and status 2."""

import shutil

import pytest

from tests.programs import LIGHT, ROOT, THIRDS, done, finish, refused, start, tiny


@pytest.mark.slow
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
        (
            ["--config", f"{ROOT}/configs/hyp_uml.py", "--config.checkpoint.keep=0"],
            "checkpoint.keep must be at least 1",
        ),
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
