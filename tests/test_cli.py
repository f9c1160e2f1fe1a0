import json
import subprocess
import sys

import pytest
from absl import flags

from hypjax import cli
from hypjax.data.errors import DataError
from hypjax.errors import DivergedError, Stopped, UsageError
from hypjax.run.metrics import as_json
from hypjax.settings import default_settings


def parse(*words):
    values = flags.FlagValues()
    cli.define_config(values)
    flags.DEFINE_string("workdir", None, "", flag_values=values)
    cli.parse_flags(["train", *words], values)
    return values


def test_settings_are_overridden_by_flags():
    config = parse("--config", "configs/hyp_uml.py:quick", "--config.seed=7", "--config.head.dim=16").config
    assert (config.seed, config.head.dim, config.steps) == (7, 16, 12)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "no config given"),
        (["--config", "configs/none.py"], "configs/none.py.* does not exist"),
        (["--config=configs/hyp_uml.py:fast"], "'fast' is unknown; there are: quick"),
        (["--config", "configs/hyp_uml.py", "--config.sed=1"], "sed"),
        (["--config", "configs/hyp_uml.py", "--config.head.dmi=1"], "dmi"),
        (["--config", "configs/hyp_uml.py", "--config.steps=many"], "many"),
        (["--config", "configs/hyp_uml.py", "--verbos=1"], "verbos"),
        (["--config", "configs/hyp_uml.py", "stray"], "stray"),
    ],
)
def test_bad_usage_is_explained_in_one_line(words, message):
    with pytest.raises(UsageError, match=message) as caught:
        parse(*words)
    assert len(str(caught.value)) < 400
    assert "Traceback" not in str(caught.value)


def test_a_config_that_does_not_parse_is_named(tmp_path):
    path = tmp_path / "broken.py"
    path.write_text("def get_config(:\n")
    with pytest.raises(UsageError, match=r"broken.py.*SyntaxError|broken.py.*syntax"):
        parse("--config", str(path))


@pytest.mark.parametrize(
    ("error", "status"), [(UsageError("a\nb"), 2), (DataError("a b"), 2), (DivergedError("a b"), 1)]
)
def test_a_program_ends_with_a_status_and_one_line(error, status, capsys):
    def program(argv):
        raise error

    with pytest.raises(SystemExit) as ended:
        cli.run(program)
    assert ended.value.code == status
    assert capsys.readouterr().err.splitlines() == [f"{'error' if status == 2 else 'stopped'}: a b"]


def test_json_files_are_replaced_whole(tmp_path):
    cli.write_json(tmp_path / "a.json", {"b": 1})
    cli.write_json(tmp_path / "a.json", {"b": 2})
    assert json.loads((tmp_path / "a.json").read_text()) == {"b": 2}
    assert [p.name for p in tmp_path.iterdir()] == ["a.json"]


def test_a_folder_without_a_run_is_refused(tmp_path):
    with pytest.raises(UsageError, match="holds no run"):
        cli.load_config(tmp_path)


@pytest.mark.parametrize("word", ["--help", "-h"])
def test_help_names_the_flags(word, capsys):
    values = flags.FlagValues()
    flags.DEFINE_string("workdir", "here", "where it is kept", flag_values=values)
    with pytest.raises(SystemExit) as end:
        cli.parse_flags(["program", word], values)
    assert end.value.code == 0
    assert "--workdir: where it is kept (default: here)" in capsys.readouterr().out


def test_a_damaged_config_is_named(tmp_path):
    (tmp_path / "config.json").write_text('{"a": ')
    with pytest.raises(UsageError, match=r"config.json is damaged .*; delete"):
        cli.load_config(tmp_path)


def test_a_run_from_before_a_setting_was_made_has_it_as_it_was_then(tmp_path):
    settings = as_json(default_settings().to_dict())
    settings["data"].pop("shorter_side")
    settings["optimizer"].pop("decay_every")
    settings["head"]["radius_range"] = [0.5, 0.9]
    settings.pop("dry")
    (tmp_path / "config.json").write_text(json.dumps(settings))
    config = cli.load_config(tmp_path)
    assert (config.data.shorter_side, config.optimizer.decay_every, config.dry.run) == (0, 0.0, False)
    assert tuple(config.head.radius_range) == (0.5, 0.9)


def test_a_config_that_is_no_mapping_is_named(tmp_path):
    (tmp_path / "config.json").write_text("[1]")
    with pytest.raises(UsageError, match=r"config.json is damaged .*no mapping"):
        cli.load_config(tmp_path)


@pytest.mark.parametrize(
    ("key", "word"),
    [("data.name=cub", "data=cub"), ("encoder.name=vit_s16", "encoder=vit_s16"), ("encoder.weights=x", "weights=x")],
)
def test_what_brings_other_settings_is_refused_where_it_comes_too_late(key, word):
    with pytest.raises(UsageError, match=f"comes too late .*, --config FILE.py:{word}$"):
        parse("--config", "configs/hyp_uml.py", f"--config.{key}")


@pytest.mark.parametrize(
    ("error", "status", "line"),
    [
        (
            OSError(28, "No space left on device"),
            1,
            "stopped: no space left; make room, and the same command resumes: ",
        ),
        (OSError(13, "Permission denied"), 2, "error: "),
        (Stopped(15), 143, "stopped by SIGTERM; the same command resumes"),
        (UsageError("no"), 2, "error: no"),
    ],
)
def test_a_program_ends_with_a_status_and_a_line(error, status, line, capsys):
    def program(argv):
        raise error

    with pytest.raises(SystemExit) as ended:
        cli.run(program)
    assert ended.value.code == status
    assert capsys.readouterr().err.strip().startswith(line.strip())


def test_importing_changes_no_filters_of_the_process():
    """Of warnings and of records; those of the libraries beneath are there before."""
    code = """
import logging, warnings
import flax, grain, jax, matplotlib.figure, ml_collections, optax, orbax.checkpoint, scipy.stats
held = list(warnings.filters), list(logging.getLogger("absl").filters), list(logging.getLogger().filters)
import hypjax.compare, hypjax.embed, hypjax.search, hypjax.train
now = list(warnings.filters), list(logging.getLogger("absl").filters), list(logging.getLogger().filters)
print(now == held)
"""
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert said.strip().endswith("True")
