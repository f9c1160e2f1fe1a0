"""Retrieval figures from the labels of neighbors: recall, R-precision, MAP@R, agreement in a hierarchy.

Each takes `neighbor_labels` [n, k], nearest first, with the query itself already left out, and returns a mean
over queries. A query with no other item of its class has no right answer: such queries are left out of the
mean, and `relevant_counts` finds them. A mean over no query at all is nan. Counting happens on the host, in
NumPy: nothing to compile, and exact.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Array, Bool, Int


def relevant_counts(
    labels: Int[Array | np.ndarray, "n"],
    gallery_labels: Int[Array | np.ndarray, "m"] | None = None,
    *,
    exclude: Int[Array | np.ndarray, "n"] | None = None,
) -> Int[np.ndarray, "n"]:
    """Count the gallery items that are right answers to each query, R_i.

    R_i = |{j : gallery_labels[j] = labels[i], j ≠ exclude[i]}|

    Without `gallery_labels` the queries are their own gallery and each leaves itself out.

    Example:
        >>> relevant_counts(np.array([0, 0, 0, 1])).tolist()
        [2, 2, 2, 0]
    """
    labels = np.asarray(labels)
    if gallery_labels is None:
        gallery_labels = labels
        exclude = np.arange(len(labels)) if exclude is None else exclude
    gallery_labels = np.asarray(gallery_labels)
    classes, sizes = np.unique(gallery_labels, return_counts=True)
    place = np.minimum(np.searchsorted(classes, labels), len(classes) - 1)
    counts = np.where(classes[place] == labels, sizes[place], 0)
    if exclude is not None:
        exclude = np.asarray(exclude)
        counts = counts - ((exclude >= 0) & (gallery_labels[exclude] == labels))
    return counts.astype(np.int32)


def recall_at_k(
    neighbor_labels: Int[Array | np.ndarray, "n k"],
    labels: Int[Array | np.ndarray, "n"],
    *,
    k: int,
    valid: Bool[Array | np.ndarray, "n"] | None = None,
) -> float:
    """Share of queries with an item of their class among the k nearest.

    Example:
        >>> neighbor_labels, labels = np.array([[1, 0], [1, 1], [0, 0]]), np.array([0, 1, 1])
        >>> [round(recall_at_k(neighbor_labels, labels, k=k), 3) for k in (1, 2)]
        [0.333, 0.667]

    Args:
        neighbor_labels: Labels of the neighbors, nearest first.
        labels: Labels of the queries.
        k: How many neighbors count, 1 ≤ k ≤ columns.
        valid: Queries that count; all by default. Pass `relevant_counts(...) > 0`.

    Raises:
        ValueError: k is not within the columns.
    """
    if not 1 <= k <= neighbor_labels.shape[1]:
        raise ValueError(f"recall at k={k} needs k between 1 and the {neighbor_labels.shape[1]} neighbors given")
    return _mean(_right(neighbor_labels, labels)[:, :k].any(axis=1), valid)


def r_precision(
    neighbor_labels: Int[Array | np.ndarray, "n k"],
    labels: Int[Array | np.ndarray, "n"],
    *,
    relevant: Int[Array | np.ndarray, "n"],
) -> float:
    """Share of right items among the first R_i neighbors, R_i the number of right answers to query i.

    mean_i  1/R_i Σ_{j ≤ R_i} right_ij

    Args:
        neighbor_labels: Labels of the neighbors, nearest first, at least max R_i of them.
        labels: Labels of the queries.
        relevant: R_i, as from `relevant_counts`; queries with 0 are left out.

    Raises:
        ValueError: there are fewer neighbors than max R_i.

    References:
        Musgrave et al., A Metric Learning Reality Check, ECCV 2020.
    """
    right = _right_within_r(neighbor_labels, labels, relevant)
    return _mean_over_relevant(right.sum(axis=1), relevant)


def map_at_r(
    neighbor_labels: Int[Array | np.ndarray, "n k"],
    labels: Int[Array | np.ndarray, "n"],
    *,
    relevant: Int[Array | np.ndarray, "n"],
) -> float:
    """Mean average precision over the first R_i neighbors; rewards right items that come early.

    mean_i  1/R_i Σ_{j ≤ R_i} right_ij · (right items among the first j) / j

    Example:
        >>> neighbor_labels, labels = np.array([[0, 1, 0]]), np.array([0])
        >>> round(map_at_r(neighbor_labels, labels, relevant=np.array([3])), 4)  # (1 + 0 + 2/3) / 3
        0.5556

    Args:
        neighbor_labels: Labels of the neighbors, nearest first, at least max R_i of them.
        labels: Labels of the queries.
        relevant: R_i, as from `relevant_counts`; queries with 0 are left out.

    Raises:
        ValueError: there are fewer neighbors than max R_i.

    References:
        Musgrave et al., A Metric Learning Reality Check, ECCV 2020.
    """
    right = _right_within_r(neighbor_labels, labels, relevant)
    precision = right.cumsum(axis=1) / np.arange(1, right.shape[1] + 1)
    return _mean_over_relevant((right * precision).sum(axis=1), relevant)


class HierarchyQuality(NamedTuple):
    """How well neighbors agree with a known hierarchy.

    Attributes:
        agreement: Share of neighbors that agree with their query in [class, level 1, level 2, …].
        lca_height: Mean height of the lowest common ancestor: 0 for the same class, 1 for the same first
            level, …, levels + 1 when only the root is shared.
    """

    agreement: list[float]
    lca_height: float


def hierarchy_quality(
    neighbor_labels: Int[Array | np.ndarray, "n k"],
    labels: Int[Array | np.ndarray, "n"],
    ancestors: Int[Array | np.ndarray, "classes levels"],
    *,
    valid: Bool[Array | np.ndarray, "n"] | None = None,
) -> HierarchyQuality:
    """Measure agreement of neighbors at each level of a hierarchy, and the height where they meet.

    Even a wrong neighbor can be nearly right: another smiling face rather than a flag.

    Example:
        >>> ancestors = np.array([[0], [0], [1]])  # classes 0 and 1 are siblings
        >>> hierarchy_quality(np.array([[1, 2]]), np.array([0]), ancestors)
        HierarchyQuality(agreement=[0.0, 0.5], lca_height=1.5)

    Args:
        neighbor_labels: Labels of the neighbors; all k columns count alike.
        labels: Labels of the queries.
        ancestors: Ancestor ids of each class, nearest first; levels may be 0.
        valid: Queries that count; all by default.
    """
    ancestors = np.asarray(ancestors)
    paths = np.concatenate([np.arange(len(ancestors))[:, None], ancestors], axis=1)
    agree = paths[np.asarray(neighbor_labels)] == paths[np.asarray(labels)][:, None, :]
    meets_at_root = np.ones((*agree.shape[:2], 1), bool)
    height = np.concatenate([agree, meets_at_root], axis=2).argmax(axis=2)
    by_level = [_mean(agree[:, :, level].mean(axis=1), valid) for level in range(agree.shape[2])]
    return HierarchyQuality(by_level, _mean(height.mean(axis=1), valid))


def _right(neighbor_labels, labels):
    return np.asarray(neighbor_labels) == np.asarray(labels)[:, None]


def _right_within_r(neighbor_labels, labels, relevant):
    columns, most = neighbor_labels.shape[1], int(np.max(relevant, initial=0))
    if most > columns:
        raise ValueError(f"a query has {most} right answers but {columns} neighbors are given: ask for k={most}")
    return _right(neighbor_labels[:, :most], labels) & (np.arange(most) < np.asarray(relevant)[:, None])


def _mean_over_relevant(found, relevant):
    relevant = np.asarray(relevant)
    return _mean(found / np.maximum(relevant, 1), relevant > 0)


def _mean(values, valid):
    counted = values if valid is None else values[np.asarray(valid)]
    return float(counted.mean()) if len(counted) else float("nan")
