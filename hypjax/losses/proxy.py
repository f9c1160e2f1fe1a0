"""Losses against learned representatives of classes, proxies.

Every class has its proxy in a table that is trained with the encoder, so the number of terms grows with
batch × classes and no pair has to be sampled. Their authors compare by the cosine; here a loss takes any similarities
of images to proxies, and ``losses.pairs(labels, jnp.arange(p))``, in which the proxies are the references. An image
whose label is not that of a proxy (−1, say, for padding) is left out.
"""

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike
from jaxtyping import Array, Bool, Float

from hypjax.geometry import numerics, sphere
from hypjax.geometry.numerics import require_positive
from hypjax.losses.pairs import Pairs, check_pairs
from hypjax.losses.terms import Term, Terms, masked_logsumexp, masked_mean


def proxy_anchor(
    similarities: Float[Array, "b p"],
    pairs: Pairs,
    *,
    margin: ArrayLike = 0.1,
    alpha: ArrayLike = 32.0,
) -> Terms:
    r"""Proxy-Anchor loss: each proxy draws its images near and drives all others away, the hardest most.

    With s the similarities, P all proxies and P⁺ those with an image in the batch::

        L = 1/|P⁺| Σ_{p∈P⁺} log(1 + Σ_{i: y_i = p} exp(−α(s_ip − δ)))
          + 1/|P|  Σ_{p∈P}  log(1 + Σ_{i: y_i ≠ p} exp(α(s_ip + δ)))

    The first is a mean over the proxies that have positives, the second over ALL proxies [code: Proxy-Anchor].

    Args:
        similarities: [b, p] of images to proxies, in [−1, 1] if cosines.
        pairs: each image's own proxy and the others.
        margin: δ in units of the similarity.
        alpha: α > 0, the sharpness.

    Returns:
        Two terms for each *proxy*, [p]: its images, counted 1 where it has any, and all others, counted 1 (a masked
        proxy 0). The loss is ≥ 0, 0 when every label is out of range.

    Raises:
        ValueError: when shapes do not agree or α ≤ 0.

    Example:
        >>> from hypjax import losses
        >>> for labels in (jnp.array([0, 1]), jnp.array([1, 0])):
        ...     print(f"{losses.mean(proxy_anchor(jnp.eye(2), losses.pairs(labels, jnp.arange(2)))):.4f}")
        3.2400
        38.4400

    References:
        Kim et al., Proxy Anchor Loss for Deep Metric Learning, CVPR 2020.
    """
    check_pairs(similarities, pairs, "similarities")
    require_positive(alpha, "alpha", "32 is usual")
    margin, alpha = jnp.asarray(margin), jnp.asarray(alpha)
    own, known = _memberships(pairs)
    others = known[:, None] & pairs.is_negative
    attraction = _softplus_of_sum(-alpha * (similarities - margin), own)
    repulsion = _softplus_of_sum(alpha * (similarities + margin), others)
    # Where a proxy has no positive its total is log 1 = 0 already; where it has no pair at all, it is nobody.
    mine = own.any(axis=0)
    count, of_all = (each.astype(similarities.dtype) for each in (mine, mine | pairs.is_negative.any(axis=0)))
    return Term(attraction, count), Term(repulsion, of_all)


def proxy_nca(
    similarities: Float[Array, "b p"],
    pairs: Pairs,
    *,
    scale: ArrayLike = 1.0,
) -> Terms:
    r"""ProxyNCA loss: an image should be nearer to its class's proxy than to those of other classes.

    With D_ip = 2σ(1 − s_ip), which is σ‖x_i − p‖² for the cosine s of unit vectors::

        L = mean_i −log( exp(−D_{i,y_i}) / Σ_{p ≠ y_i} exp(−D_ip) )

    The positive is NOT in the denominator, as in the paper, so this is no cross-entropy and it may be negative.
    ProxyNCA++ (Teh et al., ECCV 2020) puts the positive in, which makes it the cross-entropy of the logits −D, and
    sharpens it (σ = 9); the constants 2σ cancel there and here.

    Args:
        similarities: [b, p] of images to proxies, in [−1, 1] if cosines.
        pairs: each image's own proxy and the others.
        scale: σ > 0. Rescaling all vectors to length ℓ instead of 1 is σ = ℓ².

    Returns:
        One term for each image, that counts 1 where it has a proxy.

    Raises:
        ValueError: when shapes do not agree, there are fewer than 2 proxies, or σ ≤ 0.

    Example:
        >>> from hypjax import losses
        >>> for labels in (jnp.array([0, 1]), jnp.array([1, 0])):
        ...     print(f"{losses.mean(proxy_nca(jnp.eye(2), losses.pairs(labels, jnp.arange(2)))):.4f}")
        -2.0000
        2.0000

    References:
        Movshovitz-Attias et al., No Fuss Distance Metric Learning using Proxies, ICCV 2017.
    """
    check_pairs(similarities, pairs, "similarities")
    require_positive(scale, "scale", "1 is usual")
    if similarities.shape[1] < 2:
        raise ValueError(f"{similarities.shape[1]} proxies: every image needs one of another class, so give at least 2")
    logits = 2 * jnp.asarray(scale) * (similarities - 1)
    own, known = _memberships(pairs)
    losses = masked_logsumexp(logits, pairs.is_negative, axis=1) - jnp.where(own, logits, 0).sum(axis=1)
    return (Term(jnp.where(known, losses, 0), known.astype(losses.dtype)),)


def soft_triple(
    similarities: Float[Array, "b p k"],
    pairs: Pairs,
    *,
    scale: ArrayLike = 20.0,
    gamma: ArrayLike = 0.1,
    margin: ArrayLike = 0.01,
) -> Terms:
    r"""SoftTriple loss: a cross-entropy over classes that have several centers each.

    With s_ipk the similarity of image i to center k of class p, the similarity to a class is the mean over its
    centers, weighted towards the nearest by a softmax of s/γ::

        S_ip = Σ_k q_ipk s_ipk,   q_ipk = exp(s_ipk/γ) / Σ_l exp(s_ipl/γ)
        L = mean_i −log( exp(λ(S_{i,y_i} − δ)) / (exp(λ(S_{i,y_i} − δ)) + Σ_{p ≠ y_i} exp(λS_ip)) )

    γ is a temperature: the smaller, the more the nearest center decides. The weights q carry gradient
    [code: SoftTriple]. The authors add 0.2 times `soft_triple_regularizer`.

    Args:
        similarities: [b, p, k] of images to the k centers of each class, in [−1, 1] if cosines.
        pairs: each image's own class and the others, [b, p].
        scale: λ > 0.
        gamma: γ > 0, in units of the similarity.
        margin: δ, taken off the similarity to the true class.

    Returns:
        One term for each image, that counts 1 where it has a class; the loss is ≥ 0.

    Raises:
        ValueError: when shapes do not agree, λ ≤ 0 or γ ≤ 0.

    Example:
        >>> from hypjax import losses
        >>> x, both = jnp.eye(2), losses.pairs(jnp.array([0, 1]), jnp.arange(2))
        >>> centers = jnp.array([[[1.0, 0.0], [0.0, -1.0]], [[-1.0, 0.0], [0.6, 0.8]]])
        >>> similarities = jnp.einsum("bd,pkd->bpk", x, centers)
        >>> print(f"{losses.mean(soft_triple(similarities, both, scale=5.0)):.4f}")
        0.0761

    References:
        Qian et al., SoftTriple Loss: Deep Metric Learning Without Triplet Sampling, ICCV 2019.
    """
    check_pairs(similarities, pairs, "similarities")
    require_positive(scale, "scale", "20 is usual")
    require_positive(gamma, "gamma", "0.1 is usual")
    own, known = _memberships(pairs)
    compared = known[:, None] & (own | pairs.is_negative)
    similarities = jnp.where(compared[:, :, None], similarities, 0)
    to_class = (jax.nn.softmax(similarities / gamma, axis=2) * similarities).sum(axis=2)
    logits = jnp.asarray(scale) * (to_class - margin * own)
    losses = masked_logsumexp(logits, compared, axis=1) - jnp.where(own, logits, 0).sum(axis=1)
    return (Term(jnp.where(known, losses, 0), known.astype(losses.dtype)),)


def soft_triple_regularizer(centers: Float[Array, "p k d"]) -> Float[Array, ""]:
    r"""How far the centers of a class are apart, so that lowering it merges those it can do without.

    R = Σ_p Σ_{k<l} √(2 + 1e-5 − 2⟨w_pk, w_pl⟩) / (p k(k − 1)),   w the unit vectors

    Half the mean chord between two centers of a class; 1e-5 keeps the slope finite where they coincide
    [code: SoftTriple].

    Args:
        centers: [p, k, d], k for each class, any length.

    Returns:
        R ≥ 0; 0 for one center a class.

    Raises:
        ValueError: when centers are not [p, k, d].

    Example:
        >>> import jax.numpy as jnp
        >>> from hypjax.losses.proxy import soft_triple_regularizer
        >>> print(f"{soft_triple_regularizer(jnp.array([[[2.0, 0.0], [0.0, 1.0]]])):.4f}")
        0.7071

    References:
        Qian et al., SoftTriple Loss: Deep Metric Learning Without Triplet Sampling, ICCV 2019.
    """
    if centers.ndim != 3:
        raise ValueError(f"centers have shape {centers.shape}; give [p, k, d], k centers for each of p classes")
    w = sphere.project(centers)
    chords = jnp.sqrt(2 + 1e-5 - 2 * numerics.einsum("pkd,pld->pkl", w, w))
    apart = jnp.broadcast_to(~jnp.eye(centers.shape[1], dtype=bool), chords.shape)
    return masked_mean(chords, apart) / 2


def _softplus_of_sum(exponents: Array, mask: Bool[Array, "b p"]) -> Array:
    """Log(1 + Σ_i exp e_ip) for each proxy over the images under the mask, 0 where there is none."""
    return jnp.logaddexp(0.0, masked_logsumexp(exponents, mask, axis=0))


def _memberships(pairs: Pairs) -> tuple[Bool[Array, "b p"], Bool[Array, " b"]]:
    """Which proxy is an image's own, and which images have one."""
    return pairs.is_positive, pairs.is_positive.any(axis=1)
