"""What transformers and ConvNeXt are built of: linear maps with adapters, layer normalization, layer scale."""

from collections.abc import Callable

import flax.linen as nn
import jax.numpy as jnp
from einops import rearrange
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from hypjax.encoders import lora, tokens
from hypjax.encoders.lora import Lora

# What a perceptron of a block does between its two maps, and how many times as wide the first one gives it.
ACTIVATIONS: dict[str, tuple[Callable[[Array], Array], int]] = {
    "gelu": (tokens.gelu, 1),
    "gelu_tanh": (tokens.gelu_tanh, 1),
    "quick_gelu": (tokens.quick_gelu, 1),
    "swiglu": (tokens.swiglu, 2),
}


class Dense(nn.Module):
    """A linear map of each token: [b, n, f] → [b, n, features].

    Attributes:
        features: Out.
        dtype: Of the computation.
        biased: Which of equal shares of the features have a bias. The shares have adapters of their own.
        lora: Low-rank adapters of the kernel.
    """

    features: int
    dtype: DTypeLike = jnp.float32
    biased: tuple[bool, ...] = (True,)
    lora: Lora = Lora()

    @nn.compact
    def __call__(self, x: Float[Array, "b n f"], gain: Float[Array, " g"] | None = None) -> Float[Array, "b n g"]:
        """Maps tokens to tokens, each feature multiplied by its gain, where there is one."""
        into, parts = x.shape[-1], len(self.biased)
        kernel = self.param("kernel", nn.initializers.lecun_normal(), (into, self.features))
        share, bias = self.features // parts, jnp.zeros(self.features, self.dtype)
        if any(self.biased):
            held = self.param("bias", nn.initializers.zeros, (share * sum(self.biased),))
            bias = held if all(self.biased) else _spread(held, self.biased)
        # A gain is folded into the kernel: neither it nor its gradient passes over the tokens.
        x, kernel, bias = x.astype(self.dtype), _times(kernel, gain), _times(bias, gain)
        kernel, bias = kernel.astype(self.dtype), bias.astype(self.dtype)
        if not self.lora.rank:
            return tokens.dense(x, kernel, bias)
        a, b = lora.factors(self, self.lora, into, self.features, parts)
        none = jnp.zeros(a.shape[1], self.dtype)
        low = tokens.dense(x, a.astype(self.dtype), none)
        # The kernel is frozen, and its gradient is not one of those that a plain product has to give.
        y = x @ kernel + bias[None, None]
        return y + tokens.dense(low, _times(b, gain).astype(self.dtype), jnp.zeros_like(bias))


def _times(x: Array, gain: Array | None) -> Array:
    if gain is None:
        return x
    x, gain = x.astype(jnp.float32), gain.astype(jnp.float32)  # what is kept in bfloat16 is not rounded a second time
    return x * gain.reshape((1,) * (x.ndim - 1) + gain.shape)


def _spread(held: Array, biased: tuple[bool, ...]) -> Array:
    """The biases that there are among zeros for those there are none of."""
    shares = iter(jnp.split(held, sum(biased)))
    none = jnp.zeros(len(held) // sum(biased), held.dtype)
    return jnp.concatenate([next(shares) if there else none for there in biased])


class LayerNorm(nn.Module):
    """Each token brought to mean 0 and variance 1 over its features, then scaled and shifted."""

    dtype: DTypeLike = jnp.float32
    epsilon: float = 1e-6

    @nn.compact
    def __call__(self, x: Float[Array, "*n f"]) -> Float[Array, "*n f"]:
        """Maps tokens to tokens."""
        scale = self.param("scale", nn.initializers.ones, x.shape[-1:])
        bias = self.param("bias", nn.initializers.zeros, x.shape[-1:])
        return tokens.layer_norm(x, scale, bias, self.epsilon).astype(self.dtype)


class LayerScale(nn.Module):
    """A learned gain of each feature of what a block adds, small at the start.

    Source: Touvron et al., Going deeper with Image Transformers, ICCV 2021.
    """

    features: int

    @nn.compact
    def __call__(self) -> Float[Array, " f"]:
        """The gains."""
        return self.param("gamma", nn.initializers.constant(1e-5), (self.features,))


class PatchEmbedding(nn.Module):
    """A linear map of each patch: [b, h, w, c] → [b, (h/patch)·(w/patch), width].

    Attributes:
        patch: Height and width of a patch.
        width: Features out.
        dtype: Of the computation.
        biased: Whether there is a bias.
        lora: Low-rank adapters of the kernel, seen as a matrix.
    """

    patch: int
    width: int
    dtype: DTypeLike = jnp.float32
    biased: bool = True
    lora: Lora = Lora()

    @nn.compact
    def __call__(self, images: Float[Array, "b h w c"]) -> Float[Array, "b n f"]:
        """Cuts images into patches and embeds them, row by row."""
        patch, channels = self.patch, images.shape[-1]
        shape = (patch, patch, channels, self.width)
        kernel = self.param("kernel", nn.initializers.lecun_normal(in_axis=(0, 1, 2)), shape)
        bias = jnp.zeros(self.width, self.dtype)
        if self.biased:
            bias = self.param("bias", nn.initializers.zeros, (self.width,))
        patches = rearrange(images, "b (h p) (w q) c -> b (h w) (p q c)", p=patch, q=patch)
        flat = rearrange(kernel, "p q c f -> (p q c) f")
        if self.lora.rank:
            a, b = lora.factors(self, self.lora, len(flat), self.width)
            flat = flat + a @ b
        return tokens.dense(patches.astype(self.dtype), flat.astype(self.dtype), bias.astype(self.dtype))
