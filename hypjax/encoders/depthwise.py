"""Depthwise convolution in two forms: XLA's own, and sums of shifted copies where that is faster, on CPU.

XLA's grouped convolution is slow on CPU, and the gradient it derives from a sum of shifted copies is slower still,
so both gradients of the shifted form are written out here.
"""

from collections.abc import Sequence
from functools import partial, reduce

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

Padding = Sequence[tuple[int, int]]
# Rows added up at full speed before a reduction, which XLA runs one number at a time on CPU, takes the rest.
_ROWS_AT_ONCE = 8


def depthwise_conv(
    x: Float[Array, "b h w f"], kernel: Float[Array, "k k 1 f"], *, stride: int = 1, padding: Padding
) -> Float[Array, "b h2 w2 f"]:
    """Filters every channel by itself, in whichever form is the faster on the default backend.

        y[b, i, j, f] = Σ_{u,v} x[b, i·stride + u − top, j·stride + v − left, f] · kernel[u, v, 0, f]

    Args:
        x: Images.
        kernel: A square filter for each channel.
        stride: Step in both directions.
        padding: Zeros to add, `((top, bottom), (left, right))`.

    Returns:
        The filtered images, in the dtype of `x`.

    Example:
        >>> x = jnp.ones((1, 3, 3, 1))
        >>> depthwise_conv(x, jnp.ones((3, 3, 1, 1)), padding=((1, 1), (1, 1)))[0, :, :, 0].tolist()
        [[4.0, 6.0, 4.0], [6.0, 9.0, 6.0], [4.0, 6.0, 4.0]]
    """
    pads = tuple((int(before), int(after)) for before, after in padding)
    if jax.default_backend() == "cpu":
        return shifted_depthwise_conv(x, kernel, stride, pads)
    return lax_depthwise_conv(x, kernel, stride, pads)


def lax_depthwise_conv(
    x: Float[Array, "b h w f"], kernel: Float[Array, "k k 1 f"], stride: int, padding: Padding
) -> Float[Array, "b h2 w2 f"]:
    """The same by XLA's grouped convolution, which accelerators run well."""
    dimensions = ("NHWC", "HWIO", "NHWC")
    return lax.conv_general_dilated(
        x, kernel, (stride, stride), padding, dimension_numbers=dimensions, feature_group_count=x.shape[-1]
    )


@partial(jax.custom_vjp, nondiff_argnums=(2, 3))
def shifted_depthwise_conv(
    x: Float[Array, "b h w f"], kernel: Float[Array, "k k 1 f"], stride: int, padding: Padding
) -> Float[Array, "b h2 w2 f"]:
    """The same as a sum of shifted copies of the padded images, which XLA fuses into one loop."""
    (top, bottom), (left, right) = padding
    padded = jnp.pad(x, ((0, 0), (top, bottom), (left, right), (0, 0)))
    height = (padded.shape[1] - kernel.shape[0]) // stride + 1
    width = (padded.shape[2] - kernel.shape[1]) // stride + 1
    taps = [(u, v) for u in range(kernel.shape[0]) for v in range(kernel.shape[1])]
    return reduce(
        jnp.add,
        (_shifted(padded, u, v, height, width, stride) * kernel[u, v][None, None] for u, v in taps),
    )


def _shifted(padded: Array, u: int, v: int, height: int, width: int, stride: int) -> Array:
    rows = slice(u, u + (height - 1) * stride + 1, stride)
    columns = slice(v, v + (width - 1) * stride + 1, stride)
    return padded[:, rows, columns]


def _forward(x: Array, kernel: Array, stride: int, padding: Padding) -> tuple[Array, tuple[Array, Array]]:
    return shifted_depthwise_conv(x, kernel, stride, padding), (x, kernel)


def _backward(stride: int, padding: Padding, residuals: tuple[Array, Array], g: Array) -> tuple[Array, Array]:
    x, kernel = residuals
    return _images_gradient(g, kernel, stride, padding, x.shape), _kernel_gradient(x, g, kernel, stride, padding)


shifted_depthwise_conv.defvjp(_forward, _backward)


def _images_gradient(g: Array, kernel: Array, stride: int, padding: Padding, shape: tuple[int, ...]) -> Array:
    """The transposed convolution: the flipped kernel over the cotangent, spread out by the stride."""
    size = kernel.shape[0]
    spread = [(0, 0, 0)]
    for axis, (before, _) in enumerate(padding, start=1):
        low = size - 1 - before
        extent = (g.shape[axis] - 1) * stride + 1
        spread.append((low, shape[axis] + size - 1 - low - extent, stride - 1))
    g = lax.pad(g, jnp.zeros((), g.dtype), (*spread, (0, 0, 0)))
    return shifted_depthwise_conv(g, kernel[::-1, ::-1], 1, ((0, 0), (0, 0)))


def _kernel_gradient(x: Array, g: Array, kernel: Array, stride: int, padding: Padding) -> Array:
    """For each tap, the product of the shifted images with the cotangent, summed over images and positions."""
    (top, bottom), (left, right) = padding
    padded = jnp.pad(x, ((0, 0), (top, bottom), (left, right), (0, 0)))
    height, width = g.shape[1:3]
    step = max(rows for rows in range(1, _ROWS_AT_ONCE + 1) if height % rows == 0)
    bands = [slice(start, start + height // step) for start in range(0, height, height // step)]
    partial_sums = []
    for u in range(kernel.shape[0]):
        for v in range(kernel.shape[1]):
            shifted = _shifted(padded, u, v, height, width, stride)
            partial_sums.append(reduce(jnp.add, [shifted[:, band] * g[:, band] for band in bands]))
    # Without the barrier XLA folds the fast sums back into the slow reduction.
    partial_sums = lax.optimization_barrier(partial_sums)
    # Within each image first: a batch that is spread over devices is then summed across them once, not for every tap.
    per_image = jnp.stack([p.astype(jnp.float32).sum(axis=(1, 2)) for p in partial_sums])
    return per_image.sum(axis=1).reshape(kernel.shape).astype(kernel.dtype)
