"""Draft by the lead to unblock training: replace freely, keep the interface."""

from __future__ import annotations

import flax.linen as nn
import jax
import jax.numpy as jnp


class Head(nn.Module):
    dim: int = 128
    clip_radius: float = 2.3
    clip: str = "soft"
    normalize: str = "none"
    init: str = "orthogonal"
    dropout: float = 0.0
    start_radius: float | None = None

    @nn.compact
    def __call__(self, features, train=False):
        x = features.astype(jnp.float32)
        if self.normalize == "standardize":
            mean = self.variable("statistics", "mean", jnp.zeros, x.shape[-1:])
            std = self.variable("statistics", "std", jnp.ones, x.shape[-1:])
            x = (x - mean.value[None]) / std.value[None]
        elif self.normalize == "layer":
            x = nn.LayerNorm()(x)
        x = nn.Dropout(self.dropout, deterministic=not train)(x)
        kernel = self.param("kernel", nn.initializers.orthogonal(), (x.shape[-1], self.dim))
        v = jnp.matmul(x, kernel, precision="highest")
        norm = jnp.sqrt(jnp.sum(v**2, -1, keepdims=True) + 1e-12)
        return v * (self.clip_radius * jnp.tanh(norm / self.clip_radius) / norm)


def calibrate(head, variables, features):
    variables = dict(variables)
    if head.normalize == "standardize":
        variables["statistics"] = {"mean": features.mean(0), "std": features.std(0) + 1e-3}
    st = variables.get("statistics", {"mean": 0., "std": 1.})
    norm = jnp.linalg.norm(((features - st["mean"]) / st["std"]) @ variables["params"]["kernel"], axis=-1)
    start = head.start_radius or head.clip_radius / 2
    scale = head.clip_radius * jnp.arctanh(start / head.clip_radius) / norm.mean()
    params = dict(variables["params"])
    params["kernel"] = params["kernel"] * scale
    return {**variables, "params": params}
