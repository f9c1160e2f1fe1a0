"""The unit sphere, points as unit vectors, with the names of the other geometries.

Every function accepts a curvature `c` and ignores it. Points are taken to be unit vectors: `project` makes
them so.
"""

import jax.numpy as jnp
from jax import lax
from jax.typing import ArrayLike
from jaxtyping import Array, Float

from hypjax.geometry import euclidean, means, numerics


def project(x: Float[Array, "... d"], *, c: ArrayLike | None = None) -> Float[Array, "... d"]:
    """The unit vector x/‖x‖. A zero vector has no direction and stays 0, with derivative 0.

    >>> print(jnp.array_str(project(jnp.array([3.0, 4.0])), precision=3))
    [0.6 0.8]

    Shapes: [..., d] → [..., d].
    """
    # Divided by its largest entry first, which the direction does not depend on: the derivative has squares of ‖x‖.
    largest = lax.stop_gradient(jnp.max(jnp.abs(x), axis=-1, keepdims=True))
    zero = largest <= jnp.finfo(x.dtype).tiny
    scaled = x / jnp.where(zero, 1, largest)
    norm = jnp.where(zero, 1, numerics.safe_norm(scaled)[..., None])
    return jnp.where(zero, 0, scaled / norm)


def expmap0(u: Float[Array, "... d"], *, c: ArrayLike | None = None) -> Float[Array, "... d"]:
    """The direction u/‖u‖ of an encoder's output.

    A sphere has no origin; the name lets one head serve every geometry. Shapes: [..., d] → [..., d].
    """
    return project(u)


def expmap(x: Float[Array, "... d"], u: Float[Array, "... d"], *, c: ArrayLike | None = None) -> Float[Array, "... d"]:
    """The exponential map cos‖u‖·x + sin‖u‖·u/‖u‖, brought back to unit length.

    Shapes: x [..., d], u [..., d] (orthogonal to x) → [..., d].
    """
    norm = numerics.safe_norm(u)
    return project(jnp.cos(norm)[..., None] * x + jnp.sinc(norm / jnp.pi)[..., None] * u)


def logmap(x: Float[Array, "... d"], y: Float[Array, "... d"], *, c: ArrayLike | None = None) -> Float[Array, "... d"]:
    """The logarithmic map θ/sin θ·(y − cos θ·x), θ the angle: tangent at x, of length θ; inverse of `expmap`.

    Written in δ = y − x as θ/sin θ·(δ + ‖δ‖²/2·x), which keeps the digits of small angles. Antipodes have no
    direction and give 0.

    Shapes: [..., d], [..., d] → [..., d].
    """
    delta = y - x
    square = jnp.sum(jnp.square(delta), axis=-1)
    t = square / 4
    near, antipodal = t < float(jnp.finfo(t.dtype).eps) ** 0.5 / 4, t >= 1
    safe = jnp.where(near | antipodal, 0.5, t)
    stretch = jnp.where(near, 1 + 2 * t / 3, numerics.arcsin_sqrt(safe) / jnp.sqrt(safe * (1 - safe)))
    return jnp.where(antipodal, 0, stretch)[..., None] * (delta + (square / 2)[..., None] * x)


def dist(x: Float[Array, "... d"], y: Float[Array, "... d"], *, c: ArrayLike | None = None) -> Float[Array, "..."]:
    """The angle between x and y in radians, 2·arcsin(‖x − y‖/2), in [0, π].

    By the chord, because arccos⟨x, y⟩ loses half the digits of small angles. Derivative 0 at x = y and at x =
    −y; within 1e-3 of π the chord resolves angles to about 1e-4 in float32.

    Shapes: [..., d], [..., d] → [...].
    """
    return 2 * numerics.arcsin_sqrt(jnp.sum(jnp.square(x - y), axis=-1) / 4)


def sqdist(x: Float[Array, "... d"], y: Float[Array, "... d"], *, c: ArrayLike | None = None) -> Float[Array, "..."]:
    """The squared angle, smooth at x = y too. Shapes: [..., d], [..., d] → [...]."""
    return 4 * numerics.arcsin_sqrt_squared(jnp.sum(jnp.square(x - y), axis=-1) / 4)


def pairwise_dist(x: Float[Array, "n d"], y: Float[Array, "m d"], *, c: ArrayLike | None = None) -> Float[Array, "n m"]:
    """All angles between x_i and y_j in radians; see `dist`.

    >>> x = jnp.eye(2)
    >>> print(jnp.array_str(pairwise_dist(x, -x), precision=3))
    [[3.142 1.571]
     [1.571 3.142]]

    Shapes: x [n, d], y [m, d] → [n, m].
    """
    return 2 * numerics.arcsin_sqrt(numerics.pairwise_sqdist(x, y) / 4)


def pairwise_cosine_distance(
    x: Float[Array, "n d"], y: Float[Array, "m d"], *, c: ArrayLike | None = None
) -> Float[Array, "n m"]:
    """All cosine distances 1 − ⟨x_i, y_j⟩/(‖x_i‖‖y_j‖), in [0, 2], of vectors of any length.

    Computed from the unit vectors as ‖x̂_i − ŷ_j‖²/2, which keeps the digits of small angles. It orders neighbors
    as the angle does and is smooth but at zero vectors, and it breaks the triangle inequality. A zero vector has
    cosine 0 to every vector, itself included, so distance 1, with derivative 0.

    >>> x = jnp.array([[3.0, 4.0], [6.0, 8.0], [-4.0, 3.0], [0.0, 0.0]])
    >>> print(jnp.array_str(pairwise_cosine_distance(x[:1], x), precision=3))
    [[0. 0. 1. 1.]]

    Shapes: x [n, d], y [m, d] → [n, m].

    Source: the sphere mode of Hyp-ViT (Ermolov et al., 2022) compares unit vectors by their inner product.
    """
    s = numerics.pairwise_sqdist(project(x), project(y))
    zero_x, zero_y = (jnp.max(jnp.abs(z), axis=-1) <= jnp.finfo(z.dtype).tiny for z in (x, y))
    return jnp.where(zero_x[:, None] | zero_y[None, :], 1, s / 2)


def parallel_transport(
    x: Float[Array, "... d"], y: Float[Array, "... d"], v: Float[Array, "... d"], *, c: ArrayLike | None = None
) -> Float[Array, "... d"]:
    """The tangent vector v at x carried along the arc to y: v − 2⟨v, x + y⟩/‖x + y‖²·(x + y).

    A reflection, so it keeps lengths and angles to rounding. Between antipodes there is no one arc: v stays as it
    is.

    Shapes: [..., d], [..., d], [..., d] → [..., d].
    """
    total = x + y
    share = numerics.divide(jnp.sum(v * total, axis=-1), jnp.sum(jnp.square(total), axis=-1))
    return v - 2 * share[..., None] * total


def project_tangent(
    x: Float[Array, "... d"], u: Float[Array, "... d"], *, c: ArrayLike | None = None
) -> Float[Array, "... d"]:
    """The part u − ⟨u, x⟩x of u that is tangent to the sphere at x. Shapes: [..., d], [..., d] → [..., d]."""
    return u - jnp.sum(u * x, axis=-1, keepdims=True) * x


def geodesic(
    t: ArrayLike, x: Float[Array, "... d"], y: Float[Array, "... d"], *, c: ArrayLike | None = None
) -> Float[Array, "... d"]:
    """The point at time t of the arc with γ(0) = x and γ(1) = y: sin((1−t)θ)/sin θ·x + sin(tθ)/sin θ·y, θ the angle.

    Shapes: t a scalar or [...], x [..., d], y [..., d], their leading axes broadcast → [..., d].
    """
    t = jnp.asarray(t, jnp.result_type(x, y))
    return expmap(x, (t[..., None] if t.ndim else t) * logmap(x, y))


def retract(x: Float[Array, "... d"], u: Float[Array, "... d"], *, c: ArrayLike | None = None) -> Float[Array, "... d"]:
    """The point x + u, brought back to unit length. Shapes: [..., d], [..., d] → [..., d]."""
    return project(x + u)


def egrad2rgrad(
    x: Float[Array, "... d"], g: Float[Array, "... d"], *, c: ArrayLike | None = None
) -> Float[Array, "... d"]:
    """The Riemannian gradient g − ⟨g, x⟩x, tangent to the sphere at x. Shapes: [..., d], [..., d] → [..., d]."""
    return project_tangent(x, g)


def weighted_midpoint(
    x: Float[Array, "... n d"], weights: Float[Array, "... n"] | None = None, *, c: ArrayLike | None = None
) -> Float[Array, "... d"]:
    """The direction of the weighted mean Σ w_i x_i; 0 where that mean is 0.

    Shapes: x [..., n, d], weights [..., n] (non-negative, all 1 by default) → [..., d].
    """
    return project(euclidean.weighted_midpoint(x, weights))


def frechet_mean(
    x: Float[Array, "... n d"],
    weights: Float[Array, "... n"] | None = None,
    *,
    c: ArrayLike | None = None,
    steps: int = means.STEPS,
) -> Float[Array, "... d"]:
    """A Fréchet mean over the second-last axis: a point m where Σ w_i θ_i² is least, θ_i the angle to x_i.

        m ← exp_m(Σ w_i log_m(x_i)),    Σ w_i = 1

    from the direction of the mean vector on, until a step is down to rounding. Points within a quarter turn of some
    point have one mean, and it is found; others may have several, or a circle of them, and the one is found that the
    flow leads to. 0 where the mean vector is 0. The derivative is implicit (see `means`).

    >>> x = jnp.array([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0]])
    >>> print(*(f"{jnp.degrees(dist(m, x[0])):.2f}" for m in (frechet_mean(x), weighted_midpoint(x))))
    30.00 26.57

    Shapes: x [..., n, d] unit vectors, weights [..., n] (non-negative, all 1 by default) → [..., d].

    References:
        Karcher (1977); Afsari (2011), Riemannian L^p center of mass, for when it is unique.
    """

    def mean(x, weights):
        def flow(m):
            return jnp.sum(weights[:, None] * logmap(jnp.broadcast_to(m, x.shape), x), axis=0)

        def pull(m):
            # Of unit vectors the second term is 0; it makes the equation one for all coordinates of m.
            return flow(project(m)) + (1 - jnp.sum(m * m)) * m

        def advance(m):
            step = flow(m)
            return expmap(m, step), numerics.safe_norm(step)

        return means.solve(pull, advance, weighted_midpoint(x, weights), steps)

    return jnp.vectorize(mean, signature="(n,d),(n)->(d)")(x, means.shares(x, weights))
