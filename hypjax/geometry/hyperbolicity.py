"""How tree-like a metric space is: Gromov's δ, and the curvature it suggests."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax import lax
from jax.typing import ArrayLike
from jaxtyping import Array, Float, PRNGKeyArray

from hypjax.geometry import euclidean, numerics


def gromov_delta(distances: Float[Array, "n n"], *, base: int = 0) -> Float[Array, ""]:
    """Gromov's δ of a finite metric space by the four-point condition with one fixed base point w.

        δ_w = max over x, y, z of  min((x|z), (z|y)) − (x|y),    (x|y) = ½(d(x, w) + d(y, w) − d(x, y))

    A tree has δ = 0, the hyperbolic plane of curvature −1 has δ = log 2, a cycle of four unit edges has δ =
    1. Over all base points δ is at most twice the δ_w of any one. Time n³, memory n².

    >>> cycle = jnp.array([[0.0, 1, 2, 1], [1, 0, 1, 2], [2, 1, 0, 1], [1, 2, 1, 0]])
    >>> float(gromov_delta(cycle))
    1.0

    Args:
        distances: A symmetric distance matrix [n, n], zero on its diagonal.
        base: The index of the base point.

    Raises:
        ValueError: If the matrix is not square, or base is no index of it.

    References:
        Gromov (1987), Hyperbolic groups; Fournier, Ismail, Vigneron (2015) for the max-min product.
    """
    n = distances.shape[0]
    if distances.ndim != 2 or distances.shape[1] != n or n == 0:
        raise ValueError(f"distances must be a square matrix of distances, got shape {distances.shape}")
    if not 0 <= base < n:
        raise ValueError(f"base must be an index from 0 to {n - 1}, got {base}")
    to_base = distances[base]
    products = 0.5 * (to_base[:, None] + to_base[None, :] - distances)

    def excess(row):
        max_min = jnp.max(jnp.where(row[:, None] < products, row[:, None], products), axis=0)
        return jnp.max(max_min - row)

    return jnp.max(lax.map(excess, products))


def relative_delta(distances: Float[Array, "n n"], *, base: int = 0) -> Float[Array, ""]:
    """The scale-free δ_rel = 2δ/diameter; 0 for a tree and for a single point.

    Shapes: [n, n] → scalar.
    """
    return numerics.divide(2 * gromov_delta(distances, base=base), jnp.max(distances))


def sampled_relative_delta(
    x: Float[Array, "n d"],
    key: PRNGKeyArray,
    *,
    distance: Callable[[Array, Array], Array] = euclidean.pairwise_dist,
    subset: int = 1000,
    repeats: int = 10,
) -> Float[Array, " repeats"]:
    """δ_rel of random subsets of a set of points; report its mean and spread.

    >>> x = jnp.linspace(0.0, 1.0, 50)[:, None]
    >>> deltas = sampled_relative_delta(x, jax.random.key(0), subset=20, repeats=2)
    >>> bool(jnp.all(deltas < 1e-5))
    True

    Args:
        x: Points or features [n, d].
        key: A JAX random key; the same key gives the same subsets.
        distance: Any pairwise distance, `(x [n, d], y [m, d]) -> [n, m]`.
        subset: Points in each subset, all of them when there are fewer.
        repeats: How many subsets.

    Raises:
        ValueError: If subset or repeats is less than 1.

    Source: the procedure of Hyp-ViT (Ermolov et al., 2022) and, before it, Khrulkov et al. (2020).
    """
    if subset < 1 or repeats < 1:
        raise ValueError(f"subset and repeats must be at least 1, got {subset} and {repeats}")
    size = min(subset, x.shape[0])

    def one(key):
        chosen = x[jax.random.choice(key, x.shape[0], (size,), replace=False)]
        return relative_delta(distance(chosen, chosen))

    return lax.map(one, jax.random.split(key, repeats))


def suggested_curvature(delta_rel: ArrayLike) -> Float[Array, ""]:
    """The curvature parameter that δ_rel hints at, c = (0.144/δ_rel)²; infinite for a perfect tree.

    0.144 is δ_rel of the Poincaré disk as its authors measured it. A hint only: radius and c trade off.

    >>> round(float(suggested_curvature(0.288)), 4)
    0.25

    Source: Khrulkov et al. (2020), Hyperbolic Image Embeddings. https://arxiv.org/abs/1904.02239
    """
    return jnp.square(0.144 / jnp.asarray(delta_rel, float))
