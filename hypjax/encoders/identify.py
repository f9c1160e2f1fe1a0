"""What a checkpoint is, told from the names and shapes of its tensors."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, NamedTuple

import flax.linen as nn
import numpy as np

from hypjax.encoders.convnext import ConvNeXt
from hypjax.encoders.efficientnet import EfficientNetLite
from hypjax.encoders.registry import ENCODERS
from hypjax.encoders.resnet import ResNet
from hypjax.encoders.vit import VisionTransformer

Tensors = Mapping[str, np.ndarray]


class Resemblance(NamedTuple):
    """What a checkpoint says of the encoder that it is of.

    Attributes:
        kind: The encoder's class.
        traits: Settings that shapes tell.
    """

    kind: type[nn.Module]
    traits: dict[str, Any]

    def fits(self, encoder: nn.Module) -> bool:
        """Whether an encoder is such a one."""
        return type(encoder) is self.kind and all(
            _settled(encoder, name) == value for name, value in self.traits.items()
        )

    def beside(self, encoder: nn.Module) -> str:
        """The encoders of that kind and size by name; if there are none, in what it differs from the one asked for."""
        names = [
            name for name, row in ENCODERS.items() if row.module is self.kind and self.fits(self.kind(**row.sizes))
        ]
        if names:
            return ", ".join(names)
        another = type(encoder) is not self.kind
        told = [
            f"{name} {value}" + ("" if another else f" instead of {_settled(encoder, name)}")
            for name, value in self.traits.items()
            if another or _settled(encoder, name) != value
        ]
        return f"{self.kind.__name__} with {', '.join(told)}"


def resembled(tensors: Tensors, kind: type[nn.Module]) -> Resemblance | None:
    """What a checkpoint, under the names that a kind of encoder knows, says of its size; None if it is no such one."""
    sign, traits, block = _KINDS[kind]
    if sign not in tensors or any(re.match(r"blocks\.\d", name) and not re.fullmatch(block, name) for name in tensors):
        return None
    try:
        return Resemblance(kind, traits(tensors))
    except (IndexError, KeyError):
        return None


def _settled(encoder: nn.Module, name: str) -> Any:
    if name == "hidden":
        return encoder.hidden or 4 * encoder.width
    return encoder.mlp == "swiglu" if name == "swiglu" else getattr(encoder, name)


def _of_transformer(tensors: Tensors) -> dict[str, Any]:
    first, second = (tensors[f"blocks.0.mlp.fc{n}.weight"].shape for n in (1, 2))
    return {
        "patch": tensors["patch_embed.proj.weight"].shape[-1],
        "width": tensors["patch_embed.proj.weight"].shape[0],
        "depth": _count(tensors, r"blocks\.(\d+)\."),
        "hidden": second[1],
        "swiglu": first[0] == 2 * second[1],
        "class_token": "cls_token" in tensors,
        "distilled": "dist_token" in tensors,
        "registers": tensors["reg_token"].shape[1] if "reg_token" in tensors else 0,
        "positions": "learned" if "pos_embed" in tensors else "rotary",
        "layer_scale": "blocks.0.ls1.gamma" in tensors,
        "first_norm": "norm_pre.weight" in tensors,
        **({"pool": "attention"} if "attn_pool.latent" in tensors else {}),
    }


def _of_convnext(tensors: Tensors) -> dict[str, Any]:
    stages = range(_count(tensors, r"stages\.(\d+)\."))
    return {
        "depths": tuple(_count(tensors, rf"stages\.{stage}\.blocks\.(\d+)\.") for stage in stages),
        "widths": tuple(tensors[f"stages.{stage}.blocks.0.gamma"].shape[0] for stage in stages),
    }


def _of_resnet(tensors: Tensors) -> dict[str, Any]:
    stages = range(1, 1 + _count(tensors, r"layer(\d+)\."))
    return {
        "stages": tuple(_count(tensors, rf"layer{stage}\.(\d+)\.") for stage in stages),
        "width": tensors["conv1.weight"].shape[0],
        "bottleneck": "layer1.0.conv3.weight" in tensors,
    }


def _count(tensors: Tensors, pattern: str) -> int:
    return len({match[1] for name in tensors if (match := re.match(pattern, name))})


_OWN = r"blocks\.\d+\.(norm[12]|attn\.(qkv|proj)|ls[12]|mlp\.fc[12])\.\w+"  # of a transformer's blocks, not of BEiT's
# A tensor that every checkpoint of a kind has, under the names that the kind knows, what its shapes tell, and how
# whatever it has by the name of a block is called.
_KINDS: dict[type[nn.Module], tuple[str, Any, str]] = {
    VisionTransformer: ("patch_embed.proj.weight", _of_transformer, _OWN),
    ConvNeXt: ("stem.0.weight", _of_convnext, ""),
    ResNet: ("layer1.0.conv1.weight", _of_resnet, ""),
    EfficientNetLite: ("_conv_stem.weight", lambda tensors: {}, ""),
}
