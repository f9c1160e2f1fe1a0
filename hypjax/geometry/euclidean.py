"""Flat space, with the names of the curved geometries so that generic code takes either.

Every function accepts a curvature `c` and ignores it.
"""

import jax.numpy as jnp
from jax.typing import ArrayLike
from jaxtyping import Array, Float

from hypjax.geometry import numerics


def project(x: Float[Array, "... d"], *, c: ArrayLike | None = None) -> Float[Array, "... d"]:
    """Every vector is a point of flat space: x ↦ x. Shapes: [..., d] → [..., d]."""
    return x


def expmap0(u: Float[Array, "... d"], *, c: ArrayLike | None = None) -> Float[Array, "... d"]:
    """The exponential map at the origin, u ↦ u. Shapes: [..., d] → [..., d]."""
    return u


def logmap0(y: Float[Array, "... d"], *, c: ArrayLike | None = None) -> Float[Array, "... d"]:
    """The logarithmic map at the origin, y ↦ y. Shapes: [..., d] → [..., d]."""
    return y


def expmap(x: Float[Array, "... d"], u: Float[Array, "... d"], *, c: ArrayLike | None = None) -> Float[Array, "... d"]:
    """The exponential map, x + u. Shapes: [..., d], [..., d] → [..., d]."""
    return x + u


def logmap(x: Float[Array, "... d"], y: Float[Array, "... d"], *, c: ArrayLike | None = None) -> Float[Array, "... d"]:
    """The logarithmic map, y − x. Shapes: [..., d], [..., d] → [..., d]."""
    return y - x


def dist(x: Float[Array, "... d"], y: Float[Array, "... d"], *, c: ArrayLike | None = None) -> Float[Array, "..."]:
    """The distance ‖x − y‖, with derivative 0 at x = y. Shapes: [..., d], [..., d] → [...]."""
    return numerics.safe_norm(x - y)


def sqdist(x: Float[Array, "... d"], y: Float[Array, "... d"], *, c: ArrayLike | None = None) -> Float[Array, "..."]:
    """The squared distance ‖x − y‖². Shapes: [..., d], [..., d] → [...]."""
    return jnp.sum(jnp.square(x - y), axis=-1)


def dist0(x: Float[Array, "... d"], *, c: ArrayLike | None = None) -> Float[Array, "..."]:
    """The distance to the origin, ‖x‖, with derivative 0 at 0. Shapes: [..., d] → [...]."""
    return numerics.safe_norm(x)


def pairwise_dist(x: Float[Array, "n d"], y: Float[Array, "m d"], *, c: ArrayLike | None = None) -> Float[Array, "n m"]:
    """All distances ‖x_i − y_j‖, by differences; see `numerics.pairwise_sqdist`.

    >>> x = jnp.array([[0.0, 0.0], [3.0, 4.0]])
    >>> print(jnp.array_str(pairwise_dist(x, x), precision=3))
    [[0. 5.]
     [5. 0.]]

    Shapes: x [n, d], y [m, d] → [n, m].
    """
    return numerics.safe_sqrt(numerics.pairwise_sqdist(x, y))


def parallel_transport(
    x: Float[Array, "... d"], y: Float[Array, "... d"], v: Float[Array, "... d"], *, c: ArrayLike | None = None
) -> Float[Array, "... d"]:
    """The vector v at x carried to y, v itself. Shapes: [..., d], [..., d], [..., d] → [..., d]."""
    return v


def inner(
    x: Float[Array, "... d"], u: Float[Array, "... d"], v: Float[Array, "... d"], *, c: ArrayLike | None = None
) -> Float[Array, "..."]:
    """The inner product ⟨u, v⟩, the same at every x. Shapes: [..., d] each → [...]."""
    return jnp.sum(u * v, axis=-1)


def geodesic(
    t: ArrayLike, x: Float[Array, "... d"], y: Float[Array, "... d"], *, c: ArrayLike | None = None
) -> Float[Array, "... d"]:
    """The point (1 − t)x + ty of the line. Shapes: t a scalar or [...], x [..., d], y [..., d] → [..., d]."""
    t = jnp.asarray(t, jnp.result_type(x, y))
    t = t[..., None] if t.ndim else t
    return (1 - t) * x + t * y


def egrad2rgrad(
    x: Float[Array, "... d"], g: Float[Array, "... d"], *, c: ArrayLike | None = None
) -> Float[Array, "... d"]:
    """The Riemannian gradient is the gradient: g ↦ g. Shapes: [..., d], [..., d] → [..., d]."""
    return g


def weighted_midpoint(
    x: Float[Array, "... n d"], weights: Float[Array, "... n"] | None = None, *, c: ArrayLike | None = None
) -> Float[Array, "... d"]:
    """The weighted mean Σ w_i x_i / Σ w_i over the second-last axis; 0 where all weights are 0.

    Shapes: x [..., n, d], weights [..., n] (non-negative, all 1 by default) → [..., d].
    """
    if weights is None:
        return jnp.mean(x, axis=-2)
    total = jnp.sum(weights, axis=-1)
    return jnp.sum(numerics.divide(weights, jnp.broadcast_to(total[..., None], weights.shape))[..., None] * x, axis=-2)


def frechet_mean(
    x: Float[Array, "... n d"],
    weights: Float[Array, "... n"] | None = None,
    *,
    c: ArrayLike | None = None,
    steps: int | None = None,
) -> Float[Array, "... d"]:
    """The point of least Σ w_i‖m − x_i‖², which is the weighted mean; `steps` is ignored.

    Shapes: x [..., n, d], weights [..., n] (non-negative, all 1 by default) → [..., d].
    """
    return weighted_midpoint(x, weights)
