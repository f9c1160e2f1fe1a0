"""Workdirs as training leaves them, without training."""

import json

import pytest

from hypjax.config.settings import default_settings
from hypjax.run.metrics import as_json


@pytest.fixture
def finish(tmp_path):
    """Writes a finished run, with test figures and two validation rows."""

    def write(name, seed, figures, *, validation=None, settings=None):
        folder = tmp_path / name / f"seed-{seed}"
        folder.mkdir(parents=True, exist_ok=True)
        if settings is None:
            settings = default_settings()
            settings.update(name=name, seed=seed)
        (folder / "config.json").write_text(json.dumps(as_json(settings.to_dict())))
        (folder / "results.json").write_text(json.dumps(as_json(figures)))
        rows = [{"step": 6, "validation/recall@1": 0.1, "validation/old": 1.0}, {"step": 11, "loss": 1.0}]
        if validation is not None:
            rows.append({"step": 12, **{f"validation/{k}": v for k, v in as_json(validation).items()}})
        (folder / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows) + '{"step": 13, "cut')
        return folder

    return write
