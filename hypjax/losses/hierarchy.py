"""HIER: proxies that come to stand for the ancestors of images, and so find a hierarchy beyond the class labels."""

import functools

import jax
import jax.numpy as jnp
from jax import lax
from jax.scipy.linalg import block_diag
from jax.typing import ArrayLike
from jaxtyping import Array, Bool, Float, Integer, PRNGKeyArray

from hypjax.geometry.numerics import concrete, require_positive
from hypjax.losses.pairs import Pairs, check_pairs
from hypjax.losses.terms import Term, Terms, hinge, in_blocks, on_shares

# Numbers in one array of noise, 2 MB in float32: larger blocks leave a CPU's cache, smaller ones cost more turns.
_BLOCK = 2**19


def hier(
    distances: Float[Array, "b b"],
    to_proxies: Float[Array, "b p"],
    between_proxies: Float[Array, "p p"],
    pairs: Pairs,
    key: PRNGKeyArray,
    *,
    margin: ArrayLike = 0.1,
    neighbors: int = 20,
    triplets_per_anchor: int = 50,
    temperature: ArrayLike = 0.1,
) -> Terms:
    r"""HIER's regularizer: related points should share an ancestor that an unrelated one is far from.

    For triplets (i, j, k) where j is a reciprocal neighbor of i and k is none, with the lowest common
    ancestors ρ_ij and ρ_ijk sampled among the proxies (see `ancestors`)::

        L = mean 1[ρ_ij ≠ ρ_ijk] · ([d(i,ρ_ij) − d(i,ρ_ijk) + δ]_+ + [d(j,ρ_ij) − d(j,ρ_ijk) + δ]_+
                                    + [d(k,ρ_ijk) − d(k,ρ_ij) + δ]_+)

    and the loss is L(embeddings) + L(proxies), unweighted, the second with the proxies as points too
    [code: HIER]. Points are related by S = exp(−d), without gradient, +1 for embeddings of one class; see
    `reciprocal_neighbors` and `sample_triplets`. The mean counts triplets whose ancestors agree as zeros.
    A proxy may be its own ancestor. 0, with zero gradient, where no point is an anchor: always when
    `neighbors` reaches the number of points, since all are related then.

    The [triplets, p] arrays are made in blocks of anchors and again for the gradient, from the same keys:
    a few blocks of 2 MB exist at a time in float32, shared out over devices with the anchors. The result does not
    depend on the blocks, nor on rows of nobody behind the others.

    Args:
        distances: [b, b] among the embeddings, finite; only who is near whom is read from them.
        to_proxies: [b, p] from the embeddings to the proxies, points of the same geometry, learned.
        between_proxies: [p, p].
        pairs: of the embeddings among themselves.
        key: of the triplets and the ancestors.
        margin: δ ≥ 0 in units of the distance.
        neighbors: size of the neighborhoods, at least 2; a point is part of its own.
        triplets_per_anchor: draws for each anchor, with replacement.
        temperature: of the ancestors' softmax, positive, in units of the distance.

    Returns:
        Two terms, for each embedding [b] and for each proxy [p], that count 1 where it is an anchor; the loss is ≥ 0.

    Raises:
        ValueError: when shapes do not agree or a number is out of range.

    Example:
        Proxies amid two classes make a perfect hierarchy of them; two that all images are as far from do not.

        >>> from hypjax import geometry, losses
        >>> x = jnp.array([[0.0, 0.0], [0.1, 0.0], [0.2, 0.0], [5.0, 0.0], [5.1, 0.0], [5.2, 0.0]])
        >>> both = losses.pairs(jnp.array([0, 0, 0, 1, 1, 1]))
        >>> dist = geometry.Euclidean().pairwise_dist
        >>> @jax.jit
        ... def loss(proxies, key):
        ...     return losses.hier(dist(x, x), dist(x, proxies), dist(proxies, proxies), both, key, neighbors=3)
        >>> for proxies in (x[jnp.array([1, 4])], jnp.array([[2.6, 1.0], [2.6, -1.0]])):
        ...     print(f"{losses.mean(loss(proxies, jax.random.key(0))):.2f}")
        0.00
        0.16

    References:
        Kim et al., HIER: Metric Learning Beyond Class Labels via Hierarchical Regularization, CVPR 2023.
    """
    check_pairs(distances, pairs)
    (b, p), shapes = to_proxies.shape, (distances.shape, to_proxies.shape, between_proxies.shape)
    if shapes != ((b, b), (b, p), (p, p)) or not p:
        raise ValueError(f"distances of shapes {shapes} do not go together; give [b, b], [b, p] and [p, p]")
    require_positive(temperature, "temperature", "0.1 is usual")
    number = concrete(margin)
    if number is not None and not number >= 0:
        raise ValueError(f"margin must be at least 0, got {margin}")

    candidate = pairs.is_positive | pairs.is_negative
    itself = jnp.eye(b, dtype=bool)
    # Nobody is near to anybody, itself included.
    similarity = jnp.exp(-lax.stop_gradient(jnp.where(candidate, distances, 0))) + (pairs.is_positive | itself)
    similarities = (
        jnp.where(candidate | (itself & pairs.somebody[:, None]), similarity, -1),
        jnp.exp(-lax.stop_gradient(between_proxies)),
    )
    # Both terms in one go: embeddings and proxies are two groups of points, and nothing joins them.
    together = block_diag(candidate, ~jnp.eye(p, dtype=bool))
    related = together & block_diag(*(reciprocal_neighbors(each, neighbors) for each in similarities))
    each = jax.random.split(key, 4)
    draw_keys, noise_keys = (jnp.concatenate([_keys(x, b), _keys(y, p)]) for x, y in (each[:2], each[2:]))
    near, far, valid = sample_triplets(related, together & ~related, draw_keys, triplets_per_anchor)

    points = jnp.concatenate([jnp.where(pairs.somebody[:, None], to_proxies, 0), between_proxies])
    values = anchor_losses(points, near, far, noise_keys, margin=margin, temperature=temperature)
    # A diverged point may be no anchor and never be drawn, and is to be seen all the same.
    diverged = jnp.isnan(points).any() | jnp.isnan(jnp.where(candidate, distances, 0)).any()
    count = valid.astype(values.dtype)
    total = jnp.where(valid, values, 0) + jnp.where(diverged, jnp.nan, 0).astype(values.dtype)
    return Term(total[:b], count[:b]), Term(total[b:], count[b:])


def _keys(key: PRNGKeyArray, count: int) -> Array:
    """A key for each point, whatever the number of points."""
    return jax.vmap(jax.random.fold_in, (None, 0))(key, jnp.arange(count))


def reciprocal_neighbors(similarity: Float[Array, "n n"], neighbors: int) -> Bool[Array, "n n"]:
    """Pairs of points that are among each other's most similar, R = 1 in R = (A + Aᵀ)/2 off the diagonal.

    A_ij = 1 for the `neighbors` largest of row i. As in the authors' code [code: HIER] the diagonal takes
    part, and being the largest it fills one of the places: k = 20 leaves 19 others. Of equals the one with
    the lower index counts as larger.

    Args:
        similarity: [n, n], larger for more similar points.
        neighbors: k ≥ 2, held at n.

    Returns:
        [n, n], symmetric, False on the diagonal.

    Raises:
        ValueError: k below 2, which would relate a point to itself alone.
    """
    if neighbors < 2:
        raise ValueError(f"neighbors must be at least 2, because a point is part of its own, got {neighbors}")
    n = similarity.shape[0]
    nearest = lax.top_k(similarity, min(neighbors, n))[1]
    among = jnp.zeros((n, n), bool).at[jnp.arange(n)[:, None], nearest].set(True)
    return among & among.T & ~jnp.eye(n, dtype=bool)


def sample_triplets(
    related: Bool[Array, "n n"], unrelated: Bool[Array, "n n"], keys: Array, triplets_per_anchor: int
) -> tuple[Integer[Array, "n t"], Integer[Array, "n t"], Bool[Array, " n"]]:
    """Draws for each anchor i a related j and an unrelated k, each uniformly, with replacement.

    An anchor needs 2 related points [code: HIER] and, of course, an unrelated one.

    Args:
        related: [n, n], row by anchor, R = 1.
        unrelated: [n, n], likewise. `hier` gives {R < 1} without the diagonal, which the authors' code leaves
            in, so that there an anchor may be drawn as unrelated to itself.
        keys: [n] of the anchors' draws, the same in every precision.
        triplets_per_anchor: t ≥ 1.

    Returns:
        j and k, [n, t] each, and [n] whether i is an anchor. For one that is not, j and k mean nothing.

    Raises:
        ValueError: t below 1.
    """
    if triplets_per_anchor < 1:
        raise ValueError(f"triplets_per_anchor must be at least 1, got {triplets_per_anchor}")
    uniform = jax.vmap(lambda key: jax.random.uniform(key, (2, triplets_per_anchor), jnp.float32))(keys)
    near, far = _draw(related, uniform[:, 0]), _draw(unrelated, uniform[:, 1])
    return near, far, (related.sum(1) >= 2) & unrelated.any(1)


def _draw(mask: Array, uniform: Array) -> Array:
    """Column indices [n, t] among the True ones of each row, by where uniform numbers fall in their count."""
    seen = jnp.cumsum(mask, axis=1, dtype=jnp.int32)
    skipped = jnp.floor(uniform * seen[:, -1:]).astype(jnp.int32)
    found = jax.vmap(functools.partial(jnp.searchsorted, side="right"))(seen, skipped)
    return jnp.minimum(found, mask.shape[1] - 1)


def anchor_losses(
    distances: Float[Array, "n p"],
    near: Integer[Array, "n t"],
    far: Integer[Array, "n t"],
    keys: Array,
    *,
    margin: ArrayLike,
    temperature: ArrayLike,
) -> Float[Array, " n"]:
    """The mean of `triplet_losses` for each anchor, made in blocks of anchors.

    Args:
        distances: [n, p] of the points to the proxies.
        near: [n, t] indices j of points.
        far: [n, t] indices k.
        keys: [n] of the anchors' noise, `gumbel(key, (2, t, p))` of float32 in every precision.
        margin: of `triplet_losses`.
        temperature: of `triplet_losses`.

    Returns:
        [n] losses ≥ 0.
    """
    p, t = distances.shape[1], near.shape[1]

    def of_share(anchors, whole):
        distances, margin, temperature = whole

        def loss(anchor, near, far, key):
            noise = jax.random.gumbel(key, (2, t, p), jnp.float32).astype(distances.dtype)
            rows = anchor[None, :], distances[near], distances[far]
            return triplet_losses(*rows, noise, margin=margin, temperature=temperature).mean()

        return in_blocks(lambda block: jax.vmap(loss)(*block), anchors, size=max(1, _BLOCK // (2 * t * p)))

    return on_shares(of_share, (distances, near, far, keys), (distances, margin, temperature))


def triplet_losses(
    anchor: Float[Array, "#t p"],
    near: Float[Array, "t p"],
    far: Float[Array, "t p"],
    noise: Float[Array, "2 t p"],
    *,
    margin: ArrayLike,
    temperature: ArrayLike,
) -> Float[Array, " t"]:
    """HIER's loss of each triplet, given the distances of its points to all proxies, and the noise.

    With m_ij = max(D_i, D_j), ρ_ij = ancestor(m_ij) and ρ_ijk = ancestor(max(m_ij, D_k)), the three hinges of
    `hier` where ρ_ij ≠ ρ_ijk, else 0. A distance d(x, ρ) is Σ_p ρ_p D_xp [code: HIER]: in the value that to the
    proxy chosen, while the gradient reaches D_x through that proxy and all of m through the soft ρ.

    Args:
        anchor: [t, p] distances D_i to the proxies, or [1, p] when the anchor is common to all.
        near: [t, p] distances D_j.
        far: [t, p] distances D_k.
        noise: [2, t, p] standard Gumbel noise, for ρ_ij and, independent of it, for ρ_ijk.
        margin: δ.
        temperature: of both ancestors.

    Returns:
        [t] losses ≥ 0.
    """
    pair = _larger(anchor, near)
    (of_pair, pair_index), (of_all, all_index) = (
        ancestors(farthest, one_noise, temperature)
        for farthest, one_noise in zip((pair, _larger(pair, far)), noise, strict=True)
    )
    # d(x, ρ_ij) − d(x, ρ_ijk) of the three points.
    i, j, k = (jnp.sum((of_pair - of_all) * rows, axis=-1) for rows in (anchor, near, far))
    return jnp.where(pair_index != all_index, hinge(i + margin) + hinge(j + margin) + hinge(-k + margin), 0)


def ancestors(
    farthest: Float[Array, "t p"], noise: Float[Array, "t p"], temperature: ArrayLike
) -> tuple[Float[Array, "t p"], Integer[Array, " t"]]:
    """The lowest common ancestors, by hard straight-through Gumbel softmax over the proxies.

        s = softmax(−m/τ + g),    ρ = onehot(argmax s) + s − stop_gradient(s)

    So proxy p is drawn with probability softmax(−m/τ)_p, in the value ρ is one-hot and in the gradient s
    [code: HIER].

    Args:
        farthest: m, [t, p], how far each proxy is from the farthest of the points that it is to stand for.
        noise: g, [t, p], standard Gumbel.
        temperature: τ > 0.

    Returns:
        ρ, [t, p], and the index of the ancestor, [t].
    """
    logits = noise - farthest / temperature
    soft = jax.nn.softmax(logits, axis=-1)
    # argmax by plain reductions, which vectorize: on CPU it costs more than everything else here together.
    proxy = jnp.arange(logits.shape[-1])[None, :]
    index = jnp.where(logits == logits.max(axis=-1, keepdims=True), proxy, logits.shape[-1]).min(axis=-1)
    hard = index[:, None] == proxy
    # The difference first: it is exactly 0, so that ρ is exactly one-hot.
    return hard + (soft - lax.stop_gradient(soft)), index


def _larger(a: Array, b: Array) -> Array:
    """max(a, b), half of the derivative to each at a tie, where duplicate points put it, and NaN for NaN."""
    return jnp.where(a > b, a, jnp.where(b > a, b, (a + b) / 2))
