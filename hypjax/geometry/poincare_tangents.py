"""Tangent vectors of the Poincaré ball: their lengths, and how they move. `poincare` has these functions too.

References: see `poincare`.
"""

import jax.numpy as jnp
from jax.typing import ArrayLike
from jaxtyping import Array, Float

from hypjax.geometry import numerics


def conformal_factor(x: Float[Array, "... d"], *, c: ArrayLike) -> Float[Array, "..."]:
    """The factor λ_x = 2/(1 − c‖x‖²) between Riemannian and Euclidean lengths at x; 2 at the origin.

    Shapes: [..., d] → [...].
    """
    return 2 / numerics.boundary_gap(x, numerics.curvature(c, x.dtype))


def inner(
    x: Float[Array, "... d"], u: Float[Array, "... d"], v: Float[Array, "... d"], *, c: ArrayLike
) -> Float[Array, "..."]:
    """The Riemannian inner product λ_x²⟨u, v⟩ of tangent vectors at x. Shapes: [..., d] each → [...]."""
    factor = conformal_factor(x, c=c)[..., None]
    return jnp.sum((factor * u) * (factor * v), axis=-1)


def parallel_transport(
    x: Float[Array, "... d"], y: Float[Array, "... d"], v: Float[Array, "... d"], *, c: ArrayLike
) -> Float[Array, "... d"]:
    """The tangent vector v at x carried along the geodesic to y: P(v) = (λ_x/λ_y) gyr[y, −x]v.

    It keeps Riemannian lengths and angles: λ_y‖P(v)‖ = λ_x‖v‖.

    Shapes: [..., d], [..., d], [..., d] → [..., d].
    """
    c = numerics.curvature(c, jnp.result_type(x, y))
    gap_x, gap_y = numerics.boundary_gap(x, c), numerics.boundary_gap(y, c)
    delta = y - x
    sq = c * jnp.sum(jnp.square(delta), axis=-1)
    along_x = c * jnp.sum(x * v, axis=-1)
    along_delta = c * jnp.sum(delta * v, axis=-1)
    # gyr[y, −x]v = v + 2(A·delta + B·x)/D, with every coefficient written in differences and gaps.
    a = -along_x * (gap_y + sq) - (1 - gap_x) * along_delta
    b = along_delta * gap_x - along_x * sq
    turn = a[..., None] * delta + b[..., None] * x
    rotated = v + 2 * turn / (sq + gap_x * gap_y)[..., None]
    return rotated * (gap_y / gap_x)[..., None]


def parallel_transport0(y: Float[Array, "... d"], v: Float[Array, "... d"], *, c: ArrayLike) -> Float[Array, "... d"]:
    """The tangent vector v at the origin carried to y: P0(v) = (1 − c‖y‖²)v = (2/λ_y)v.

    Shapes: y [..., d], v [..., d] → [..., d].
    """
    return numerics.boundary_gap(y, numerics.curvature(c, y.dtype))[..., None] * v


def egrad2rgrad(x: Float[Array, "... d"], g: Float[Array, "... d"], *, c: ArrayLike) -> Float[Array, "... d"]:
    """The Riemannian gradient from the Euclidean gradient g at x: g/λ_x².

    Shapes: [..., d], [..., d] → [..., d].
    """
    return g * jnp.square(numerics.boundary_gap(x, numerics.curvature(c, x.dtype)) / 2)[..., None]
