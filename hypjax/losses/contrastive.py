"""Contrastive losses: a softmax over the batch that should pick the other image of the same class."""

import jax.numpy as jnp
from jax.typing import ArrayLike
from jaxtyping import Array, Float, Integer

from hypjax.losses.pairs import Distance, anchor_column, check_batch, masked_logsumexp, masked_mean


def pairwise_cross_entropy(
    embeddings: Float[Array, "b d"],
    labels: Integer[Array, " b"],
    *,
    distance: Distance,
    temperature: ArrayLike,
    samples_per_class: int,
) -> Float[Array, ""]:
    r"""Cross-entropy of finding an image's classmate among all classes, for every two samples of a class.

    The batch is K classes × m samples, class after class; Z_ka is sample a of class k. With
    s_ka,lb = −d(Z_ka, Z_lb) / τ_ka, for every ordered pair of samples a ≠ b::

        ℓ_kab = −s_ka,kb + log( Σ_l exp s_ka,lb + Σ_{l≠k} exp s_ka,la )

    the cross-entropy over one row [s_ka,lb]_l ‖ [s_ka,la]_{l≠k} with target l = k [code: Hyp-ViT]. The loss
    is the MEAN over all ordered pairs, where Hyp-ViT adds up the m(m−1) means over anchors and HIER divides
    that by m²: theirs are m(m−1) and (m−1)/m times ours.

    Their code never looks at labels. Here they only repair what a batch can get wrong [ours]: a class that
    was drawn twice is not its own negative, and a pair whose two labels differ (a padded or torn group) is
    left out. On a batch of K different classes both change nothing. Without a valid pair the loss is 0.

    All pairs come from one [b, b] matrix of distances; memory is a few of its size, never b·b·m.

    Args:
        embeddings: [b, d] points, b = K·m, class-major.
        labels: [b] classes.
        distance: all-pairs distance, ``([n, d], [m, d]) -> [n, m]``; a negated inner product serves the
        sphere.
        temperature: τ > 0, one value, or [b] with one for each anchor. May be traced. Hyp-ViT: 0.2.
        samples_per_class: m ≥ 2.

    Returns:
        The loss, a scalar ≥ 0.

    Raises:
        ValueError: when b is no multiple of m, m < 2, τ ≤ 0 or shapes do not agree.

    Example:
        >>> import jax.numpy as jnp
        >>> from hypjax.losses import pairwise_cross_entropy
        >>> x = jnp.array([[0.0], [0.1], [2.0], [2.1]])
        >>> y = jnp.array([0, 0, 1, 1])
        >>> distance = lambda x, y: jnp.abs(x[:, None, 0] - y[None, :, 0])
        >>> loss = pairwise_cross_entropy(x, y, distance=distance, temperature=0.5, samples_per_class=2)
        >>> print(f"{loss:.4f}")
        0.0442

    References:
        Ermolov et al., Hyperbolic Vision Transformers: Combining Improvements in Metric Learning, CVPR 2022.
    """
    check_batch(embeddings, labels)
    batch, slots = embeddings.shape[0], samples_per_class
    if slots < 2:
        raise ValueError(f"samples_per_class={slots}: a pair takes two images of a class, so give at least 2")
    if batch % slots:
        raise ValueError(f"a batch of {batch} is no multiple of samples_per_class={slots}; give whole classes")
    if isinstance(temperature, int | float) and temperature <= 0:
        raise ValueError(f"temperature={temperature} must be above 0, for instance 0.2")

    classes = batch // slots
    logits = -distance(embeddings, embeddings) / anchor_column(temperature, batch, "temperature")
    logits = logits.reshape(classes, slots, classes, slots)
    same = (labels[:, None] == labels[None, :]).reshape(classes, slots, classes, slots)

    own = jnp.eye(classes, dtype=bool)[:, None, :, None]
    target = jnp.einsum("kakb->kab", logits)
    others = masked_logsumexp(logits, own | ~same, axis=2)  # [k, a, b]: classes l at sample b, the target with them
    twins = masked_logsumexp(  # [k, a]: the other classes at the anchor's own sample a
        jnp.einsum("kala->kal", logits), jnp.einsum("kala->kal", ~same & ~own), axis=2
    )
    losses = jnp.logaddexp(others, twins[:, :, None]) - target

    different_samples = ~jnp.eye(slots, dtype=bool)[None]
    return masked_mean(losses, different_samples & jnp.einsum("kakb->kab", same))
