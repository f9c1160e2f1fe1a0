"""Every encoder by its name, with what its published weights expect: a new one is one row here, and its tensors' names.

How tensors are called in other checkpoints stands in `hypjax.encoders.name_maps`.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

import flax.linen as nn

from hypjax.encoders.convnext import ConvNeXt
from hypjax.encoders.efficientnet import EfficientNetLite
from hypjax.encoders.resnet import ResNet
from hypjax.encoders.vit import VisionTransformer

Color = tuple[float, float, float]


class Preprocessing(NamedTuple):
    """What an encoder's published weights expect of an image.

    Attributes:
        mean: Of each channel, in units of pixel/255; images are (pixel/255 − mean)/std.
        std: Standard deviation of each channel, likewise.
        size: Height and width, pixels.
        resize: What the shorter side becomes before the central square of `size` is cut out, pixels.
        fit: `crop`, or `squash`: both sides become `resize`, whatever they were.
        interpolation: By which pixels are resized, one of `hypjax.data.transforms.INTERPOLATIONS`.
    """

    mean: Color
    std: Color
    size: int
    resize: int
    fit: str = "crop"
    interpolation: str = "bicubic"


class Row(NamedTuple):
    """What makes an encoder.

    Attributes:
        module: Its class.
        sizes: Of the class's settings, those that are not its defaults.
        preprocessing: Of its published weights.
        aliases: What it is called elsewhere: by timm, its authors and transformers.
    """

    module: type[nn.Module]
    sizes: Mapping[str, Any]
    preprocessing: Preprocessing
    aliases: tuple[str, ...] = ()


_MEAN, _STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # ImageNet's
_HALF = (0.5, 0.5, 0.5)

# As timm evaluates its ViT and DeiT (224 / 0.9 is 248), and as the authors of all others evaluate theirs.
_AUGREG = Preprocessing(_HALF, _HALF, size=224, resize=248)
_DEIT = Preprocessing(_MEAN, _STD, size=224, resize=248)
_IMAGENET = Preprocessing(_MEAN, _STD, size=224, resize=256)
_LITE = Preprocessing((127 / 255,) * 3, (128 / 255,) * 3, size=224, resize=256)
_CLIP = Preprocessing((0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711), size=224, resize=224)
_SIGLIP = Preprocessing(_HALF, _HALF, size=224, resize=224, fit="squash")
_CONVNEXT = Preprocessing(_MEAN, _STD, size=224, resize=236)  # 224 / 0.95
_RESNET = _IMAGENET._replace(interpolation="bilinear")  # torchvision's

_S: dict[str, Any] = {}  # width 384, 12 blocks of 6 heads
_TI: dict[str, Any] = {"width": 192, "heads": 3}
_B: dict[str, Any] = {"width": 768, "heads": 12}
_L: dict[str, Any] = {"width": 1024, "depth": 24, "heads": 16}
_H: dict[str, Any] = {"width": 1280, "depth": 32, "heads": 16}
_G: dict[str, Any] = {"width": 1536, "depth": 40, "heads": 24, "mlp": "swiglu", "hidden": 4096}

_DINOV2 = {"patch": 14, "layer_scale": True, "resampling": "bicubic_offset"}
_DINOV2_REG = {"patch": 14, "layer_scale": True, "registers": 4}
_DINOV3 = {"positions": "rotary", "registers": 4, "layer_scale": True, "key_bias": False, "epsilon": 1e-5}
_CLIP_TOWER = {"mlp": "quick_gelu", "first_norm": True, "patch_bias": False, "epsilon": 1e-5}
_SIGLIP_TOWER = {"mlp": "gelu_tanh", "class_token": False, "pool": "attention"}


def _vit(preprocessing: Preprocessing, *aliases: str, **sizes: Any) -> Row:
    return Row(VisionTransformer, MappingProxyType(sizes), preprocessing, aliases)


def _dinov2(letter: str, timm: str, size: dict[str, Any], transformers: str) -> dict[str, Row]:
    return {
        f"dinov2_vit{letter}14": _vit(
            _IMAGENET, f"vit_{timm}_patch14_dinov2", f"facebook/dinov2-{transformers}", **size, **_DINOV2
        ),
        f"dinov2_vit{letter}14_reg": _vit(
            _IMAGENET,
            f"vit_{timm}_patch14_reg4_dinov2",
            f"facebook/dinov2-with-registers-{transformers}",
            **size,
            **_DINOV2_REG,
        ),
    }


def _dinov3(letter: str, timm: str, transformers: str, **size: Any) -> dict[str, Row]:
    aliases = (f"vit_{timm}_patch16_dinov3", f"vit_{timm}_patch16_dinov3_qkvb")
    transformers = f"facebook/dinov3-vit{transformers}-pretrain-lvd1689m"
    return {f"dinov3_vit{letter}": _vit(_IMAGENET, *aliases, transformers, **size, **_DINOV3)}


def _clip(name: str, timm: str, transformers: str, projection: int, **size: Any) -> dict[str, Row]:
    authors = f"ViT-{name[0].upper()}/{name[1:]}"
    aliases = (f"vit_{timm}_clip_224", authors, f"openai/clip-vit-{transformers}")
    return {f"clip_vit_{name}": _vit(_CLIP, *aliases, projection=projection, **size, **_CLIP_TOWER)}


def _siglip(name: str, timm: str, transformers: str, size: int, **sizes: Any) -> dict[str, Row]:
    aliases = (f"vit_{timm}_siglip_{size}", f"google/siglip-{transformers}-{size}")
    preprocessing = _SIGLIP._replace(size=size, resize=size)
    return {f"siglip_vit_{name}": _vit(preprocessing, *aliases, **sizes, **_SIGLIP_TOWER)}


def _convnext(size: str, depths: tuple[int, ...], widths: tuple[int, ...]) -> dict[str, Row]:
    sizes = MappingProxyType({"depths": depths, "widths": widths})
    return {
        f"convnext_{size}": Row(ConvNeXt, sizes, _CONVNEXT, (f"facebook/convnext-{size}-224",)),
        f"dinov3_convnext_{size}": Row(
            ConvNeXt,
            sizes,
            _IMAGENET,
            (f"convnext_{size}.dinov3_lvd1689m", f"facebook/dinov3-convnext-{size}-pretrain-lvd1689m"),
        ),
    }


def _resnet(stages: tuple[int, ...], layers: int, **sizes: Any) -> Row:
    return Row(ResNet, MappingProxyType({"stages": stages, **sizes}), _RESNET, (f"microsoft/resnet-{layers}",))


ENCODERS: dict[str, Row] = {
    "efficientnet_lite0": Row(EfficientNetLite, MappingProxyType({}), _LITE),
    "resnet18": _resnet((2, 2, 2, 2), 18, bottleneck=False),
    "resnet50": _resnet((3, 4, 6, 3), 50),
    "vit_s16": _vit(_AUGREG, "vit_small_patch16_224"),
    "deit_s16": _vit(_DEIT, "deit_small_patch16_224", "facebook/deit-small-patch16-224"),
    "deit_s16_distilled": _vit(
        _DEIT, "deit_small_distilled_patch16_224", "facebook/deit-small-distilled-patch16-224", distilled=True
    ),
    "dino_vits16": _vit(_IMAGENET, "vit_small_patch16_224.dino", "facebook/dino-vits16"),
    "dino_s16": _vit(_IMAGENET),  # the same by a shorter name
    "vit_ti8": _vit(Preprocessing(_HALF, _HALF, 48, 48), patch=8, width=192, depth=6, heads=3),
    "vit_ti16": _vit(_AUGREG, "vit_tiny_patch16_224", **_TI),
    "vit_b8": _vit(_AUGREG, "vit_base_patch8_224", patch=8, **_B),
    "vit_b16": _vit(_AUGREG, "vit_base_patch16_224", "google/vit-base-patch16-224", **_B),
    "vit_b32": _vit(_AUGREG, "vit_base_patch32_224", patch=32, **_B),
    "vit_l16": _vit(_AUGREG, "vit_large_patch16_224", "google/vit-large-patch16-224", **_L),
    "vit_h14": _vit(_AUGREG, "vit_huge_patch14_224", "google/vit-huge-patch14-224-in21k", patch=14, **_H),
    "deit_b16": _vit(_DEIT, "deit_base_patch16_224", "facebook/deit-base-patch16-224", **_B),
    "dino_vits8": _vit(_IMAGENET, "vit_small_patch8_224.dino", "facebook/dino-vits8", patch=8),
    "dino_vitb16": _vit(_IMAGENET, "vit_base_patch16_224.dino", "facebook/dino-vitb16", **_B),
    "dino_vitb8": _vit(_IMAGENET, "vit_base_patch8_224.dino", "facebook/dino-vitb8", patch=8, **_B),
    "mae_vit_b16": _vit(_IMAGENET, "vit_base_patch16_224.mae", "facebook/vit-mae-base", **_B),
    "mae_vit_l16": _vit(_IMAGENET, "vit_large_patch16_224.mae", "facebook/vit-mae-large", **_L),
    **_dinov2("s", "small", _S, "small"),
    **_dinov2("b", "base", _B, "base"),
    **_dinov2("l", "large", _L, "large"),
    **_dinov2("g", "giant", _G, "giant"),
    **_dinov3("s16", "small", "s16"),
    **_dinov3("s16plus", "small_plus", "s16plus", mlp="swiglu"),
    **_dinov3("b16", "base", "b16", **_B),
    **_dinov3("l16", "large", "l16", **_L),
    **_dinov3("h16plus", "huge_plus", "h16plus", **{**_H, "heads": 20}, mlp="swiglu"),
    **_clip("b32", "base_patch32", "base-patch32", 512, patch=32, **_B),
    **_clip("b16", "base_patch16", "base-patch16", 512, **_B),
    **_clip("l14", "large_patch14", "large-patch14", 768, patch=14, **_L),
    **_siglip("b16", "base_patch16", "base-patch16", 224, **_B),
    **_siglip("l16", "large_patch16", "large-patch16", 256, **_L),
    **_siglip(
        "so400m14", "so400m_patch14", "so400m-patch14", 224, patch=14, width=1152, depth=27, heads=16, hidden=4304
    ),
    **_convnext("tiny", (3, 3, 9, 3), (96, 192, 384, 768)),
    **_convnext("small", (3, 3, 27, 3), (96, 192, 384, 768)),
    **_convnext("base", (3, 3, 27, 3), (128, 256, 512, 1024)),
    **_convnext("large", (3, 3, 27, 3), (192, 384, 768, 1536)),
    "resnet34": _resnet((3, 4, 6, 3), 34, bottleneck=False),
    "resnet101": _resnet((3, 4, 23, 3), 101),
    "resnet152": _resnet((3, 8, 36, 3), 152),
}
_ALIASES = {alias: name for name, row in ENCODERS.items() for alias in row.aliases}
# The image's side in pixels, from 160 on, at the end of what timm and transformers say; no number of ResNet's layers.
_AT_ANY_SIZE = re.compile(r"[_-](?:1[6-9]|[2-9]\d)\d$")
_NETWORKS = {_AT_ANY_SIZE.sub("", alias): name for alias, name in _ALIASES.items() if "." not in alias}


def canonical(name: str) -> str:
    """The name that an encoder has here; one that is unknown stays as it is.

    Args:
        name: Its own; timm's, with or without a tag of the weights; or that of a repository of transformers. Both at
            any size of image.

    Example:
        >>> canonical("vit_small_patch14_dinov2.lvd142m"), canonical("google/siglip-base-patch16-384")
        ('dinov2_vits14', 'siglip_vit_b16')
    """
    if name in ENCODERS:
        return name
    bare = name.removeprefix("timm/")
    plain = _AT_ANY_SIZE.sub("", bare.partition(".")[0].replace("_clip_quickgelu", "_clip"))
    return _ALIASES.get(bare) or _NETWORKS.get(plain) or (plain if plain in ENCODERS else name)


def settings_in_name(name: str) -> tuple[dict[str, Any], int]:
    """What a name of timm's or transformers' says besides which encoder it is.

    Args:
        name: As `canonical` takes it.

    Returns:
        Settings in which it differs from the encoder of that name, and the side of its images in pixels; 0 for that of
        the row.

    Example:
        >>> settings_in_name("vit_base_patch16_clip_224.laion2b"), settings_in_name("vit_base_patch16_siglip_384.webli")
        (({'mlp': 'gelu'}, 0), ({}, 384))
    """
    found = canonical(name)
    if name in ENCODERS or found not in ENCODERS:
        return {}, 0
    architecture, _, tag = name.removeprefix("timm/").partition(".")
    at = _AT_ANY_SIZE.search(architecture)
    side = int(at[0][1:]) if at else 0
    return of_tag(found, architecture, tag) if tag else {}, 0 if side == ENCODERS[found].preprocessing.size else side


def of_tag(name: str, architecture: str, tag: str) -> dict[str, Any]:
    """Settings of weights with a tag of timm's that the encoder of that name has not: of CLIP that is not OpenAI's."""
    others = name.startswith("clip_") and "openai" not in tag and "quickgelu" not in architecture
    return {"mlp": "gelu"} if others else {}


def row_of(name: str) -> Row:
    """The row of an encoder, by any of its names.

    Raises:
        ValueError: For an unknown name; the message lists those that exist.
    """
    row = ENCODERS.get(canonical(name))
    if row is None:
        raise ValueError(f"no encoder {name!r}; there are {', '.join(ENCODERS)}")
    return row


def setting(name: str, field: str) -> Any:
    """A setting of an encoder as it is by default; None for one that it does not have.

    Raises:
        ValueError: For an unknown name of an encoder.

    Example:
        >>> setting("dinov2_vits14", "patch"), setting("resnet50", "patch")
        (14, None)
    """
    row = row_of(name)
    known = inspect.signature(row.module).parameters.get(field)
    return row.sizes.get(field, None if known is None else known.default)
