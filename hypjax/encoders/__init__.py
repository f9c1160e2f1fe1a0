"""Encoders by name, their published weights, and the head that leads into a geometry."""

import inspect
from functools import partial
from typing import Any, NamedTuple

import flax.linen as nn
import jax.numpy as jnp
from jax.typing import DTypeLike

from hypjax.encoders.abstract import abstract
from hypjax.encoders.efficientnet import EfficientNetLite
from hypjax.encoders.head import Head, calibrate
from hypjax.encoders.resnet import ResNet
from hypjax.encoders.vit import VisionTransformer
from hypjax.encoders.weights import MissingWeightsError, load_weights, packaged_weights

Color = tuple[float, float, float]


class Preprocessing(NamedTuple):
    """What an encoder's published weights expect of an image.

    Attributes:
        mean: Of each channel, in units of pixel/255; images are (pixel/255 − mean)/std.
        std: Standard deviation of each channel, likewise.
        size: Height and width, pixels.
        resize: What the shorter side becomes before the central square of `size` is cut out, pixels. Both by bicubic
            interpolation, as everywhere here and for all of these weights but torchvision's own ResNets (bilinear).
    """

    mean: Color
    std: Color
    size: int
    resize: int


_MEAN, _STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # ImageNet's
_HALF = (0.5, 0.5, 0.5)

# As timm evaluates its ViT and DeiT (224 / 0.9 is 248), and as the authors of DINO and torchvision evaluate theirs.
_AUGREG = Preprocessing(_HALF, _HALF, size=224, resize=248)
_DEIT = Preprocessing(_MEAN, _STD, size=224, resize=248)
_IMAGENET = Preprocessing(_MEAN, _STD, size=224, resize=256)
_LITE = Preprocessing((127 / 255,) * 3, (128 / 255,) * 3, size=224, resize=256)

_ENCODERS: dict[str, tuple[Any, Preprocessing]] = {
    "efficientnet_lite0": (EfficientNetLite, _LITE),
    "resnet18": (partial(ResNet, stages=(2, 2, 2, 2), bottleneck=False), _IMAGENET),
    "resnet50": (ResNet, _IMAGENET),
    "vit_s16": (VisionTransformer, _AUGREG),
    "deit_s16": (VisionTransformer, _DEIT),
    "deit_s16_distilled": (partial(VisionTransformer, distilled=True), _DEIT),
    "dino_vits16": (VisionTransformer, _IMAGENET),
    "dino_s16": (VisionTransformer, _IMAGENET),  # the same by a shorter name
    "vit_ti8": (partial(VisionTransformer, patch=8, width=192, depth=6, heads=3), Preprocessing(_HALF, _HALF, 48, 48)),
}


BLOCKS = ("unrolled", "scanned", "remade")


def create(
    name: str,
    *,
    dtype: DTypeLike = jnp.float32,
    train_batch_norm: bool = False,
    blocks: str = "unrolled",
    **sizes: Any,
) -> nn.Module:
    """An encoder by its name: a Flax module that maps normalized [n, h, w, 3] to float32 [n, features].

    Args:
        name: `efficientnet_lite0`; `resnet18`, `resnet50`; `vit_s16`, `deit_s16`, `deit_s16_distilled`,
            `dino_vits16`, also called `dino_s16`; `vit_ti8`, a small one for CPU (6 blocks of width 192, patches of 8).
        dtype: Of the computation inside, float32 or bfloat16; parameters and features stay float32.
        train_batch_norm: Let batch normalization follow the training images, instead of keeping the statistics it was
            loaded with. Encoders without any are not concerned.
        blocks: How they are compiled, with the same parameters and features: `unrolled`; `scanned`, one program for
            all of a transformer's; `remade`, which keeps less in memory for a gradient and computes more.
        **sizes: Override the encoder's own: `stages`, `stem`, `width` of EfficientNet-Lite; `stages`, `width` of
            ResNets; `patch`, `width`, `depth`, `heads` of transformers.

    Raises:
        ValueError: For an unknown name or size; the message lists those that exist. For `scanned` blocks that differ.

    Example:
        >>> create("vit_ti8", depth=4).depth
        4
        >>> create("nope")
        Traceback (most recent call last):
        ValueError: no encoder 'nope'; there are efficientnet_lite0, resnet18, resnet50, vit_s16, deit_s16, \
deit_s16_distilled, dino_vits16, dino_s16, vit_ti8
    """
    make, _ = _entry(name)
    module = make.func if isinstance(make, partial) else make
    fields = [field for field in inspect.signature(module).parameters if field not in _NO_SIZES]
    unknown = [size for size in sizes if size not in fields]
    if unknown:
        raise ValueError(f"{name} has no size {', '.join(unknown)}; it has {', '.join(fields)}")
    if blocks not in BLOCKS:
        raise ValueError(f"blocks {blocks!r} are unknown; there are: {', '.join(BLOCKS)}")
    if blocks == "scanned" and module is not VisionTransformer:
        raise ValueError(f"the blocks of {name} differ and cannot be scanned; leave them unrolled, or remade")
    if "train_batch_norm" in inspect.signature(module).parameters:
        sizes["train_batch_norm"] = train_batch_norm
    return make(dtype=dtype, blocks=blocks, **sizes)


_NO_SIZES = ("dtype", "blocks", "train_batch_norm", "bottleneck", "distilled", "parent", "name")


def preprocessing(name: str) -> Preprocessing:
    """What the published weights of an encoder expect of an image: normalization, size and crop.

    Raises:
        ValueError: For an unknown name.

    Example:
        >>> preprocessing("vit_s16")
        Preprocessing(mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5), size=224, resize=248)
    """
    return _entry(name)[1]


def _entry(name: str) -> tuple[Any, Preprocessing]:
    if name not in _ENCODERS:
        raise ValueError(f"no encoder {name!r}; there are {', '.join(_ENCODERS)}")
    return _ENCODERS[name]
