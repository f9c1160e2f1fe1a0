import subprocess
import sys

import jax.numpy as jnp
import numpy as np
import pytest

from hypjax import encoders

NAMES = [
    "efficientnet_lite0",
    "resnet18",
    "resnet50",
    "vit_s16",
    "deit_s16",
    "deit_s16_distilled",
    "dino_vits16",
    "dino_s16",
    "vit_ti8",
]


def test_an_unknown_name_lists_all_names():
    for function in (encoders.create, encoders.preprocessing):
        with pytest.raises(ValueError, match="no encoder 'nope'; there are " + ", ".join(NAMES)):
            function("nope")


@pytest.mark.parametrize(
    ("name", "sizes"),
    [
        (
            "vit_s16",
            "patch, width, depth, heads, class_token, registers, positions, resampling, mlp, hidden, layer_scale, "
            "epsilon, key_bias, patch_bias, first_norm, pool, projection",
        ),
        ("resnet50", "stages, width"),
        ("efficientnet_lite0", "stages, stem, width"),
    ],
)
def test_an_unknown_size_lists_all_sizes(name, sizes):
    with pytest.raises(ValueError, match=f"{name} has no size nope; it has {sizes}$"):
        encoders.create(name, nope=3)


@pytest.mark.parametrize("name", NAMES)
def test_settings_reach_the_encoder(name):
    encoder = encoders.create(name, dtype=jnp.bfloat16, train_batch_norm=True)
    assert encoder.dtype == jnp.bfloat16
    assert getattr(encoder, "train_batch_norm", True)
    expected = encoders.preprocessing(name)
    assert len(expected.mean) == len(expected.std) == 3
    assert expected.size <= expected.resize


@pytest.mark.parametrize(
    ("name", "resize", "mean"),
    [("vit_s16", 248, 0.5), ("deit_s16", 248, 0.485), ("dino_vits16", 256, 0.485), ("resnet50", 256, 0.485)],
)
def test_images_are_prepared_as_the_weights_expect(name, resize, mean):
    expected = encoders.preprocessing(name)
    assert (expected.size, expected.resize, expected.mean[0]) == (224, resize, mean)


def test_an_encoder_of_two_names_is_one():
    assert encoders.create("dino_s16") == encoders.create("dino_vits16")


def test_lite0_images_are_pixel_minus_127_over_128():
    mean, std, *_ = encoders.preprocessing("efficientnet_lite0")
    pixels = np.array([0.0, 127.0, 255.0])
    np.testing.assert_allclose((pixels / 255 - np.array(mean)) / np.array(std), (pixels - 127) / 128, atol=1e-12)


@pytest.mark.slow
def test_geometry_and_losses_do_not_import_flax():
    code = "import sys, hypjax.geometry, hypjax.losses, hypjax.retrieval; sys.exit('flax' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
