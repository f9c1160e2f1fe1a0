"""Convolution followed by batch normalization, and the depthwise convolution in a form that is fast on CPU."""

from collections.abc import Sequence

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

from hypjax.encoders.depthwise import depthwise_conv

_DIMENSIONS = ("NHWC", "HWIO", "NHWC")


class ConvNorm(nn.Module):
    """Convolution and batch normalization in one."""

    features: int
    size: int = 1
    stride: int = 1
    depthwise: bool = False
    padding: str | int = "SAME"
    epsilon: float = 1e-5
    momentum: float = 0.9
    train_batch_norm: bool = False
    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, x, train: bool = False):
        inputs = 1 if self.depthwise else x.shape[-1]
        kernel = self.param("kernel", nn.initializers.variance_scaling(2.0, "fan_out", "normal"), (self.size, self.size, inputs, self.features))
        scale = self.param("scale", nn.initializers.ones, (self.features,))
        bias = self.param("bias", nn.initializers.zeros, (self.features,))
        mean = self.variable("batch_stats", "mean", jnp.zeros, (self.features,))
        var = self.variable("batch_stats", "var", jnp.ones, (self.features,))

        gain = scale * lax.rsqrt(var.value + self.epsilon)
        shift = bias - mean.value * gain
        kernel = kernel * gain[None, None, None, :]
        y = self._convolve(x.astype(self.dtype), kernel.astype(self.dtype))
        return y + shift.astype(self.dtype)[None, None, None, :]

    def _convolve(self, x, kernel):
        if isinstance(self.padding, int):
            pads = [(self.padding, self.padding)] * 2
        else:
            pads = lax.padtype_to_pads(x.shape[1:3], kernel.shape[:2], (self.stride, self.stride), self.padding)
        if self.depthwise:
            return depthwise_conv(x, kernel, stride=self.stride, padding=pads)
        if self.size == 1 and self.stride == 1:
            return lax.dot_general(x, kernel[0, 0], (((3,), (0,)), ((), ())))
        return lax.conv_general_dilated(x, kernel, (self.stride, self.stride), pads, dimension_numbers=_DIMENSIONS)
