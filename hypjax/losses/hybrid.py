"""GHM's hybrid distance: a geometric and a probabilistic distance in one."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax import lax
from jax.typing import ArrayLike
from jaxtyping import Array, Float

from hypjax.geometry import numerics


def hybrid(
    distances: Float[Array, "n m"], divergences: Float[Array, "n m"], *, alpha: ArrayLike, order: ArrayLike = 1.0
) -> Float[Array, "n m"]:
    r"""GHM: geometric and probabilistic proximity in one distance, for any loss, miner or search.

        D = (α d_geo^p + (1 − α) d_prob^p)^{1/p}    [ours]

    That one coefficient trades geometric against probabilistic distance is the paper's idea; this form is ours. D is
    a metric where both parts are and α > 0. It is finite, with finite gradients, everywhere; where both parts are 0
    its gradient is 0.

    Args:
        distances: [n, m] d_geo ≥ 0, of any geometry.
        divergences: [n, m] d_prob ≥ 0, see `divergence`.
        alpha: α in [0, 1], possibly traced. At 1 and 0 D is exactly d_geo and d_prob; a traced one has a zero
            derivative there unless the order is 1.
        order: p ≥ 1, possibly traced.

    Returns:
        [n, m] D ≥ 0.

    Raises:
        ValueError: a number out of range (a traced one cannot be checked).

    Example:
        >>> from hypjax.geometry import Euclidean
        >>> x = jnp.array([[0.0, 0.0], [3.0, 0.0]])
        >>> distances = hybrid(Euclidean().pairwise_dist(x, x), divergence(x, x), alpha=0.5, order=2.0)
        >>> print(jnp.array_str(distances, precision=3))
        [[0.   2.14]
         [2.14 0.  ]]
    """
    share, power = numerics.concrete(alpha), numerics.concrete(order)
    if share is not None and not 0 <= share <= 1:
        raise ValueError(f"alpha must lie in [0, 1], from all probabilistic to all geometric, got {alpha}")
    if power is not None and not 1 <= power < float("inf"):
        raise ValueError(f"order must be finite and at least 1, for the triangle inequality, got {order}")
    if share is not None and share in (0, 1):
        return distances if share else divergences
    return _power_mean(distances, divergences, alpha, order)


def divergence(
    x: Float[Array, "n d"], y: Float[Array, "m d"], *, kind: str = "hellinger", temperature: ArrayLike = 1.0
) -> Float[Array, "n m"]:
    r"""All divergences of points compared, by the softmax of their coordinates, as distributions P = softmax(x/T).

    To take coordinates for logits, and which divergences there are, are our choices. With Q = softmax(y/T),
    M = (P + Q)/2 and natural logarithms:

    ================  ============================  ======  =========  ========
    kind              d_prob                        range   symmetric  a metric
    ================  ============================  ======  =========  ========
    hellinger         ‖√P − √Q‖/√2                  [0, 1]  yes        yes
    jensen_shannon    √(½KL(P‖M) + ½KL(Q‖M))        ≤ √ln2  yes        yes
    jeffreys          KL(P‖Q) + KL(Q‖P)             ≥ 0     yes        no
    bhattacharyya     −ln Σ_k √(P_k Q_k)            ≥ 0     yes        no
    kl                KL(P‖Q) = Σ_k P_k ln P_k/Q_k  ≥ 0     **no**     no
    ================  ============================  ======  =========  ========

    Softmax does not tell x from x + const, so a metric of distributions is a pseudometric of points. `kl` is not even
    symmetric: row x is the distribution P that the mean is taken under. Gradients are finite everywhere: where points
    coincide that of both metrics is 0, and probabilities are handled by their logarithms, so that a small T underflows
    nothing. No n×m×d array is made, in value or gradient.

    Args:
        x: [n, d].
        y: [m, d].
        kind: a key of `DIVERGENCES`.
        temperature: T > 0, in units of the coordinates: in a ball of curvature −c those are below 1/√c.

    Returns:
        [n, m].

    Raises:
        ValueError: an unknown divergence, or a temperature that is not positive (a traced one cannot be checked).

    Example:
        >>> x = jnp.array([[0.0, 0.0], [3.0, 0.0]])
        >>> print(jnp.array_str(divergence(x, x, kind="jeffreys"), precision=3))
        [[0.    1.358]
         [1.358 0.   ]]

    References:
        Endres and Schindelin, A New Metric for Probability Distributions, IEEE Trans. Inf. Theory 2003 (√JS).
    """
    if kind not in DIVERGENCES:
        raise ValueError(f"divergence {kind!r} is unknown; choose one of {', '.join(DIVERGENCES)}")
    numerics.require_positive(temperature, "temperature", "1 is usual")
    return DIVERGENCES[kind](jax.nn.log_softmax(x / temperature), jax.nn.log_softmax(y / temperature))


def _power_mean(a: Array, b: Array, alpha: ArrayLike, order: ArrayLike) -> Array:
    """(α a^p + (1 − α) b^p)^{1/p}, with derivative 0 where both are 0."""
    alpha = jnp.asarray(alpha, a.dtype)
    if numerics.concrete(order) == 1:
        return alpha * a + (1 - alpha) * b
    a, b = (jnp.where(part <= 0, 0, part) for part in (a, b))
    both_zero = (a <= 0) & (b <= 0)
    # In units of the larger no power over- or underflows; the mean being homogeneous, they need no derivative.
    unit = lax.stop_gradient(jnp.where(a > b, a, b))
    unit = jnp.where(unit <= 0, 1, unit)
    at_end = (alpha <= 0) | (alpha >= 1)
    share = jnp.where(at_end, 0.5, alpha)
    powers = share * (a / unit) ** order + (1 - share) * (b / unit) ** order
    mean = jnp.where(both_zero, 0, unit * jnp.where(both_zero, 1, powers) ** (1 / order))
    return jnp.where(at_end, jnp.where(alpha >= 1, a, b), mean)


def hellinger(log_p: Float[Array, "n d"], log_q: Float[Array, "m d"]) -> Float[Array, "n m"]:
    """All Hellinger distances ‖√P − √Q‖/√2 of distributions given by their logarithms."""
    return numerics.safe_sqrt(_squared_hellinger(log_p, log_q))


def _squared_hellinger(log_p: Array, log_q: Array) -> Array:
    return numerics.pairwise_sqdist(jnp.exp(log_p / 2), jnp.exp(log_q / 2)) / 2


def jensen_shannon(log_p: Float[Array, "n d"], log_q: Float[Array, "m d"]) -> Float[Array, "n m"]:
    """All √(½KL(P‖M) + ½KL(Q‖M)), M = (P + Q)/2, of distributions given by their logarithms.

    Distributions nearer than rounding count as one, as points do.
    """
    p, q = lax.stop_gradient((jnp.exp(log_p), jnp.exp(log_q)))
    s = _sum_over_coordinates(_jensen_shannon_term, (log_p, p), (log_q, q))
    return numerics.safe_sqrt(jnp.where(s <= (2 * jnp.finfo(s.dtype).eps) ** 2, 0, s))


@jax.custom_jvp
def _jensen_shannon_term(log_p: Array, p: Array, log_q: Array, q: Array) -> Array:
    """½p ln(p/m) + ½q ln(q/m) with m = (p + q)/2, a function of the logarithms; p and q are their exponentials.

    With δ = (p − q)/(p + q) that is m Σ_n δ^{2n}/(2n(2n − 1)), without the first-order terms whose difference
    would leave near pairs no digits; and where δ is large, in ratios that no small p or q can upset.
    """
    total = p + q
    square = jnp.square(numerics.divide(p - q, total))
    near = square < 1 / 16
    square = jnp.where(near, square, 0)
    series = jnp.zeros_like(square)
    for n in range(11, 0, -1):  # (1/16)^11 is below float64's rounding
        series = square * (1 / (2 * n * (2 * n - 1)) + series)
    smaller = jnp.where(p > q, q, p)
    far = total * _log_of_larger(p, q) - smaller * jnp.abs(log_p - log_q)
    return jnp.where(near, total * series, far) / 2


@_jensen_shannon_term.defjvp
def _jensen_shannon_term_jvp(primals, tangents):
    log_p, p, log_q, q = primals
    d_log_p, _, d_log_q, _ = tangents
    larger, ratio = _log_of_larger(p, q), log_p - log_q
    # ln(p/m) is that of the larger of the two, less the distance of the logarithms for the smaller.
    by_p = p * (larger + jnp.where(ratio < 0, ratio, 0)) / 2
    by_q = q * (larger - jnp.where(ratio > 0, ratio, 0)) / 2
    return _jensen_shannon_term(*primals), by_p * d_log_p + by_q * d_log_q


def _log_of_larger(p: Array, q: Array) -> Array:
    """ln(max(p, q)/m) with m = (p + q)/2, in [0, ln 2]."""
    smaller, larger = jnp.where(p > q, q, p), jnp.where(p > q, p, q)
    return -jnp.log((1 + numerics.divide(smaller, larger)) / 2)


@jax.custom_jvp
def kl(log_p: Float[Array, "n d"], log_q: Float[Array, "m d"]) -> Float[Array, "n m"]:
    """All KL(P‖Q) of distributions given by their logarithms; neither symmetric nor a metric.

    Σ_k P_k(ln P_k − ln Q_k) − P_k + Q_k: the last two sum to 0 and cancel the first order of what rounding
    leaves of ΣP = ΣQ = 1, which in near pairs would be more than the divergence. The derivative is

        ds_ij = Σ_k P_k(ln P_k − ln Q_k) d(ln P_k) + (Q_k − P_k) d(ln Q_k),

    matrix products.
    """
    s = _sum_over_coordinates(_kl_term, (log_p, jnp.exp(log_p)), (log_q, jnp.exp(log_q)))
    return jnp.where(s <= 0, 0, s)


@kl.defjvp
def _kl_jvp(primals, tangents):
    (log_p, log_q), (d_log_p, d_log_q) = primals, tangents
    p, q = jnp.exp(log_p), jnp.exp(log_q)
    by_p = jnp.sum(p * log_p * d_log_p, axis=-1)[:, None] - numerics.matmul(p * d_log_p, log_q.T)
    by_q = jnp.sum(q * d_log_q, axis=-1)[None, :] - numerics.matmul(p, d_log_q.T)
    return kl(log_p, log_q), by_p + by_q


def _kl_term(log_p: Array, p: Array, log_q: Array, q: Array) -> Array:
    return p * (log_p - log_q) - (p - q)


def jeffreys(log_p: Float[Array, "n d"], log_q: Float[Array, "m d"]) -> Float[Array, "n m"]:
    """All KL(P‖Q) + KL(Q‖P) of distributions given by their logarithms; symmetric, no metric."""
    return kl(log_p, log_q) + kl(log_q, log_p).T


def bhattacharyya(log_p: Float[Array, "n d"], log_q: Float[Array, "m d"]) -> Float[Array, "n m"]:
    """All −ln Σ_k √(P_k Q_k) of distributions given by their logarithms.

    Near pairs take −ln(1 − H²) with H from `hellinger`, exact to the last digits; far ones a log-sum-exp over the
    coordinates, where the sum itself would underflow.
    """
    squared = _squared_hellinger(log_p, log_q)
    near = squared < 0.5
    largest = lax.stop_gradient(_largest_over_coordinates(log_p / 2, log_q / 2))
    # The largest coordinate contributes exp(0) = 1: the logarithm and its derivative are finite.
    overlap = _sum_over_coordinates(lambda a, b: jnp.exp(a + b - largest), (log_p / 2,), (log_q / 2,))
    return jnp.where(near, -jnp.log1p(-jnp.where(near, squared, 0)), -jnp.log(overlap) - largest)


DIVERGENCES: dict[str, Callable[[Array, Array], Array]] = {
    "hellinger": hellinger,
    "jensen_shannon": jensen_shannon,
    "jeffreys": jeffreys,
    "bhattacharyya": bhattacharyya,
    "kl": kl,
}


def _sum_over_coordinates(
    term: Callable[..., Array], xs: tuple[Float[Array, "n d"], ...], ys: tuple[Float[Array, "m d"], ...]
) -> Float[Array, "n m"]:
    """Σ_k term(*xs_ik, *ys_jk) for all pairs of rows i and j, a coordinate at a time, in value and gradient.

    `term` alone is rematerialized: were the sum part of it, all partial sums would be kept for the gradient.
    """
    term = jax.checkpoint(term)

    def add(s, coordinate):
        xs_k, ys_k = coordinate
        return s + term(*(x[:, None] for x in xs_k), *(y[None, :] for y in ys_k)), None

    start = jnp.zeros((xs[0].shape[0], ys[0].shape[0]), jnp.result_type(*xs, *ys))
    return lax.scan(add, start, ([x.T for x in xs], [y.T for y in ys]))[0]


def _largest_over_coordinates(x: Array, y: Array) -> Array:
    """max_k (x_k + y_k) for all pairs of rows."""

    def larger(s, coordinates):
        total = coordinates[0][:, None] + coordinates[1][None, :]
        return jnp.where(total > s, total, s), None

    start = jnp.full((x.shape[0], y.shape[0]), -jnp.inf, jnp.result_type(x, y))
    return lax.scan(larger, start, (x.T, y.T))[0]
