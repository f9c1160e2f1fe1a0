"""Every guard, epsilon and precision choice of the geometry, in one place.

Four rules hold throughout:

* A guard is a double `where`: the argument of a function is replaced by a harmless one *before* the function
  is called, so that neither value nor derivative is ever NaN. `maximum` and `clip` are not used, because
  their gradients are one half at ties and were silently zero on some GPU builds.
* A guard asks for the bad case (`s <= 0`), never for the good one: NaN is neither, and must come out as NaN, for a
  training that has gone wrong is to stop and not to go on with distances of 0.
* Products of matrices run at the highest precision. The defaults (TF32 on recent GPUs, bfloat16 on TPUs)
  change 5 % to 28 % of the nearest neighbors of tight classes.
* Differences are taken before squares. ‖x‖² + ‖y‖² − 2⟨x, y⟩ loses the digits that 1/(1 − c‖x‖²) then
  magnifies.
"""

import math
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.typing import ArrayLike, DTypeLike
from jaxtyping import Array, Float

from hypjax.geometry.differences import matmul as matmul
from hypjax.geometry.differences import pairwise_sqdist as pairwise_sqdist

einsum = partial(jnp.einsum, precision=lax.Precision.HIGHEST)

# At 1 − eps the gap 1 − c‖x‖² still has about three digits in its dtype; the farthest point of the ball then
# lies log(2/eps)/√c from the origin, 12.2/√c in float32 and 28.3/√c in float64.
_BOUNDARY_EPS = {"float32": 1e-5, "float64": 1e-12}


def boundary_eps(dtype: DTypeLike) -> float:
    """The share of the ball's radius that points keep from its boundary.

    Raises:
        ValueError: For a dtype other than float32 and float64.
    """
    name = jnp.dtype(dtype).name
    if name not in _BOUNDARY_EPS:
        raise ValueError(f"geometry needs float32 or float64 arrays, got {name}: cast them")
    return _BOUNDARY_EPS[name]


def max_radius(dtype: DTypeLike) -> Float[Array, ""]:
    """The largest distance to the origin that is represented, 2·artanh(1 − eps), in units of 1/√c."""
    eps = boundary_eps(dtype)
    return jnp.log(jnp.asarray((2 - eps) / eps, dtype))


def concrete(value: Any) -> np.ndarray | None:
    """The value as a NumPy array where it is known now, and None where it is not: a tracer, or no number at all.

    For checks of arguments, which may be Python, NumPy or JAX numbers: `None` is what no check can be made of. A JAX
    array is waited for.

    >>> concrete(jnp.float32(0.5)).item(), jax.jit(lambda t: print(concrete(t)))(0.5)
    None
    (0.5, None)
    """
    if isinstance(value, jax.Array):
        known = not isinstance(value, jax.core.Tracer) and not value.is_deleted() and value.is_fully_replicated
        return np.asarray(value) if known else None
    return np.asarray(value) if isinstance(value, int | float | np.number | np.ndarray) else None


def require_positive(value: Any, name: str, hint: str = "") -> None:
    """Refuses a number that is known now and is not positive; NaN is not, and of an array every entry counts.

    Args:
        value: what `concrete` takes; tracers pass.
        name: what the message calls it.
        hint: what to do about it, where the message is to say more.

    Raises:
        ValueError: The value is not positive.
    """
    known = concrete(value)
    if known is not None and not np.all(known > 0):
        raise ValueError(f"{name} must be positive, got {value}{hint and '; '}{hint}")


def curvature(c: ArrayLike, dtype: DTypeLike) -> Float[Array, ""]:
    """The curvature parameter as a scalar of the points' dtype.

    Raises:
        ValueError: If c is not a scalar, or is a number that is not positive (a traced c cannot be checked).
    """
    require_positive(c, "c", "the curvature is −c, and flat space is geometry.euclidean")
    if jnp.ndim(c) != 0:
        raise ValueError(f"c must be a scalar, got shape {jnp.shape(c)}; use jax.vmap for several curvatures")
    boundary_eps(dtype)
    return jnp.asarray(c, dtype)


def safe_sqrt(s: Float[Array, "..."]) -> Float[Array, "..."]:
    """√s with value 0 and derivative 0 wherever s ≤ 0."""
    zero = s <= 0
    return jnp.where(zero, 0, jnp.sqrt(jnp.where(zero, 1, s)))


def safe_norm(x: Float[Array, "... d"]) -> Float[Array, "..."]:
    """‖x‖ over the last axis, with derivative 0 at 0, and without overflow or underflow of the squares.

    The vector is divided by its largest entry first. The norm is homogeneous, so that entry needs no
    derivative.
    """
    largest = lax.stop_gradient(jnp.max(jnp.abs(x), axis=-1))
    scale = jnp.where(largest <= jnp.finfo(x.dtype).tiny, 1, largest)
    return scale * safe_sqrt(jnp.sum(jnp.square(x / scale[..., None]), axis=-1))


def divide(a: Float[Array, "..."], b: Float[Array, "..."]) -> Float[Array, "..."]:
    """The quotient a/b, and 0 with derivative 0 wherever b is 0."""
    nonzero = b != 0
    return jnp.where(nonzero, a / jnp.where(nonzero, b, 1), 0)


@jax.custom_jvp
def boundary_gap(x: Float[Array, "... d"], c: Float[Array, ""]) -> Float[Array, "..."]:
    """1 − c‖x‖², held at eps > 0 for points at or beyond the boundary; as accurate as if computed in twice the digits.

    Next to 1 the rounding of c‖x‖² is all that is left of a small gap. So x is scaled by a power of two to u, ‖u‖ < 1
    in the ball, and split into h, of half the digits, and a rest: the squares of h and all their sums are exact, in
    whatever order they are added, and the rest's share (u − h)(u + h) is small. The same goes for the product with c
    [ours].
    """
    eps = boundary_eps(x.dtype)
    digits = (jnp.finfo(x.dtype).nmant + 1) // 2

    def halved(a, places):
        return jnp.round(a * 2.0**places) * 2.0**-places

    # 1 ≤ 0.9·4^k c < 4, by its bits: the squares of h are to stay below 1 where those of u nearly reach it.
    k = (2 - jnp.frexp(0.9 * c)[1]) // 2
    factor = jnp.ldexp(c, 2 * k)
    u = jnp.ldexp(x, jnp.broadcast_to(-k, x.shape))
    u = jnp.where(jnp.abs(u) > 2, 2, u)  # far outside: held, and its squares are not to overflow
    high = halved(u, digits)
    square = jnp.sum(jnp.square(high), axis=-1)
    rest = jnp.sum((u - high) * (u + high), axis=-1)
    factor_high, square_high = halved(factor, digits - 2), halved(square, digits)
    small = factor_high * (square - square_high) + (factor - factor_high) * square + factor * rest
    gap = (1 - factor_high * square_high) - small
    return jnp.where(gap <= eps, eps, gap)


@boundary_gap.defjvp
def _boundary_gap_jvp(primals, tangents):
    (x, c), (dx, dc) = primals, tangents
    gap = boundary_gap(x, c)
    slope = -2 * c * jnp.sum(x * dx, axis=-1) - dc * ((1 - gap) / c)
    return gap, jnp.where(gap <= boundary_eps(x.dtype), 0, slope)


def limit_norm(x: Float[Array, "... d"], limit: Float[Array, ""]) -> Float[Array, "... d"]:
    """X scaled back to the norm `limit` where it is longer; elsewhere x itself, bit for bit."""
    norm = safe_norm(x)
    too_long = norm > limit
    return jnp.where(too_long[..., None], x * (limit / jnp.where(too_long, norm, 1))[..., None], x)


def tanhc(a: Float[Array, "..."]) -> Float[Array, "..."]:
    """tanh(a)/a for a ≥ 0, 1 at 0. In float32 tanh is exactly 1 from a = 8 on: limit what is made of it."""
    small = a < _series_below(a.dtype)
    large = jnp.where(small, 1, a)
    return jnp.where(small, 1 - a * a / 3, jnp.tanh(large) / large)


def artanhc(z: Float[Array, "..."]) -> Float[Array, "..."]:
    """artanh(z)/z for z ≥ 0, with z held at 1 − eps."""
    limit = 1 - boundary_eps(z.dtype)
    z = jnp.where(z >= limit, limit, z)
    small = z < _series_below(z.dtype)
    large = jnp.where(small, limit, z)
    return jnp.where(small, 1 + z * z / 3, (jnp.log1p(large) - jnp.log1p(-large)) / (2 * large))


def asinhc_sqrt(t: Float[Array, "..."]) -> Float[Array, "..."]:
    """asinh(√t)/√t for t ≥ 0: a smooth function of t, 1 at 0."""
    small = t < _series_below(t.dtype) ** 2
    large = jnp.where(small, 1, t)
    return jnp.where(small, 1 - t / 6, asinh_sqrt(large) / jnp.sqrt(large))


def asinh_sqrt_squared(t: Float[Array, "..."]) -> Float[Array, "..."]:
    """asinh(√t)² for t ≥ 0: a smooth function of t, with derivative 1 at 0 where `asinh_sqrt` has none."""
    return t * jnp.square(asinhc_sqrt(t))


def sinhc(a: Float[Array, "..."]) -> Float[Array, "..."]:
    """sinh(a)/a for a ≥ 0, 1 at 0."""
    small = a < _series_below(a.dtype)
    large = jnp.where(small, 1, a)
    return jnp.where(small, 1 + a * a / 6, jnp.sinh(large) / large)


def sinh_ratio(r: Float[Array, "..."], a: Float[Array, "..."]) -> Float[Array, "..."]:
    """sinh(r·a)/sinh(a), which is r at a = 0: the weight of an end point on a geodesic of length a."""
    small = a < _series_below(a.dtype)
    large = jnp.where(small, 1, a)
    limit = 0.5 * math.log(float(jnp.finfo(a.dtype).max))
    exponent = r * large
    exponent = jnp.where(jnp.abs(exponent) < limit, exponent, limit * jnp.sign(exponent))
    return jnp.where(small, r + r * (r * r - 1) * a * a / 6, jnp.sinh(exponent) / jnp.sinh(large))


def _series_below(dtype: DTypeLike) -> float:
    """The argument below which 1 ± a²/3 is exact to rounding."""
    return float(jnp.finfo(dtype).eps) ** 0.5 / 4


@jax.custom_jvp
def asinh_sqrt(t: Float[Array, "..."]) -> Float[Array, "..."]:
    """asinh(√t) for t ≥ 0, with value 0 and derivative 0 at 0.

    arccosh(1 + 2t)/2 is the same number but loses 2 % of it at √t = 1e-3 in float32.
    """
    # The choice comes last: XLA then makes all of it in one pass over the pairs, whatever reads the distances.
    zero = t <= 0
    safe = jnp.where(zero, 1, t)
    return jnp.where(zero, 0, jnp.log1p(jnp.sqrt(safe) + safe / (1 + jnp.sqrt(1 + safe))))


@asinh_sqrt.defjvp
def _asinh_sqrt_jvp(primals, tangents):
    (t,), (dt,) = primals, tangents
    return asinh_sqrt(t), _asinh_sqrt_slope(t) * dt


def _asinh_sqrt_slope(t):
    zero = t <= 0
    safe = jnp.where(zero, 1, t)
    return jnp.where(zero, 0, 0.5 / jnp.sqrt(safe * (1 + safe)))


@jax.custom_jvp
def asinh_sqrt_scaled(s: Float[Array, "n m"], a: Float[Array, " n"], b: Float[Array, " m"]) -> Float[Array, "n m"]:
    """All asinh √(s_ij a_i b_j) for s ≥ 0 and a, b > 0, with derivative 0 where s is 0.

    `asinh_sqrt` of a product, with the two factors' share of the derivative written by hand: all of it is a multiple
    of one slope, which is made of s again, so that reverse mode needs one more array of size n×m and not four.
    """
    return asinh_sqrt(s * (a[:, None] * b[None, :]))


@asinh_sqrt_scaled.defjvp
def _asinh_sqrt_scaled_jvp(primals, tangents):
    (s, a, b), (ds, da, db) = primals, tangents
    scale = a[:, None] * b[None, :]
    slope = _asinh_sqrt_slope(s * scale) * scale
    return asinh_sqrt_scaled(s, a, b), slope * (ds + s * ((da / a)[:, None] + (db / b)[None, :]))


@jax.custom_jvp
def arcsin_sqrt(t: Float[Array, "..."]) -> Float[Array, "..."]:
    """arcsin(√t) for t in [0, 1], held there; derivative 0 at 0 and from 1 on."""
    return jnp.where(t >= 1, jnp.pi / 2, jnp.arcsin(safe_sqrt(jnp.where(t >= 1, 0, t))))


@arcsin_sqrt.defjvp
def _arcsin_sqrt_jvp(primals, tangents):
    (t,), (dt,) = primals, tangents
    outside = (t <= 0) | (t >= 1)
    safe = jnp.where(outside, 0.5, t)
    return arcsin_sqrt(t), jnp.where(outside, 0, 0.5 / jnp.sqrt(safe * (1 - safe))) * dt


def arcsin_sqrt_squared(t: Float[Array, "..."]) -> Float[Array, "..."]:
    """arcsin(√t)² for t in [0, 1]: a smooth function of t below 1, with derivative 1 at 0."""
    small = t < _series_below(t.dtype) ** 2
    large = jnp.where(small, 0.5, t)
    return jnp.where(small, t * (1 + t / 3), jnp.square(arcsin_sqrt(large)))
