"""Teaching an uncertainty what it is for: to foretell that the nearest neighbor will be wrong. All of it [ours]."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from hypjax.losses.pairs import Pairs, check_pairs
from hypjax.losses.terms import Term, Terms


def nearest_is_wrong(distances: Float[Array, "n m"], pairs: Pairs) -> tuple[Bool[Array, " n"], Bool[Array, " n"]]:
    """Whether an anchor's nearest reference is of another class, and of which anchors that can be asked.

    Args:
        distances: [n, m] of anchors to references.
        pairs: their positives and negatives; weights do not matter.

    Returns:
        wrong [n], and asked [n]: the anchors with both a positive and a negative.

    Raises:
        ValueError: when shapes do not agree.

    Example:
        >>> from hypjax import losses
        >>> x = jnp.array([0.0, 1.0, 1.2, 9.0])
        >>> print(*nearest_is_wrong(jnp.abs(x[:, None] - x[None]), losses.pairs(jnp.array([0, 0, 1, 2]))))
        [False  True  True  True] [ True  True False False]
    """
    check_pairs(distances, pairs)
    partner = jnp.min(jnp.where(pairs.is_positive, distances, jnp.inf), axis=1)
    opponent = jnp.min(jnp.where(pairs.is_negative, distances, jnp.inf), axis=1)
    return opponent < partner, pairs.is_positive.any(axis=1) & pairs.is_negative.any(axis=1)


def failure_cross_entropy(
    doubt: Float[Array, " n"],
    distances: Float[Array, "n m"],
    pairs: Pairs,
    *,
    prior: Float[Array, " n"] | None = None,
    level: Float[Array, " n"] | None = None,
) -> Terms:
    r"""Cross-entropy of a doubt in (0, 1) against failures of retrieval, the mean over the images that can fail.

    ℓ_i = −t_i log q_i − (1 − t_i) log(1 − q_i),   t_i = max(½ (f_i + w_i), s_i)   [ours]

    w_i is 1 where the nearest reference, the rest of the batch say, is of another class. Classes in training soon stop
    failing, which says nothing about unseen ones; so f_i, the failure of the image *before* training among all training
    images, when every class was an unseen class, is half of the target; without it w_i is all. s_i is how much the
    image was degraded: an encoder trained on degraded images finds their class in a small batch, not among thousands.

    Args:
        doubt: [n] q, the foretold probability that the nearest neighbor is wrong.
        distances: [n, m] of anchors to references; they set the targets and get no gradient.
        pairs: their positives and negatives.
        prior: [n] f in [0, 1], or None.
        level: [n] s in [0, 1], or None for images as they are.

    Returns:
        One term for each anchor, that counts 1 where it has both a positive and a negative. Gradients reach the doubt
        alone; the loss is ≥ 0.

    Raises:
        ValueError: when shapes do not agree.

    Example:
        >>> from hypjax import losses
        >>> x, both = jnp.array([0.0, 1.0, 1.2, 2.0]), losses.pairs(jnp.array([0, 0, 1, 1]))
        >>> def value(doubt):
        ...     return losses.mean(failure_cross_entropy(jnp.array(doubt), jnp.abs(x[:, None] - x[None]), both))
        >>> value([0.1, 0.9, 0.9, 0.1]) < value([0.5, 0.5, 0.5, 0.5]) < value([0.9, 0.1, 0.1, 0.9])
        Array(True, dtype=bool)
    """
    distances = jax.lax.stop_gradient(distances)
    wrong, asked = nearest_is_wrong(distances, pairs)
    # A NaN is neither near nor far, and a target made of it would hide it.
    diverged = jnp.isnan(jnp.where(pairs.is_positive | pairs.is_negative, distances, 0)).any(axis=1)
    target = jnp.where(diverged, jnp.nan, wrong.astype(doubt.dtype))
    if prior is not None:
        target = (target + prior.astype(doubt.dtype)) / 2
    if level is not None:
        target = jnp.where(level > target, level.astype(doubt.dtype), target)
    # Away from 0 and 1 by the smallest step that log can still see.
    tiny = jnp.finfo(doubt.dtype).eps
    q = tiny + (1 - 2 * tiny) * doubt
    losses = -target * jnp.log(q) - (1 - target) * jnp.log1p(-q)
    return (Term(jnp.where(asked, losses, 0), asked.astype(losses.dtype)),)
