"""Hyp-UML: the uncertainty of an embedding, and what makes a loss listen to it: a temperature or a margin by anchor.

What we know of it is that an image gets an uncertainty from a hyperbolic embedding and that there is an
uncertainty-aware loss for contrastive and one for margin-based learning [abstract]. Every formula here is
[ours].
"""

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike
from jaxtyping import Array, Float

from hypjax.geometry.numerics import require_positive, safe_norm


def radial_uncertainty(embeddings: Float[Array, "*batch d"], *, c: ArrayLike) -> Float[Array, "*batch"]:
    r"""Uncertainty of points of the Poincaré ball, by how near they are to its center.

    u(z) = 1 − √c ‖z‖ [ours]

    Args:
        embeddings: [..., d] points of the ball of curvature −c; `space.to_poincare(z)` where z may lie on the Lorentz
            sheet, whose coordinates would count as points beyond the boundary.
        c: minus the curvature, > 0. May be traced.

    Returns:
        [...] in [0, 1]: 1 at the origin, 0 at the boundary and beyond; its gradient at the origin is 0.

    Raises:
        ValueError: when c ≤ 0.

    Example:
        >>> import jax.numpy as jnp
        >>> from hypjax.losses import radial_uncertainty
        >>> print(radial_uncertainty(jnp.array([[0.0, 0.0], [0.6, 0.0], [0.0, -1.0]]), c=1.0).round(3))
        [1.  0.4 0. ]
    """
    require_positive(c, "c", "the ball has radius 1/√c")
    return _outside_in(jnp.sqrt(jnp.asarray(c, embeddings.dtype)) * safe_norm(embeddings))


def distance_uncertainty(tangent: Float[Array, "*batch d"], *, clip_radius: ArrayLike) -> Float[Array, "*batch"]:
    r"""Uncertainty of tangent vectors at the origin, by their share of the clip radius; for every geometry.

    u(v) = 1 − ‖v‖ / r [ours]

    In hyperbolic space d(0, exp₀ v) = 2‖v‖ in the convention of `hypjax.geometry`, so this is 1 − d₀/(2r).
    It falls evenly with the distance where `radial_uncertainty` saturates, and it needs no curvature.

    Args:
        tangent: [..., d] what the head gives, after its clip and before any exponential map.
        clip_radius: r > 0, the largest norm that the clip lets through. May be traced.

    Returns:
        [...] in [0, 1]: 1 at the origin, 0 at the clip radius and beyond; its gradient at the origin is 0.

    Raises:
        ValueError: when r ≤ 0.

    Example:
        >>> import jax.numpy as jnp
        >>> from hypjax.losses import distance_uncertainty
        >>> print(distance_uncertainty(jnp.array([[0.0, 0.0], [0.0, 0.5], [2.0, 0.0]]), clip_radius=2.0))
        [1.   0.75 0.  ]
    """
    require_positive(clip_radius, "clip_radius", "2.3 is usual")
    return _outside_in(safe_norm(tangent) / jnp.asarray(clip_radius, tangent.dtype))


def anchor_temperature(
    uncertainty: Float[Array, " n"], temperature: ArrayLike, *, strength: ArrayLike, center: ArrayLike = 0.5
) -> Float[Array, " n"]:
    r"""Hyp-UML's contrastive loss: each anchor's uncertainty sets its temperature.

    τ_i = τ · exp(λ (u_i − u₀)) [ours], for `pairwise_cross_entropy` or another softmax loss.

    An ambiguous anchor lowers its loss by growing uncertain (a flatter softmax pays less for a mistake), a
    clear one by growing certain: a trade that calibrates itself and needs no extra term, so u keeps its
    gradient. The mean temperature stays near τ only when u₀ is a typical u, and a fixed one: centering by
    the batch's mean lets all radii drift outward together.

    Args:
        uncertainty: [n] u in [0, 1]. The gradient flows through it.
        temperature: τ > 0, the temperature where u = u₀.
        strength: λ ≥ 0; at 0 each anchor has τ exactly.
        center: u₀, the uncertainty of a middling radius.

    Returns:
        [n] temperatures > 0.

    Raises:
        ValueError: when τ ≤ 0.

    Example:
        >>> from hypjax import losses
        >>> x = jnp.array([0.0, 1.0, 0.2, 1.2])  # two classes that cannot be told apart
        >>> both = losses.pairs(jnp.array([0, 0, 1, 1]))
        >>> for u in 0.2, 0.8:
        ...     tau = losses.anchor_temperature(jnp.full(4, u), 0.2, strength=2.0)
        ...     loss = losses.pairwise_cross_entropy(jnp.abs(x[:, None] - x[None]), both, temperature=tau)
        ...     print(f"u = {u:.1f}: {losses.mean(loss):.3f}")
        u = 0.2: 7.291
        u = 0.8: 2.409
    """
    require_positive(temperature, "temperature", "0.2 is usual")
    return jnp.asarray(temperature) * jnp.exp(strength * (uncertainty - center))


def anchor_margin(
    uncertainty: Float[Array, " n"], margin: ArrayLike, *, strength: ArrayLike, detach: bool = True
) -> Float[Array, " n"]:
    r"""Hyp-UML's margin loss: each anchor's uncertainty scales its margin.

    α_i = α (1 − λ u_i) [ours], for `triplet` or `margin`.

    With λ = 1 a certain image is held to the full margin and a wholly uncertain one to none. A negative λ
    asks *more* of uncertain images.

    Unlike the temperature of `anchor_temperature`, a margin is no trade: growing u lowers every hinge
    (λ > 0), so with its gradient on, the loss pays each point for moving to the origin, and where labels
    are noisy they go. So u is a constant here unless told otherwise.

    That stops the pull, not the triplet loss's own: under heavy label noise triplets draw a batch together
    with u or without, and λ = 1 leaves no margin at the origin to stop them. A smaller λ only
    slows that; the margin loss, whose β holds the scale, was seen to keep its radius.

    Args:
        uncertainty: [n] u in [0, 1].
        margin: α in units of the distance, the margin where u = 0.
        strength: λ; at 0 each anchor has α exactly.
        detach: stop the gradient at u. False lets it through, at the price said above.

    Returns:
        [n] margins.

    Example:
        >>> from hypjax import losses
        >>> x, u = jnp.array([0.0, 0.5, 0.6, 3.0]), jnp.array([0.1, 0.9, 0.9, 0.1])
        >>> both = losses.pairs(jnp.array([0, 0, 1, 1]))
        >>> alpha = losses.anchor_margin(u, 0.2, strength=1.0)
        >>> print(f"{losses.mean(losses.triplet(jnp.abs(x[:, None] - x[None]), both, margin=alpha)):.4f}")
        0.9440
    """
    if detach:
        uncertainty = jax.lax.stop_gradient(uncertainty)
    return jnp.asarray(margin) * (1 - jnp.asarray(strength) * uncertainty)


def _outside_in(share: Array) -> Array:
    """1 − share of the way to the rim, 0 beyond it; a NaN stays one."""
    return jnp.where(share > 1, 0, 1 - share)
