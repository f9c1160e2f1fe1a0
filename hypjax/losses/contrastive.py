"""Contrastive losses: hinges on pairs, and a softmax over the batch that should pick the other image of a class."""

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike
from jaxtyping import Array, Float

from hypjax.geometry.numerics import require_positive
from hypjax.losses.pairs import Pairs, check_pairs
from hypjax.losses.terms import Term, Terms, anchor_column, safe_log


def pairwise_cross_entropy(distances: Float[Array, "n m"], pairs: Pairs, *, temperature: ArrayLike) -> Terms:
    r"""Cross-entropy of finding an anchor's classmate among one image of every other class, for every positive pair.

    With s_ij = −d(i,j) / τ_i, r the rank of an image within its class and N(i) the negatives of anchor i, for every
    positive pair (i, p)::

        ℓ_ip = −s_ip + log( exp s_ip + Σ_{n ∈ N(i), r_n ∈ {r_i, r_p}} w_in exp s_in )        L = Σ w_ip ℓ_ip / Σ w_ip

    where w are the pairs' weights. In a batch of K classes × m samples that is the cross-entropy over one row of
    logits: the positive and its slot's images of the other K − 1 classes, and those of the anchor's slot
    [code: Hyp-ViT]. The loss is the MEAN over all ordered pairs, where Hyp-ViT adds up the m(m−1) means over anchors
    and HIER divides that by m²: theirs are m(m−1) and (m−1)/m times ours.

    Their code knows a class by its place in the batch. Here ranks come from the labels, so that classes may stand in
    any order and have any number of images [ours]; the first image of a class has rank 0, the next one rank 1, and so
    on. The value depends on these ranks: to exchange two images of a class changes with whom they are compared. Each
    class has at most one image of each rank, so a pair has at most two negatives of every other class: those with the
    rank of i and of p. Where anchors are queries and references a gallery, r_i is a rank among the queries, and r_p and
    r_n are ranks in the gallery; with a memory, ranks go on from the batch into the memory.

    Args:
        distances: [n, m] of anchors to references; negated inner products serve the sphere.
        pairs: their positives and negatives.
        temperature: τ > 0, one value, or [n] with one for each anchor. May be traced. Hyp-ViT: 0.2.

    Returns:
        One term for each anchor, over its positives; the loss is ≥ 0.

    Raises:
        ValueError: when τ ≤ 0 or shapes do not agree.

    Example:
        >>> from hypjax import losses
        >>> x = jnp.array([0.0, 0.1, 2.0, 2.1])
        >>> distances = jnp.abs(x[:, None] - x[None])
        >>> both = losses.pairs(jnp.array([0, 0, 1, 1]))
        >>> print(f"{losses.mean(losses.pairwise_cross_entropy(distances, both, temperature=0.5)):.4f}")
        0.0442

    References:
        Ermolov et al., Hyperbolic Vision Transformers: Combining Improvements in Metric Learning, CVPR 2022.
    """
    logits, positive, negative = scaled_logits(distances, pairs, temperature)
    by_rank = _logsumexp_by_rank(jnp.where(pairs.is_negative, logits + safe_log(negative), -jnp.inf), pairs)
    column = jnp.arange(distances.shape[0])
    at_anchor = by_rank.at[pairs.rank, column].get(mode="fill", fill_value=-jnp.inf)
    at_positive = by_rank[pairs.reference_rank].T
    apart = pairs.reference_rank[None, :] != pairs.rank[:, None]
    # The positive first: it is finite, where both sums may be empty, log 0.
    total = jnp.logaddexp(jnp.logaddexp(logits, at_positive), jnp.where(apart, at_anchor[:, None], -jnp.inf))
    losses = jnp.where(pairs.is_positive, positive * (total - logits), 0)
    return (Term(losses.sum(axis=1), positive.sum(axis=1)),)


def _logsumexp_by_rank(values: Float[Array, "n m"], pairs: Pairs) -> Float[Array, "m n"]:
    """Log Σ exp over the references of each rank, which is below their number; −inf where there is none."""
    ranks, count = pairs.reference_rank, values.shape[1]
    largest = jax.lax.stop_gradient(jax.ops.segment_max(values.T, ranks, count))
    largest = jnp.where(largest == -jnp.inf, 0, largest)
    return safe_log(jax.ops.segment_sum(jnp.exp(values.T - largest[ranks]), ranks, count)) + largest


def contrastive(
    distances: Float[Array, "n m"], pairs: Pairs, *, pos_margin: ArrayLike = 0.0, neg_margin: ArrayLike = 1.0
) -> Terms:
    r"""Contrastive loss: classmates within one distance, everything else beyond another.

    L = Σ_ip w_ip [d(i,p) − m₊]_+ / Σ_ip w_ip 1[d(i,p) > m₊] + Σ_in w_in [m₋ − d(i,n)]_+ / Σ_in w_in 1[d(i,n) < m₋]

    the mean over the non-zero terms of positive pairs plus that of negative pairs, where w are the pairs' weights. A
    side without non-zero terms is 0.

    Args:
        distances: [n, m] of anchors to references.
        pairs: their positives and negatives.
        pos_margin: m₊ ≥ 0 in units of the distance, one value, or [n] with one for each anchor.
        neg_margin: m₋ > 0, likewise.

    Returns:
        Two terms for each anchor, over its positives and over its negatives; the loss is ≥ 0.

    Raises:
        ValueError: when shapes do not agree.

    Example:
        >>> from hypjax import losses
        >>> x = jnp.array([0.0, 0.5, 0.6, 3.0])
        >>> both = losses.pairs(jnp.array([0, 0, 1, 1]))
        >>> print(f"{losses.mean(losses.contrastive(jnp.abs(x[:, None] - x[None]), both)):.4f}")
        2.1000

    References:
        Hadsell et al., Dimensionality Reduction by Learning an Invariant Mapping, CVPR 2006 (there with squares).
    """
    check_pairs(distances, pairs)
    anchors = distances.shape[0]
    too_far = distances - anchor_column(pos_margin, anchors, "pos_margin")
    too_near = anchor_column(neg_margin, anchors, "neg_margin") - distances
    return _of_what_violates(too_far, pairs.positive), _of_what_violates(too_near, pairs.negative)


def _of_what_violates(violation: Array, weights: Array) -> Term:
    # What fulfills its margin is left out of the mean; a NaN does not, and so is seen.
    weights = jnp.where(violation <= 0, 0, weights.astype(violation.dtype))
    return Term(jnp.where(weights > 0, weights * violation, 0).sum(axis=1), weights.sum(axis=1))


def scaled_logits(
    distances: Float[Array, "n m"], pairs: Pairs, temperature: ArrayLike
) -> tuple[Float[Array, "n m"], Float[Array, "n m"], Float[Array, "n m"]]:
    """−d/τ of the pairs that count, 0 elsewhere, and the weights of positives and of negatives.

    Args:
        distances: [n, m].
        pairs: of the same shape.
        temperature: τ > 0, one value or [n].

    Returns:
        Three arrays [n, m].

    Raises:
        ValueError: when τ ≤ 0 or shapes do not agree.
    """
    check_pairs(distances, pairs)
    require_positive(temperature, "temperature", "0.2 is usual")
    distances = jnp.where(pairs.is_positive | pairs.is_negative, distances, 0)
    logits = -distances / anchor_column(temperature, distances.shape[0], "temperature")
    return logits, pairs.positive.astype(logits.dtype), pairs.negative.astype(logits.dtype)
