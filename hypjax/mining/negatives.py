"""Miners of negatives: what an anchor is pushed from. Positives stay as they are, or as a miner before chose them."""

import jax
import jax.numpy as jnp
from jax.lax import stop_gradient
from jax.typing import ArrayLike
from jaxtyping import Array, Bool, Float

from hypjax.geometry.numerics import require_positive
from hypjax.losses.pairs import Pairs, check_pairs
from hypjax.losses.terms import Term, Terms, anchor_column, mean
from hypjax.mining.pairing import nearest_of


def hard_negative(distances: Float[Array, "n m"], pairs: Pairs) -> Pairs:
    """Of the other classes each anchor takes the nearest image.

    n(i) = argmin_{y_j≠y_i} d(i,j)

    Args:
        distances: [n, m] of anchors to references, finite.
        pairs: those it may take.

    Returns:
        The pairs with one negative for each anchor, of weight 1: of equally near images that of lowest index; none
        where all are of one class.

    Raises:
        ValueError: when shapes do not agree.

    Example:
        >>> from hypjax import losses
        >>> x, both = jnp.array([0.0, 3.0, 1.0, 0.5]), losses.pairs(jnp.array([0, 0, 1, 1]))
        >>> print(hard_negative(jnp.abs(x[:, None] - x[None]), both).negative[:2].astype(int))
        [[0 0 0 1]
         [0 0 1 0]]

    References:
        Hermans et al., In Defense of the Triplet Loss for Person Re-Identification, 2017.
    """
    check_pairs(distances, pairs)
    return pairs.choose(negative=nearest_of(distances, pairs.is_negative))


def semihard_negative(distances: Float[Array, "n m"], pairs: Pairs, *, margin: ArrayLike = 0.2) -> Pairs:
    """Negatives that are farther than a positive, but by less than the margin.

    n is semi-hard for anchor i where d(i,p) < d(i,n) < d(i,p) + α for at least one positive p.

    One is drawn of them, and where there is none, one of all negatives: each weighs its probability, 1 over
    their number, so a row sums to 1 [ours]. With several positives the one draw serves them all, also those for which
    it is not semi-hard; let `easy_positive` or `hard_positive` choose one each before.

    Args:
        distances: [n, m] of anchors to references.
        pairs: those it may take, and the positives it measures against.
        margin: α in units of the distance, that of the loss: one value, or [n] with one for each anchor.

    Returns:
        The pairs, whose negative rows sum to 1, or are 0 where all images are of one class. O(n m log m) time, O(n m)
        memory.

    Raises:
        ValueError: when shapes do not agree.

    Example:
        >>> from hypjax import losses
        >>> x, both = jnp.array([0.0, 1.0, 0.9, 1.1, 1.15, 3.0]), losses.pairs(jnp.array([0, 0, 1, 1, 1, 1]))
        >>> print(semihard_negative(jnp.abs(x[:, None] - x[None]), both, margin=0.2).negative[0])
        [0.  0.  0.  0.5 0.5 0. ]

    References:
        Schroff et al., FaceNet: A Unified Embedding for Face Recognition and Clustering, CVPR 2015.
    """
    check_pairs(distances, pairs)
    distances = stop_gradient(distances)
    alpha = anchor_column(margin, distances.shape[0], "margin")
    # All intervals (d_p, d_p + α) are equally long: the last that begins before d_n is the one that may reach it.
    begins = jnp.sort(jnp.where(pairs.is_positive, distances, jnp.inf), axis=1)
    before = jax.vmap(jnp.searchsorted)(begins, distances)
    last = jnp.take_along_axis(begins, jnp.maximum(before - 1, 0), axis=1)
    last = jnp.where(before > 0, last, -jnp.inf)
    # "Not beyond" rather than "within": a NaN distance is taken, so that the loss shows it.
    reached = ~(distances >= last + alpha)
    return pairs.weigh(negative=_draw(pairs.is_negative, reached, jnp.zeros_like(distances)))


def distance_weighted_negative(
    distances: Float[Array, "n m"], pairs: Pairs, *, dimension: int = 128, scale: ArrayLike | None = 1.0
) -> Pairs:
    r"""Negatives drawn evenly over distances, by the inverse of how common a distance is on a sphere.

    log w(d) = (2 − n) log d − (n − 3)/2 · log(1 − d²/4),   d = max(d(i,j) / s, 0.5) < 1.4

    Two random points of the unit sphere of R^n lie at the Euclidean distance d with a density of 1/w. Distances
    below 0.5 weigh as 0.5, and negatives from 1.4 on, which a margin leaves in peace, are left out; an anchor
    that has none nearer draws from all negatives alike [code: sampling_matters]. Weights are the
    probabilities of the draw [ours].

    That holds for *chords* between unit vectors, s = 1. Everywhere else the formula is a guide [ours]: angles
    and hyperbolic distances have another density and another unit. With ``scale=None`` the unit is taken from
    the pairs given, s = (mean distance of negative pairs) / √2, for on the sphere unrelated images are √2 apart;
    about the nearer half of them then takes part, nearer ones more. Where the anchors come in blocks, take
    `negative_distance` over all of them first, and pass `scale=losses.mean(losses.in_blocks(…)) / √2`.

    Args:
        distances: [n, m] of anchors to references.
        pairs: those it may take.
        dimension: n ≥ 2, of the embeddings: of tangent vectors for the ball. The larger, the more the weight is
            on the nearest.
        scale: s > 0, the distance that counts as 1; may be traced. None measures it.

    Returns:
        The pairs, whose negative rows sum to 1, or are 0 where all images are of one class.

    Raises:
        ValueError: when dimension < 2, scale ≤ 0, or shapes do not agree.

    Example:
        >>> from hypjax import losses
        >>> angles, both = jnp.array([0.0, 0.1, 0.7, 1.0, 3.1]), losses.pairs(jnp.array([0, 0, 1, 2, 3]))
        >>> chords = 2 * jnp.abs(jnp.sin((angles[:, None] - angles[None]) / 2))
        >>> print(jnp.array_str(distance_weighted_negative(chords, both, dimension=8).negative[0], precision=3))
        [0.    0.    0.842 0.158 0.   ]

    References:
        Wu et al., Sampling Matters in Deep Embedding Learning, ICCV 2017.
    """
    check_pairs(distances, pairs)
    if dimension < 2:
        raise ValueError(f"dimension={dimension} must be at least 2, the dimension of the embeddings")
    distances = stop_gradient(distances)
    if scale is None:
        scale = mean(negative_distance(distances, pairs)) / 2**0.5
        scale = jnp.where(scale <= 0, 1, scale)
    else:
        require_positive(scale, "scale", "give None to measure it in the batch")
    chords = distances / scale
    near = ~(chords >= 1.4)
    # NaN weighs as the nearest, so that the loss shows it while weights stay numbers.
    chords = jnp.where(near & (chords > 0.5), chords, 0.5)
    log_weights = (2 - dimension) * jnp.log(chords) - (dimension - 3) / 2 * jnp.log1p(-jnp.square(chords) / 4)
    return pairs.weigh(negative=_draw(pairs.is_negative, near, log_weights))


def negative_distance(distances: Float[Array, "n m"], pairs: Pairs) -> Terms:
    """The mean distance of negative pairs, as a term that adds up over blocks of anchors.

    Args:
        distances: [n, m] of anchors to references.
        pairs: whose negatives count, each as one.

    Returns:
        One term for each anchor; no gradient.

    Example:
        >>> from hypjax import losses
        >>> x, both = jnp.array([0.0, 1.0, 4.0]), losses.pairs(jnp.array([0, 0, 1]))
        >>> print(losses.mean(negative_distance(jnp.abs(x[:, None] - x[None]), both)))
        3.5
    """
    total = jnp.where(pairs.is_negative, stop_gradient(distances), 0).sum(axis=1)
    return (Term(total, pairs.is_negative.sum(axis=1).astype(total.dtype)),)


def _draw(
    allowed: Bool[Array, "n m"], preferred: Bool[Array, "n m"], log_weights: Float[Array, "n m"]
) -> Float[Array, "n m"]:
    """Each row's probabilities of a draw by weight from what is preferred, evenly from all where nothing is."""
    preferred = preferred & allowed
    fallback = ~preferred.any(axis=1, keepdims=True)
    log_weights = jnp.where(fallback, 0, log_weights)
    log_weights = jnp.where(preferred | (allowed & fallback), log_weights, -jnp.inf)
    largest = log_weights.max(axis=1, keepdims=True)
    weights = jnp.exp(log_weights - jnp.where(largest == -jnp.inf, 0, largest))
    return weights / jnp.where(largest == -jnp.inf, 1, weights.sum(axis=1, keepdims=True))
