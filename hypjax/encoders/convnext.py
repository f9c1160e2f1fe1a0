"""ConvNeXt, with the layout of the published weights."""

from functools import partial

import flax.linen as nn
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from hypjax.encoders import tokens
from hypjax.encoders.depthwise import depthwise_conv
from hypjax.encoders.layers import Dense, LayerNorm, LayerScale, PatchEmbedding
from hypjax.encoders.lora import Lora


class Depthwise(nn.Module):
    """A 7×7 convolution of each channel by itself, padded with zeros: [b, h, w, f] → [b, h, w, f]."""

    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, "b h w f"]) -> Float[Array, "b h w f"]:
        """Convolves."""
        features = x.shape[-1]
        kernel = self.param("kernel", nn.initializers.truncated_normal(0.02), (7, 7, 1, features))
        bias = self.param("bias", nn.initializers.zeros, (features,))
        y = depthwise_conv(x.astype(self.dtype), kernel.astype(self.dtype), stride=1, padding=[(3, 3), (3, 3)])
        return y + bias.astype(self.dtype)[None, None, None, :]


class ConvNeXtBlock(nn.Module):
    """A depthwise convolution, then a two-layer perceptron of each pixel, scaled and added to the input.

    x ← x + γ mlp(norm(conv(x)))
    """

    dtype: DTypeLike = jnp.float32
    lora: Lora = Lora()

    @nn.compact
    def __call__(self, x: Float[Array, "b h w f"]) -> Float[Array, "b h w f"]:
        """Maps activations to activations."""
        width = x.shape[-1]
        dense = partial(Dense, dtype=self.dtype, lora=self.lora)
        y = Depthwise(self.dtype, name="conv")(x)
        y = LayerNorm(self.dtype, name="norm")(y).reshape(len(x), -1, width)
        y = tokens.gelu(dense(4 * width, name="fc_1")(y))
        return x + dense(width, name="fc_2")(y, LayerScale(width, name="scale")()).reshape(x.shape)


class Downsample(nn.Module):
    """Each patch of pixels mapped to one; rows and columns that make no whole patch are left out."""

    patch: int
    width: int
    dtype: DTypeLike = jnp.float32
    lora: Lora = Lora()

    @nn.compact
    def __call__(self, x: Float[Array, "b h w f"]) -> Float[Array, "b h2 w2 g"]:
        """Maps activations to fewer pixels."""
        rows, columns = (side // self.patch for side in x.shape[1:3])
        x = x[:, : rows * self.patch, : columns * self.patch]
        y = PatchEmbedding(self.patch, self.width, self.dtype, lora=self.lora, name="conv")(x)
        return y.reshape(len(x), rows, columns, self.width)


class ConvNeXt(nn.Module):
    """ConvNeXt without its classifier: [n, h, w, 3] → [n, features], the normalized average of the last stage.

    Attributes:
        depths: Blocks of each stage.
        widths: Channels of each stage.
        dtype: Of the computation; features are float32.
        blocks: "unrolled"; or "remade", where a gradient keeps what is between blocks alone and makes the rest anew.
        lora: Low-rank adapters of every kernel but the depthwise ones.

    Source: Liu et al., A ConvNet for the 2020s, CVPR 2022.
    """

    depths: tuple[int, ...] = (3, 3, 9, 3)
    widths: tuple[int, ...] = (96, 192, 384, 768)
    dtype: DTypeLike = jnp.float32
    blocks: str = "unrolled"
    lora: Lora = Lora()

    @nn.compact
    def __call__(self, images: Float[Array, "b h w 3"], train: bool = False) -> Float[Array, "b features"]:
        """Maps normalized images to pooled features.

        Raises:
            ValueError: If the images are smaller than what one pixel of the last stage sees.
        """
        del train  # nothing here is random or has statistics
        least = 4 * 2 ** (len(self.depths) - 1)
        if min(images.shape[1:3]) < least:
            raise ValueError(f"images of {images.shape[1]} × {images.shape[2]} are smaller than {least}; resize them")
        block = nn.remat(ConvNeXtBlock) if self.blocks == "remade" else ConvNeXtBlock
        x = images.astype(self.dtype)
        for stage, (depth, width) in enumerate(zip(self.depths, self.widths, strict=True)):
            name = f"stage_{stage}_downsample" if stage else "stem"
            if stage:
                x = LayerNorm(self.dtype, name=f"{name}_norm")(x)
            x = Downsample(2 if stage else 4, width, self.dtype, self.lora, name=name)(x)
            if not stage:
                x = LayerNorm(self.dtype, name=f"{name}_norm")(x)
            for index in range(depth):
                x = block(self.dtype, self.lora, name=f"stage_{stage}_block_{index}")(x)
        return LayerNorm(name="norm")(x.astype(jnp.float32).mean(axis=(1, 2)))


_UNITS = {"norm": "norm", "conv": "conv_dw", "fc_1": "mlp.fc1", "fc_2": "mlp.fc2"}


def published_name(place: tuple[str, ...]) -> str:
    """Name of a tensor in timm's checkpoints.

    Example:
        >>> published_name(("stage_2_block_0", "fc_1", "kernel")), published_name(("stem", "conv", "bias"))
        ('stages.2.blocks.0.mlp.fc1.weight', 'stem.0.bias')
    """
    unit, kind = place[0], "bias" if place[-1] == "bias" else "weight"
    if unit == "norm":
        return f"head.norm.{kind}"
    if unit.startswith("stem"):
        return f"stem.{1 if unit.endswith('norm') else 0}.{kind}"
    _, stage, part, *rest = unit.split("_")
    if part == "downsample":
        return f"stages.{stage}.downsample.{0 if rest else 1}.{kind}"
    block = f"stages.{stage}.blocks.{rest[0]}"
    return f"{block}.gamma" if place[1] == "scale" else f"{block}.{_UNITS[place[1]]}.{kind}"


def is_unused(name: str) -> bool:
    """Whether a published tensor is none of the features' business: the classifier."""
    return name.startswith(("head.fc.", "head.pre_logits."))
