import json

import pytest

from hypjax.data.errors import UsageError
from hypjax.run.metrics import MetricWriter, as_json, installed, read_metrics


def test_rows_are_json_objects_with_step_first(tmp_path):
    writer = MetricWriter(tmp_path, config={})
    writer.write(3, {"loss": 0.5, "bad": float("nan")})
    writer.close()
    text = (tmp_path / "metrics.jsonl").read_text()
    assert text.startswith('{"step": 3, "loss": 0.5, "bad": null}')


def test_resuming_drops_rows_past_the_checkpoint_and_half_lines(tmp_path):
    path = tmp_path / "metrics.jsonl"
    path.write_text("".join(json.dumps({"step": s, "loss": s}) + "\n" for s in range(1, 6)) + '{"step": 6, "lo')
    writer = MetricWriter(tmp_path, resume_step=3, config={})
    writer.write(4, {"loss": 40})
    writer.close()
    assert [(row["step"], row["loss"]) for row in read_metrics(path)] == [(1, 1), (2, 2), (3, 3), (4, 40)]


def test_a_new_run_starts_an_empty_file(tmp_path):
    (tmp_path / "metrics.jsonl").write_text('{"step": 1}\n')
    MetricWriter(tmp_path, config={}).close()
    assert read_metrics(tmp_path / "metrics.jsonl") == []


def test_missing_package_names_the_command():
    with pytest.raises(UsageError, match=r'pip install "hypjax\[tensorboard\]"'):
        installed("no_such_module_anywhere", "tensorboard")


def test_as_json_keeps_what_json_knows():
    assert as_json({"a": (1, True, None, "x"), "b": float("inf")}) == {"a": [1, True, None, "x"], "b": None}


def test_a_full_disk_leaves_the_rows_that_were_there(tmp_path, monkeypatch):
    writer = MetricWriter(tmp_path, config={})
    writer.write(1, {"loss": 2.0})
    writer.close()
    before = (tmp_path / "metrics.jsonl").read_text()

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("pathlib.Path.replace", full)
    with pytest.raises(OSError, match="No space"):
        MetricWriter(tmp_path, resume_step=1, config={})
    assert (tmp_path / "metrics.jsonl").read_text() == before
    assert [path.name for path in tmp_path.iterdir()] == ["metrics.jsonl"]


class Elsewhere:
    """Stands for TensorBoard's writer and for W&B."""

    def __init__(self):
        self.made, self.rows = [], []

    def __call__(self, *words, **options):
        self.made.append(options)
        return self

    SummaryWriter = init = __call__

    def add_scalar(self, name, value, step):
        self.rows.append((step, name, value))

    def log(self, row, step):
        self.rows.append((step, row))

    def close(self):
        pass

    finish = close


def test_a_run_that_goes_on_goes_on_elsewhere_too(tmp_path, monkeypatch):
    """One run at W&B however often it is started; TensorBoard forgets the steps that are taken again."""
    elsewhere = Elsewhere()
    monkeypatch.setattr("hypjax.run.metrics.installed", lambda module, extra: elsewhere)
    for step in (0, 4):
        writer = MetricWriter(tmp_path, resume_step=step, tensorboard=True, wandb="a1b2", config={"seed": 0})
        writer.write(step + 1, {"loss": 2.0, "bad": float("nan")})
        writer.close()
    boards, runs = elsewhere.made[::2], elsewhere.made[1::2]
    assert [board["purge_step"] for board in boards] == [1, 5]
    assert [(run["id"], run["resume"]) for run in runs] == [("a1b2", "allow")] * 2
    assert elsewhere.rows[:2] == [(1, "step", 1), (1, "loss", 2.0)]
    assert elsewhere.rows[-1] == (5, {"step": 5, "loss": 2.0})
