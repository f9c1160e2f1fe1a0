"""Encoders by name, their published weights, and the head that leads into a geometry."""

from functools import partial
from typing import Any

import flax.linen as nn
import jax.numpy as jnp
from jax.typing import DTypeLike

from hypjax.encoders.efficientnet import EfficientNetLite
from hypjax.encoders.weights import load_weights, packaged_weights

_ENCODERS = {"efficientnet_lite0": EfficientNetLite}
_PREPROCESSING = {"efficientnet_lite0": ((127 / 255,) * 3, (128 / 255,) * 3)}


def create(name: str, *, dtype: DTypeLike = jnp.float32, **sizes: Any) -> nn.Module:
    """An encoder by its name."""
    return _ENCODERS[name](dtype=dtype, **sizes)


def preprocessing(name: str) -> tuple[tuple[float, float, float], tuple[float, float, float]]:
    """Mean and std."""
    return _PREPROCESSING[name]
