import json
import re

import jax
import pytest

from configs.hyp_uml import get_config
from hypjax import evaluate
from hypjax.data.errors import DataError, UsageError
from hypjax.run import Run, manifest, results
from hypjax.run.metrics import as_json


def test_what_a_run_was_made_with_is_kept(tmp_path, monkeypatch):
    monkeypatch.setattr("sys.argv", ["/lib/hypjax/train.py", "--workdir=a b"])
    manifest.record(tmp_path, manifest.environment(), seconds=12.34, resumed_at=6)
    held = manifest.recorded(tmp_path)
    assert held["command"] == "python -m hypjax.train '--workdir=a b'"
    assert (held["jax"], held["seconds"], held["resumed_at"]) == (jax.__version__, 12.3, 6)
    assert held["device"].startswith("8 × ")


def test_how_a_run_began_is_kept_beside_how_it_went_on(tmp_path):
    made = manifest.environment() | {"data": "3 images", "digest": {"train": "a", "test": "b"}}
    manifest.record(tmp_path, made | {"command": "first"}, seconds=1, resumed_at=0)
    now = made | {"command": "second", "digest": {"train": "a", "test": "c"}}
    for step in (3, 6):
        assert manifest.changes(tmp_path, now) == ["the test images changed since this run began"]  # each time
        manifest.record(tmp_path, now, seconds=1, resumed_at=step)
        held = manifest.recorded(tmp_path)
        assert (held["command"], held["began"]["command"]) == ("second", "first")
        assert held["began"]["digest"]["test"] == "b"


def test_rows_of_features_are_compared_where_they_were_looked_at(tmp_path):
    made = manifest.environment() | {"data": "3 images", "digest": {"train": "a", "test": "b"}}
    manifest.record(tmp_path, made, seconds=1, resumed_at=0)
    now = made | {"rows": {"train": "c", "test": "d"}}
    assert manifest.changes(tmp_path, now) == []  # of a version that did not look
    manifest.record(tmp_path, now, seconds=1, resumed_at=0)
    other = now | {"rows": {"train": "c", "test": "e"}}
    assert manifest.changes(tmp_path, other) == ["the test images changed since this run began"]
    with pytest.raises(UsageError, match="as many, but of other names, sizes, labels or features"):
        manifest.changes(tmp_path, now | {"rows": {"train": "e", "test": "d"}})


def test_nothing_recorded_or_a_damaged_record_is_no_error(tmp_path):
    assert manifest.recorded(tmp_path) == {}
    (tmp_path / manifest.FILE).write_text("{")
    assert manifest.recorded(tmp_path) == {}


def test_the_page_of_a_run_says_how_far_it_got_and_what_it_was_made_with(tmp_path):
    (tmp_path / "config.json").write_text(json.dumps(as_json(get_config("quick").to_dict())))
    run = Run.open(tmp_path)
    results.write_page(run, {"recall@1": 0.5, "nmi": float("nan")}, step=6, finished=False)
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert "step 6 of 12" in page
    assert "were not recorded" in page
    manifest.record(tmp_path, manifest.environment(), seconds=1, resumed_at=0)
    results.write_page(run, {"recall@1": 0.5}, step=12, finished=True, split="validation")
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert "finished after 12 steps" in page
    assert "Of the validation classes" in page
    assert f"<td>{jax.__version__}</td>" in page
    assert "head.radius" in page.split("All ")[0]  # changed from the defaults
    results.write_page(run, {"recall@1": 0.5}, step=6, finished=True)
    assert "finished after 12 steps; the state of step 6 is the best" in (tmp_path / "report.html").read_text()


def test_pictures_that_were_moved_are_asked_for(tmp_path):
    config = get_config(f"quick,data=folder,data_dir={tmp_path / 'gone'}")
    (tmp_path / "config.json").write_text(json.dumps(as_json(config.to_dict())))
    with pytest.raises(UsageError, match=r"gone does not exist; .* --data_dir=FOLDER$"):
        evaluate.evaluate(tmp_path)
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="empty holds no images"):
        evaluate.evaluate(tmp_path, data_dir=str(tmp_path / "empty"))


def test_a_run_of_a_version_that_did_not_say_has_the_steps_it_took(tmp_path):
    config = get_config("quick")
    config.steps = 90
    (tmp_path / "config.json").write_text(json.dumps(as_json(config.to_dict())))
    (tmp_path / "metrics.jsonl").write_text('{"step": 50, "loss": 1.0}\n{"step": 60, "loss": 0.5}\n')
    run = Run.open(tmp_path)
    assert (run.steps, run.finished) == (90, False)  # stopped at 60
    (tmp_path / "results.json").write_text("{}")
    assert (run.steps, run.finished) == (60, True)
    (tmp_path / "metrics.jsonl").unlink()
    assert run.steps == 90
    manifest.record(tmp_path, {"steps": 70}, seconds=1, resumed_at=0)
    assert run.steps == 70


def test_the_commit_is_told_in_a_clone_alone(monkeypatch, tmp_path):
    found = manifest.commit()
    assert found == "" or re.fullmatch(r"[0-9a-f]{12}\+?", found)
    monkeypatch.setattr("hypjax.__file__", str(tmp_path / "hypjax" / "__init__.py"))
    assert manifest.commit() == ""
    (tmp_path / ".git").mkdir()
    assert manifest.commit() == ""  # no repository that git knows


def test_what_changed_since_a_run_began_is_named_and_other_images_are_refused(tmp_path):
    made = manifest.environment() | {"data": "train 4 images", "digest": {"train": "a", "test": "b"}}
    (told,) = manifest.changes(tmp_path, made)  # of a run from before it was kept, or whose record is damaged
    assert "nobody can tell whether these are the same" in told
    manifest.record(tmp_path, made, seconds=1, resumed_at=0)
    assert manifest.changes(tmp_path, made) == []
    other = made | {"jax": "0.1", "digest": {"train": "a", "test": "c"}}
    assert manifest.changes(tmp_path, other) == [
        "the test images changed since this run began",
        f"jax was {jax.__version__}, and is 0.1 now",
    ]
    with pytest.raises(UsageError, match=r"started with \(train 4 images; now train 5 images\)"):
        manifest.changes(tmp_path, made | {"data": "train 5 images", "digest": {"train": "x", "test": "b"}})
