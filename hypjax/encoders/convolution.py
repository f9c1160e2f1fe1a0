"""Convolution and batch normalization as one layer, the unit that the convolutional encoders are built of."""

import math

import flax.linen as nn
import jax.numpy as jnp
from jax import lax
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from hypjax.encoders import lora
from hypjax.encoders.depthwise import depthwise_conv
from hypjax.encoders.lora import Lora

PUBLISHED_NORM = {"scale": "weight", "bias": "bias", "mean": "running_mean", "var": "running_var"}  # PyTorch's names
_DIMENSIONS = ("NHWC", "HWIO", "NHWC")


class ConvNorm(nn.Module):
    """A convolution without bias, followed by batch normalization.

        y = scale · (conv(x, kernel) − mean) / √(var + epsilon) + bias

    While the statistics stand still they are folded into the kernel, which gives the same numbers and gradients with
    no pass over the activations: conv(x, kernel · gain) + (bias − mean · gain), gain = scale / √(var + epsilon).

    Attributes:
        features: Channels out.
        size: Height and width of the kernel.
        stride: Step in both directions.
        padding: "SAME" pads as TensorFlow does (an odd zero at the end), a number as PyTorch does (on all sides).
        depthwise: Filters every channel by itself.
        epsilon: Added to the variance.
        momentum: Share of the running statistics that survives a step.
        train_batch_norm: With `train=True`, normalize by the batch and update the running statistics (collection
            `batch_stats`, which `apply` then needs among its `mutable`); otherwise they stay as they were loaded.
        dtype: Of the computation; parameters and statistics are float32.
        lora: Low-rank adapters of the kernel, seen as a matrix of as many columns as features; not of a depthwise one.
    """

    features: int
    size: int = 1
    stride: int = 1
    padding: str | int = "SAME"
    depthwise: bool = False
    epsilon: float = 1e-5
    momentum: float = 0.9
    train_batch_norm: bool = False
    dtype: DTypeLike = jnp.float32
    lora: Lora = Lora()

    @nn.compact
    def __call__(self, x: Float[Array, "b h w f"], train: bool = False) -> Float[Array, "b h2 w2 f2"]:
        """Convolves and normalizes."""
        shape = (self.size, self.size, 1 if self.depthwise else x.shape[-1], self.features)
        kernel = self.param("kernel", nn.initializers.variance_scaling(2.0, "fan_in", "normal"), shape)
        if self.lora.rank and not self.depthwise:
            a, b = lora.factors(self, self.lora, math.prod(shape[:3]), self.features)
            kernel = kernel + (a @ b).reshape(shape)
        scale = self.param("scale", nn.initializers.ones, (self.features,))
        bias = self.param("bias", nn.initializers.zeros, (self.features,))
        mean = self.variable("batch_stats", "mean", jnp.zeros, (self.features,))
        var = self.variable("batch_stats", "var", jnp.ones, (self.features,))
        x = x.astype(self.dtype)
        if train and self.train_batch_norm and not self.is_initializing():
            y = self._convolve(x, kernel.astype(self.dtype)).astype(jnp.float32)
            batch_mean, batch_var = y.mean(axis=(0, 1, 2)), y.var(axis=(0, 1, 2))
            mean.value = self.momentum * mean.value + (1 - self.momentum) * batch_mean
            var.value = self.momentum * var.value + (1 - self.momentum) * batch_var
            gain = scale * lax.rsqrt(batch_var + self.epsilon)
            return (_as_image(gain) * y + _as_image(bias - batch_mean * gain)).astype(self.dtype)
        gain = scale * lax.rsqrt(var.value + self.epsilon)
        y = self._convolve(x, (kernel * _as_image(gain)).astype(self.dtype))
        return y + _as_image((bias - mean.value * gain).astype(self.dtype))

    def _convolve(self, x: Array, kernel: Array) -> Array:
        strides = (self.stride, self.stride)
        if isinstance(self.padding, int):
            padding = [(self.padding, self.padding)] * 2
        else:
            padding = lax.padtype_to_pads(x.shape[1:3], kernel.shape[:2], strides, self.padding)
        if self.depthwise:
            return depthwise_conv(x, kernel, stride=self.stride, padding=padding)
        if self.size == 1 and not any(map(any, padding)):
            # As a matrix product: the gradient of a 1×1 convolution is slow on CPU.
            return jnp.matmul(x[:, :: self.stride, :: self.stride], kernel[0, 0])
        return lax.conv_general_dilated(x, kernel, strides, padding, dimension_numbers=_DIMENSIONS)


def _as_image(v: Array) -> Array:
    return v[None, None, None, :]
