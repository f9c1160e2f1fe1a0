import json

import pytest

from hypjax.config import persistence
from hypjax.config.settings import default_settings
from hypjax.data.errors import UsageError
from hypjax.run.metrics import as_json


def test_a_folder_without_a_run_is_refused(tmp_path):
    with pytest.raises(UsageError, match="holds no run"):
        persistence.load_config(tmp_path)


def test_a_damaged_config_is_named(tmp_path):
    (tmp_path / "config.json").write_text('{"a": ')
    with pytest.raises(UsageError, match=r"config.json is damaged .*; bring it back"):
        persistence.load_config(tmp_path)


def test_a_run_from_before_a_setting_was_made_has_it_as_it_was_then(tmp_path):
    settings = as_json(default_settings().to_dict())
    settings["data"].pop("shorter_side")
    settings["optimizer"].pop("decay_every")
    settings["head"]["radius_range"] = [0.5, 0.9]
    settings.pop("dry")
    settings["data"]["threads"] = 2  # a setting that is no more
    (tmp_path / "config.json").write_text(json.dumps(settings))
    config = persistence.load_config(tmp_path)
    assert (config.data.shorter_side, config.optimizer.decay_every, config.dry.run) == (0, 0.0, False)
    assert "threads" not in config.data
    assert tuple(config.head.radius_range) == (0.5, 0.9)


def test_a_config_that_is_no_mapping_is_named(tmp_path):
    (tmp_path / "config.json").write_text("[1]")
    with pytest.raises(UsageError, match=r"config.json is damaged .*no mapping"):
        persistence.load_config(tmp_path)
