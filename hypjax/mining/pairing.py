"""Miners of whole pairs: those of Multi-Similarity, and what all miners share."""

import jax.numpy as jnp
from jax.lax import stop_gradient
from jax.typing import ArrayLike
from jaxtyping import Array, Bool, Float, Int

from hypjax.losses.pairs import Pairs, check_pairs


def multi_similarity_pairs(distances: Float[Array, "n m"], pairs: Pairs, *, epsilon: ArrayLike = 0.1) -> Pairs:
    """The pairs that the Multi-Similarity miner finds informative.

    A negative n of anchor a stays where d(a,n) < max_p d(a,p) + ε, a positive p where d(a,p) > min_n d(a,n) − ε.

    An anchor without positives keeps no negative, one without negatives no positive. With distances −s these
    are the paper's conditions on similarities s.

    Args:
        distances: [n, m] of anchors to references.
        pairs: those it may take; what a miner before it left out counts as absent.
        epsilon: ε in units of the distance.

    Returns:
        The pairs that stay, with the weights they had.

    Raises:
        ValueError: when shapes do not agree.

    Example:
        >>> from hypjax import losses
        >>> x, both = jnp.array([0.0, 1.0, 3.0, 2.0, 9.0]), losses.pairs(jnp.array([0, 0, 0, 1, 2]))
        >>> mined = multi_similarity_pairs(jnp.abs(x[:, None] - x[None]), both)
        >>> print(mined.positive[0].astype(int), mined.negative[0].astype(int))
        [0 0 1 0 0] [0 0 0 1 0]

    References:
        Wang et al., Multi-Similarity Loss with General Pair Weighting for Deep Metric Learning, CVPR 2019.
    """
    check_pairs(distances, pairs)
    distances = stop_gradient(distances)
    farthest = jnp.where(pairs.is_positive, distances, -jnp.inf).max(axis=1, keepdims=True)
    nearest = jnp.where(pairs.is_negative, distances, jnp.inf).min(axis=1, keepdims=True)
    # "Not beyond" rather than "within": a NaN distance stays, so that the loss shows it.
    return pairs.weigh(
        jnp.where(distances <= nearest - epsilon, False, pairs.positive),
        jnp.where(distances >= farthest + epsilon, False, pairs.negative),
    )


def nearest_of(distances: Float[Array, "n m"], candidates: Bool[Array, "n m"]) -> Int[Array, " n"]:
    """The column of each anchor's nearest candidate.

    Args:
        distances: [n, m], finite where they are candidates; give their negatives for the farthest.
        candidates: [n, m] which references an anchor may take.

    Returns:
        [n]. Of equally near candidates the one of lowest index, a NaN before all others, so that the loss shows it;
        0 where there is none.

    Example:
        >>> print(nearest_of(jnp.array([[3.0, 1.0], [2.0, 2.0]]), jnp.array([[True, True], [False, False]])))
        [1 0]
    """
    return jnp.argmin(jnp.where(candidates, stop_gradient(distances), jnp.inf), axis=1)
