"""A checkpoint of another encoder gets one line that says what it is."""

import numpy as np
import pytest

from hypjax import encoders
from hypjax.encoders.braces import braced
from tests.encoders.drawn import drawn
from tests.encoders.test_references import REFERENCES

TINY = {"width": 32, "depth": 2, "heads": 2, "patch": 4}
SIZES = {"convnext_tiny": {"depths": (1, 1), "widths": (8, 12)}, "resnet101": {"stages": (1, 1), "width": 4}}
# The reference whose tensors the file has, the encoder that is asked for, and what the message says of the file.
CASES = {
    "DINOv3 for DINOv2": (
        "dinov3_vits16/transformers",
        "dinov2_vits14",
        r"registers 4 .*positions rotary instead of .*\(DINOv3 by the names of transformers\)",
    ),
    "DINOv2 for DINOv3": ("dinov2_vits14/timm", "dinov3_vits16", "registers 0 .*positions learned instead of rotary"),
    "registers for none": ("dinov2_vits14_reg/timm", "dinov2_vits14", "registers 4 instead of 0; "),
    "CLIP for ViT": ("clip_vit_b16/transformers", "vit_b16", "first_norm True instead of False"),
    "SigLIP for CLIP": ("siglip_vit_b16/timm", "clip_vit_b16", "class_token False .*pool attention instead of class"),
    "ViT for SigLIP": ("vit_b16/timm", "siglip_vit_b16", "class_token True instead of False"),
    "ConvNeXt for ViT": ("convnext_tiny/timm", "vit_b16", r"another kind of .*: ConvNeXt with depths \(1, 1, 2, 1\)"),
    "ViT for ConvNeXt": ("vit_b16/authors", "convnext_tiny", "another kind of .*: VisionTransformer with patch 4"),
    "ResNet for ConvNeXt": (
        "resnet101/transformers",
        "convnext_tiny",
        r"ResNet with stages \(1, 2, 1, 1\), width 8, .*\(ResNet by",
    ),
    "ConvNeXt for ResNet": ("convnext_tiny/torchvision", "resnet101", "ConvNeXt with depths"),
}


def write(folder, shapes):
    np.savez(folder / "w.npz", **{name: drawn(name, shape) for name, shape in shapes.items()})
    return folder / "w.npz"


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES)
def test_a_wrong_file_is_said_to_be_what_it_is(case, tmp_path):
    held, name, words = CASES[case]
    path = write(tmp_path, REFERENCES[held]["shapes"])
    encoder = encoders.create(name, **SIZES.get(name, TINY))
    with pytest.raises(ValueError, match=f"it looks like weights of .*{words}") as caught:
        encoders.load_weights(path, encoder, image_size=32)
    assert "\n" not in str(caught.value)


def test_published_sizes_are_said_by_their_names(tmp_path):
    shapes = {"patch_embed.proj.weight": (384, 3, 14, 14), "cls_token": (1, 1, 384), "pos_embed": (1, 5, 384)}
    for index in range(12):
        shapes |= {f"blocks.{index}.mlp.fc1.weight": (1536, 384), f"blocks.{index}.mlp.fc2.weight": (384, 1536)}
        shapes |= {f"blocks.{index}.ls1.gamma": (384,)}
    np.savez(tmp_path / "w.npz", **{name: np.zeros(shape, np.float16) for name, shape in shapes.items()})
    with pytest.raises(
        ValueError, match=r"does not fit VisionTransformer; it looks like weights of dinov2_vits14; missing: "
    ):
        encoders.load_weights(tmp_path / "w.npz", encoders.create("vit_s16", **TINY), image_size=16)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("held", "changes", "words"),
    [
        # A projection has no bias, and one that is not 0 is none of a classifier.
        ("clip_vit_b16/transformers", {"head.bias": (24,)}, "unexpected: head.bias"),
        ("clip_vit_b16/authors", {"visual.strange": (3,)}, "unexpected: visual.strange$"),
        ("siglip_vit_b16/transformers", {"vision_model.strange": (3,)}, "unexpected: vision_model.strange$"),
        ("dinov2_vits14/authors", {"register_tokens": (1, 4, 32)}, "registers 4.*unexpected: reg_token"),
    ],
)
def test_every_tensor_is_accounted_for(held, changes, words, tmp_path):
    kept = REFERENCES[held]
    path = write(tmp_path, kept["shapes"] | changes)
    with pytest.raises(ValueError, match=words):
        encoders.load_weights(path, encoders.create(kept["encoder"], **kept["sizes"]), image_size=16)


BEIT = {
    "cls_token": (1, 1, 8),
    "patch_embed.proj.weight": (8, 3, 4, 4),
    "blocks.0.gamma_1": (8,),
    "blocks.0.attn.relative_position_bias_table": (9, 2),
    "blocks.0.mlp.fc1.weight": (32, 8),
    "blocks.0.mlp.fc2.weight": (8, 32),
}
SWIN = {"patch_embed.proj.weight": (8, 3, 4, 4), "layers.0.blocks.0.mlp.fc1.weight": (32, 8), "norm.weight": (8,)}


@pytest.mark.parametrize("shapes", [BEIT, SWIN, {"embeddings": (5, 8), "labels": (5,)}])
def test_of_an_encoder_that_is_not_known_nothing_is_guessed(shapes, tmp_path):
    words = r"looks like no encoder that is known here; missing: .*; unexpected: "
    with pytest.raises(ValueError, match=words) as caught:
        encoders.load_weights(write(tmp_path, shapes), encoders.create("vit_b16", **TINY), image_size=16)
    assert max(shapes, key=len).rpartition(".")[2] in str(caught.value)


def test_the_line_about_a_large_file_can_be_read():
    """Nothing is left out of it, and what is alike stands together."""
    names = [f"stages.{stage}.blocks.{block}.{unit}" for stage in (0, 1, 3) for block in range(30) for unit in "ab"]
    assert braced(names) == ["stages.{0,1,3}.blocks.{0-29}.{a,b}"]
    assert braced([*names, "stages.3.blocks.31.a", "stem.weight"]) == [
        "stages.3.blocks.{0-29,31}.a",
        "stages.{0,1,3}.blocks.{0-29}.b",
        "stages.{0,1}.blocks.{0-29}.a",
        "stem.weight",
    ]


def test_adapters_alone_are_said_to_be_that(tmp_path):
    shapes = {f"base_model.model.encoder.layer.0.query.lora_{side}.weight": (4, 4) for side in "AB"}
    with pytest.raises(ValueError, match=r"adapters alone, as peft saves them: merge them"):
        encoders.load_weights(write(tmp_path, shapes), encoders.create("vit_b16", **TINY), image_size=16)
