"""Operations of the matrix unit in a traced program: the products and convolutions that it is written with."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
from jax.extend.core import ClosedJaxpr, Jaxpr, JaxprEqn


def operations(traced: ClosedJaxpr | Jaxpr) -> float:
    """Multiplications and additions of all matrix products and convolutions, every turn of a loop counted.

    A compiler's own count takes one turn of each loop, and so one block of a loss that is made in blocks. Only products
    with numbers are counted: none with the zeros of padding or dilation. Of a condition the largest branch counts, of a
    loop of unknown length one turn.

    Args:
      traced: `jitted.trace(...).jaxpr`; of the global batch, so that the figure is that of all devices together.
    """
    jaxpr = traced.jaxpr if isinstance(traced, ClosedJaxpr) else traced
    return sum(_of_equation(equation) for equation in jaxpr.eqns)


def _of_equation(equation: JaxprEqn) -> float:
    name, params = equation.primitive.name, equation.params
    if name == "dot_general":
        return _of_product(equation)
    if name == "conv_general_dilated":
        return _of_convolution(equation)
    inside = [operations(part) for part in _within(params)]
    if name == "cond":
        return max(inside, default=0.0)
    return sum(inside) * (params["length"] if name == "scan" else 1)


def _within(params: dict[str, Any]) -> Iterator[ClosedJaxpr | Jaxpr]:
    for value in params.values():
        for part in value if isinstance(value, tuple | list) else (value,):
            if isinstance(part, ClosedJaxpr | Jaxpr):
                yield part


def _of_product(equation: JaxprEqn) -> float:
    (contracted, _), _ = equation.params["dimension_numbers"]
    left, _, result = _shapes(equation)
    return 2.0 * math.prod(left[axis] for axis in contracted) * math.prod(result)


def _of_convolution(equation: JaxprEqn) -> float:
    numbers, params = equation.params["dimension_numbers"], equation.params
    image, kernel, result = _shapes(equation)
    (out_batch, out_features, *out_space), (_, kernel_features, *kernel_space) = numbers.out_spec, numbers.rhs_spec
    met = math.prod(
        _meetings(image[at], kernel[k], result[o], stride, low, lhs, rhs)
        for at, k, o, stride, (low, _), lhs, rhs in zip(
            numbers.lhs_spec[2:],
            kernel_space,
            out_space,
            params["window_strides"],
            params["padding"],
            params["lhs_dilation"],
            params["rhs_dilation"],
            strict=True,
        )
    )
    return 2.0 * result[out_batch] * result[out_features] * kernel[kernel_features] * met


def _shapes(equation: JaxprEqn) -> list[tuple[int, ...]]:
    """Of both operands and the result."""
    found: list[Any] = [variable.aval for variable in (*equation.invars[:2], equation.outvars[0])]
    return [array.shape for array in found]


def _meetings(image: int, kernel: int, result: int, stride: int, low: int, lhs: int, rhs: int) -> int:
    """Pairs of a place in the result and a place in the kernel that meet a number of the image, along one axis."""
    places = np.arange(result)[:, None] * stride + np.arange(kernel)[None] * rhs - low
    return int(((places >= 0) & (places <= (image - 1) * lhs) & (places % lhs == 0)).sum())
