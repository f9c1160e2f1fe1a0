"""Softmax losses over batches of any make-up: NT-Xent, pair by pair, and SupCon, anchor by anchor."""

import jax.numpy as jnp
from jax.typing import ArrayLike
from jaxtyping import Array, Float

from hypjax.losses.contrastive import scaled_logits
from hypjax.losses.pairs import Pairs
from hypjax.losses.terms import Term, Terms, masked_logsumexp, safe_log, safe_ratio


def nt_xent(distances: Float[Array, "n m"], pairs: Pairs, *, temperature: ArrayLike) -> Terms:
    r"""Normalized temperature-scaled cross-entropy: every positive pair against all negatives of its anchor.

    With s_ij = −d(i,j) / τ_i, for every positive pair (i, p)::

        ℓ_ip = −s_ip + log( exp s_ip + Σ_n w_in exp s_in )        L = Σ w_ip ℓ_ip / Σ w_ip

    where w are the pairs' weights: the mean over all positive pairs, an anchor's other positives being no
    opponents [code: pytorch-metric-learning]. With two images of a class it is SimCLR's loss.

    Args:
        distances: [n, m] of anchors to references; negated inner products serve the sphere.
        pairs: their positives and negatives.
        temperature: τ > 0, one value, or [n] with one for each anchor. May be traced.

    Returns:
        One term for each anchor, over its positives; the loss is ≥ 0.

    Raises:
        ValueError: when τ ≤ 0 or shapes do not agree.

    Example:
        >>> from hypjax import losses
        >>> x = jnp.array([0.0, 0.5, 0.6, 3.0])
        >>> both = losses.pairs(jnp.array([0, 0, 1, 1]))
        >>> print(f"{losses.mean(losses.nt_xent(jnp.abs(x[:, None] - x[None]), both, temperature=0.5)):.4f}")
        1.8626

    References:
        Sohn, Improved Deep Metric Learning with Multi-class N-pair Loss Objective, NeurIPS 2016.
        Chen et al., A Simple Framework for Contrastive Learning of Visual Representations, ICML 2020.
    """
    logits, positive, negative = scaled_logits(distances, pairs, temperature)
    opponents = masked_logsumexp(logits + safe_log(negative), pairs.is_negative, axis=1)
    losses = jnp.logaddexp(logits, opponents[:, None]) - logits
    return (Term(jnp.where(pairs.is_positive, positive * losses, 0).sum(axis=1), positive.sum(axis=1)),)


def supcon(distances: Float[Array, "n m"], pairs: Pairs, *, temperature: ArrayLike) -> Terms:
    r"""Supervised contrastive loss, the form with the sum outside the logarithm (L_out).

    With s_ij = −d(i,j) / τ_i, P(i) the positives of anchor i and A(i) all other images::

        ℓ_i = 1/|P(i)| Σ_{p∈P(i)} −log( exp s_ip / Σ_{a∈A(i)} exp s_ia )

    The loss is the mean of ℓ over the anchors that have a positive. Unlike in `nt_xent`, an anchor's positives
    compete with each other, and each anchor counts the same however many it has.

    After a miner P(i) are the positives of weight above 0, averaged by weight, and A(i) those and the negatives,
    negatives by their weight, Σ_{p∈P(i)} exp s_ip + Σ_n w_in exp s_in: a positive that was not chosen is neither
    pulled nor pushed [ours].

    Args:
        distances: [n, m] of anchors to references; negated inner products serve the sphere.
        pairs: their positives and negatives.
        temperature: τ > 0, one value, or [n] with one for each anchor. May be traced.

    Returns:
        One term for each anchor, that counts 1 where it has a positive; the loss is ≥ 0.

    Raises:
        ValueError: when τ ≤ 0 or shapes do not agree.

    Example:
        >>> from hypjax import losses
        >>> x = jnp.array([0.0, 0.5, 0.6, 3.0])
        >>> both = losses.pairs(jnp.array([0, 0, 0, 1]))
        >>> print(f"{losses.mean(losses.supcon(jnp.abs(x[:, None] - x[None]), both, temperature=0.5)):.4f}")
        0.7664

    References:
        Khosla et al., Supervised Contrastive Learning, NeurIPS 2020.
    """
    logits, positive, negative = scaled_logits(distances, pairs, temperature)
    counts = positive.sum(axis=1)
    pull = safe_ratio(jnp.where(pairs.is_positive, positive * logits, 0).sum(axis=1), counts)
    log_weights = jnp.where(pairs.is_positive, 0, safe_log(negative))
    everything = masked_logsumexp(logits + log_weights, pairs.is_positive | pairs.is_negative, axis=1)
    asked = counts > 0
    return (Term(jnp.where(asked, everything - pull, 0), asked.astype(logits.dtype)),)
