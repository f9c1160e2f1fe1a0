"""Miners of positives: the classmate an anchor is pulled to. Negatives stay as they are."""

from jaxtyping import Array, Float

from hypjax.losses.pairs import Pairs, check_pairs
from hypjax.mining.pairing import nearest_of


def easy_positive(distances: Float[Array, "n m"], pairs: Pairs) -> Pairs:
    """Easy positive sampling (EPS): of its classmates each anchor takes the nearest.

    p*(i) = argmin_{j≠i, y_j=y_i} d(i,j)

    Pulling only what is near already lets a class keep several clusters, where pulling all positives maps noisy
    or coarse classes to a point. With 2 samples per class there is no choice and nothing changes; use 4 or
    more.

    Args:
        distances: [n, m] of anchors to references, finite.
        pairs: those it may take.

    Returns:
        The pairs with one positive for each anchor, of weight 1: of equally near classmates, duplicates say, that of
        lowest index; none for an anchor without a classmate.

    Raises:
        ValueError: when shapes do not agree.

    Example:
        >>> import jax.numpy as jnp
        >>> from hypjax import losses
        >>> x, both = jnp.array([0.0, 1.0, 3.0, 0.5]), losses.pairs(jnp.array([0, 0, 0, 1]))
        >>> print(easy_positive(jnp.abs(x[:, None] - x[None]), both).positive.astype(int))
        [[0 1 0 0]
         [1 0 0 0]
         [0 1 0 0]
         [0 0 0 0]]

    References:
        Levi et al., Rethinking Preventing Class-Collapsing in Metric Learning with Margin-Based Losses, ICCV 2021.
    """
    check_pairs(distances, pairs)
    return pairs.choose(positive=nearest_of(distances, pairs.is_positive))


def hard_positive(distances: Float[Array, "n m"], pairs: Pairs) -> Pairs:
    """Of its classmates each anchor takes the farthest.

    p(i) = argmax_{j≠i, y_j=y_i} d(i,j)

    With `hard_negative` this is the batch-hard triplet.

    Args:
        distances: [n, m] of anchors to references, finite.
        pairs: those it may take.

    Returns:
        The pairs with one positive for each anchor; ties and missing classmates as in `easy_positive`.

    Raises:
        ValueError: when shapes do not agree.

    Example:
        >>> import jax.numpy as jnp
        >>> from hypjax import losses
        >>> x, both = jnp.array([0.0, 1.0, 3.0, 0.5]), losses.pairs(jnp.array([0, 0, 0, 1]))
        >>> print(hard_positive(jnp.abs(x[:, None] - x[None]), both).positive[0].astype(int))
        [0 0 1 0]

    References:
        Hermans et al., In Defense of the Triplet Loss for Person Re-Identification, 2017.
    """
    check_pairs(distances, pairs)
    return pairs.choose(positive=nearest_of(-distances, pairs.is_positive))
