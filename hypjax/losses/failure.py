"""Teaching an uncertainty what it is for: to foretell that the nearest neighbor will be wrong. All of it [ours]."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Integer

from hypjax.losses.pairs import Distance, check_batch, class_masks, masked_mean


def nearest_is_wrong(
    embeddings: Float[Array, "b d"], labels: Integer[Array, " b"], *, distance: Distance
) -> tuple[Bool[Array, " b"], Bool[Array, " b"]]:
    """Whether the nearest other image of the batch is of another class, and for which images that can be asked.

    Args:
        embeddings: [b, d] points.
        labels: [b].
        distance: ``([n, d], [m, d]) -> [n, m]``.

    Returns:
        wrong [b], and asked [b]: the images with both a partner and an opponent in the batch.

    Example:
        >>> points, labels = jnp.array([[0.0], [1.0], [1.2], [9.0]]), jnp.array([0, 0, 1, 2])
        >>> wrong, asked = nearest_is_wrong(points, labels, distance=lambda x, y: jnp.abs(x - y.T))
        >>> print(wrong, asked)
        [False  True  True  True] [ True  True False False]
    """
    check_batch(embeddings, labels)
    same, other = class_masks(labels)
    distances = distance(embeddings, embeddings)
    partner = jnp.min(jnp.where(same, distances, jnp.inf), axis=1)
    opponent = jnp.min(jnp.where(other, distances, jnp.inf), axis=1)
    return opponent < partner, same.any(axis=1) & other.any(axis=1)


def failure_cross_entropy(
    doubt: Float[Array, " b"],
    embeddings: Float[Array, "b d"],
    labels: Integer[Array, " b"],
    *,
    distance: Distance,
    prior: Float[Array, " b"] | None = None,
    level: Float[Array, " b"] | None = None,
) -> Float[Array, ""]:
    r"""Cross-entropy of a doubt in (0, 1) against failures of retrieval, the mean over the images that can fail.

    ℓ_i = −t_i log q_i − (1 − t_i) log(1 − q_i),   t_i = max(½ (f_i + w_i), s_i)   [ours]

    w_i is 1 where the nearest other image of the batch is of another class. Classes in training soon stop failing,
    which says nothing about unseen ones; so f_i, the failure of the image *before* training among all training
    images, when every class was an unseen class, is half of the target; without it w_i is all. s_i is how much the
    image was degraded: an encoder trained on degraded images finds their class in a small batch, not among thousands.

    Args:
        doubt: [b] q, the foretold probability that the nearest neighbor is wrong.
        embeddings: [b, d] points; they set the targets and get no gradient.
        labels: [b].
        distance: ``([n, d], [m, d]) -> [n, m]``.
        prior: [b] f in [0, 1], or None.
        level: [b] s in [0, 1], or None for images as they are.

    Returns:
        [] ≥ 0; 0 when no image has both a partner and an opponent. Gradients reach the doubt alone.

    Example:
        >>> points, labels = jnp.array([[0.0], [1.0], [1.2], [2.0]]), jnp.array([0, 0, 1, 1])
        >>> def value(doubt):
        ...     q = jnp.array(doubt)
        ...     return failure_cross_entropy(q, points, labels, distance=lambda x, y: jnp.abs(x - y.T))
        >>> value([0.1, 0.9, 0.9, 0.1]) < value([0.5, 0.5, 0.5, 0.5]) < value([0.9, 0.1, 0.1, 0.9])
        Array(True, dtype=bool)
    """
    wrong, asked = nearest_is_wrong(jax.lax.stop_gradient(embeddings), labels, distance=distance)
    target = wrong.astype(doubt.dtype)
    if prior is not None:
        target = (target + prior.astype(doubt.dtype)) / 2
    if level is not None:
        target = jnp.where(level > target, level.astype(doubt.dtype), target)
    # Away from 0 and 1 by the smallest step that log can still see.
    tiny = jnp.finfo(doubt.dtype).eps
    q = tiny + (1 - 2 * tiny) * doubt
    return masked_mean(-target * jnp.log(q) - (1 - target) * jnp.log1p(-q), asked)
