"""The Lorentz model of curvature −c: points [..., d+1], time first, with ⟨x, x⟩_L = −1/c and x_0 > 0.

⟨x, y⟩_L = −x_0 y_0 + x_1 y_1 + … . Only the spatial coordinates of a point are read; its time follows from
them as √(1/c + ‖s‖²), so points that drifted off the sheet do no harm. Tangent vectors at the origin are
given by their d spatial coordinates (their time is 0), so the same head serves every geometry.

Distances and maps are not taken from ⟨x, y⟩_L: at radius ρ its terms are e^{2ρ} and cancel. They go through the
ball, where the loss is e^ρ, with the factor 1/(1 − c‖b‖²) = (1 + √c x_0)/2 known exactly [ours]. At radius 6 and
separation 0.1 a float32 distance is then right to 3e-4. The farthest represented point is that of the ball,
12.2/√c from the origin in float32 and 28.3/√c in float64.

References:
    Nickel, Kiela (2018), Learning Continuous Hierarchies in the Lorentz Model.
    https://arxiv.org/abs/1806.03417
"""

import jax.numpy as jnp
from jax.typing import ArrayLike
from jaxtyping import Array, Float

from hypjax.geometry import means, numerics, poincare


def minkowski_inner(x: Float[Array, "... d1"], y: Float[Array, "... d1"]) -> Float[Array, "..."]:
    """The Lorentz inner product ⟨x, y⟩_L = −x_0 y_0 + Σ x_i y_i. Shapes: [..., d+1], [..., d+1] → [...]."""
    return jnp.sum(x[..., 1:] * y[..., 1:], axis=-1) - x[..., 0] * y[..., 0]


def project(x: Float[Array, "... d1"], *, c: ArrayLike) -> Float[Array, "... d1"]:
    """The point of the sheet with the spatial coordinates of x, scaled back where it lies too far out.

    Shapes: [..., d+1] → [..., d+1].

    Raises:
        ValueError: If c is not a positive scalar, or x is neither float32 nor float64. So do all functions
            here.
    """
    c = numerics.curvature(c, x.dtype)
    limit = jnp.sinh(numerics.max_radius(x.dtype)) / jnp.sqrt(c)
    return _lift(numerics.limit_norm(x[..., 1:], limit), c)


def from_poincare(x: Float[Array, "... d"], *, c: ArrayLike) -> Float[Array, "... d1"]:
    """The point of the sheet over the point x of the ball.

        time (1 + c‖x‖²)/(1 − c‖x‖²)/√c,    space 2x/(1 − c‖x‖²)

    >>> print(jnp.array_str(from_poincare(jnp.array([0.5, 0.0]), c=1.0), precision=3))
    [1.667 1.333 0.   ]

    Shapes: [..., d] → [..., d+1].
    """
    c = numerics.curvature(c, x.dtype)
    return _lift(2 * x / numerics.boundary_gap(x, c)[..., None], c)


def to_poincare(x: Float[Array, "... d1"], *, c: ArrayLike) -> Float[Array, "... d"]:
    """The point of the ball under a point of the sheet, space/(1 + √c·time), the inverse of `from_poincare`.

    Shapes: [..., d+1] → [..., d].
    """
    ball, _ = _ball(x, numerics.curvature(c, x.dtype))
    return poincare.project(ball, c=c)


def expmap0(u: Float[Array, "... d"], *, c: ArrayLike) -> Float[Array, "... d1"]:
    """The exponential map at the origin (1/√c, 0): space sinh(√c‖u‖) u/(√c‖u‖), at distance ‖u‖.

    Beware: exp0 of the ball goes twice as far, because its metric at the origin is 4 times the Euclidean one.

    >>> print(jnp.array_str(expmap0(jnp.array([1.0, 0.0]), c=1.0), precision=3))
    [1.543 1.175 0.   ]

    Shapes: [..., d] → [..., d+1].
    """
    c = numerics.curvature(c, u.dtype)
    root = jnp.sqrt(c)
    u = numerics.limit_norm(u, numerics.max_radius(u.dtype) / root)
    return _lift(numerics.sinhc(root * numerics.safe_norm(u))[..., None] * u, c)


def logmap0(y: Float[Array, "... d1"], *, c: ArrayLike) -> Float[Array, "... d"]:
    """The logarithmic map at the origin, asinh(√c‖s‖) s/(√c‖s‖) for spatial part s; inverse of `expmap0`.

    Shapes: [..., d+1] → [..., d].
    """
    c = numerics.curvature(c, y.dtype)
    space = y[..., 1:]
    return numerics.asinhc_sqrt(c * jnp.sum(jnp.square(space), axis=-1))[..., None] * space


def expmap(x: Float[Array, "... d1"], u: Float[Array, "... d1"], *, c: ArrayLike) -> Float[Array, "... d1"]:
    """The exponential map, cosh(√c‖u‖_L) x + sinh(√c‖u‖_L) u/(√c‖u‖_L).

    Shapes: x [..., d+1], u [..., d+1] tangent at x → [..., d+1].
    """
    c = numerics.curvature(c, jnp.result_type(x, u))
    ball, stretch = _ball(x, c)
    return from_poincare(poincare.expmap(ball, _ball_tangent(ball, stretch, x, u, c), c=c), c=c)


def logmap(x: Float[Array, "... d1"], y: Float[Array, "... d1"], *, c: ArrayLike) -> Float[Array, "... d1"]:
    """The logarithmic map, the tangent vector at x that `expmap` takes to y; its Lorentz length is d(x, y).

    Shapes: [..., d+1], [..., d+1] → [..., d+1].
    """
    c = numerics.curvature(c, jnp.result_type(x, y))
    ball, stretch = _ball(x, c)
    return _sheet_tangent(ball, stretch, poincare.logmap(ball, _ball(y, c)[0], c=c), c)


def dist(x: Float[Array, "... d1"], y: Float[Array, "... d1"], *, c: ArrayLike) -> Float[Array, "..."]:
    """The hyperbolic distance arccosh(−c⟨x, y⟩_L)/√c, with derivative 0 at x = y.

    Shapes: [..., d+1], [..., d+1] → [...].
    """
    c = numerics.curvature(c, jnp.result_type(x, y))
    (ball_x, stretch_x), (ball_y, stretch_y) = _ball(x, c), _ball(y, c)
    t = c * jnp.sum(jnp.square(ball_x - ball_y), axis=-1) * stretch_x * stretch_y
    return 2 / jnp.sqrt(c) * numerics.asinh_sqrt(t)


def sqdist(x: Float[Array, "... d1"], y: Float[Array, "... d1"], *, c: ArrayLike) -> Float[Array, "..."]:
    """The squared hyperbolic distance, smooth at x = y too. Shapes: [..., d+1], [..., d+1] → [...]."""
    c = numerics.curvature(c, jnp.result_type(x, y))
    (ball_x, stretch_x), (ball_y, stretch_y) = _ball(x, c), _ball(y, c)
    t = c * jnp.sum(jnp.square(ball_x - ball_y), axis=-1) * stretch_x * stretch_y
    return 4 / c * numerics.asinh_sqrt_squared(t)


def dist0(x: Float[Array, "... d1"], *, c: ArrayLike) -> Float[Array, "..."]:
    """The distance to the origin (1/√c, 0), asinh(√c‖s‖)/√c, with derivative 0 there.

    Shapes: [..., d+1] → [...].
    """
    c = numerics.curvature(c, x.dtype)
    return numerics.asinh_sqrt(c * jnp.sum(jnp.square(x[..., 1:]), axis=-1)) / jnp.sqrt(c)


def pairwise_dist(x: Float[Array, "n d1"], y: Float[Array, "m d1"], *, c: ArrayLike) -> Float[Array, "n m"]:
    """All distances d(x_i, y_j), as accurate and as cheap as in the ball; see `poincare.pairwise_dist`.

    Shapes: x [n, d+1], y [m, d+1] → [n, m].
    """
    c = numerics.curvature(c, jnp.result_type(x, y))
    (ball_x, stretch_x), (ball_y, stretch_y) = _ball(x, c), _ball(y, c)
    s = numerics.pairwise_sqdist(ball_x, ball_y)
    return 2 / jnp.sqrt(c) * numerics.asinh_sqrt_scaled(s, c * stretch_x, stretch_y)


def parallel_transport(
    x: Float[Array, "... d1"], y: Float[Array, "... d1"], v: Float[Array, "... d1"], *, c: ArrayLike
) -> Float[Array, "... d1"]:
    """The tangent vector v at x carried along the geodesic to y: v + c⟨y, v⟩_L/(1 − c⟨x, y⟩_L)·(x + y).

    Shapes: [..., d+1], [..., d+1], [..., d+1] → [..., d+1].
    """
    c = numerics.curvature(c, jnp.result_type(x, y))
    (ball_x, stretch_x), (ball_y, stretch_y) = _ball(x, c), _ball(y, c)
    carried = poincare.parallel_transport(ball_x, ball_y, _ball_tangent(ball_x, stretch_x, x, v, c), c=c)
    return _sheet_tangent(ball_y, stretch_y, carried, c)


def parallel_transport0(y: Float[Array, "... d1"], v: Float[Array, "... d"], *, c: ArrayLike) -> Float[Array, "... d1"]:
    """The tangent vector at the origin with spatial coordinates v, carried to y.

        time √c⟨s, v⟩,    space v + c⟨s, v⟩/(1 + √c y_0)·s

    Shapes: y [..., d+1], v [..., d] → [..., d+1].
    """
    c = numerics.curvature(c, y.dtype)
    space = y[..., 1:]
    along = jnp.sum(space * v, axis=-1, keepdims=True)
    _, stretch = _ball(y, c)
    return jnp.concatenate([jnp.sqrt(c) * along, v + c * along / (2 * stretch[..., None]) * space], axis=-1)


def tangent_inner(
    x: Float[Array, "... d1"], u: Float[Array, "... d1"], v: Float[Array, "... d1"], *, c: ArrayLike
) -> Float[Array, "..."]:
    """The Riemannian inner product ⟨u, v⟩_L of tangent vectors at x, whose squares stay positive far out.

    −u_0 v_0 + ⟨u_s, v_s⟩ cancels all digits there. With T = x_0², a_u = ⟨s, u_s⟩ and w_u = u_s − s·a_u/T it is
    ⟨w_u, w_v⟩ + a_u a_v/(cT²), for u = v a sum of squares [ours].

    Shapes: [..., d+1] each → [...].
    """
    inverse = 1 / numerics.curvature(c, x.dtype)
    space = x[..., 1:]
    square = inverse + jnp.sum(jnp.square(space), axis=-1)
    slopes = [jnp.sum(space * moved[..., 1:], axis=-1) / square for moved in (u, v)]
    across = [moved[..., 1:] - slope[..., None] * space for moved, slope in zip((u, v), slopes, strict=True)]
    return jnp.sum(across[0] * across[1], axis=-1) + inverse * slopes[0] * slopes[1]


def project_tangent(x: Float[Array, "... d1"], u: Float[Array, "... d1"], *, c: ArrayLike) -> Float[Array, "... d1"]:
    """The tangent vector at x with the spatial coordinates of u: its time is ⟨s, u_s⟩/x_0.

    Tangent vectors stay as they are. It is not the orthogonal projection, which `egrad2rgrad` takes of gradients.

    Shapes: [..., d+1], [..., d+1] → [..., d+1].
    """
    space = x[..., 1:]
    time = jnp.sqrt(1 / numerics.curvature(c, x.dtype) + jnp.sum(jnp.square(space), axis=-1, keepdims=True))
    return jnp.concatenate([jnp.sum(space * u[..., 1:], axis=-1, keepdims=True) / time, u[..., 1:]], axis=-1)


def retract(x: Float[Array, "... d1"], u: Float[Array, "... d1"], *, c: ArrayLike) -> Float[Array, "... d1"]:
    """The point with the spatial coordinates of x + u, `expmap` to first order. Shapes: [..., d+1] → [..., d+1]."""
    return project(x + u, c=c)


def egrad2rgrad(x: Float[Array, "... d1"], g: Float[Array, "... d1"], *, c: ArrayLike) -> Float[Array, "... d1"]:
    """The Riemannian gradient h + c⟨x, h⟩_L x, where h is the Euclidean gradient g with its time negated.

    Shapes: [..., d+1], [..., d+1] → [..., d+1].
    """
    c = numerics.curvature(c, x.dtype)
    h = jnp.concatenate([-g[..., :1], g[..., 1:]], axis=-1)
    return h + (c * minkowski_inner(x, h))[..., None] * x


def geodesic(
    t: ArrayLike, x: Float[Array, "... d1"], y: Float[Array, "... d1"], *, c: ArrayLike
) -> Float[Array, "... d1"]:
    """The point at time t of the geodesic with γ(0) = x and γ(1) = y; see `poincare.geodesic`.

    Shapes: t a scalar or [...], x [..., d+1], y [..., d+1], their leading axes broadcast → [..., d+1].
    """
    return from_poincare(poincare.geodesic(t, to_poincare(x, c=c), to_poincare(y, c=c), c=c), c=c)


def weighted_midpoint(
    x: Float[Array, "... n d1"], weights: Float[Array, "... n"] | None = None, *, c: ArrayLike
) -> Float[Array, "... d1"]:
    """The weighted Lorentz centroid over the second-last axis; the origin where all weights are 0.

        m = s/√(−c⟨s, s⟩_L),    s = Σ w_i x_i

    Computed as the gyro-midpoint of the ball, which is the same point; see `poincare.weighted_midpoint`.

    Shapes: x [..., n, d+1], weights [..., n] (non-negative, all 1 by default) → [..., d+1].

    References:
        Law et al. (2019), Lorentzian Distance Learning for Hyperbolic Representations.
    """
    return from_poincare(poincare.weighted_midpoint(to_poincare(x, c=c), weights, c=c), c=c)


def frechet_mean(
    x: Float[Array, "... n d1"], weights: Float[Array, "... n"] | None = None, *, c: ArrayLike, steps: int = means.STEPS
) -> Float[Array, "... d1"]:
    """The Fréchet mean over the second-last axis, that of the ball; see `poincare.frechet_mean`.

    Shapes: x [..., n, d+1], weights [..., n] (non-negative, all 1 by default) → [..., d+1].
    """
    return from_poincare(poincare.frechet_mean(to_poincare(x, c=c), weights, c=c, steps=steps), c=c)


def _lift(space, c):
    """The point of the sheet with these spatial coordinates."""
    return jnp.concatenate([jnp.sqrt(1 / c + jnp.sum(jnp.square(space), axis=-1, keepdims=True)), space], axis=-1)


def _ball(x, c):
    """The point b of the ball under x, and 1/(1 − c‖b‖²) = (1 + √c x_0)/2, exact to rounding."""
    space = x[..., 1:]
    stretch = (1 + jnp.sqrt(1 + c * jnp.sum(jnp.square(space), axis=-1))) / 2
    return space / (2 * stretch[..., None]), stretch


def _ball_tangent(ball, stretch, x, u, c):
    """The velocity in the ball of a tangent vector u at x."""
    space = x[..., 1:]
    time = jnp.sqrt(1 / c + jnp.sum(jnp.square(space), axis=-1, keepdims=True))
    speed = jnp.sum(space * u[..., 1:], axis=-1, keepdims=True) / time
    return (u[..., 1:] - jnp.sqrt(c) * speed * ball) / (2 * stretch[..., None])


def _sheet_tangent(ball, stretch, u, c):
    """The tangent vector on the sheet of a velocity u in the ball."""
    along = 4 * c * jnp.square(stretch) * jnp.sum(ball * u, axis=-1)
    return jnp.concatenate(
        [along[..., None] / jnp.sqrt(c), 2 * stretch[..., None] * u + along[..., None] * ball], axis=-1
    )
