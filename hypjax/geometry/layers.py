"""Layers of hyperbolic networks in the Poincaré ball, as pure functions: a linear map and a classifier.

All parameters are flat vectors, so that ordinary optimizers serve them: a bias is a tangent vector at the origin, a
hyperplane a normal vector and an offset along it. As c → 0 both layers become their Euclidean namesakes, the logits
with the factor 4 of a metric that is 4 times the Euclidean one at the origin.

References:
    Ganea, Bécigneul, Hofmann (2018), Hyperbolic Neural Networks. https://arxiv.org/abs/1805.09112
    Shimizu, Mukuta, Harada (2021), Hyperbolic Neural Networks++. https://arxiv.org/abs/2006.08210
"""

import jax.numpy as jnp
from jax.typing import ArrayLike
from jaxtyping import Array, Float

from hypjax.geometry import numerics, poincare, sphere


def linear(
    x: Float[Array, "... d"], weight: Float[Array, "k d"], bias: Float[Array, " k"] | None = None, *, c: ArrayLike
) -> Float[Array, "... k"]:
    """The Möbius linear layer (W ⊗ x) ⊕ exp0(b): a linear map of log0(x), then a translation.

    >>> x = poincare.expmap0(jnp.array([0.5, 0.0]), c=1.0)
    >>> y = linear(x, jnp.eye(2), jnp.array([0.25, 0.0]), c=1.0)
    >>> print(jnp.array_str(poincare.logmap0(y, c=1.0), precision=3))
    [0.75 0.  ]

    Shapes: x [..., d], weight [k, d], bias [k], a tangent vector at the origin → [..., k].

    Raises:
        ValueError: If c is not a positive scalar, or x is neither float32 nor float64. So do all functions here.

    Source: Ganea et al. (2018), section 3.2, with the bias given by its logarithm.
    """
    y = poincare.mobius_matvec(weight, x, c=c)
    if bias is None:
        return y
    return poincare.mobius_add(y, jnp.broadcast_to(poincare.expmap0(bias, c=c), y.shape), c=c)


def hyperplane_dist(
    x: Float[Array, "n d"], normals: Float[Array, "k d"], offsets: Float[Array, " k"], *, c: ArrayLike
) -> Float[Array, "n k"]:
    """All signed distances of points to hyperplanes, positive on the side that the normal points to.

        d(x, H) = asinh( λ_x √c⟨x, z/‖z‖⟩ cosh(2√c r) − (λ_x − 1) sinh(2√c r) ) / √c

    H is the geodesic hyperplane through exp0(r z/‖z‖) at right angles to the ray of z; it lies 2r from the origin. A
    zero normal has no hyperplane: distance 0, with derivative 0. Offsets that lie beyond the farthest represented point
    count as if there.

    >>> x = poincare.expmap0(jnp.array([[0.5, 0.0], [0.25, 0.0], [0.0, 0.0]]), c=1.0)
    >>> print(jnp.round(hyperplane_dist(x, jnp.array([[3.0, 0.0]]), jnp.array([0.25]), c=1.0)[:, 0], 3) + 0)
    [ 0.5  0.  -0.5]

    Shapes: x [n, d], normals z [k, d] of any length, offsets r [k] in units of a tangent vector → [n, k].

    Source: Ganea et al. (2018), theorem 5, in the form of Shimizu et al. (2021), equation 6.
    """
    c = numerics.curvature(c, x.dtype)
    root = jnp.sqrt(c)
    x = poincare.project(x, c=c)
    units = sphere.project(normals)
    along = root * numerics.matmul(x, units.T)
    angle = 2 * root * offsets
    farthest = numerics.max_radius(x.dtype)
    angle = jnp.where(jnp.abs(angle) >= farthest, farthest * jnp.sign(angle), angle)[None, :]
    factor = poincare.conformal_factor(x, c=c)[:, None]
    sine = factor * along * jnp.cosh(angle) - (factor - 1) * jnp.sinh(angle)
    missing = jnp.all(units == 0, axis=-1)[None, :]
    return jnp.where(missing, 0, jnp.arcsinh(sine)) / root


def mlr(
    x: Float[Array, "n d"], normals: Float[Array, "k d"], offsets: Float[Array, " k"], *, c: ArrayLike
) -> Float[Array, "n k"]:
    """The logits 2‖z_k‖ d(x, H_k) of hyperbolic multinomial logistic regression; softmax gives probabilities.

    As c → 0 they are 4(⟨x, z⟩ − r‖z‖). A zero normal has logit 0, with derivative 0. See `hyperplane_dist`.

    >>> x = jnp.array([[0.5, 0.0], [0.0, 0.5]])
    >>> print(jnp.array_str(mlr(x, jnp.eye(2), jnp.zeros(2), c=1.0), precision=3))
    [[2.197 0.   ]
     [0.    2.197]]

    Shapes: x [n, d], normals z [k, d], offsets r [k] → [n, k], k classes.

    Source: Shimizu et al. (2021), equation 6.
    """
    return 2 * numerics.safe_norm(normals)[None, :] * hyperplane_dist(x, normals, offsets, c=c)
