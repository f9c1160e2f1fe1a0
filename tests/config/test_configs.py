"""Every file of configs/ states what it is, and trains with `:quick`."""

import importlib.util
from pathlib import Path

import numpy as np
import pytest

from hypjax.config.settings import default_settings
from hypjax.data import catalog
from hypjax.data.emoji import Emoji
from hypjax.data.source import subset
from hypjax.show import plots
from tests.pictures import save_pictures
from tests.programs import LIGHT, ROOT, THIRDS, run, tiny
from tests.workdirs import results

CONFIGS = sorted((Path(__file__).parents[2] / "configs").glob("*.py"))


def load(path):
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_docstring_gives_command_and_result(path):
    module = load(path)
    for word in ("Command:", "Override:", "Smoke run:", "Measured:", f"configs/{path.name}"):
        assert word in module.__doc__


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_a_config_adds_no_key_of_its_own(path):
    config = load(path).get_config("")
    assert config.name == path.stem

    def keys(tree, prefix=""):
        for key, value in tree.items():
            yield prefix + key
            if isinstance(value, dict):
                yield from keys(value, f"{prefix}{key}.")

    assert set(keys(config.to_dict())) == set(keys(default_settings().to_dict()))


@pytest.mark.parametrize("method", ["hyp_vit", "hyp_uml", "hier"])
def test_a_benchmark_brings_its_recipe(method):
    module = load(next(path for path in CONFIGS if path.stem == method))
    for word in ("Benchmark:", "Published:", "data=cub"):
        assert word in module.__doc__
    config = module.get_config("data=cub,encoder=dino_vits16,weights=w.pth")
    assert (config.data.image_size, config.data.eval_resize) == (224, 256)
    assert config.optimizer.learning_rate == (5e-6 if method == "hier" else 1e-5)
    assert config.loss.name == {"hier": "proxy_anchor"}.get(method, module.get_config().loss.name)
    assert config.batch.samples_per_class == (2 if method == "hier" else 9)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["ghm", "hyp_vit", "tree"])  # for the others see test_resuming
def test_quick_trains_and_is_scored(name, tmp_path, monkeypatch):
    folder, workdir = save_pictures(tmp_path / "images", classes=10, each=4), tmp_path / "run"
    ancestors, widths = plots.ancestors, []
    monkeypatch.setattr(plots, "ancestors", lambda *of, k, **more: widths.append(k) or ancestors(*of, k=k, **more))
    words = [THIRDS, "--config.batch.classes=4", "--config.cones.k=0.07", *(LIGHT if name != "tree" else ())]
    if name == "tree":
        kinds = "".join(f"{path.name},kind {i % 3}\n" for i, path in enumerate(sorted(folder.iterdir())))
        (tmp_path / "tree.csv").write_text("child,parent\n" + kinds)
        words.append(f"--config.data.tree={tmp_path / 'tree.csv'}")
    status, out, err = run(*tiny(folder, workdir, *words, config=f"{name}.py:quick"))
    assert status == 0, err
    assert "step 12/12" in out
    drawn = {"ancestors", "curves", "degradation", "disk", "gallery", "layers", "risk_coverage", "tree"}
    assert {path.stem for path in workdir.glob("*.png")} == (drawn if name == "tree" else set())
    assert widths == [0.07] * (name == "tree")
    assert 0 <= results(workdir)["recall@1" if name == "tree" else "validation/recall@1"] <= 1


@pytest.mark.slow
def test_quick_trains_the_packaged_encoder_on_the_packaged_pictures(tmp_path, monkeypatch):
    """Its last block, on a few classes: of all of either it would compute for minutes."""

    def few(part):
        whole = Emoji(part)
        return subset(whole, np.flatnonzero(whole.labels < 12))

    monkeypatch.setattr(catalog, "Emoji", few)
    words = [
        *LIGHT,
        f"--config.features.dir={tmp_path}",
        "--config.evaluation.batch=32",
        "--config.data.image_size=32",
        "--config.data.eval_image_size=32",
        "--config.head.radius=norm",
        "--config.encoder.frozen=('encoder/stem/', 'encoder/block_[0-9]/', 'encoder/block_1[0-3]/')",
    ]
    status, out, err = run("--config", f"{ROOT}/configs/hyp_uml.py:quick", *words, f"--workdir={tmp_path / 'run'}")
    assert status == 0, err
    assert "step 12/12" in out
    figures = results(tmp_path / "run")
    assert 0 < figures["validation/body_recall@1"] <= 1
    assert 0 < figures["validation/recall@1"] <= 1
