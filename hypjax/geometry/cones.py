"""Entailment cones of hyperbolic space: that of a point holds what the point stands for, farther out around its ray.

The cone at x opens outward around the ray from the origin through x, with half-aperture ψ(x); y lies in it where the
angle Ξ(x, y) at x, between that ray and the geodesic to y, is at most ψ(x). A point near the origin has a wide cone and
stands for much; the cone of a point within another's lies in the other's (transitivity). Flat space and the sphere have
no cones like these.

All is made of a and b, √c times the distances of x and y to the origin, and of t = sin²(θ/2), θ the angle between them
as seen from there: so one formula serves the ball and the Lorentz model, and no digits cancel near boundary or axis.

References:
    Ganea, Bécigneul, Hofmann (2018), Hyperbolic Entailment Cones. https://arxiv.org/abs/1804.01882
    Desai et al. (2023), Hyperbolic Image-Text Representations (MERU). https://arxiv.org/abs/2304.09172
"""

import jax.numpy as jnp
from jax import lax
from jax.typing import ArrayLike
from jaxtyping import Array, Float

from hypjax.geometry import numerics, sphere
from hypjax.geometry.manifold import HYPERBOLIC, Lorentz, Manifold


def half_aperture(space: Manifold, x: Float[Array, "... e"], *, k: ArrayLike = 0.1) -> Float[Array, "..."]:
    """The half-aperture ψ of the cones at points x, in (0, π/2].

        ψ(x) = arcsin min(1, 2K / sinh a),    a = √c d0(x)

    In the ball of c = 1 that is Ganea's arcsin(K (1 − ‖x‖²)/‖x‖), in the Lorentz model MERU's
    arcsin(2K / (√c ‖x_s‖)). Where 2K > sinh a the cone is a half-space, with derivative 0.

    >>> from hypjax.geometry import Poincare
    >>> print(half_aperture(Poincare(1.0), jnp.array([[0.0, 0.0], [0.5, 0.0]])).round(4))
    [1.5708 0.1506]

    Args:
        space: `Poincare` or `Lorentz`.
        x: points of it.
        k: K > 0; 0.1 is usual.

    Raises:
        ValueError: K is a number that is not positive, or space is not hyperbolic.
    """
    numerics.require_positive(k, "k", "0.1 is usual")
    reach = jnp.sinh(_reach(space, x))
    width = 2 * jnp.asarray(k, x.dtype)
    sine = width / jnp.where(reach <= width, width, reach)
    half_space = sine >= 1  # from here arcsin has no derivative, and the ratio may have been rounded to it
    return jnp.where(half_space, jnp.pi / 2, jnp.arcsin(jnp.where(half_space, 0, sine)))


def exterior_angle(space: Manifold, x: Float[Array, "... e"], y: Float[Array, "... e"]) -> Float[Array, "..."]:
    """The angle Ξ at x between the ray from the origin and the geodesic to y, in [0, π]; π minus the triangle's angle.

        Ξ(x, y) = atan2( sinh b sin θ, sinh(b − a) − 2 sinh b cosh a sin²(θ/2) )

    0 on the axis, at y = x, and at x = 0, whose cone is all of space; its derivative is 0 there and at Ξ = π.

    >>> from hypjax.geometry import Poincare
    >>> x, y = jnp.array([[0.5, 0.0]]), jnp.array([[0.8, 0.0], [0.5, 0.2], [0.0, 0.0]])
    >>> print(exterior_angle(Poincare(1.0), x, y).round(4))
    [0.     1.7033 3.1416]

    Args:
        space: `Poincare` or `Lorentz`.
        x: points of it, at which the cones are.
        y: points of it, whose leading axes broadcast with those of x.

    Raises:
        ValueError: space is not hyperbolic.
    """
    a, b = _reach(space, x), _reach(space, y)
    return _angle(a, b, jnp.sum(jnp.square(_direction(space, x) - _direction(space, y)), axis=-1) / 4)


def pairwise_exterior_angle(space: Manifold, x: Float[Array, "n e"], y: Float[Array, "m e"]) -> Float[Array, "n m"]:
    """All angles Ξ(x_i, y_j), with no n×m×d buffer; see `exterior_angle`.

    Args:
        space: `Poincare` or `Lorentz`.
        x: points of it, at which the cones are.
        y: points of it.

    Raises:
        ValueError: space is not hyperbolic.
    """
    a, b = _reach(space, x), _reach(space, y)
    t = numerics.pairwise_sqdist(_direction(space, x), _direction(space, y)) / 4
    return _angle(a[:, None], b[None, :], t)


def _reach(space: Manifold, x: Array) -> Array:
    """√c times the distance to the origin."""
    if not isinstance(space, HYPERBOLIC):
        raise ValueError(f"{space} has no entailment cones; Poincare(c) and Lorentz(c) have")
    return jnp.sqrt(numerics.curvature(space.c, x.dtype)) * space.dist0(x)


def _direction(space: Manifold, x: Array) -> Array:
    """The unit vector towards x from the origin; 0 there."""
    return sphere.project(x[..., 1:] if isinstance(space, Lorentz) else x)


def _angle(a: Array, b: Array, t: Array) -> Array:
    across = jnp.sinh(b) * 2 * numerics.safe_sqrt(t * (1 - t))
    along = jnp.sinh(b - a) - 2 * jnp.sinh(b) * jnp.cosh(a) * t
    # An angle does not depend on their common size, whose square may have no place in the dtype.
    size = lax.stop_gradient(jnp.abs(across) + jnp.abs(along))
    nowhere = (a <= 0) | (size <= 0)
    size = jnp.where(nowhere, 1, size)
    return jnp.where(nowhere, 0, jnp.arctan2(jnp.where(nowhere, 0, across) / size, jnp.where(nowhere, 1, along / size)))
