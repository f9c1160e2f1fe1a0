"""Which encoder a repository on the Hugging Face Hub holds, told by its own configuration: `hf:OWNER/NAME`.

Those of transformers have a `config.json` with a `model_type`, and a `preprocessor_config.json`; those of timm a
`config.json` with an `architecture` and a `pretrained_cfg`.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from PIL import Image

from hypjax.encoders import hub
from hypjax.encoders.checkpoint_files import CheckpointError
from hypjax.encoders.registry import ENCODERS, Preprocessing, canonical, of_tag, setting

_ACTIVATIONS = {
    "gelu": "gelu",
    "gelu_pytorch_tanh": "gelu_tanh",
    "gelu_new": "gelu_tanh",
    "quick_gelu": "quick_gelu",
    "silu": "swiglu",
}


_FITS = {"center": "crop", "squash": "squash"}  # by timm's words
# Kinds of image processors of transformers, by how their names or those of their models begin: to which a mere number
# is the size of both sides, and which resize bilinearly unless they are told otherwise.
_SQUARE = ("vit", "deit", "siglip", "dinov3")
_BILINEAR = ("vit", "dinov3")


class Chosen(NamedTuple):
    """What a repository holds.

    Attributes:
        name: Of the encoder.
        sizes: In which it differs from the encoder of that name.
        preprocessing: Of its weights.
        weights: What they are called.
    """

    name: str
    sizes: dict[str, Any]
    preprocessing: Preprocessing
    weights: str


def choose(name: str) -> Chosen:
    """The encoder of a repository, chosen by the repository's own configuration.

    Args:
        name: `hf:OWNER/NAME`, with or without `/FILE` for the weights and `@REVISION`.

    Raises:
        MissingWeightsError: If `huggingface_hub` is not installed.
        CheckpointError: If the repository can't be read, or is of an encoder that there is none of; the message says
            which.
    """
    config = _read(name, "config.json")
    if config is None:
        raise CheckpointError(f"{name}: the repository has no config.json; say which encoder it is: encoder=NAME")
    try:
        if "architecture" in config:
            found, sizes = _of_timm(config)
            preprocessing = _prepared_by_timm(config.get("pretrained_cfg", config), ENCODERS[found].preprocessing)
        else:
            found, sizes = _of_transformers(config, hub.parts(name)[0])
            told = _read(name, "preprocessor_config.json") or {}
            preprocessing = _prepared_by_transformers(told, ENCODERS[found].preprocessing, config["model_type"])
        patch = sizes.get("patch") or setting(found, "patch") or 1
        size = max(preprocessing.size // patch, 1) * patch  # what is left of an image beside whole patches is cut off
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise CheckpointError(f"{name}: {' '.join(str(error).split())}") from None
    return Chosen(found, sizes, preprocessing._replace(size=size), name)


def _read(name: str, file: str) -> dict[str, Any] | None:
    path = hub.fetch(name, file)
    if path is None:
        return None
    try:
        held = json.loads(path.read_text())
    except ValueError as error:
        raise CheckpointError(f"{name}: {file} is no JSON ({error})") from None
    if not isinstance(held, dict):
        raise CheckpointError(f"{name}: {file} holds no settings")
    return held


def _of_timm(config: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    architecture, told = config["architecture"], config.get("pretrained_cfg", config)
    tag = told.get("tag") or ""
    found = canonical(f"{architecture}.{tag}" if tag else architecture)
    if found not in ENCODERS:
        raise ValueError(f"there is no encoder like timm's {architecture}; there are {', '.join(ENCODERS)}")
    sizes = of_tag(found, architecture, tag)
    if found.startswith("clip_") and told.get("num_classes") != setting(found, "projection"):
        sizes["projection"] = 0
    return found, sizes


def _transformer(config: Mapping[str, Any], **defaults: Any) -> dict[str, Any]:
    """Settings that all transformers of transformers have in common, with the defaults of a family."""
    told: dict[str, Any] = {"hidden_size": 768, "num_hidden_layers": 12, "num_attention_heads": 12, "patch_size": 16}
    told |= {"hidden_act": "gelu", "layer_norm_eps": 1e-6, "num_channels": 3} | defaults | dict(config)
    if told["hidden_act"] not in _ACTIVATIONS or told["num_channels"] != 3:
        raise ValueError(f"hidden_act {told['hidden_act']!r} or {told['num_channels']} channels are not supported")
    patch = told["patch_size"]
    if isinstance(patch, list) and len(set(patch)) == 1:
        patch = patch[0]
    width = int(told["hidden_size"])
    hidden = int(told.get("intermediate_size") or width * told.get("mlp_ratio", 4))
    return {
        "patch": int(patch),
        "width": width,
        "depth": int(told["num_hidden_layers"]),
        "heads": int(told["num_attention_heads"]),
        "mlp": _ACTIVATIONS[told["hidden_act"]],
        "hidden": 0 if hidden == 4 * width else hidden,
        "epsilon": told["layer_norm_eps"],
    }


def _vit(config: Mapping[str, Any]) -> dict[str, Any]:
    return _transformer(config, layer_norm_eps=1e-12)


def _dinov2(config: Mapping[str, Any]) -> dict[str, Any]:
    found = _transformer(config, patch_size=14)
    if config.get("use_swiglu_ffn"):
        width = found["width"]
        found |= {"mlp": "swiglu", "hidden": (int(width * config.get("mlp_ratio", 4) * 2 / 3) + 7) // 8 * 8}
    return found


def _dinov2_with_registers(config: Mapping[str, Any]) -> dict[str, Any]:
    return {**_dinov2(config), "registers": config.get("num_register_tokens", 4)}


def _dinov3(config: Mapping[str, Any]) -> dict[str, Any]:
    if config.get("rope_theta", 100.0) != 100.0 or config.get("key_bias"):
        raise ValueError("DINOv3 with rope_theta other than 100, or with a bias of keys, is not supported")
    found = _transformer(config, hidden_size=384, intermediate_size=1536, num_attention_heads=6, layer_norm_eps=1e-5)
    if (found["mlp"] == "swiglu") != bool(config.get("use_gated_mlp")):
        raise ValueError(f"DINOv3 with use_gated_mlp and hidden_act {config.get('hidden_act')!r} is not supported")
    return {**found, "registers": config.get("num_register_tokens", 0)}


def _clip(config: Mapping[str, Any]) -> dict[str, Any]:
    tower = config.get("vision_config", config)
    projected = "vision_config" in config or config.get("architectures") == ["CLIPVisionModelWithProjection"]
    found = _transformer(tower, patch_size=32, hidden_act="quick_gelu", layer_norm_eps=1e-5)
    return {**found, "projection": config.get("projection_dim", 512) if projected else 0}


def _siglip(config: Mapping[str, Any]) -> dict[str, Any]:
    return _transformer(config.get("vision_config", config), hidden_act="gelu_pytorch_tanh")


def _convnext(config: Mapping[str, Any]) -> dict[str, Any]:
    if config.get("patch_size", 4) != 4:
        raise ValueError(f"ConvNeXt with patches of {config['patch_size']} is not supported")
    depths, widths = config.get("depths") or (3, 3, 9, 3), config.get("hidden_sizes") or (96, 192, 384, 768)
    return {"depths": tuple(depths), "widths": tuple(widths)}


def _resnet(config: Mapping[str, Any]) -> dict[str, Any]:
    width, bottleneck = config.get("embedding_size", 64), config.get("layer_type", "bottleneck") == "bottleneck"
    widths = config.get("hidden_sizes", [256, 512, 1024, 2048])
    if widths != [width * (4 if bottleneck else 1) * 2**n for n in range(len(widths))]:
        raise ValueError(f"ResNet with stages of {widths} channels after a stem of {width} is not supported")
    if config.get("downsample_in_bottleneck") or config.get("downsample_in_first_stage"):
        raise ValueError("ResNet that takes its steps elsewhere than in the 3×3 convolutions is not supported")
    return {"stages": tuple(config.get("depths", (3, 4, 6, 3))), "width": width, "bottleneck": bottleneck}


# By `model_type`: settings, and how the names of the encoders begin that they may be of.
_FAMILIES: dict[str, tuple[Callable[[Mapping[str, Any]], dict[str, Any]], str]] = {
    "vit": (_vit, "vit_"),
    "vit_mae": (_vit, "mae_"),
    "deit": (_vit, "deit_s16_distilled"),
    "dinov2": (_dinov2, "dinov2_"),
    "dinov2_with_registers": (_dinov2_with_registers, "dinov2_"),
    "dinov3_vit": (_dinov3, "dinov3_vit"),
    "clip": (_clip, "clip_"),
    "clip_vision_model": (_clip, "clip_"),
    "siglip": (_siglip, "siglip_"),
    "siglip_vision_model": (_siglip, "siglip_"),
    "convnext": (_convnext, "convnext_"),
    "dinov3_convnext": (_convnext, "dinov3_convnext_"),
    "resnet": (_resnet, "resnet"),
}


def _of_transformers(config: Mapping[str, Any], repository: str) -> tuple[str, dict[str, Any]]:
    kind = config.get("model_type")
    if kind not in _FAMILIES:
        raise ValueError(f"model_type {kind!r} is none of {', '.join(_FAMILIES)}")
    read, prefix = _FAMILIES[kind]
    settings = read(config)
    names = [name for name in ENCODERS if name.startswith(prefix)]
    if kind.startswith("dinov2"):
        names = [name for name in names if name.endswith("_reg") == (kind != "dinov2")]
    if (named := canonical(repository)) in ENCODERS:
        names = [named]

    def differing(name: str) -> dict[str, Any]:
        return {key: value for key, value in settings.items() if setting(name, key) != value}

    fitting = [name for name in names if "bottleneck" not in differing(name)]
    best = min(fitting, key=lambda name: len(differing(name)))
    return best, differing(best)


def _prepared_by_timm(told: Mapping[str, Any], default: Preprocessing) -> Preprocessing:
    size, fit = told.get("input_size", (3, default.size))[-1], told.get("crop_mode", "center")
    if fit not in _FITS:
        raise ValueError(f"crop_mode {fit!r} is none of {', '.join(_FITS)}")
    return Preprocessing(
        tuple(told.get("mean", default.mean)),
        tuple(told.get("std", default.std)),
        size,
        int(size / told.get("crop_pct", 1.0)),
        _FITS[fit],
        told.get("interpolation", default.interpolation),
    )


def _prepared_by_transformers(told: Mapping[str, Any], default: Preprocessing, kind: str) -> Preprocessing:
    """By `preprocessor_config.json`; where it leaves out of which class it is, by that of the model."""
    if not told:
        return default
    kind = (told.get("image_processor_type") or told.get("feature_extractor_type") or kind).lower()
    size = _side(told.get("size"), default.size)
    crop = _side(told.get("crop_size"), size) if told.get("do_center_crop", "crop_size" in told) else size
    resize, squashed = max(size, crop), _is_square(told.get("size"), kind)
    share = told.get("crop_pct") or (0.875 if kind.startswith("convnext") else None)
    if share:  # as ConvNeXt has it: below 384 pixels it is cut out, else squashed
        squashed = size >= 384
        crop, resize = size, size if squashed else int(size / share)
    by = told.get("resample")
    if by is None:
        by = "bilinear" if kind.startswith(_BILINEAR) else "bicubic"
    return Preprocessing(
        tuple(told.get("image_mean") or default.mean),
        tuple(told.get("image_std") or default.std),
        crop,
        resize,
        "squash" if squashed else "crop",
        by if isinstance(by, str) else Image.Resampling(by).name.lower(),
    )


def _is_square(size: Any, kind: str) -> bool:
    """Whether a size is that of both sides; a mere number is to some kinds, and to others the shorter side."""
    if isinstance(size, Mapping):
        return "shortest_edge" not in size
    return bool(size) and kind.startswith(_SQUARE)


def _side(size: Any, default: int) -> int:
    """Pixels of a square's side, or of a shorter side, in any of the forms that there are."""
    if isinstance(size, Mapping):
        return size.get("shortest_edge") or size.get("height") or default
    return int(size) if size else default
