"""EfficientNet-Lite: inverted residual blocks without squeeze-and-excitation, fit for small machines."""

from collections.abc import Iterator
from functools import partial
from typing import NamedTuple

import flax.linen as nn
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from hypjax.encoders.convolution import PUBLISHED_NORM, ConvNorm
from hypjax.encoders.lora import Lora


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


_EPSILON = 1e-3  # of batch normalization


class InvertedResidual(nn.Module):
    """Expands by a 1×1 convolution, filters each channel by itself, projects; adds its input where shapes allow."""

    features: int
    size: int
    stride: int
    expand: int
    train_batch_norm: bool = False
    dtype: DTypeLike = jnp.float32
    lora: Lora = Lora()

    @nn.compact
    def __call__(self, x: Float[Array, "b h w f"], train: bool = False) -> Float[Array, "b h2 w2 f2"]:
        """Maps activations to activations."""
        conv = partial(
            ConvNorm, epsilon=_EPSILON, train_batch_norm=self.train_batch_norm, dtype=self.dtype, lora=self.lora
        )
        hidden = x.shape[-1] * self.expand
        y = x
        if self.expand != 1:
            y = nn.relu6(conv(hidden, name="expand")(y, train))
        depthwise = conv(hidden, self.size, self.stride, depthwise=True, name="depthwise")
        y = nn.relu6(depthwise(y, train))
        y = conv(self.features, name="project")(y, train)
        return x + y if x.shape == y.shape else y


class EfficientNetLite(nn.Module):
    """EfficientNet-Lite without its classifier: [n, h, w, 3] → [n, width].

    Inverted residual blocks with ReLU6 and without squeeze-and-excitation; TensorFlow's padding. Images are
    (pixel − 127)/128.

    Attributes:
        stages: Runs of blocks as (repeats, kernel size, stride, expansion, channels).
        stem: Channels of the first convolution.
        width: Features out.
        train_batch_norm: Whether batch statistics are used and updated while training.
        dtype: Of the computation; features are float32.
        blocks: "unrolled"; or "remade", where a gradient keeps what is between blocks alone and makes the rest anew.
        lora: Low-rank adapters of every kernel but the depthwise ones.

    Source: https://github.com/tensorflow/tpu/tree/master/models/official/efficientnet/lite
    """

    stages: tuple[tuple[int, ...], ...] = LITE0
    stem: int = 32
    width: int = 1280
    train_batch_norm: bool = False
    dtype: DTypeLike = jnp.float32
    blocks: str = "unrolled"
    lora: Lora = Lora()

    @nn.compact
    def __call__(self, images: Float[Array, "b h w 3"], train: bool = False) -> Float[Array, "b features"]:
        """Maps normalized images to pooled features."""
        conv = partial(
            ConvNorm, epsilon=_EPSILON, train_batch_norm=self.train_batch_norm, dtype=self.dtype, lora=self.lora
        )
        x = nn.relu6(conv(self.stem, 3, 2, name="stem")(images, train))
        block = nn.remat(InvertedResidual, static_argnums=(2,)) if self.blocks == "remade" else InvertedResidual
        for index, (stage, stride) in enumerate(_blocks(self.stages)):
            x = block(
                stage.features,
                stage.size,
                stride,
                stage.expand,
                self.train_batch_norm,
                self.dtype,
                self.lora,
                name=f"block_{index}",
            )(x, train)
        x = nn.relu6(conv(self.width, name="head")(x, train))
        return x.astype(jnp.float32).mean(axis=(1, 2))


def _blocks(stages: tuple[tuple[int, ...], ...]) -> Iterator[tuple[Stage, int]]:
    for stage in map(Stage._make, stages):
        for repeat in range(stage.repeats):
            yield stage, stage.stride if repeat == 0 else 1


_UNITS = {
    "stem": ("_conv_stem", "_bn0"),
    "expand": ("_expand_conv", "_bn0"),
    "depthwise": ("_depthwise_conv", "_bn1"),
    "project": ("_project_conv", "_bn2"),
    "head": ("_conv_head", "_bn1"),
}


def published_name(place: tuple[str, ...]) -> str:
    """Name of a tensor in the published checkpoint of EfficientNet-Lite.

    Example:
        >>> published_name(("block_3", "expand", "mean"))
        '_blocks.3._bn0.running_mean'
    """
    *block, unit, kind = place
    convolution, norm = _UNITS[unit]
    prefix = "".join(f"_blocks.{name.removeprefix('block_')}." for name in block)
    return f"{prefix}{convolution}.weight" if kind == "kernel" else f"{prefix}{norm}.{PUBLISHED_NORM[kind]}"


def is_unused(name: str) -> bool:
    """Whether a published tensor is none of the features' business: the classifier, batch counters."""
    return name.startswith("_fc.") or name.endswith(".num_batches_tracked")
