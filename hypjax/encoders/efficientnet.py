"""EfficientNet-Lite: inverted residual blocks without squeeze-and-excitation, fit for small machines."""

from typing import NamedTuple

import flax.linen as nn
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from hypjax.encoders.convolution import ConvNorm


class Stage(NamedTuple):
    """A run of equal blocks; the stride belongs to the first of them."""

    repeats: int
    size: int
    stride: int
    expand: int
    features: int


LITE0 = (
    Stage(1, 3, 1, 1, 16),
    Stage(2, 3, 2, 6, 24),
    Stage(2, 5, 2, 6, 40),
    Stage(3, 3, 2, 6, 80),
    Stage(3, 5, 1, 6, 112),
    Stage(4, 5, 2, 6, 192),
    Stage(1, 3, 1, 6, 320),
)


def relu6(x: Array) -> Array:
    """Rectifies and caps, ``min(max(x, 0), 6)``, which keeps activations fit for fixed-point devices."""
    return nn.relu6(x)


class InvertedResidual(nn.Module):
    """Expands by a 1×1 convolution, filters each channel by itself, projects; adds its input where shapes allow."""

    features: int
    size: int
    stride: int
    expand: int
    train_batch_norm: bool = False
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, "b h w f"], train: bool = False) -> Float[Array, "b h2 w2 f2"]:
        common = {"epsilon": 1e-3, "train_batch_norm": self.train_batch_norm, "dtype": self.dtype}
        hidden = x.shape[-1] * self.expand
        y = x
        if self.expand != 1:
            y = relu6(ConvNorm(hidden, name="expand", **common)(y, train))
        depthwise = ConvNorm(hidden, self.size, self.stride, depthwise=True, name="depthwise", **common)
        y = relu6(depthwise(y, train))
        y = ConvNorm(self.features, name="project", **common)(y, train)
        return x + y if x.shape == y.shape else y


class EfficientNetLite(nn.Module):
    """EfficientNet-Lite without classifier."""

    stages: tuple[tuple[int, ...], ...] = LITE0
    stem: int = 32
    width: int = 1280
    train_batch_norm: bool = False
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, images: Float[Array, "b h w 3"], train: bool = False) -> Float[Array, "b features"]:
        common = {"train_batch_norm": self.train_batch_norm, "dtype": self.dtype}
        x = relu6(ConvNorm(self.stem, 3, 2, epsilon=1e-3, name="stem", **common)(images, train))
        index = 0
        for stage in map(Stage._make, self.stages):
            for repeat in range(stage.repeats):
                stride = stage.stride if repeat == 0 else 1
                block = InvertedResidual(
                    stage.features, stage.size, stride, stage.expand, name=f"block_{index}", **common
                )
                x = block(x, train)
                index += 1
        x = relu6(ConvNorm(self.width, epsilon=1e-3, name="head", **common)(x, train))
        return x.astype(jnp.float32).mean(axis=(1, 2))


_UNITS = {
    "stem": ("_conv_stem", "_bn0"),
    "expand": ("_expand_conv", "_bn0"),
    "depthwise": ("_depthwise_conv", "_bn1"),
    "project": ("_project_conv", "_bn2"),
    "head": ("_conv_head", "_bn1"),
}
_NORM_NAMES = {"scale": "weight", "bias": "bias", "mean": "running_mean", "var": "running_var"}


def published_name(place: tuple[str, ...]) -> str:
    """Name of a tensor in the published checkpoint of EfficientNet-Lite.

    Example:
        >>> published_name(("block_3", "expand", "mean"))
        '_blocks.3._bn0.running_mean'
    """
    *block, unit, kind = place
    convolution, norm = _UNITS[unit]
    prefix = "".join(f"_blocks.{name.removeprefix('block_')}." for name in block)
    return f"{prefix}{convolution}.weight" if kind == "kernel" else f"{prefix}{norm}.{_NORM_NAMES[kind]}"


def is_unused(name: str) -> bool:
    """Whether a published tensor is none of the features' business: the classifier, batch counters."""
    return name.startswith("_fc.") or name.endswith(".num_batches_tracked")
