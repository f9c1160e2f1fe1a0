"""Losses with a margin: triplet and Wu et al.'s margin loss, over all triplets of anchors and references."""

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike
from jaxtyping import Array, Float

from hypjax.losses.pairs import Pairs, check_pairs
from hypjax.losses.terms import Term, Terms, anchor_column, hinge


def triplet(distances: Float[Array, "n m"], pairs: Pairs, *, margin: ArrayLike = 0.2) -> Terms:
    r"""Triplet loss: an anchor's classmates should be nearer than everything else, by a margin.

    L = Σ_apn w_ap w_an [d(a,p) − d(a,n) + α]_+ / Σ_apn w_ap w_an 1[d(a,p) − d(a,n) + α > 0]

    the mean over the non-zero triplets, where w are the pairs' weights. All n·m² triplets are covered in
    O(n m log m) time and O(n m) memory; where a miner has chosen one reference of a side, without the sort. 0 when
    there is no triplet or none violates the margin.

    Args:
        distances: [n, m] of anchors to references, finite.
        pairs: their positives and negatives.
        margin: α in units of the distance, one value, or [n] with one for each anchor.

    Returns:
        One term for each anchor, over its non-zero triplets; the loss is ≥ 0 (to rounding).

    Raises:
        ValueError: when shapes do not agree.

    Example:
        >>> from hypjax import losses
        >>> x = jnp.array([0.0, 0.5, 0.6, 3.0])
        >>> both = losses.pairs(jnp.array([0, 0, 1, 1]))
        >>> print(f"{losses.mean(losses.triplet(jnp.abs(x[:, None] - x[None]), both, margin=0.2)):.4f}")
        1.0600

    References:
        Schroff et al., FaceNet: A Unified Embedding for Face Recognition and Clustering, CVPR 2015.
    """
    check_pairs(distances, pairs)
    alpha = anchor_column(margin, distances.shape[0], "margin")
    positive, negative = pairs.positive.astype(distances.dtype), pairs.negative.astype(distances.dtype)
    if pairs.one_positive:
        chosen = jnp.where(pairs.is_positive, distances, 0).sum(axis=1, keepdims=True)
        return (_hinges(chosen + alpha - distances, negative * positive.sum(axis=1, keepdims=True)),)
    if pairs.one_negative:
        chosen = jnp.where(pairs.is_negative, distances, 0).sum(axis=1, keepdims=True)
        return (_hinges(distances + alpha - chosen, positive * negative.sum(axis=1, keepdims=True)),)
    return (_all_triplets(distances, positive, negative, alpha),)


def margin(distances: Float[Array, "n m"], pairs: Pairs, *, margin: ArrayLike = 0.2, beta: ArrayLike = 1.2) -> Terms:
    r"""Margin loss: classmates nearer than β − α, everything else farther than β + α.

    Over triplets (a, p, n) with weights w_ap w_an::

        L = Σ w_ap w_an ([d(a,p) − β + α]_+ + [β − d(a,n) + α]_+) / Σ w_ap w_an (number of non-zero hinges)

    the sum over triplets divided by the number of their non-zero hinges. The hinges belong to pairs, so
    each pair is computed once and weighs as many triplets as it is part of; no n·m² appears. 0 when there is
    no triplet.

    Args:
        distances: [n, m] of anchors to references.
        pairs: their positives and negatives.
        margin: α in units of the distance, one value, or [n] with one for each anchor.
        beta: β, the boundary between near and far, likewise; learnable. For one per class pass
            ``betas[labels]``.

    Returns:
        One term for each anchor, over the non-zero hinges of its triplets; the loss is ≥ 0.

    Raises:
        ValueError: when shapes do not agree.

    Example:
        >>> from hypjax import losses
        >>> x = jnp.array([0.0, 0.5, 0.6, 3.0])
        >>> both = losses.pairs(jnp.array([0, 0, 1, 1]))
        >>> print(f"{losses.mean(losses.margin(jnp.abs(x[:, None] - x[None]), both, margin=0.2, beta=1.2)):.4f}")
        1.2250

    References:
        Wu et al., Sampling Matters in Deep Embedding Learning, ICCV 2017.
    """
    check_pairs(distances, pairs)
    alpha = anchor_column(margin, distances.shape[0], "margin")
    boundary = anchor_column(beta, distances.shape[0], "beta")
    positive, negative = pairs.positive.astype(distances.dtype), pairs.negative.astype(distances.dtype)
    # A pair's weight is that of all triplets it is part of, Σ_n w_ap w_an for a positive one.
    too_far = _hinges(distances - boundary + alpha, positive * negative.sum(1, keepdims=True))
    too_near = _hinges(boundary - distances + alpha, negative * positive.sum(1, keepdims=True))
    return (Term(too_far.total + too_near.total, too_far.counted + too_near.counted),)


def _hinges(violation: Array, weights: Array) -> Term:
    """Σ w [v]_+ and Σ w 1[v > 0] of each row, over what weighs anything, whatever stands elsewhere."""
    above = hinge(violation)
    return Term(jnp.where(weights > 0, weights * above, 0).sum(axis=1), (weights * (above > 0)).sum(axis=1))


def _all_triplets(distances: Array, positive: Array, negative: Array, margin: Array) -> Term:
    """Σ_pn w_ap w_an [d_ap + α − d_an]_+ and the weight of the triplets above 0, from one sort of each row.

    With the thresholds t_p = d_ap + α and the negatives d_n of an anchor sorted together, a positive's
    hinges are those of the negatives before it: Σ_{n before p} w_n (t_p − d_n) = t_p · Σ w_n − Σ w_n d_n,
    two running sums.
    """
    none = jnp.zeros_like(distances)
    keys = jnp.concatenate(
        [jnp.where(positive > 0, distances + margin, 0), jnp.where(negative > 0, distances, 0)], axis=1
    )
    # Stable, thresholds first: a negative that ties with a threshold comes after it and is no violation.
    order = jnp.argsort(jax.lax.stop_gradient(keys), axis=1, stable=True)
    keys, positive, negative = (
        jnp.take_along_axis(column, order, axis=1)
        for column in (
            keys,
            jnp.concatenate([positive, none], axis=1),
            jnp.concatenate([none, negative], axis=1),
        )
    )
    nearer = jnp.cumsum(negative, axis=1)
    # Multiplying, not masking: a NaN distance sorts last, where a mask would hide it.
    hinges = positive * (keys * nearer - jnp.cumsum(negative * keys, axis=1))
    return Term(hinges.sum(axis=1), (positive * nearer).sum(axis=1))
