"""Networks of timm, torchvision and transformers with drawn weights, as references of `build_encoder_references.py`."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import timm
import torch
import torchvision
import transformers
from safetensors import safe_open
from safetensors.torch import save_file

sys.path.insert(0, str(Path(__file__).parent.parent / "tests" / "encoders"))
from drawn import drawn

Shapes = dict[str, list[int]]
Features = Callable[[torch.Tensor], torch.Tensor]
# Names and shapes of a checkpoint's tensors, and the features of images [n, 3, h, w].
Made = tuple[Shapes, Features]
Make = Callable[[bool], Made]  # of a narrow version, or of the whole

TIMM_NARROW = {"embed_dim": 32, "depth": 2, "num_heads": 2, "patch_size": 4, "img_size": 16}


def tensors_of(shapes: Shapes) -> dict[str, torch.Tensor]:
    """The tensors of a checkpoint, drawn."""
    return {name: torch.from_numpy(np.asarray(drawn(name, shape))) for name, shape in shapes.items()}


def shapes_of(tensors: Any) -> Shapes:
    """Names and shapes of tensors."""
    return {name: list(value.shape) for name, value in tensors.items()}


def by_own_names(model: torch.nn.Module, features: Callable[[Any, torch.Tensor], torch.Tensor]) -> Made:
    """A model of timm or torchvision by its own names."""
    shapes = shapes_of(model.state_dict())
    model.load_state_dict(tensors_of(shapes))
    model.eval()
    return shapes, lambda x: features(model, x)


def by_names_of_authors(
    model: torch.nn.Module, shapes: Shapes, features: Callable[[Any, torch.Tensor], torch.Tensor]
) -> Made:
    """A model of timm that reads a file by the authors' names, and brings them to its own itself."""
    tensors = tensors_of(shapes)
    with tempfile.TemporaryDirectory() as folder:
        if any("/" in name for name in shapes):
            np.savez(f"{folder}/w.npz", **{name: value.numpy() for name, value in tensors.items()})
            model.load_pretrained(f"{folder}/w.npz")
        else:
            torch.save(tensors, f"{folder}/w.pth")
            renaming = sys.modules[type(model).__module__].checkpoint_filter_fn
            timm.models.load_checkpoint(model, f"{folder}/w.pth", strict=True, filter_fn=renaming)
    model.eval()
    return shapes, lambda x: features(model, x)


def of_transformers(model: transformers.PreTrainedModel, features: Callable[[Any, torch.Tensor], torch.Tensor]) -> Made:
    """A model of transformers, its tensors by the names of the file that it writes."""
    with tempfile.TemporaryDirectory() as folder:
        model.save_pretrained(folder, max_shard_size="100GB")
        with safe_open(f"{folder}/model.safetensors", "pt") as file:
            shapes = {name: list(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118
        save_file(tensors_of(shapes), f"{folder}/model.safetensors", {"format": "pt"})
        loaded, told = type(model).from_pretrained(folder, output_loading_info=True)
    if any(told[kind] for kind in ("missing_keys", "unexpected_keys", "mismatched_keys")):
        raise ValueError(f"{type(model).__name__} does not take its own file: {told}")
    loaded.eval()
    return shapes, lambda x: features(loaded, x)


def first_token(model: Any, x: torch.Tensor) -> torch.Tensor:
    """The normalized class token of timm or transformers."""
    out = model.forward_features(x) if hasattr(model, "forward_features") else model(x).last_hidden_state
    return out[:, 0]


def whole(model: Any, x: torch.Tensor) -> torch.Tensor:
    """What a model of timm gives without a classifier, or with a projection in its place."""
    return model(x)


def before_classifier(model: Any, x: torch.Tensor) -> torch.Tensor:
    """What a model of timm would classify."""
    return model.forward_head(model.forward_features(x), pre_logits=True)


def pooled(model: Any, x: torch.Tensor) -> torch.Tensor:
    """The pooled features of a model of transformers."""
    return model(x).pooler_output.flatten(1)


def timm_vit(
    name: str, features: Callable[[Any, torch.Tensor], torch.Tensor] = first_token, size: int = 224, **same: Any
) -> Make:
    """A transformer of timm at a size in pixels; `same` holds for the narrow version, too."""

    def make(small: bool) -> Made:
        sizes = TIMM_NARROW if small else {"img_size": size}
        return by_own_names(timm.create_model(name, **sizes, **same), features)

    return make


def clip(name: str) -> Make:
    """CLIP of timm by its own names, without the projection's bias, which is zeros in the files."""

    def make(small: bool) -> Made:
        model = timm.create_model(name, **(TIMM_NARROW if small else {}))
        model.head = torch.nn.Linear(model.embed_dim, 24 if small else 512, bias=False)
        return by_own_names(model, whole)

    return make


def transformers_vit(
    config: str,
    model: str,
    features: Callable[[Any, torch.Tensor], torch.Tensor],
    whole_sizes: dict[str, Any],
    **same: Any,
) -> Callable[..., Made]:
    """A transformer of transformers; `same` holds for the narrow version, too."""

    def make(small: bool, image_size: int = 16) -> Made:
        sizes = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "patch_size": 4}
        sizes["image_size"] = image_size
        if "intermediate_size" in whole_sizes:
            sizes["intermediate_size"] = 128
        sizes = {**(sizes if small else whole_sizes), **same}
        return of_transformers(getattr(transformers, model)(getattr(transformers, config)(**sizes)), features)

    return make


def resampled(make: Callable[..., Made], image_size: int) -> Make:
    """A narrow reference whose positions are of another size of image than it is used at."""
    return lambda small: make(small, image_size)


def two_towers(kind: str, whole_sizes: dict[str, Any], features: str) -> Make:
    """CLIP or SigLIP of transformers, with a small text tower."""

    def make(small: bool) -> Made:
        sizes: dict[str, Any] = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
        sizes |= {"intermediate_size": 128, "patch_size": 4, "image_size": 16}
        text = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}
        text |= {"vocab_size": 20, "max_position_embeddings": 8, "bos_token_id": 1, "eos_token_id": 2}
        vision, projection = (sizes, 24) if small else (whole_sizes, whole_sizes.get("projection_dim", 512))
        options = {"projection_dim": projection} if kind == "CLIP" else {}
        text |= options
        config = getattr(transformers, f"{kind}Config")(
            vision_config={**vision, **options}, text_config=text, **options
        )

        def image_features(model: Any, x: torch.Tensor) -> torch.Tensor:
            found = model.get_image_features(pixel_values=x)
            return getattr(found, features) if not isinstance(found, torch.Tensor) else found

        return of_transformers(getattr(transformers, f"{kind}Model")(config), image_features)

    return make


def convnext(name: str, narrow: dict[str, Any]) -> Make:
    """ConvNeXt of timm by its own names."""
    return lambda small: by_own_names(timm.create_model(name, **(narrow if small else {})), before_classifier)


def torchvision_resnet(name: str) -> Make:
    """ResNet of torchvision, whole."""

    def features(model: Any, x: torch.Tensor) -> torch.Tensor:
        model.fc = torch.nn.Identity()
        return model(x)

    return lambda small: by_own_names(getattr(torchvision.models, name)(), features)


def torchvision_convnext(depths: tuple[int, ...], widths: tuple[int, ...]) -> Make:
    """ConvNeXt of torchvision."""

    def features(model: Any, x: torch.Tensor) -> torch.Tensor:
        return model.classifier[0](model.avgpool(model.features(x))).flatten(1)

    def make(small: bool) -> Made:
        if not small:
            return by_own_names(torchvision.models.convnext_tiny(), features)
        setting = torchvision.models.convnext.CNBlockConfig
        following = (*widths[1:], None)
        stages = [setting(w, after, depth) for w, after, depth in zip(widths, following, depths, strict=True)]
        return by_own_names(torchvision.models.ConvNeXt(stages), features)

    return make


def convolutional_transformers(
    config: str, model: str, body: str, narrow: dict[str, Any], whole_sizes: dict[str, Any] | None = None
) -> Make:
    """ConvNeXt or ResNet of transformers, `body` being what a model for classification calls it."""

    def make(small: bool) -> Made:
        sizes = narrow if small else whole_sizes or {}
        made = getattr(transformers, model)(getattr(transformers, config)(**sizes))
        return of_transformers(made, lambda made, x: pooled(getattr(made, body) if body else made, x))

    return make
