"""What an encoder's variables and features look like, without computing any."""

from __future__ import annotations

import functools
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp


@functools.lru_cache(maxsize=16)  # tracing an encoder takes up to a second, and a start asks four times
def abstract(encoder: nn.Module, height: int, width: int) -> tuple[jax.ShapeDtypeStruct, dict[str, Any]]:
    """Shapes and types of the features of one image, [1, features], and of the variables.

    Args:
        encoder: A module of `hypjax.encoders.create`.
        height: Of the image, pixels.
        width: Of the image, pixels.
    """
    images = jax.ShapeDtypeStruct((1, height, width, 3), jnp.float32)
    features, variables = jax.eval_shape(encoder.init_with_output, jax.random.key(0), images)
    return features, dict(variables)
