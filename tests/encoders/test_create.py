import re
import subprocess
import sys
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest

from hypjax import encoders
from hypjax.encoders.registry import ENCODERS

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


def test_the_docs_list_every_encoder_as_it_is():
    """Names, other names and preprocessing of the table in docs/encoders.md."""
    lines = (Path(__file__).parents[2] / "docs" / "encoders.md").read_text().splitlines()
    table = [[cell.strip() for cell in line.split("|")[1:-1]] for line in lines if re.match(r"\| `\w+` \|", line)]
    rows = {cells[0].strip("`"): cells for cells in table if len(cells) == 6}
    assert set(rows) == set(ENCODERS)
    for name, (_, others, _, image, *_) in rows.items():
        for other in re.findall("`([^`]+)`", others):
            assert encoders.create(other) == encoders.create(name)
        view = encoders.preprocessing(name)
        words = ["squashed"] * (view.fit == "squash") + [view.interpolation] * (view.interpolation != "bicubic")
        assert image == ", ".join([f"{view.size} of {view.resize}", *words])


@pytest.mark.parametrize(
    ("name", "found", "side"),
    [
        ("google/siglip-base-patch16-384", "siglip_vit_b16", 384),
        ("openai/clip-vit-large-patch14-336", "clip_vit_l14", 336),
        ("vit_base_patch16_siglip_384.webli", "siglip_vit_b16", 384),
        ("facebook/convnext-tiny-224", "convnext_tiny", 0),
        ("microsoft/resnet-152", "resnet152", 0),
        ("microsoft/resnet-200", "microsoft/resnet-200", 0),
    ],
)
def test_a_name_says_how_large_images_are(name, found, side):
    assert encoders.canonical(name) == found
    assert encoders.settings_in_name(name) == ({}, side)


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
