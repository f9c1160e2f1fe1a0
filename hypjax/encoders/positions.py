"""Learned positions of one grid of patches, brought to another grid as those who published them do."""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

# How: as timm does, by Keys' cubic (a = −1/2), widened where the grid shrinks; by PyTorch's plain bicubic (a = −3/4),
# as transformers does; and by the latter at a scale of (n + 0.1)/m instead of n/m, as the authors of DINOv2 do.
RESAMPLINGS = ("antialiased", "bicubic", "bicubic_offset")


def resample_positions(
    positions: Float[np.ndarray, "1 m f"], *, tokens: int, grid: tuple[int, int], resampling: str = "antialiased"
) -> Float[np.ndarray, "1 n f"]:
    """Position embeddings of a square grid of patches, resampled (cubic) to another grid.

    Args:
        positions: Those of `tokens` leading tokens, then of the grid row by row.
        tokens: Leading tokens, which keep theirs.
        grid: Rows and columns of patches wanted.
        resampling: One of `RESAMPLINGS`.

    Raises:
        ValueError: If what follows the leading tokens is no square grid.
    """
    first, rest = positions[:, :tokens], positions[:, tokens:]
    side = math.isqrt(rest.shape[1])
    if side * side != rest.shape[1]:
        raise ValueError(f"pos_embed has {rest.shape[1]} patches, not a square; expected {tokens} leading tokens")
    if (side, side) == tuple(grid):
        return positions
    square = rest.reshape(1, side, side, -1)
    if resampling == "antialiased":
        resized = np.asarray(jax.image.resize(jnp.asarray(square, jnp.float32), (1, *grid, square.shape[-1]), "cubic"))
    else:
        rows, columns = (_bicubic(side, n, 0.1 if resampling == "bicubic_offset" else 0.0) for n in grid)
        resized = np.einsum("is,jt,bstf->bijf", rows, columns, square.astype(np.float64)).astype(np.float32)
    return np.concatenate([first, resized.reshape(1, -1, square.shape[-1])], axis=1)


def _bicubic(size: int, out: int, offset: float) -> Float[np.ndarray, "out size"]:
    """The plain bicubic interpolation of PyTorch as a matrix; beyond the edge stands what is at the edge.

    Source: Keys, Cubic convolution interpolation for digital image processing, IEEE TASSP 1981.
    """
    a, matrix = -0.75, np.zeros((out, size))
    centers = (np.arange(out) + 0.5) * size / (out + offset) - 0.5
    for step in range(-1, 3):
        taken = np.floor(centers).astype(int) + step
        t = np.abs(centers - taken)
        near = ((a + 2) * t - (a + 3)) * t * t + 1
        far = ((a * t - 5 * a) * t + 8 * a) * t - 4 * a
        np.add.at(matrix, (np.arange(out), taken.clip(0, size - 1)), np.where(t <= 1, near, far))
    return matrix
