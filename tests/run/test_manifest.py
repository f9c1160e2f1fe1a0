import json

import jax
import pytest

from configs.hyp_uml import get_config
from hypjax import evaluate
from hypjax.data.errors import DataError, UsageError
from hypjax.run import manifest, results
from hypjax.run.metrics import as_json


def test_what_a_run_was_made_with_is_kept(tmp_path, monkeypatch):
    monkeypatch.setattr("sys.argv", ["/lib/hypjax/train.py", "--workdir=a b"])
    manifest.record(tmp_path, manifest.environment(), seconds=12.34, resumed_at=6)
    held = manifest.recorded(tmp_path)
    assert held["command"] == "python -m hypjax.train '--workdir=a b'"
    assert (held["jax"], held["seconds"], held["resumed_at"]) == (jax.__version__, 12.3, 6)
    assert held["device"].startswith("8 × ")


def test_nothing_recorded_or_a_damaged_record_is_no_error(tmp_path):
    assert manifest.recorded(tmp_path) == {}
    (tmp_path / manifest.FILE).write_text("{")
    assert manifest.recorded(tmp_path) == {}


def test_the_page_of_a_run_says_how_far_it_got_and_what_it_was_made_with(tmp_path):
    (tmp_path / "config.json").write_text(json.dumps(as_json(get_config("quick").to_dict())))
    results.write_page(tmp_path, {"recall@1": 0.5, "nmi": float("nan")}, step=6, steps=12)
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert "step 6 of 12" in page
    assert "were not recorded" in page
    manifest.record(tmp_path, manifest.environment(), seconds=1, resumed_at=0)
    results.write_page(tmp_path, {"recall@1": 0.5}, step=12, steps=12, split="validation")
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert "finished after 12 steps" in page
    assert "Of the validation classes" in page
    assert f"<td>{jax.__version__}</td>" in page
    assert "head.radius" in page.split("All ")[0]  # changed from the defaults


def test_pictures_that_were_moved_are_asked_for(tmp_path):
    config = get_config(f"quick,data=folder,data_dir={tmp_path / 'gone'}")
    (tmp_path / "config.json").write_text(json.dumps(as_json(config.to_dict())))
    with pytest.raises(UsageError, match=r"gone does not exist; .* --data_dir=FOLDER$"):
        evaluate.evaluate(tmp_path)
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="empty holds no images"):
        evaluate.evaluate(tmp_path, data_dir=str(tmp_path / "empty"))


def test_a_finished_run_is_whole_also_where_more_pictures_now_mean_more_steps(tmp_path):
    (tmp_path / "metrics.jsonl").write_text('{"step": 50, "loss": 1.0}\n{"step": 60, "loss": 0.5}\n')
    assert results.steps_of_run(tmp_path, planned=90) == 90  # stopped at 60
    (tmp_path / "results.json").write_text("{}")
    assert results.steps_of_run(tmp_path, planned=90) == 60
    (tmp_path / "metrics.jsonl").unlink()
    assert results.steps_of_run(tmp_path, planned=90) == 90


def test_what_changed_since_a_run_began_is_named_and_other_images_are_refused(tmp_path):
    made = manifest.environment() | {"data": "train 4 images", "digest": {"train": "a", "test": "b"}}
    assert manifest.changes(tmp_path, made) == []  # of a run from before it was kept
    manifest.record(tmp_path, made, seconds=1, resumed_at=0)
    assert manifest.changes(tmp_path, made) == []
    other = made | {"jax": "0.1", "digest": {"train": "a", "test": "c"}}
    assert manifest.changes(tmp_path, other) == [
        "the test images changed since this run began",
        f"jax was {jax.__version__}, and is 0.1 now",
    ]
    with pytest.raises(UsageError, match=r"started with \(train 4 images; now train 5 images\)"):
        manifest.changes(tmp_path, made | {"data": "train 5 images", "digest": {"train": "x", "test": "b"}})
