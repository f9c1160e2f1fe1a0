"""The Poincaré ball of curvature −c: points x with √c‖x‖ < 1, as free functions on arrays [..., d].

The formulas are arranged so that near the boundary no digits cancel: a denominator 1 + 2c⟨x, y⟩ + c²‖x‖²‖y‖²
is written c‖x + y‖² + (1 − c‖x‖²)(1 − c‖y‖²), distances use asinh of a difference instead of arccosh or of a
norm close to 1. These arrangements are [ours]; the functions are the standard ones. Results are brought
inside the ball (`project`), inputs at or beyond the boundary count as points just inside it, and all values
and gradients are finite.

References:
    Ungar (2008), A Gyrovector Space Approach to Hyperbolic Geometry.
    Ganea, Bécigneul, Hofmann (2018), Hyperbolic Neural Networks. https://arxiv.org/abs/1805.09112
"""

import jax.numpy as jnp
from jax.typing import ArrayLike
from jaxtyping import Array, Float

from hypjax.geometry import means, numerics
from hypjax.geometry.poincare_tangents import conformal_factor as conformal_factor
from hypjax.geometry.poincare_tangents import egrad2rgrad as egrad2rgrad
from hypjax.geometry.poincare_tangents import inner as inner
from hypjax.geometry.poincare_tangents import parallel_transport as parallel_transport
from hypjax.geometry.poincare_tangents import parallel_transport0 as parallel_transport0


def project(x: Float[Array, "... d"], *, c: ArrayLike) -> Float[Array, "... d"]:
    """The point itself if it is well inside the ball, otherwise scaled back to the norm (1 − eps)/√c.

    eps is 1e-5 in float32 and 1e-12 in float64 (see `numerics`).

    >>> print(jnp.array_str(project(jnp.array([3.0, 4.0]), c=1.0), precision=3))
    [0.6 0.8]

    Shapes: [..., d] → [..., d].

    Raises:
        ValueError: If c is not a positive scalar, or x is neither float32 nor float64. So do all functions
            here.
    """
    c = numerics.curvature(c, x.dtype)
    return numerics.limit_norm(x, (1 - numerics.boundary_eps(x.dtype)) / jnp.sqrt(c))


def mobius_add(x: Float[Array, "... d"], y: Float[Array, "... d"], *, c: ArrayLike) -> Float[Array, "... d"]:
    """The Möbius sum x ⊕ y, the translation of y by x.

        x ⊕ y = [(1 + 2c⟨x, y⟩ + c‖y‖²)x + (1 − c‖x‖²)y] / (1 + 2c⟨x, y⟩ + c²‖x‖²‖y‖²)

    >>> print(jnp.array_str(mobius_add(jnp.array([0.5, 0.0]), jnp.array([0.5, 0.0]), c=1.0), precision=3))
    [0.8 0. ]

    Shapes: [..., d], [..., d] → [..., d].
    """
    c = numerics.curvature(c, jnp.result_type(x, y))
    return _translate(x, y, numerics.boundary_gap(y, c), c)


def _translate(x, y, gap_y, c):
    """X ⊕ y with 1 − c‖y‖² given by the caller, who may know it better than y's coordinates can tell."""
    gap_x = numerics.boundary_gap(x, c)
    total = x + y
    sq = c * jnp.sum(jnp.square(total), axis=-1)
    above = gap_x[..., None] * total + sq[..., None] * x
    return project(numerics.divide(above, (sq + gap_x * gap_y)[..., None]), c=c)


def mobius_scalar_mul(r: ArrayLike, x: Float[Array, "... d"], *, c: ArrayLike) -> Float[Array, "... d"]:
    """The multiple r ⊗ x on the ray from the origin: r times as far, d0(r ⊗ x) = |r|·d0(x).

        r ⊗ x = tanh(r·artanh(√c‖x‖)) x / (√c‖x‖) = exp0(r·log0(x))

    Shapes: r a scalar or [...], x [..., d] → [..., d].
    """
    r = jnp.asarray(r, x.dtype)
    return expmap0((r[..., None] if r.ndim else r) * logmap0(x, c=c), c=c)


def mobius_matvec(m: Float[Array, "k d"], x: Float[Array, "... d"], *, c: ArrayLike) -> Float[Array, "... k"]:
    """The linear map m applied in the tangent space at the origin, m ⊗ x = exp0(m log0(x)).

    Shapes: m [k, d], x [..., d] → [..., k].
    """
    return expmap0(numerics.einsum("kd,...d->...k", m, logmap0(x, c=c)), c=c)


def expmap0(u: Float[Array, "... d"], *, c: ArrayLike) -> Float[Array, "... d"]:
    """The exponential map at the origin, exp0(u) = tanh(√c‖u‖) u / (√c‖u‖), strictly inside the ball.

    The distance of exp0(u) to the origin is 2‖u‖, up to the largest that the ball holds: 12.2/√c in float32,
    28.3/√c in float64.

    >>> print(jnp.array_str(expmap0(jnp.array([0.5, 0.0]), c=1.0), precision=3))
    [0.462 0.   ]

    Shapes: [..., d] → [..., d].
    """
    root = jnp.sqrt(numerics.curvature(c, u.dtype))
    return project(numerics.tanhc(root * numerics.safe_norm(u))[..., None] * u, c=c)


def logmap0(y: Float[Array, "... d"], *, c: ArrayLike) -> Float[Array, "... d"]:
    """The logarithmic map at the origin, log0(y) = artanh(√c‖y‖) y / (√c‖y‖), the inverse of `expmap0`.

    Shapes: [..., d] → [..., d].
    """
    root = jnp.sqrt(numerics.curvature(c, y.dtype))
    return numerics.artanhc(root * numerics.safe_norm(y))[..., None] * y


def expmap(x: Float[Array, "... d"], u: Float[Array, "... d"], *, c: ArrayLike) -> Float[Array, "... d"]:
    """The exponential map, the end of the geodesic that leaves x with velocity u.

        exp_x(u) = x ⊕ tanh(√c λ_x‖u‖/2) u / (√c‖u‖)

    Shapes: x [..., d], u [..., d] → [..., d].
    """
    c = numerics.curvature(c, jnp.result_type(x, u))
    half = conformal_factor(x, c=c) / 2
    angle = jnp.sqrt(c) * half * numerics.safe_norm(u)
    step = (half * numerics.tanhc(angle))[..., None] * u
    # 1 − tanh² from the angle itself: the rounded step no longer knows it beyond a distance of about 12.
    decay = jnp.exp(-2 * angle)
    return _translate(x, step, 4 * decay / jnp.square(1 + decay), c)


def logmap(x: Float[Array, "... d"], y: Float[Array, "... d"], *, c: ArrayLike) -> Float[Array, "... d"]:
    """The logarithmic map, the velocity at x of the geodesic that reaches y at time 1; inverse of `expmap`.

        log_x(y) = 2/(√c λ_x) artanh(√c‖−x ⊕ y‖) (−x ⊕ y)/‖−x ⊕ y‖

    Shapes: [..., d], [..., d] → [..., d].
    """
    c = numerics.curvature(c, jnp.result_type(x, y))
    gap_x, gap_y = numerics.boundary_gap(x, c), numerics.boundary_gap(y, c)
    delta = y - x
    sq = c * jnp.sum(jnp.square(delta), axis=-1)
    t = sq / (gap_x * gap_y)
    direction = gap_x[..., None] * delta - sq[..., None] * x
    return (numerics.asinhc_sqrt(t) / (gap_y * jnp.sqrt(1 + t)))[..., None] * direction


def dist(x: Float[Array, "... d"], y: Float[Array, "... d"], *, c: ArrayLike) -> Float[Array, "..."]:
    """The hyperbolic distance, with derivative 0 at x = y.

        d(x, y) = (2/√c) artanh(√c‖−x ⊕ y‖) = (2/√c) asinh √(c‖x − y‖² / ((1 − c‖x‖²)(1 − c‖y‖²)))

    >>> round(float(dist(jnp.array([0.5, 0.0]), jnp.array([-0.5, 0.0]), c=1.0)), 4)
    2.1972

    Shapes: [..., d], [..., d] → [...].
    """
    c = numerics.curvature(c, jnp.result_type(x, y))
    sq = c * jnp.sum(jnp.square(x - y), axis=-1)
    t = sq / (numerics.boundary_gap(x, c) * numerics.boundary_gap(y, c))
    return 2 / jnp.sqrt(c) * numerics.asinh_sqrt(t)


def sqdist(x: Float[Array, "... d"], y: Float[Array, "... d"], *, c: ArrayLike) -> Float[Array, "..."]:
    """The squared hyperbolic distance d(x, y)², smooth at x = y too, with Hessian 2λ_x² I in y.

    Shapes: [..., d], [..., d] → [...].
    """
    c = numerics.curvature(c, jnp.result_type(x, y))
    sq = c * jnp.sum(jnp.square(x - y), axis=-1)
    t = sq / (numerics.boundary_gap(x, c) * numerics.boundary_gap(y, c))
    return 4 / c * numerics.asinh_sqrt_squared(t)


def dist0(x: Float[Array, "... d"], *, c: ArrayLike) -> Float[Array, "..."]:
    """The distance to the origin, d0(x) = (2/√c) artanh(√c‖x‖), with derivative 0 at 0.

    Shapes: [..., d] → [...].
    """
    c = numerics.curvature(c, x.dtype)
    t = c * jnp.sum(jnp.square(x), axis=-1) / numerics.boundary_gap(x, c)
    return 2 / jnp.sqrt(c) * numerics.asinh_sqrt(t)


def pairwise_dist(x: Float[Array, "n d"], y: Float[Array, "m d"], *, c: ArrayLike) -> Float[Array, "n m"]:
    """All distances d(x_i, y_j): accurate to the boundary, with no n×m×d buffer in value or gradient.

    The formula is that of `dist`; for the squared differences and their derivative see
    `numerics.pairwise_sqdist`.

    >>> x = jnp.array([[0.0, 0.0], [0.5, 0.0]])
    >>> print(jnp.array_str(pairwise_dist(x, x, c=1.0), precision=3))
    [[0.    1.099]
     [1.099 0.   ]]

    Shapes: x [n, d], y [m, d] → [n, m].
    """
    c = numerics.curvature(c, jnp.result_type(x, y))
    stretch_x, stretch_y = 1 / numerics.boundary_gap(x, c), 1 / numerics.boundary_gap(y, c)
    s = numerics.pairwise_sqdist(x, y)
    return 2 / jnp.sqrt(c) * numerics.asinh_sqrt_scaled(s, c * stretch_x, stretch_y)


def retract(x: Float[Array, "... d"], u: Float[Array, "... d"], *, c: ArrayLike) -> Float[Array, "... d"]:
    """The point x + u, brought inside the ball: `expmap` to first order in u. Shapes: [..., d], [..., d] → [..., d]."""
    return project(x + u, c=c)


def geodesic(
    t: ArrayLike, x: Float[Array, "... d"], y: Float[Array, "... d"], *, c: ArrayLike
) -> Float[Array, "... d"]:
    """The point at time t of the geodesic with γ(0) = x and γ(1) = y, at constant speed d(x, y).

        γ(t) = x ⊕ t ⊗ (−x ⊕ y)

    computed in the Lorentz model as sinh((1−t)D)/sinh(D)·X + sinh(tD)/sinh(D)·Y with D = √c d(x, y), which
    hits both end points exactly. Times outside [0, 1] extrapolate.

    >>> print(jnp.array_str(geodesic(0.0, jnp.array([0.5, 0.0]), jnp.array([-0.5, 0.0]), c=1.0), precision=3))
    [0.5 0. ]

    Shapes: t a scalar or [...], x [..., d], y [..., d], their leading axes broadcast → [..., d].
    """
    c = numerics.curvature(c, jnp.result_type(x, y))
    t = jnp.asarray(t, c.dtype)
    batch = jnp.broadcast_shapes(t.shape, x.shape[:-1], y.shape[:-1])
    t, (x, y) = jnp.broadcast_to(t, batch), (jnp.broadcast_to(z, batch + z.shape[-1:]) for z in (x, y))
    length = jnp.sqrt(c) * dist(x, y, c=c)
    stretch_x, stretch_y = 1 / numerics.boundary_gap(x, c), 1 / numerics.boundary_gap(y, c)
    share_x, share_y = numerics.sinh_ratio(1 - t, length), numerics.sinh_ratio(t, length)
    above = (share_x * stretch_x)[..., None] * x + (share_y * stretch_y)[..., None] * y
    below = 1 + share_x * (2 * stretch_x - 1) + share_y * (2 * stretch_y - 1)
    return project(numerics.divide(2 * above, below[..., None]), c=c)


def weighted_midpoint(
    x: Float[Array, "... n d"], weights: Float[Array, "... n"] | None = None, *, c: ArrayLike
) -> Float[Array, "... d"]:
    """The weighted gyro-midpoint over the second-last axis; 0 where all weights are 0.

        m = Σ w_i λ_i x_i / Σ w_i (λ_i − 1),    midpoint = ½ ⊗ m = m / (1 + √(1 − c‖m‖²))

    m lies in the Klein model, where 1 − c‖m‖² has no digits left at radius 10. So the same point is computed
    as μ / (1 + 2cV/(W + √(W² + 4cΩV))) with ω_i = w_i/(1 − c‖x_i‖²), Ω = Σ ω_i, W = Σ w_i, the mean μ = Σ ω_i
    x_i/Ω and the scatter V = Σ ω_i‖x_i − μ‖²: sums of positive terms only [ours]. It equals the Lorentz
    centroid.

    >>> print(jnp.array_str(weighted_midpoint(jnp.array([[0.5, 0.0], [0.5, 0.0]]), c=1.0), precision=3))
    [0.5 0. ]

    Shapes: x [..., n, d], weights [..., n] (non-negative, all 1 by default) → [..., d].

    References:
        Ungar (2008), definition 4.10; Law et al. (2019), Lorentzian Distance Learning, for the centroid.
    """
    c = numerics.curvature(c, x.dtype)
    weights = jnp.ones(x.shape[:-1], x.dtype) if weights is None else weights
    weights = numerics.divide(weights, jnp.sum(weights, axis=-1, keepdims=True))
    omega = weights / numerics.boundary_gap(x, c)
    total = jnp.sum(omega, axis=-1, keepdims=True)
    mean = jnp.sum(numerics.divide(omega, total)[..., None] * x, axis=-2)
    squares = jnp.sum(jnp.square(x - mean[..., None, :]), axis=-1)
    scatter = c * jnp.sum(omega * squares, axis=-1, keepdims=True)
    return project(mean / (1 + 2 * scatter / (1 + jnp.sqrt(1 + 4 * total * scatter))), c=c)


def frechet_mean(
    x: Float[Array, "... n d"], weights: Float[Array, "... n"] | None = None, *, c: ArrayLike, steps: int = means.STEPS
) -> Float[Array, "... d"]:
    """The Fréchet mean over the second-last axis, the one point m of least Σ w_i d(m, x_i)²; 0 where all weights are 0.

        m ← exp_m(Σ w_i log_m(x_i) / Σ w_i D_i coth D_i),    D_i = √c d(m, x_i),    Σ w_i = 1

    from the gyro-midpoint on, until a step is down to rounding. No eigenvalue of the Hessian of ½Σ w_i d(m, x_i)² is
    above the divisor, so each step descends. The derivative is implicit (see `means`). The gyro-midpoint is cheaper,
    and the same for two points of equal weight, but far points pull it as cosh d does and not as d².

    >>> x = jnp.array([[0.0, 0.0], [0.0, 0.0], [0.9, 0.0]])
    >>> print(f"{dist0(x[2], c=1.0):.3f} {dist0(frechet_mean(x, c=1.0), c=1.0):.3f}")
    2.944 0.981

    Shapes: x [..., n, d], weights [..., n] (non-negative, all 1 by default) → [..., d]. `steps` is the most that are
    taken.

    References:
        Karcher (1977) for the flow; Lou et al. (2020), Differentiating through the Fréchet Mean.
    """
    c = numerics.curvature(c, x.dtype)
    root = jnp.sqrt(c)

    def mean(x, weights):
        def pull(m):
            total = jnp.sum(weights[:, None] * logmap(jnp.broadcast_to(m, x.shape), x, c=c), axis=0)
            return jnp.where(jnp.all(weights == 0), -m, total)

        def advance(m):
            logarithms = logmap(jnp.broadcast_to(m, x.shape), x, c=c)
            lengths = root * conformal_factor(m, c=c) * numerics.safe_norm(logarithms)
            steepest = jnp.sum(weights / numerics.tanhc(lengths))
            step = numerics.divide(jnp.sum(weights[:, None] * logarithms, axis=0), steepest)
            return expmap(m, step, c=c), root * numerics.safe_norm(step)

        return means.solve(pull, advance, weighted_midpoint(x, weights, c=c), steps)

    return jnp.vectorize(mean, signature="(n,d),(n)->(d)")(x, means.shares(x, weights))
