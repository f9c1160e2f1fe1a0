"""ResNets, with the layout and the padding of the published PyTorch weights."""

from functools import partial

import flax.linen as nn
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from hypjax.encoders.convolution import PUBLISHED_NORM, ConvNorm
from hypjax.encoders.lora import Lora


class ResidualBlock(nn.Module):
    """Two 3×3 convolutions, or a 1×1–3×3–1×1 bottleneck, beside a shortcut.

    Attributes:
        width: Channels inside; a bottleneck gives four times as many out.
        stride: Of the first 3×3 convolution.
        bottleneck: Which of the two.
        train_batch_norm: Whether batch statistics are used and updated while training.
        dtype: Of the computation.
        lora: Low-rank adapters of the kernels.
    """

    width: int
    stride: int = 1
    bottleneck: bool = False
    train_batch_norm: bool = False
    dtype: DTypeLike = jnp.float32
    lora: Lora = Lora()

    @nn.compact
    def __call__(self, x: Float[Array, "b h w f"], train: bool = False) -> Float[Array, "b h2 w2 f2"]:
        """Maps activations to activations."""
        conv = partial(ConvNorm, train_batch_norm=self.train_batch_norm, dtype=self.dtype, lora=self.lora)
        features = self.width * 4 if self.bottleneck else self.width
        if self.bottleneck:
            y = nn.relu(conv(self.width, name="conv_1")(x, train))
            y = nn.relu(conv(self.width, 3, self.stride, 1, name="conv_2")(y, train))
            y = conv(features, name="conv_3")(y, train)
        else:
            y = nn.relu(conv(self.width, 3, self.stride, 1, name="conv_1")(x, train))
            y = conv(features, 3, 1, 1, name="conv_2")(y, train)
        if x.shape != y.shape:
            x = conv(features, 1, self.stride, 0, name="shortcut")(x, train)
        return nn.relu(x + y)


class ResNet(nn.Module):
    """ResNet without its classifier: [n, h, w, 3] → [n, features], the global average of the last stage.

    The stride of a bottleneck is in its 3×3 convolution, as in the published weights.

    Attributes:
        stages: Number of blocks in each stage.
        width: Channels of the first stage, doubled in each next one.
        bottleneck: Three convolutions a block, and four times as many features, instead of two.
        train_batch_norm: Whether batch statistics are used and updated while training.
        dtype: Of the computation; features are float32.
        blocks: "unrolled"; or "remade", where a gradient keeps what is between blocks alone and makes the rest anew.
        lora: Low-rank adapters of every kernel.

    Source: He et al., Deep Residual Learning for Image Recognition, CVPR 2016.
    """

    stages: tuple[int, ...] = (3, 4, 6, 3)
    width: int = 64
    bottleneck: bool = True
    train_batch_norm: bool = False
    dtype: DTypeLike = jnp.float32
    blocks: str = "unrolled"
    lora: Lora = Lora()

    @nn.compact
    def __call__(self, images: Float[Array, "b h w 3"], train: bool = False) -> Float[Array, "b features"]:
        """Maps normalized images to pooled features."""
        conv = partial(ConvNorm, train_batch_norm=self.train_batch_norm, dtype=self.dtype, lora=self.lora)
        x = nn.relu(conv(self.width, 7, 2, 3, name="stem")(images, train))
        x = nn.max_pool(x, (3, 3), (2, 2), ((1, 1), (1, 1)))
        block = nn.remat(ResidualBlock, static_argnums=(2,)) if self.blocks == "remade" else ResidualBlock
        for stage, count in enumerate(self.stages):
            for index in range(count):
                stride = 2 if index == 0 and stage > 0 else 1
                x = block(
                    self.width * 2**stage,
                    stride,
                    self.bottleneck,
                    self.train_batch_norm,
                    self.dtype,
                    self.lora,
                    name=f"stage_{stage}_block_{index}",
                )(x, train)
        return x.astype(jnp.float32).mean(axis=(1, 2))


def published_name(place: tuple[str, ...]) -> str:
    """Name of a tensor in the checkpoints of torchvision and timm.

    Example:
        >>> published_name(("stage_2_block_0", "shortcut", "var"))
        'layer3.0.downsample.1.running_var'
    """
    *block, unit, kind = place
    prefix = ""
    if block:
        _, stage, _, index = block[0].split("_")
        prefix = f"layer{int(stage) + 1}.{index}."
    if unit == "shortcut":
        names = ("downsample.0", "downsample.1")
    else:
        number = unit.removeprefix("conv_") if block else "1"
        names = (f"conv{number}", f"bn{number}")
    return f"{prefix}{names[0]}.weight" if kind == "kernel" else f"{prefix}{names[1]}.{PUBLISHED_NORM[kind]}"


def is_unused(name: str) -> bool:
    """Whether a published tensor is none of the features' business: the classifier, batch counters."""
    return name.startswith("fc.") or name.endswith(".num_batches_tracked")
