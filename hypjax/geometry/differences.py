"""All squared differences of two sets of vectors: what every pairwise distance is made of. `numerics` has them too."""

from functools import partial

import jax
import jax.numpy as jnp
from jax import lax
from jax.custom_derivatives import SymbolicZero
from jaxtyping import Array, Float

matmul = partial(jnp.matmul, precision=lax.Precision.HIGHEST)


@jax.custom_jvp
def pairwise_sqdist(x: Float[Array, "n d"], y: Float[Array, "m d"]) -> Float[Array, "n m"]:
    """All squared Euclidean distances ‖x_i − y_j‖², accurate for near pairs, without an n×m×d buffer.

    The value is a sum of squared differences; the derivative is

        ds_ij = 2(⟨x_i, dx_i⟩ − ⟨dx_i, y_j⟩ − ⟨x_i, dy_j⟩ + ⟨y_j, dy_j⟩),

    matrix products, linear in dx and dy. So reverse mode is two matrix products, and forward mode and second
    derivatives work too, which a custom reverse rule would forbid. Pairs closer than the rounding of their
    own coordinates count as one point, at distance 0.

    Shapes: x [n, d], y [m, d] → [n, m].
    """
    x, y = jnp.asarray(x), jnp.asarray(y)
    if x.shape[-1] != y.shape[-1]:
        raise ValueError(f"points of shapes {x.shape} and {y.shape} have no distances: their last axes differ")
    s = lax.platform_dependent(x, y, cpu=_sqdist_by_coordinate, default=_sqdist_fused)
    rounding = 2 * jnp.finfo(s.dtype).eps
    noise = rounding**2 * (jnp.sum(x * x, axis=-1)[:, None] + jnp.sum(y * y, axis=-1)[None, :])
    return jnp.where(s <= noise, 0, s)


def _sqdist_by_coordinate(x, y):
    """The sum over coordinates as a loop: on CPU, XLA may store the broadcast difference, 132 n² floats.

    Four coordinates a turn, carried one turn ahead: read from the carry they lie in memory of their own, and
    the loop over pairs vectorizes. Sliced inside the turn, the slicing is fused into that loop and takes 8
    times as long.
    """
    blocks = [jnp.pad(z.T, ((0, -z.shape[1] % 4), (0, 0))).reshape(-1, 4, z.shape[0]) for z in (x, y)]

    def add_block(s, x_block, y_block):
        for x_k, y_k in zip(x_block, y_block, strict=True):
            s += jnp.square(x_k[:, None] - y_k[None, :])
        return s

    def turn(carry, following):
        return (add_block(*carry), *following), None

    start = jnp.zeros((x.shape[0], y.shape[0]), jnp.result_type(x, y))
    carry, _ = lax.scan(turn, (start, *(z[0] for z in blocks)), tuple(z[1:] for z in blocks))
    return add_block(*carry)


def _sqdist_fused(x, y):
    """The sum over coordinates as one reduction, which XLA fuses with the broadcast on GPU and TPU."""
    return jnp.sum(jnp.square(x[:, None, :] - y[None, :, :]), axis=-1)


def _pairwise_sqdist_jvp(primals, tangents):
    (x, y), (dx, dy) = primals, tangents
    s = pairwise_sqdist(x, y)
    ds = jnp.zeros_like(s)
    # Signs and factors stand at the vectors: so all that reverse mode reads is one n×m array.
    if not isinstance(dx, SymbolicZero):
        ds += jnp.sum(x * (2 * dx), axis=-1)[:, None] + matmul(-2 * dx, y.T)
    if not isinstance(dy, SymbolicZero):
        ds += jnp.sum(y * (2 * dy), axis=-1)[None, :] + matmul(x, -2 * dy.T)
    return s, ds


pairwise_sqdist.defjvp(_pairwise_sqdist_jvp, symbolic_zeros=True)
