"""Depthwise convolution in two forms: XLA's own, and sums of shifted copies where that is faster, on CPU.

XLA's grouped convolution is slow on CPU, and the gradient it derives from a sum of shifted copies is slower still. So
the tangents of the shifted form are written such that what reverse mode makes of them, their transposes, are fast: with
a rule for tangents alone, forward mode and higher derivatives work too [ours].
"""

from collections.abc import Sequence
from functools import partial, reduce

import jax
import jax.numpy as jnp
from jax import lax
from jax.custom_derivatives import SymbolicZero
from jaxtyping import Array, Float

Padding = Sequence[tuple[int, int]]
# Rows added up at full speed before a reduction, which XLA runs one number at a time on CPU, takes the rest.
_ROWS_AT_ONCE = 8


def depthwise_conv(
    x: Float[Array, "b h w f"], kernel: Float[Array, "k k 1 f"], *, stride: int = 1, padding: Padding
) -> Float[Array, "b h2 w2 f"]:
    """Filters every channel by itself, in whichever form is the faster where it runs.

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
    return _conv(x, kernel, stride, tuple((int(before), int(after)) for before, after in padding))


@partial(jax.custom_jvp, nondiff_argnums=(2, 3))
def _rule(x: Array, kernel: Array, stride: int, padding: Padding) -> Array:
    shifted, grouped = (
        partial(f, stride=stride, padding=padding) for f in (shifted_depthwise_conv, lax_depthwise_conv)
    )
    return lax.platform_dependent(x, kernel, cpu=shifted, default=grouped)


_conv = jax.jit(_rule, static_argnums=(2, 3))  # traced once for each shape


@partial(_rule.defjvp, symbolic_zeros=True)
def _conv_jvp(stride, padding, primals, tangents):
    (x, kernel), (dx, dk) = primals, tangents
    y = _conv(x, kernel, stride, padding)
    dy = jnp.zeros_like(y)
    for moved, along, operands in ((dx, _along_images, (dx, kernel)), (dk, _along_kernel, (x, dk))):
        if not isinstance(moved, SymbolicZero):
            shifted, grouped = (partial(f, stride=stride, padding=padding) for f in (along, lax_depthwise_conv))
            chosen = partial(lax.platform_dependent, cpu=shifted, default=grouped)
            # Checkpointed, so that a gradient keeps the images and not a shifted copy for each tap.
            dy += jax.checkpoint(chosen, prevent_cse=False)(*operands)
    return y, dy


def lax_depthwise_conv(
    x: Float[Array, "b h w f"], kernel: Float[Array, "k k 1 f"], stride: int, padding: Padding
) -> Float[Array, "b h2 w2 f"]:
    """The same by XLA's grouped convolution, which accelerators run well."""
    dimensions = ("NHWC", "HWIO", "NHWC")
    return lax.conv_general_dilated(
        x, kernel, (stride, stride), padding, dimension_numbers=dimensions, feature_group_count=x.shape[-1]
    )


def shifted_depthwise_conv(
    x: Float[Array, "b h w f"], kernel: Float[Array, "k k 1 f"], stride: int, padding: Padding
) -> Float[Array, "b h2 w2 f"]:
    """The same as a sum of shifted copies of the padded images, which XLA fuses into one loop."""
    taps, *_ = _taps(x, kernel, stride, padding)
    return reduce(jnp.add, (tap * k[None, None] for tap, k in zip(taps, kernel.reshape(len(taps), 1, -1), strict=True)))


def _taps(x: Array, kernel: Array, stride: int, padding: Padding) -> tuple[list[Array], int, int]:
    """What each entry of the kernel sees of the padded images [b, h2, w2, f], row by row; h2, w2."""
    padded = jnp.pad(x, ((0, 0), *padding, (0, 0)))
    height, width = ((padded.shape[axis] - kernel.shape[axis - 1]) // stride + 1 for axis in (1, 2))
    rows, columns = (
        [slice(start, start + (extent - 1) * stride + 1, stride) for start in range(kernel.shape[axis])]
        for axis, extent in enumerate((height, width))
    )
    return [padded[:, u, v] for u in rows for v in columns], height, width


def _along_images(dx: Array, kernel: Array, stride: int, padding: Padding) -> Array:
    """The convolution of dx, as the transpose of the images' gradient."""
    y = jax.eval_shape(partial(shifted_depthwise_conv, stride=stride, padding=padding), dx, kernel)
    gradient = partial(_images_gradient, kernel=kernel, stride=stride, padding=padding, shape=dx.shape)
    return jax.linear_transpose(gradient, y)(dx)[0]


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


def _along_kernel(x: Array, dk: Array, stride: int, padding: Padding) -> Array:
    """The convolution by dk, one band of rows repeated.

    Transposed, the products with the cotangent are summed over bands, then within each image, then over images.
    """
    taps, height, width = _taps(x, dk, stride, padding)
    step = max(rows for rows in range(1, _ROWS_AT_ONCE + 1) if height % rows == 0)
    # For each image first: a batch that is spread over devices is then summed across them once, not for every tap.
    per_image = jnp.broadcast_to(dk.astype(jnp.float32).reshape(len(taps), 1, -1), (len(taps), len(x), x.shape[-1]))
    shape = (len(x), height // step, width, x.shape[-1])
    # Split, whose transpose is one concatenation; that of indexing adds up as many padded copies.
    weights = lax.split(per_image, [1] * len(taps))
    bands = [jnp.broadcast_to(w[0, :, None, None], shape).astype(x.dtype) for w in weights]
    # Without the barrier XLA folds the fast sums back into the slow reduction.
    bands = lax.optimization_barrier(bands)
    return reduce(
        jnp.add, (tap * jnp.concatenate([band] * step, axis=1) for tap, band in zip(taps, bands, strict=True))
    )
