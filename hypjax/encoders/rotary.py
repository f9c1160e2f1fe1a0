"""Rotary positions of a grid of patches: queries and keys turned by angles that grow with row and column.

Source: Su et al., RoFormer, Neurocomputing 2024; on two axes as in Siméoni et al., DINOv3, arXiv 2508.10104.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float


class Rotation(NamedTuple):
    """Cosines and sines of the angles of each token, [n, d/2] each."""

    cos: Float[np.ndarray, "n c"]
    sin: Float[np.ndarray, "n c"]


def grid_rotation(rows: int, columns: int, *, features: int, leading: int, base: float = 100.0) -> Rotation:
    """Angles of a grid's patches, row by row, after leading tokens, which are not turned.

    The patch in row i of h has y = 2 (i + 1/2)/h − 1 in (−1, 1), and x likewise; its angles are 2π y / p for
    periods p = base^(4 t / d), t = 0, 1, …, d/4 − 1, then 2π x / p.

    Args:
        rows: Of the grid.
        columns: Of the grid.
        features: d of a head, a multiple of 4.
        leading: Tokens before the patches.
        base: The longest period, not reached.

    Raises:
        ValueError: If the features of a head are no multiple of 4.
    """
    if features % 4:
        raise ValueError(f"rotary positions need a multiple of 4 features a head, not {features}; change the heads")
    periods = base ** (np.arange(features // 4) * 4 / features)
    y, x = (2 * (np.arange(n) + 0.5) / n - 1 for n in (rows, columns))
    places = np.stack(np.meshgrid(y, x, indexing="ij"), axis=-1).reshape(-1, 2, 1)
    angles = (2 * math.pi * places / periods).reshape(rows * columns, features // 2)
    angles = np.concatenate([np.zeros((leading, features // 2)), angles])
    return Rotation(np.cos(angles).astype(np.float32), np.sin(angles).astype(np.float32))


def rotate(x: Float[Array, "b n h d"], rotation: Rotation) -> Float[Array, "b n h d"]:
    """Each pair (x_i, x_{i + d/2}) turned by its angle, in float32."""
    first, second = jnp.split(x.astype(jnp.float32), 2, axis=-1)
    cos, sin = (part[None, :, None, :] for part in rotation)
    turned = jnp.concatenate([first * cos - second * sin, second * cos + first * sin], axis=-1)
    return turned.astype(x.dtype)
