"""Vision transformers, with the layout of the published ViT, DeiT and DINO weights."""

import math
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from einops import rearrange
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from hypjax.encoders import tokens

_EPSILON = 1e-6


class Dense(nn.Module):
    """A linear map of each token: [b, n, f] → [b, n, features]."""

    features: int
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, "b n f"]) -> Float[Array, "b n g"]:
        """Maps tokens to tokens."""
        kernel = self.param("kernel", nn.initializers.lecun_normal(), (x.shape[-1], self.features))
        bias = self.param("bias", nn.initializers.zeros, (self.features,))
        return tokens.dense(x.astype(self.dtype), kernel.astype(self.dtype), bias.astype(self.dtype))


class LayerNorm(nn.Module):
    """Each token brought to mean 0 and variance 1 over its features, then scaled and shifted."""

    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, "*n f"]) -> Float[Array, "*n f"]:
        """Maps tokens to tokens."""
        scale = self.param("scale", nn.initializers.ones, x.shape[-1:])
        bias = self.param("bias", nn.initializers.zeros, x.shape[-1:])
        return tokens.layer_norm(x, scale, bias, _EPSILON).astype(self.dtype)


class PatchEmbedding(nn.Module):
    """A linear map of each patch: [b, h, w, 3] → [b, (h/patch)·(w/patch), width]."""

    patch: int
    width: int
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, images: Float[Array, "b h w c"]) -> Float[Array, "b n f"]:
        """Cuts images into patches and embeds them, row by row."""
        patch, channels = self.patch, images.shape[-1]
        shape = (patch, patch, channels, self.width)
        kernel = self.param("kernel", nn.initializers.lecun_normal(in_axis=(0, 1, 2)), shape)
        bias = self.param("bias", nn.initializers.zeros, (self.width,))
        patches = rearrange(images, "b (h p) (w q) c -> b (h w) (p q c)", p=patch, q=patch)
        flat = rearrange(kernel, "p q c f -> (p q c) f")
        return tokens.dense(patches.astype(self.dtype), flat.astype(self.dtype), bias.astype(self.dtype))


class TransformerBlock(nn.Module):
    """Self-attention, then a two-layer perceptron; each is normalized first and added to its input.

    x ← x + attention(norm(x)),   x ← x + mlp(norm(x))

    Attributes:
        heads: Of the attention.
        asking: Leading tokens that are asked for, or None for all. The others are attended to and not made.
        dtype: Of the computation.
    """

    heads: int
    dtype: DTypeLike = jnp.float32
    asking: int | None = None

    @nn.compact
    def __call__(self, x: Float[Array, "b n f"]) -> Float[Array, "b m f"]:
        """Maps tokens to tokens."""
        width, asking = x.shape[-1], slice(self.asking)
        y = LayerNorm(self.dtype, name="norm_1")(x)
        qkv = Dense(3 * width, self.dtype, name="qkv")(y)
        q, k, v = rearrange(qkv, "b n (three h d) -> three b n h d", three=3, h=self.heads)
        x = x[:, asking]
        y = tokens.attend(q[:, asking], k, v).reshape(x.shape)
        x = x + Dense(width, self.dtype, name="proj")(y)
        y = LayerNorm(self.dtype, name="norm_2")(x)
        y = tokens.gelu(Dense(4 * width, self.dtype, name="fc_1")(y))
        return x + Dense(width, self.dtype, name="fc_2")(y)


class VisionTransformer(nn.Module):
    """Vision transformer without its classifier: [n, h, w, 3] → [n, width], the normalized class token.

    Attributes:
        patch: Height and width of a patch; must divide the images'.
        width: Of a token; must be a multiple of `heads`.
        depth: Blocks.
        heads: Of the attention.
        distilled: Carries DeiT's second token, beside the class token.
        dtype: Of the computation; features are float32.
        blocks: "unrolled"; "scanned", one program for all but the last, which is compiled in less time; or "remade",
            scanned, and a gradient keeps the tokens between blocks alone and makes what it needs inside of them anew.
            Scanned ones all have their gradients made, also where some are frozen.

    Source: Dosovitskiy et al., An Image is Worth 16x16 Words, ICLR 2021; Touvron et al., Training
    data-efficient image transformers & distillation through attention, ICML 2021.
    """

    patch: int = 16
    width: int = 384
    depth: int = 12
    heads: int = 6
    distilled: bool = False
    dtype: DTypeLike = jnp.float32
    blocks: str = "unrolled"

    @nn.compact
    def __call__(self, images: Float[Array, "b h w 3"], train: bool = False) -> Float[Array, "b features"]:
        """Maps normalized images to the features of the class token.

        Raises:
            ValueError: If the patches do not tile the images, or the heads do not share the width.
        """
        del train  # nothing here is random or has statistics
        height, width = images.shape[1:3]
        if height % self.patch or width % self.patch:
            raise ValueError(f"images of {height} × {width} cannot be cut into patches of {self.patch}; resize them")
        if self.width % self.heads:
            raise ValueError(f"width {self.width} is no multiple of heads {self.heads}; change one of them")
        x = PatchEmbedding(self.patch, self.width, self.dtype, name="patch_embed")(images)
        normal = nn.initializers.normal(0.02)
        names = ("cls_token", "dist_token") if self.distilled else ("cls_token",)
        leading = [self.param(name, normal, (1, 1, self.width)) for name in names]
        positions = self.param("pos_embed", normal, (1, len(leading) + x.shape[1], self.width))
        first = [jnp.broadcast_to(t.astype(self.dtype), (x.shape[0], 1, self.width)) for t in leading]
        x = jnp.concatenate([*first, x], axis=1) + positions.astype(self.dtype)
        x = self._through(x)
        # Only the class token leaves, and LayerNorm is for each token alone.
        return LayerNorm(name="norm")(x[:, 0].astype(jnp.float32))

    def _through(self, x: Float[Array, "b n f"]) -> Float[Array, "b 1 f"]:
        """All blocks; the last gives the class token alone."""
        names = [f"block_{index}" for index in range(self.depth)]
        last = TransformerBlock(self.heads, self.dtype, asking=1, name=names.pop())
        if self.blocks == "unrolled" or self.is_initializing() or not names:
            for name in names:
                x = TransformerBlock(self.heads, self.dtype, name=name)(x)
            return last(x)
        block = TransformerBlock(self.heads, self.dtype, parent=None)

        def step(x: Array, params: dict[str, Any]) -> tuple[Any, None]:
            return block.apply({"params": params}, x), None

        params = [self.variables["params"][name] for name in names]
        stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), *params)
        step = jax.checkpoint(step, prevent_cse=False) if self.blocks == "remade" else step
        return last(jax.lax.scan(step, x, stacked)[0])


_UNITS = {
    "norm_1": "norm1",
    "qkv": "attn.qkv",
    "proj": "attn.proj",
    "norm_2": "norm2",
    "fc_1": "mlp.fc1",
    "fc_2": "mlp.fc2",
    "patch_embed": "patch_embed.proj",
    "norm": "norm",
}


def published_name(place: tuple[str, ...]) -> str:
    """Name of a tensor in the checkpoints of timm, DeiT and DINO.

    Example:
        >>> published_name(("block_3", "qkv", "kernel"))
        'blocks.3.attn.qkv.weight'
    """
    if len(place) == 1:
        return place[0]
    *block, unit, kind = place
    prefix = "".join(f"blocks.{name.removeprefix('block_')}." for name in block)
    return f"{prefix}{_UNITS[unit]}.{'bias' if kind == 'bias' else 'weight'}"


def is_unused(name: str) -> bool:
    """Whether a published tensor is none of the features' business: classifiers and what leads only to them."""
    return name.startswith(("head.", "head_dist.", "pre_logits."))


def resample_positions(
    positions: Float[np.ndarray, "1 m f"], *, tokens: int, grid: tuple[int, int]
) -> Float[np.ndarray, "1 n f"]:
    """Position embeddings of a square grid of patches, resampled (cubic) to another grid.

    Args:
        positions: Those of `tokens` leading tokens, then of the grid row by row.
        tokens: Leading tokens, which keep theirs.
        grid: Rows and columns of patches wanted.

    Raises:
        ValueError: If what follows the leading tokens is no square grid.
    """
    first, rest = positions[:, :tokens], positions[:, tokens:]
    side = math.isqrt(rest.shape[1])
    if side * side != rest.shape[1]:
        raise ValueError(f"pos_embed has {rest.shape[1]} patches, not a square; expected {tokens} leading tokens")
    if (side, side) == tuple(grid):
        return positions
    square = jnp.asarray(rest.reshape(1, side, side, -1), jnp.float32)
    resized = jax.image.resize(square, (1, *grid, square.shape[-1]), "cubic")
    return np.concatenate([first, np.asarray(resized).reshape(1, -1, square.shape[-1])], axis=1)
