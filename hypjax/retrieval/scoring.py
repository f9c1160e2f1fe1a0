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
from hypjax.retrieval.uncertainty import uncertainty_quality


class Retrieved(NamedTuple):
    """Figures, and the neighbors they were computed from.

    Attributes:
        figures: Flat names to Python floats.
        neighbors: Gallery indices [n, k], nearest first; k covers every figure asked for, and at least five
            where the gallery has them.
        distances: Distances [n, k].
        wrong: Whether the nearest neighbor is of another class [n].
        valid: Whether the query has a right answer in the gallery [n]; figures count these queries only.
    """

    figures: dict[str, float]
    neighbors: Int[np.ndarray, "n k"]
    distances: Float[np.ndarray, "n k"]
    wrong: Bool[np.ndarray, "n"]
    valid: Bool[np.ndarray, "n"]


def retrieval_figures(
    embeddings: Float[Array | np.ndarray, "n d"],
    labels: Int[Array | np.ndarray, "n"],
    *,
    distance: Callable[[Array, Array], Array],
    uncertainty: Float[Array | np.ndarray, "n"] | None = None,
    ancestors: Int[Array | np.ndarray, "classes levels"] | None = None,
    level_names: Sequence[str] | None = None,
    gallery: tuple[Float[Array | np.ndarray, "m d"] | Rows, Int[Array | np.ndarray, "m"]] | None = None,
    exclude: Int[Array | np.ndarray, "n"] | None = None,
    ks: Sequence[int] = (1, 2, 4, 8),
    hierarchy_neighbors: int = 5,
    neighbors: int = 0,
    manifold: Manifold | None = None,
    seed: int = 0,
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

    Returns:
        A `Retrieved`; its figures are `recall@K`, `r_precision`, `map@r`, `nmi`, `agreement@class`,
        `agreement@LEVEL`, `lca_height`, and of the nearest neighbor alone `recall@1@LEVEL`, `nearest_lca_height`;
        `uncertainty_auroc`, `uncertainty_aurc` (and each of them with `_nearest_distance`, `_distance_ratio`),
        `uncertainty_aurc_ideal`, `uncertainty_aurc_random`; `queries` and `queries_without_match`. Figures with no
        query to count are nan.

    Raises:
        ValueError: sizes that do not fit, or a gallery smaller than max(ks) neighbors.
    """
    labels = np.asarray(labels)
    items: Array | np.ndarray | Rows
    if gallery is None:
        items, item_labels = embeddings, labels
        exclude = np.arange(len(labels)) if exclude is None else exclude
    else:
        items, item_labels = gallery[0], np.asarray(gallery[1])
    if len(embeddings) != len(labels) or len(items) != len(item_labels):
        raise ValueError(
            f"{len(embeddings)} embeddings with {len(labels)} labels, {len(items)} gallery items with "
            f"{len(item_labels)} labels: one label is needed for each"
        )
    relevant = relevant_counts(labels, item_labels, exclude=exclude)
    available = len(items) - (exclude is not None)
    k = max(*ks, min(available, max(2, neighbors, hierarchy_neighbors, int(relevant.max(initial=0)))))
    indices, distances = (np.asarray(part) for part in knn(embeddings, items, k=k, distance=distance, exclude=exclude))
    # [n, k] of them are the most that is held here: in as few bytes as they take.
    least = np.result_type(np.min_scalar_type(min(-1, item_labels.min())), np.min_scalar_type(-1 - item_labels.max()))
    neighbor_labels = item_labels.astype(least)[indices]
    valid = relevant > 0
    wrong = neighbor_labels[:, 0] != labels

    figures = {f"recall@{k}": recall_at_k(neighbor_labels, labels, k=k, valid=valid) for k in ks}
    neighbor_labels = neighbor_labels[:, : max(hierarchy_neighbors, int(relevant.max(initial=0)))].copy()
    figures["r_precision"] = r_precision(neighbor_labels, labels, relevant=relevant)
    figures["map@r"] = map_at_r(neighbor_labels, labels, relevant=relevant)
    if manifold is not None:
        figures["nmi"] = nmi(np.asarray(embeddings)[valid], labels[valid], manifold, seed=seed)
    if ancestors is not None:
        figures |= _hierarchy_figures(neighbor_labels[:, :hierarchy_neighbors], labels, ancestors, level_names, valid)
    if uncertainty is not None and k >= 2:
        quality = uncertainty_quality(np.asarray(uncertainty)[valid], distances[valid, :2], wrong[valid])
        figures |= {f"uncertainty_{name}": value for name, value in quality.items()}
    figures |= {"queries": valid.sum(), "queries_without_match": (~valid).sum()}
    return Retrieved({name: float(value) for name, value in figures.items()}, indices, distances, wrong, valid)


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
