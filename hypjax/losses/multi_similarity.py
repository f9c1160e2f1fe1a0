"""Multi-Similarity loss: soft hinges on similarities, pooled for each anchor."""

import jax.numpy as jnp
from jax.typing import ArrayLike
from jaxtyping import Array, Float

from hypjax.geometry.numerics import require_positive
from hypjax.losses.pairs import Pairs, check_pairs
from hypjax.losses.terms import Term, Terms, masked_logsumexp, safe_log


def multi_similarity(
    similarities: Float[Array, "n m"],
    pairs: Pairs,
    *,
    alpha: ArrayLike = 2.0,
    beta: ArrayLike = 50.0,
    base: ArrayLike = 0.5,
) -> Terms:
    r"""Multi-Similarity loss: positives above a similarity, negatives below it, the worst of each weighing most.

    With S the similarities and w the pairs' weights::

        L = 1/n Σ_i { 1/α log(1 + Σ_p w_ip exp(−α (S_ip − λ))) + 1/β log(1 + Σ_n w_in exp(β (S_in − λ))) }

    the mean over ALL anchors that are somebody. A side without pairs contributes log 1 = 0, so an anchor without any
    counts as 0; the authors' code leaves anchors out, as 0, that lack either side. Their miner is
    `hypjax.mining.multi_similarity_pairs`, of −S as distances.

    Args:
        similarities: [n, m] of anchors to references, large for what is alike: the inner product of unit vectors, or
            a negated distance with a λ below 0 to go with it.
        pairs: their positives and negatives.
        alpha: α > 0, how sharply the least similar positives weigh.
        beta: β > 0, how sharply the most similar negatives weigh.
        base: λ, the similarity between positives and negatives.

    Returns:
        One term for each anchor, that counts 1; the loss is ≥ 0, 0 without any pair.

    Raises:
        ValueError: when α ≤ 0, β ≤ 0 or shapes do not agree.

    Example:
        >>> from hypjax import losses
        >>> x = jnp.array([[1.0, 0.0], [0.8, 0.6], [0.0, 1.0], [-0.6, 0.8]])
        >>> both = losses.pairs(jnp.array([0, 0, 1, 1]))
        >>> print(f"{losses.mean(losses.multi_similarity(x @ x.T, both)):.4f}")
        0.2688

    References:
        Wang et al., Multi-Similarity Loss with General Pair Weighting for Deep Metric Learning, CVPR 2019.
    """
    check_pairs(similarities, pairs, "similarities")
    require_positive(alpha, "alpha", "its authors take 2")
    require_positive(beta, "beta", "its authors take 50")
    above = jnp.where(pairs.is_positive | pairs.is_negative, similarities, 0) - base
    positive, negative = pairs.positive.astype(above.dtype), pairs.negative.astype(above.dtype)
    pull = masked_logsumexp(safe_log(positive) - alpha * above, pairs.is_positive, axis=1)
    push = masked_logsumexp(safe_log(negative) + beta * above, pairs.is_negative, axis=1)
    # log(1 + exp x) of x = −inf, an empty side, is 0 with zero gradient.
    return (Term(jnp.logaddexp(0, pull) / alpha + jnp.logaddexp(0, push) / beta, pairs.somebody.astype(above.dtype)),)
