import json
import subprocess
import sys

import pytest
from absl import flags

from hypjax.config import command_line
from hypjax.data import atomic
from hypjax.data.errors import UsageError


def parse(*words):
    values = flags.FlagValues()
    command_line.define_config(values)
    flags.DEFINE_string("workdir", None, "", flag_values=values)
    command_line.parse_flags(["train", *words], values)
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


def test_json_files_are_replaced_whole(tmp_path):
    atomic.write_json(tmp_path / "a.json", {"b": 1})
    atomic.write_json(tmp_path / "a.json", {"b": 2})
    assert json.loads((tmp_path / "a.json").read_text()) == {"b": 2}
    assert [p.name for p in tmp_path.iterdir()] == ["a.json"]


@pytest.mark.parametrize("word", ["--help", "-h"])
def test_help_names_the_flags(word, capsys):
    values = flags.FlagValues()
    flags.DEFINE_string("workdir", "here", "where it is kept", flag_values=values)
    with pytest.raises(SystemExit) as end:
        command_line.parse_flags(["program", word], values)
    assert end.value.code == 0
    assert "--workdir: where it is kept (default: here)" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("key", "word"),
    [("data.name=cub", "data=cub"), ("encoder.name=vit_s16", "encoder=vit_s16"), ("encoder.weights=x", "weights=x")],
)
def test_what_brings_other_settings_is_refused_where_it_comes_too_late(key, word):
    with pytest.raises(UsageError, match=f"comes too late .*, --config FILE.py:{word}$"):
        parse("--config", "configs/hyp_uml.py", f"--config.{key}")


@pytest.mark.slow
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


@pytest.mark.parametrize("words", [["--config=hyp_vit:quick"], ["--config", "hyp_vit:quick"]])
def test_a_config_that_comes_with_hypjax_is_found_by_its_name(words, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert (parse(*words).config.name, parse(*words, "--config.seed=4").config.seed) == ("hyp_vit", 4)
    with pytest.raises(UsageError, match="no config 'hyp_vits' comes with hypjax; there are: eps, ghm, hier, hyp_uml"):
        parse("--config=hyp_vits")
