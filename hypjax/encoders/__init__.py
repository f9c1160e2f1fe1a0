"""Encoders by name, their published weights, and the head that leads into a geometry."""

import inspect
from functools import partial
from typing import Any

import flax.linen as nn
import jax.numpy as jnp
from jax.typing import DTypeLike

from hypjax.encoders.efficientnet import EfficientNetLite
from hypjax.encoders.head import Head, calibrate
from hypjax.encoders.resnet import ResNet
from hypjax.encoders.vit import VisionTransformer
from hypjax.encoders.weights import MissingWeightsError, load_weights, packaged_weights

Statistics = tuple[tuple[float, float, float], tuple[float, float, float]]

_IMAGENET: Statistics = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
_HALF: Statistics = ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
_LITE: Statistics = ((127 / 255,) * 3, (128 / 255,) * 3)

# Each encoder with the mean and deviation of the images it was, or is to be, trained on.
_ENCODERS: dict[str, tuple[Any, Statistics]] = {
    "efficientnet_lite0": (EfficientNetLite, _LITE),
    "resnet18": (partial(ResNet, stages=(2, 2, 2, 2), bottleneck=False), _IMAGENET),
    "resnet50": (ResNet, _IMAGENET),
    "vit_s16": (VisionTransformer, _HALF),
    "deit_s16": (VisionTransformer, _IMAGENET),
    "deit_s16_distilled": (partial(VisionTransformer, distilled=True), _IMAGENET),
    "dino_s16": (VisionTransformer, _IMAGENET),
    "vit_ti8": (partial(VisionTransformer, patch=8, width=192, depth=6, heads=3), _HALF),
}


def create(name: str, *, dtype: DTypeLike = jnp.float32, train_batch_norm: bool = False, **sizes: Any) -> nn.Module:
    """An encoder by its name: a Flax module that maps normalized [n, h, w, 3] to float32 [n, features].

    Args:
        name: `efficientnet_lite0`; `resnet18`, `resnet50`; `vit_s16`, `deit_s16`, `deit_s16_distilled`, `dino_s16`;
            `vit_ti8`, a small one for CPU (6 blocks of width 192 on patches of 8).
        dtype: Of the computation inside, float32 or bfloat16; parameters and features stay float32.
        train_batch_norm: Let batch normalization follow the training images, instead of keeping the statistics it was
            loaded with. Encoders without any are not concerned.
        **sizes: Override the encoder's own: `stages`, `stem`, `width` of EfficientNet-Lite; `stages`, `width` of
            ResNets; `patch`, `width`, `depth`, `heads` of transformers.

    Raises:
        ValueError: For an unknown name or size; the message lists those that exist.

    Example:
        >>> create("vit_ti8", depth=4).depth
        4
        >>> create("nope")
        Traceback (most recent call last):
        ValueError: no encoder 'nope'; there are efficientnet_lite0, resnet18, resnet50, vit_s16, deit_s16, \
deit_s16_distilled, dino_s16, vit_ti8
    """
    make, _ = _entry(name)
    module = make.func if isinstance(make, partial) else make
    fields = [field for field in inspect.signature(module).parameters if field not in _NO_SIZES]
    unknown = [size for size in sizes if size not in fields]
    if unknown:
        raise ValueError(f"{name} has no size {', '.join(unknown)}; it has {', '.join(fields)}")
    if "train_batch_norm" in inspect.signature(module).parameters:
        sizes["train_batch_norm"] = train_batch_norm
    return make(dtype=dtype, **sizes)


_NO_SIZES = ("dtype", "train_batch_norm", "bottleneck", "distilled", "parent", "name")


def preprocessing(name: str) -> Statistics:
    """Mean and standard deviation of each channel, in units of pixel/255: images are (pixel/255 − mean)/std.

    Raises:
        ValueError: For an unknown name.

    Example:
        >>> preprocessing("vit_s16")
        ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
    """
    return _entry(name)[1]


def _entry(name: str) -> tuple[Any, Statistics]:
    if name not in _ENCODERS:
        raise ValueError(f"no encoder {name!r}; there are {', '.join(_ENCODERS)}")
    return _ENCODERS[name]
