"""Every file of configs/ states what it is, and trains with `:quick`."""

import importlib.util
from pathlib import Path

import pytest

from hypjax.config.settings import default_settings
from tests.pictures import save_pictures
from tests.programs import run

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


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Twenty classes of four noisy color fields: the packaged set and encoder take most of a smoke run's time."""
    return save_pictures(tmp_path_factory.mktemp("images"), classes=20, each=4, size=(32, 32))


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
@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_quick_trains_and_is_scored(path, folder, tmp_path):
    words = [f"configs/{path.name}:quick,encoder=vit_ti8,data=folder,data_dir={folder}"]
    words.append("--config.encoder.sizes={'width': 32, 'depth': 1, 'heads': 2}")
    whole = path.stem == "hyp_uml"  # one of them as it is: the packaged pictures and encoder, compiled as for a user
    if whole:
        words = [f"configs/{path.name}:quick"]
    status, out, err = run("--config", *words, f"--workdir={tmp_path / 'run'}", quickly=not whole)
    assert status == 0, err
    assert "step 12/12" in out
    assert {p.name for p in (tmp_path / "run").glob("*.png")} == {
        "curves.png",
        "degradation.png",
        "disk.png",
        "gallery.png",
        "layers.png",
        "risk_coverage.png",
        "tree.png",
    }
    assert (tmp_path / "run" / "results.json").exists()
