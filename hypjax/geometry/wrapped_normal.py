"""The wrapped normal distribution: a Gaussian of tangent vectors, carried to a mean and laid onto the space.

    ε ~ N(0, diag(σ²)),    x = exp_μ(PT_{0→μ}(ε)),
    log p(x) = log N(ε; 0, diag(σ²)) − (d − 1)·log(sinh(√c r)/(√c r)),    r = ‖ε‖ = d(μ, x)

ε has coordinates in an orthonormal frame at the origin, so σ is in units of distance, whatever the model: ε is the
point `embed(ε/2)` seen from the mean, in the ball and on the sheet, and both have one density. It is with respect to
Riemannian volume, and that of a product to the product of its components' volumes; flat space has the normal
distribution itself. On a sphere, where geodesics come round again, the density would be an infinite sum: it has none
here.

References:
    Nagano et al. (2019), A Wrapped Normal Distribution on Hyperbolic Space for Gradient-Based Learning.
    https://arxiv.org/abs/1902.02992
"""

import math

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike
from jaxtyping import Array, Float, PRNGKeyArray

from hypjax.geometry import lorentz, numerics, poincare
from hypjax.geometry.manifold import Euclidean, Lorentz, Manifold, Poincare
from hypjax.geometry.product import Product


def sample(
    space: Manifold, key: PRNGKeyArray, mean: Float[Array, "... e"], scale: ArrayLike, shape: tuple[int, ...] = ()
) -> Float[Array, "... e"]:
    """Samples, differentiable in mean and scale (reparameterized).

    Shapes: mean [..., e], scale σ a scalar or [..., d] (of each point alone: [..., 1]) → `[*shape, ..., e]`. The
    farthest sample is the farthest point that the model represents.

    >>> from hypjax.geometry import Poincare
    >>> space = Poincare(c=1.0)
    >>> x = sample(space, jax.random.key(0), space.origin(2), 0.5, (1000,))
    >>> print(x.shape, f"{jnp.mean(space.dist0(x) ** 2):.1f}")  # E d² = dσ²
    (1000, 2) 0.5

    Raises:
        ValueError: A space with a sphere in it, or a scale that is known not to be positive.
    """
    numerics.require_positive(scale, "scale")
    dimensions = _dimensions(space, mean.shape[-1])
    batch = (*shape, *jnp.broadcast_shapes(mean.shape[:-1], jnp.shape(scale)[:-1]))
    noise = jax.random.normal(key, (*batch, dimensions), mean.dtype)
    noise *= jnp.broadcast_to(jnp.asarray(scale, mean.dtype), noise.shape)
    return _wrap(space, jnp.broadcast_to(mean, (*batch, mean.shape[-1])), noise)


def log_prob(
    space: Manifold, x: Float[Array, "... e"], mean: Float[Array, "... e"], scale: ArrayLike
) -> Float[Array, "..."]:
    """The logarithm of the density at x.

    Shapes: x [..., e], mean [..., e], scale σ a scalar or [..., d]; leading axes broadcast → [...].

    >>> from hypjax.geometry import Euclidean
    >>> print(f"{log_prob(Euclidean(), jnp.zeros(2), jnp.zeros(2), 1.0):.3f}")  # −log 2π
    -1.838

    Raises:
        ValueError: A space with a sphere in it, or a scale that is known not to be positive.
    """
    numerics.require_positive(scale, "scale")
    dimensions = _dimensions(space, mean.shape[-1])
    batch = jnp.broadcast_shapes(x.shape[:-1], mean.shape[:-1], jnp.shape(scale)[:-1])
    x, mean = (jnp.broadcast_to(point, (*batch, point.shape[-1])) for point in (x, mean))
    noise, log_volume = _unwrap(space, x, mean)
    scale = jnp.broadcast_to(jnp.asarray(scale, x.dtype), (*batch, dimensions))
    normal = jnp.sum(jnp.square(noise / scale) / 2 + jnp.log(scale), axis=-1) + dimensions / 2 * math.log(2 * math.pi)
    return -normal - log_volume


def _dimensions(space: Manifold, coordinates: int) -> int:
    if isinstance(space, Product):
        return sum(space.dimensions)
    return coordinates - 1 if isinstance(space, Lorentz) else coordinates


def _wrap(space: Manifold, mean: Array, noise: Array) -> Array:
    """The point that the coordinates ε of a tangent vector at the origin stand for, seen from the mean."""
    if isinstance(space, Product):
        edges = [sum(space.dimensions[:k]) for k in range(1, len(space.dimensions))]
        parts = zip(space.manifolds, space.split(mean), jnp.split(noise, edges, axis=-1), strict=True)
        return jnp.concatenate([_wrap(*part) for part in parts], axis=-1)
    if isinstance(space, Poincare):
        tangent = poincare.parallel_transport0(mean, noise / 2, c=space.c)
    elif isinstance(space, Lorentz):
        tangent = lorentz.parallel_transport0(mean, noise, c=space.c)
    else:
        _require_flat(space)
        tangent = noise
    return space.expmap(mean, tangent)


def _unwrap(space: Manifold, x: Array, mean: Array) -> tuple[Array, Array]:
    """The coordinates ε that `_wrap` takes to x, and the logarithm of how much it stretches volume there."""
    if isinstance(space, Product):
        parts = [_unwrap(*part) for part in zip(space.manifolds, space.split(x), space.split(mean), strict=True)]
        noises, volumes = zip(*parts, strict=True)
        return jnp.concatenate(noises, axis=-1), jnp.sum(jnp.stack(volumes), axis=0)
    tangent = space.logmap(mean, x)
    if isinstance(space, Poincare):
        noise = poincare.conformal_factor(mean, c=space.c)[..., None] * tangent
    elif isinstance(space, Lorentz):
        origin = jnp.broadcast_to(space.origin(mean.shape[-1] - 1, mean.dtype), mean.shape)
        noise = space.transport(mean, origin, tangent)[..., 1:]
    else:
        _require_flat(space)
        return tangent, jnp.zeros(tangent.shape[:-1], tangent.dtype)
    square = numerics.curvature(space.c, x.dtype) * jnp.sum(jnp.square(noise), axis=-1)
    return noise, (noise.shape[-1] - 1) * _log_sinhc_sqrt(square)


def _require_flat(space: Manifold) -> None:
    if not isinstance(space, Euclidean):
        raise ValueError(f"the wrapped normal is for Poincare, Lorentz, Euclidean and products of them, not {space}")


def _log_sinhc_sqrt(t: Array) -> Array:
    """Log(sinh(√t)/√t) for t ≥ 0: a smooth function of t, whose derivative keeps its digits where t is small."""
    small = t < (8e4 * float(jnp.finfo(t.dtype).eps)) ** 0.25
    root = jnp.sqrt(jnp.where(small, 1, t))
    series = t * (1 / 6 - t * (1 / 180 - t * (1 / 2835 - t / 37800)))
    return jnp.where(small, series, root + jnp.log1p(-jnp.exp(-2 * root)) - jnp.log(2 * root))
