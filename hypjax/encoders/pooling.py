"""Features out of tokens, by attention."""

from functools import partial

import flax.linen as nn
import jax.numpy as jnp
from einops import rearrange
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from hypjax.encoders import tokens
from hypjax.encoders.layers import ACTIVATIONS, Dense, LayerNorm
from hypjax.encoders.lora import Lora


class AttentionPooling(nn.Module):
    """One learned query that attends to all tokens, then a perceptron beside it: [b, n, f] → [b, f].

    Source: Zhai et al., Scaling Vision Transformers, CVPR 2022.
    """

    heads: int
    dtype: DTypeLike = jnp.float32
    mlp: str = "gelu"
    hidden: int = 0
    epsilon: float = 1e-6
    lora: Lora = Lora()

    @nn.compact
    def __call__(self, x: Float[Array, "b n f"]) -> Float[Array, "b f"]:
        """Maps tokens to one."""
        width = x.shape[-1]
        dense = partial(Dense, dtype=self.dtype, lora=self.lora)
        latent = self.param("latent", nn.initializers.normal(0.02), (1, 1, width))
        q = dense(width, name="q")(jnp.broadcast_to(latent, (len(x), 1, width)))
        kv = dense(2 * width, biased=(True, True), name="kv")(x)
        q = rearrange(q, "b n (h d) -> b n h d", h=self.heads)
        k, v = rearrange(kv, "b n (two h d) -> two b n h d", two=2, h=self.heads)
        x = dense(width, name="proj")(tokens.attend(q, k, v).reshape(len(x), 1, width))
        y = LayerNorm(self.dtype, self.epsilon, name="norm")(x)
        function, widening = ACTIVATIONS[self.mlp]
        hidden = self.hidden or 4 * width
        y = function(dense(widening * hidden, biased=(True,) * widening, name="fc_1")(y))
        return (x + dense(width, name="fc_2")(y))[:, 0]
