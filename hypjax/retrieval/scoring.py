"""Every retrieval figure of a set of embeddings, from one pass of nearest neighbors."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Array, Bool, Float, Int

from hypjax.geometry import Manifold
from hypjax.retrieval.clustering import nmi
from hypjax.retrieval.metrics import hierarchy_quality, map_at_r, r_precision, recall_at_k, relevant_counts
from hypjax.retrieval.neighbors import knn
from hypjax.retrieval.rows import Rows
from hypjax.retrieval.shares import Blocks, Shares
from hypjax.retrieval.uncertainty import uncertainty_quality


class Retrieved(NamedTuple):
    """Figures, and the neighbors they were computed from.

    Attributes:
        figures: Flat names to Python floats.
        neighbors: Gallery indices [own, k] of this process's queries, nearest first; k covers every figure asked for,
            and at least five where the gallery has them.
        distances: Distances [own, k].
        nearest: The first two distances of all queries [n, 2], or the only one.
        wrong: Whether the nearest neighbor is of another class [n].
        valid: Whether the query has a right answer in the gallery [n]; figures count these queries only.
    """

    figures: dict[str, float]
    neighbors: Int[np.ndarray, "own k"]
    distances: Float[np.ndarray, "own k"]
    nearest: Float[np.ndarray, "n few"]
    wrong: Bool[np.ndarray, "n"]
    valid: Bool[np.ndarray, "n"]


def retrieval_figures(
    embeddings: Float[Array | np.ndarray, "own d"],
    labels: Int[Array | np.ndarray, "n"],
    *,
    distance: Callable[[Array, Array], Array],
    uncertainty: Float[Array | np.ndarray, "n"] | None = None,
    ancestors: Int[Array | np.ndarray, "classes levels"] | None = None,
    level_names: Sequence[str] | None = None,
    gallery: tuple[Float[Array | np.ndarray, "m d"] | Rows | Blocks, Int[Array | np.ndarray, "m"]] | None = None,
    exclude: Int[Array | np.ndarray, "n"] | None = None,
    ks: Sequence[int] = (1, 2, 4, 8),
    hierarchy_neighbors: int = 5,
    neighbors: int = 0,
    manifold: Manifold | None = None,
    seed: int = 0,
    shares: Shares | None = None,
) -> Retrieved:
    """Search once and report all figures.

    Without a `gallery` the queries search each other, each leaving itself out. With one (In-Shop's, or clean
    images searched by degraded ones) `exclude` names the gallery item that a query must not find.

    Example:
        >>> points = np.array([[0.0], [0.1], [4.0], [4.2]], np.float32)
        >>> result = retrieval_figures(points, np.array([0, 0, 1, 1]), ks=(1,),
        ...                            distance=lambda x, y: abs(x - y.T))
        >>> result.figures["recall@1"], result.neighbors[:, 0].tolist()
        (1.0, [1, 0, 3, 2])

    Args:
        embeddings: Embeddings of the queries.
        labels: Labels of the queries.
        distance: `(x [n, d], y [m, d]) -> [n, m]`.
        uncertainty: In [0, 1] for each query; without it there are no uncertainty figures.
        ancestors: Ancestor ids of each class, nearest first; without it there are no hierarchy figures.
        level_names: Names of the ancestors' levels, `level 1`, … by default.
        gallery: Embeddings and labels to search in instead of the queries themselves.
        exclude: Gallery index each query must not find, −1 for none.
        ks: For which k to report recall.
        hierarchy_neighbors: How many nearest neighbors the hierarchy figures look at.
        neighbors: How many to return, at least, where the gallery has them.
        manifold: Of the queries; where to cluster them, see `nmi`. Without it there is no NMI.
        seed: Of k-means.
        shares: Which process holds which query. Then `embeddings` are those of this one, the gallery comes in `Blocks`,
            and all processes find the same figures. None for queries that are all here.

    Returns:
        A `Retrieved`; its figures are `recall@K`, `r_precision`, `map@r`, `nmi`, `agreement@class`,
        `agreement@LEVEL`, `lca_height`, and of the nearest neighbor alone `recall@1@LEVEL`, `nearest_lca_height`;
        `uncertainty_auroc`, `uncertainty_aurc` (and each of them with `_nearest_distance`, `_distance_ratio`),
        `uncertainty_aurc_ideal`, `uncertainty_aurc_random`; `queries` and `queries_without_match`. Figures with no
        query to count are nan.

    Raises:
        ValueError: sizes that do not fit, or a gallery smaller than max(ks) neighbors.
    """
    labels, shares = np.asarray(labels), Shares.whole(len(labels)) if shares is None else shares
    items: Array | np.ndarray | Rows | Blocks
    if gallery is None:
        items, item_labels = embeddings if shares.allgather is None else Blocks(np.asarray(embeddings), shares), labels
        exclude = np.arange(len(labels)) if exclude is None else exclude
    else:
        items, item_labels = gallery[0], np.asarray(gallery[1])
    own = shares.own
    if len(shares) != len(labels) or len(embeddings) != len(own) or len(items) != len(item_labels):
        raise ValueError(
            f"{len(embeddings)} embeddings with {len(labels)} labels, {len(items)} gallery items with "
            f"{len(item_labels)} labels: one label is needed for each"
        )
    relevant = relevant_counts(labels, item_labels, exclude=exclude)
    available = len(items) - (exclude is not None)
    k = max(*ks, min(available, max(2, neighbors, hierarchy_neighbors, int(relevant.max(initial=0)))))
    not_found = None if exclude is None else np.asarray(exclude)[own]
    found = knn(embeddings, items, k=k, distance=distance, exclude=not_found)
    indices, distances = (np.asarray(part) for part in found)
    # [n, k] of them are the most that is held here: in as few bytes as they take.
    least = np.result_type(np.min_scalar_type(min(-1, item_labels.min())), np.min_scalar_type(-1 - item_labels.max()))
    neighbor_labels = item_labels.astype(least)[indices]
    valid = relevant > 0
    wrong = shares.gather(neighbor_labels[:, 0] != labels[own])

    asking = labels[own], relevant[own]
    figures = {f"recall@{k}": recall_at_k(neighbor_labels, asking[0], k=k, valid=valid[own]) for k in ks}
    neighbor_labels = neighbor_labels[:, : max(hierarchy_neighbors, int(relevant.max(initial=0)))].copy()
    figures["r_precision"] = r_precision(neighbor_labels, asking[0], relevant=asking[1])
    figures["map@r"] = map_at_r(neighbor_labels, asking[0], relevant=asking[1])
    if ancestors is not None:
        near = neighbor_labels[:, :hierarchy_neighbors]
        figures |= _hierarchy_figures(near, asking[0], ancestors, level_names, valid[own])
    figures = _together(figures, int(valid[own].sum()), shares)
    nearest = shares.gather(distances[:, :2])
    if uncertainty is not None and k >= 2:
        quality = uncertainty_quality(np.asarray(uncertainty)[valid], nearest[valid], wrong[valid])
        figures |= {f"uncertainty_{name}": value for name, value in quality.items()}
    if manifold is not None:
        points = np.asarray(embeddings)[valid[own]]
        figures["nmi"] = nmi(points, labels[valid], manifold, seed=seed, shares=shares.of(valid))
    figures |= {"queries": float(valid.sum()), "queries_without_match": float((~valid).sum())}
    return Retrieved(figures, indices, distances, nearest, wrong, valid)


def _together(means, count, shares):
    """Means over the queries of all processes, from those of each and how many queries they are of."""
    if shares.allgather is None:
        return means
    counted = np.array([*(value * count if count else 0.0 for value in means.values()), count])
    *sums, count = shares.total(counted).tolist()
    return {name: value / count if count else float("nan") for name, value in zip(means, sums, strict=True)}


def _hierarchy_figures(neighbor_labels, labels, ancestors, level_names, valid):
    levels = ancestors.shape[1]
    names = [f"level {i + 1}" for i in range(levels)] if level_names is None else list(level_names)
    if len(names) != levels:
        raise ValueError(f"{len(names)} level names {names} for {levels} levels of ancestors")
    quality = hierarchy_quality(neighbor_labels, labels, ancestors, valid=valid)
    agreement = dict(zip(["class", *names], quality.agreement, strict=True))
    nearest = hierarchy_quality(neighbor_labels[:, :1], labels, ancestors, valid=valid)
    return {
        **{f"agreement@{name}": value for name, value in agreement.items()},
        **{f"recall@1@{name}": value for name, value in zip(names, nearest.agreement[1:], strict=True)},
        "lca_height": quality.lca_height,
        "nearest_lca_height": nearest.lca_height,
    }
