"""Entailment: a point that stands for others holds them in its cone, see `hypjax.geometry.cones`."""

import jax.numpy as jnp
from jax.typing import ArrayLike
from jaxtyping import Array, Float

from hypjax.losses.pairs import Pairs, check_pairs
from hypjax.losses.terms import Term, Terms, hinge


def entailment(
    angles: Float[Array, "n m"], apertures: Float[Array, " m"], pairs: Pairs, *, margin: ArrayLike = 0.1
) -> Terms:
    r"""Points should lie in the cones of what entails them, and outside of all others.

    With the violation E_ij = [Ξ(j, i) − ψ(j)]_+ of the cone at reference j by anchor i, and w the pairs' weights::

        L = Σ_ip w_ip E_ip / Σ_ip w_ip + Σ_in w_in [γ − E_in]_+ / Σ_in w_in 1[E_in < γ]

    Anchors are the particular (images, classes), references the general (classes, their ancestors). At γ = 0 the
    second term is 0 and this is MERU's; Ganea et al. add up both. Here the first is the mean over all of its pairs,
    and the second that over the pairs that are too near, since most are not [ours].

    Args:
        angles: [n, m] Ξ at each reference to each anchor, in radians.
        apertures: [m] ψ of the references' cones.
        pairs: positives are the references that entail an anchor, negatives those that do not.
        margin: γ ≥ 0 in radians.

    Returns:
        Two terms for each anchor, over what entails it and over what does not; the loss is ≥ 0.

    Raises:
        ValueError: when shapes do not agree.

    Example:
        >>> from hypjax import losses
        >>> from hypjax.geometry import Poincare, cones
        >>> space = Poincare(1.0)
        >>> general, particular = jnp.array([[0.3, 0.0], [0.0, 0.3]]), jnp.array([[0.6, 0.05], [0.05, 0.6]])
        >>> angles = cones.pairwise_exterior_angle(space, general, particular).T
        >>> for labels in (jnp.array([0, 1]), jnp.array([1, 0])):
        ...     both = losses.pairs(labels, jnp.arange(2))
        ...     print(f"{losses.mean(entailment(angles, cones.half_aperture(space, general), both)):.3f}")
        0.000
        1.938

    References:
        Ganea, Bécigneul, Hofmann, Hyperbolic Entailment Cones for Learning Hierarchical Embeddings, ICML 2018.
        Desai et al., Hyperbolic Image-Text Representations, ICML 2023.
    """
    check_pairs(angles, pairs, "angles")
    if apertures.shape != angles.shape[1:]:
        raise ValueError(f"apertures of shape {apertures.shape} for angles of shape {angles.shape}; give one a column")
    violation = hinge(angles - apertures[None, :])
    positive, negative = (weights.astype(violation.dtype) for weights in (pairs.positive, pairs.negative))
    outside = Term(jnp.where(positive > 0, positive * violation, 0).sum(axis=1), positive.sum(axis=1))
    too_near = hinge(jnp.asarray(margin) - violation)
    negative = jnp.where(too_near == 0, 0, negative)
    return outside, Term(jnp.where(negative > 0, negative * too_near, 0).sum(axis=1), negative.sum(axis=1))
