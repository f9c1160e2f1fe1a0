import json
from pathlib import Path

import numpy as np
import pytest

from hypjax import encoders
from hypjax.config.settings import default_settings
from hypjax.config.words import apply_arguments
from hypjax.data.transforms import EvaluationTransform
from hypjax.encoders import Chosen, Preprocessing
from hypjax.encoders.checkpoint_files import CheckpointError
from tests.encoders.drawn import drawn, picture
from tests.encoders.test_references import REFERENCES

package = pytest.importorskip("huggingface_hub")

PIXELS = json.loads((Path(__file__).parent / "pixels.json").read_text())
MEAN, STD, HALF = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225), (0.5, 0.5, 0.5)
# What repositories say of themselves, as far as it is read, and what is chosen by it.
TRANSFORMER = {"hidden_size": 384, "num_hidden_layers": 12, "num_attention_heads": 6}
CROP = {"crop_size": {"height": 224, "width": 224}, "do_center_crop": True, "size": {"shortest_edge": 256}}
REPOSITORIES = {
    "dinov2 of transformers": (
        {"model_type": "dinov2", "patch_size": 14, "image_size": 518, "layer_norm_eps": 1e-6, **TRANSFORMER},
        {**CROP, "image_mean": MEAN, "image_std": STD, "resample": 3, "image_processor_type": "BitImageProcessor"},
        ("dinov2_vits14", {}, Preprocessing(MEAN, STD, 224, 256)),
    ),
    "dinov2 with registers of another depth": (
        {"model_type": "dinov2_with_registers", "num_register_tokens": 4, **TRANSFORMER, "num_hidden_layers": 10},
        {},
        ("dinov2_vits14_reg", {"depth": 10}, Preprocessing(MEAN, STD, 224, 256)),
    ),
    "dinov3 of transformers": (
        {"model_type": "dinov3_vit", "num_register_tokens": 4, "use_gated_mlp": True, "hidden_act": "silu"}
        | {**TRANSFORMER, "intermediate_size": 1536, "layer_norm_eps": 1e-5},
        {"size": {"height": 224, "width": 224}, "image_mean": MEAN, "image_std": STD},
        ("dinov3_vits16plus", {}, Preprocessing(MEAN, STD, 224, 224, "squash", "bilinear")),
    ),
    "vit of transformers": (
        {"model_type": "vit", "intermediate_size": 4096, "hidden_size": 1024, "num_hidden_layers": 24}
        | {"num_attention_heads": 16, "layer_norm_eps": 1e-12},
        {"size": 384, "image_mean": HALF, "image_std": HALF},
        ("vit_l16", {"epsilon": 1e-12}, Preprocessing(HALF, HALF, 384, 384, "squash", "bilinear")),
    ),
    "deit of transformers, which squashes and cuts out": (
        {"model_type": "deit", **TRANSFORMER, "layer_norm_eps": 1e-12},
        {"size": 256, "crop_size": 224, "do_center_crop": True, "resample": 1, "feature_extractor_type": "DeiTFoo"},
        ("deit_s16_distilled", {"epsilon": 1e-12}, Preprocessing(MEAN, STD, 224, 256, "squash", "lanczos")),
    ),
    "a whole CLIP": (
        {"model_type": "clip", "projection_dim": 512, "vision_config": {"patch_size": 16, "hidden_act": "gelu"}},
        {"crop_size": 224, "size": 224, "do_center_crop": True, "resample": None},
        ("clip_vit_b16", {"mlp": "gelu"}, encoders.preprocessing("clip_vit_b16")),
    ),
    "a SigLIP whose images are no whole patches": (
        {"model_type": "siglip", "vision_config": {"hidden_size": 1152, "num_hidden_layers": 27, "patch_size": 14}}
        | {
            "vision_config": {"intermediate_size": 4304, "num_attention_heads": 16, "hidden_size": 1152}
            | {"num_hidden_layers": 27, "patch_size": 14}
        },
        {"size": {"height": 384, "width": 384}, "image_mean": HALF, "image_std": HALF},
        ("siglip_vit_so400m14", {}, Preprocessing(HALF, HALF, 378, 384, "squash")),
    ),
    "convnext of transformers": (
        {"model_type": "convnext", "depths": [3, 3, 27, 3], "hidden_sizes": [128, 256, 512, 1024]},
        {"size": {"shortest_edge": 224}, "crop_pct": 0.875, "image_mean": MEAN, "image_std": STD},
        ("convnext_base", {}, Preprocessing(MEAN, STD, 224, 256)),
    ),
    "convnext for larger images, which it squashes": (
        {"model_type": "convnext", "depths": [3, 3, 9, 3], "hidden_sizes": [96, 192, 384, 768]},
        {"size": 384, "crop_pct": None, "resample": 3},
        ("convnext_tiny", {}, Preprocessing(MEAN, STD, 384, 384, "squash")),
    ),
    "numbers as other words": (
        {"model_type": "vit", "patch_size": [16, 16], "hidden_size": "768", "num_hidden_layers": "10"},
        {},
        ("vit_b16", {"depth": 10, "epsilon": 1e-12}, encoders.preprocessing("vit_b16")),
    ),
    "resnet of transformers": (
        {"model_type": "resnet", "depths": [3, 4, 23, 3], "layer_type": "bottleneck"},
        {"size": {"shortest_edge": 224}, "crop_pct": 0.875},
        ("resnet101", {}, Preprocessing(MEAN, STD, 224, 256)),
    ),
    "dinov2 of timm": (
        {
            "architecture": "vit_base_patch14_reg4_dinov2",
            "pretrained_cfg": {"tag": "lvd142m", "mean": MEAN, "std": STD}
            | {"input_size": [3, 518, 518], "crop_pct": 1.0, "num_classes": 0},
        },
        {},
        ("dinov2_vitb14_reg", {}, Preprocessing(MEAN, STD, 518, 518)),
    ),
    "siglip of timm": (
        {
            "architecture": "vit_base_patch16_siglip_256",
            "pretrained_cfg": {"tag": "webli", "mean": HALF, "std": HALF, "interpolation": "bilinear"}
            | {"input_size": [3, 256, 256], "crop_pct": 0.9, "crop_mode": "squash"},
        },
        {},
        ("siglip_vit_b16", {}, Preprocessing(HALF, HALF, 256, 284, "squash", "bilinear")),
    ),
    "clip of timm, fine-tuned": (
        {
            "architecture": "vit_large_patch14_clip_336",
            "pretrained_cfg": {"tag": "laion2b_ft_in1k", "mean": HALF}
            | {"std": HALF, "input_size": [3, 336, 336], "crop_pct": 1.0, "num_classes": 1000},
        },
        {},
        ("clip_vit_l14", {"mlp": "gelu", "projection": 0}, Preprocessing(HALF, HALF, 336, 336)),
    ),
}


@pytest.fixture
def repository(monkeypatch, tmp_path):
    """A Hub of one repository, owner/net, whose files are written by what the fixture gives."""

    def fetch(repo_id, filename, *, revision=None):
        if not (tmp_path / filename).exists():
            raise package.errors.EntryNotFoundError.__new__(package.errors.EntryNotFoundError)
        return str(tmp_path / filename)

    def write(config, preprocessor=None):
        for name, held in (("config.json", config), ("preprocessor_config.json", preprocessor)):
            if held:
                (tmp_path / name).write_text(held if isinstance(held, str) else json.dumps(held))
        return tmp_path

    monkeypatch.setattr(package, "hf_hub_download", fetch)
    return write


@pytest.mark.parametrize("case", REPOSITORIES)
def test_an_encoder_is_chosen_by_what_a_repository_says(case, repository):
    config, preprocessor, expected = REPOSITORIES[case]
    repository(config, preprocessor)
    assert encoders.choose("hf:owner/net") == Chosen(*expected, "hf:owner/net")


@pytest.mark.parametrize("kind", PIXELS)
def test_a_picture_is_brought_to_a_size_as_transformers_does(kind, repository):
    """`tools/build_pixel_references.py` makes the kept ones anew; resizing rounds otherwise there."""
    kept = PIXELS[kind]
    repository(kept["config"], kept["preprocessor"])
    view = encoders.choose("hf:owner/net").preprocessing
    transform = EvaluationTransform(view.size, view.resize, fit=view.fit, interpolation=view.interpolation)
    pixels = transform(picture(), np.random.default_rng(0)).astype(int)
    np.testing.assert_allclose(pixels, kept["pixels"], atol=5, rtol=0)
    assert np.abs(pixels - kept["pixels"]).mean() < 1


@pytest.mark.slow
def test_a_repository_is_trained_on_by_its_name_alone(repository, write_checkpoint):
    from hypjax.config import initialization, models

    kept = REFERENCES["dinov2_vits14_reg/transformers"]
    narrow = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "patch_size": 4}
    folder = repository(
        {"model_type": "dinov2_with_registers", "num_register_tokens": 4, **narrow}, {"size": 16, "image_mean": HALF}
    )
    tensors = {name: np.asarray(drawn(name, shape), np.float32) for name, shape in kept["shapes"].items()}
    write_checkpoint(folder / "model.safetensors", tensors)
    config = apply_arguments(default_settings(), "encoder=hf:owner/net,data=folder")
    assert (config.encoder.name, config.encoder.weights) == ("dinov2_vits14_reg", "hf:owner/net")
    assert (config.data.image_size, config.data.eval_image_size, config.data.eval_resize) == (16, 16, 16)
    encoder, preprocess = models.create_encoder(config)
    assert (encoder.width, encoder.patch, encoder.registers) == (32, 4, 4)
    np.testing.assert_allclose(
        preprocess(np.full((1, 1, 1, 3), 255, np.uint8))[0, 0, 0], 0.5 / np.array(STD), rtol=1e-6
    )
    loaded = initialization.encoder_variables(config, encoder)["params"]["cls_token"]
    np.testing.assert_array_equal(loaded, tensors["embeddings.cls_token"])


@pytest.mark.parametrize(
    ("config", "words"),
    [
        (None, "has no config.json; say which encoder it is"),
        ("{", "config.json is no JSON"),
        ("[]", "config.json holds no settings"),
        ({"model_type": "bert"}, "model_type 'bert' is none of vit, "),
        ({"architecture": "swin_tiny"}, "there is no encoder like timm's swin_tiny"),
        ({"model_type": "vit", "hidden_act": "relu"}, "hidden_act 'relu'"),
        ({"model_type": "vit", "patch_size": [16, 8]}, "int"),
        ({"model_type": "resnet", "hidden_sizes": [1, 2]}, "ResNet with stages of"),
        ({"model_type": "dinov3_vit", "rope_theta": 10.0}, "rope_theta other than 100"),
    ],
)
def test_a_repository_of_something_else_is_said_in_one_line(config, words, repository):
    repository(config)
    with pytest.raises(CheckpointError, match=words) as caught:
        encoders.choose("hf:owner/net")
    assert "\n" not in str(caught.value)
    assert str(caught.value).startswith("hf:owner/net: ")


def test_what_a_name_of_timms_says_is_taken_over():
    """As the same name behind hf: does; sizes other than the usual one are cut by nothing."""
    config = apply_arguments(default_settings(), "encoder=vit_base_patch16_clip_384.laion2b,data=folder,weights=w.npz")
    assert (config.encoder.name, config.encoder.sizes.to_dict()) == ("clip_vit_b16", {"mlp": "gelu"})
    assert (config.data.image_size, config.data.eval_image_size, config.data.eval_resize) == (384, 384, 384)
    config = apply_arguments(default_settings(), "encoder=vit_base_patch16_clip_224.openai,data=folder,weights=w.npz")
    assert (config.encoder.sizes.to_dict(), config.data.eval_image_size) == ({}, 224)


def test_weights_bring_how_an_image_is_brought_to_its_size():
    """Photographs are not shrunk below it as they are read; a word behind the colon has the last say."""
    words = "data=folder,weights=w.npz,encoder=google/siglip-large-patch16-384,encoder.preprocessing.resize=640"
    data = apply_arguments(default_settings(), words).data
    assert (data.eval_fit, data.interpolation, data.eval_resize, data.shorter_side) == ("squash", "bicubic", 640, 640)
    data = apply_arguments(default_settings(), f"{words},data.eval_fit=crop,data.shorter_side=0").data
    assert (data.eval_fit, data.shorter_side) == ("crop", 0)
    data = apply_arguments(default_settings(), "data=folder,weights=w.npz,encoder=resnet50").data
    assert (data.eval_fit, data.interpolation, data.shorter_side) == ("crop", "bilinear", 512)
    data = apply_arguments(default_settings(), "encoder=resnet50").data  # drawings, which are of another size anyway
    assert (data.eval_fit, data.interpolation) == ("crop", "bicubic")
