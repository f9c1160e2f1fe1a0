"""A curvature that may be learned without leaving its bounds [ours]."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Array, Float

from hypjax.geometry.numerics import concrete


def bounded_curvature(raw: ArrayLike, low: ArrayLike, high: ArrayLike) -> Float[Array, ""]:
    """The curvature parameter of a free real number.

    c = low·(high/low)^sigmoid(raw), increasing, with the geometric mean √(low·high) at raw = 0: equal steps of the
    number are equal factors of the curvature.

    Args:
        raw: [] the number that is learned.
        low: smallest c, above 0.
        high: largest c, above low.

    Returns:
        c in [low, high].

    Raises:
        ValueError: unless 0 < low < high.

    Example:
        >>> from hypjax.optim import bounded_curvature
        >>> print(f"{bounded_curvature(0.0, 0.01, 1.0):.4f}")
        0.1000
    """
    _check_bounds(low, high)
    raw = jnp.asarray(raw, jnp.result_type(raw, float))
    low, high = jnp.asarray(low, raw.dtype), jnp.asarray(high, raw.dtype)
    return low * jnp.exp(jax.nn.sigmoid(raw) * jnp.log(high / low))


def unbounded_curvature(c: ArrayLike, low: ArrayLike, high: ArrayLike) -> Float[Array, ""]:
    """The number that `bounded_curvature` maps to a curvature: where to start learning.

    raw = logit(log(c/low) / log(high/low))

    Args:
        c: [] curvature parameter, strictly between the bounds, where alone the number is finite.
        low: smallest c, above 0.
        high: largest c, above low.

    Returns:
        The number.

    Raises:
        ValueError: unless 0 < low < c < high.

    Example:
        >>> from hypjax.optim import bounded_curvature, unbounded_curvature
        >>> print(f"{bounded_curvature(unbounded_curvature(0.3, 0.01, 1.0), 0.01, 1.0):.4f}")
        0.3000
    """
    _check_bounds(low, high)
    known = [concrete(value) for value in (low, c, high)]
    if _disordered(known):
        raise ValueError(f"c={c} must lie strictly between low={low} and high={high}")
    c = jnp.asarray(c, jnp.result_type(c, float))
    low, high = jnp.asarray(low, c.dtype), jnp.asarray(high, c.dtype)
    share = jnp.log(c / low) / jnp.log(high / low)
    return jnp.log(share) - jnp.log1p(-share)


def _check_bounds(low: ArrayLike, high: ArrayLike) -> None:
    if _disordered([np.zeros(()), concrete(low), concrete(high)]):
        raise ValueError(f"bounds low={low} and high={high} of a curvature must have 0 < low < high")


def _disordered(values: list[np.ndarray | None]) -> bool:
    """Whether of two neighbors that are known now the first is not below the second; NaN is below nothing."""
    return any(a is not None and b is not None and not np.all(a < b) for a, b in itertools.pairwise(values))
