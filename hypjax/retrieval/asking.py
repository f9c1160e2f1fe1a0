"""What queries of known classes found: scores of each first answer, and whether it is right."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from jaxtyping import Array, Bool, Float, Int, Shaped

from hypjax.retrieval.uncertainty import distance_ratio

NEIGHBORS = 10  # that a score looks at, where there are so many
MOST_QUERIES = 20_000  # evenly spaced: more tell nothing new
MOST_MATES = 200  # images of a query's own class that are passed over for its nearest others


def needed(labels: Int[np.ndarray, "m"]) -> int:
    """How many neighbors `ask` looks at, in a gallery of these labels, non-negative ones."""
    return NEIGHBORS + min(int(np.bincount(labels).max(initial=0)), MOST_MATES)


def answer_scores(
    uncertainty: Float[Array | np.ndarray, "n"],
    distances: Float[Array | np.ndarray, "n k"],
    labels: Int[Array | np.ndarray, "n k"] | None = None,
) -> Float[np.ndarray, "n f"]:
    """Scores of each query's first answer, none of which alone is the best on every data set.

    u, the distance d₁ to the nearest neighbor and d₁/d₂; with the neighbors' labels also the gap d_o − d₁, where o is
    the first neighbor of another class than the nearest (the last where there is none), and the share of the four
    neighbors after the nearest that are of its class. The query's own class is not looked at. The choice is [ours].

    Example:
        >>> answer_scores(np.array([0.4]), np.array([[1.0, 2.0, 4.0]]), np.array([[7, 7, 5]])).tolist()
        [[0.4, 1.0, 0.5, 3.0, 0.5]]

    Args:
        uncertainty: In [0, 1].
        distances: To the nearest neighbors, at least two, nearest first.
        labels: Of these neighbors.

    Raises:
        ValueError: fewer than two neighbors.
    """
    distances = np.asarray(distances, np.float64)
    if distances.shape[1] < 2:
        raise ValueError(f"an answer is judged by two neighbors at least, got {distances.shape[1]}")
    scores = [np.asarray(uncertainty, np.float64), distances[:, 0], distance_ratio(distances)]
    if labels is not None:
        same = np.asarray(labels) == np.asarray(labels)[:, :1]
        other = np.where(same, np.inf, distances).min(1)
        gap = np.minimum(other, distances[:, -1]) - distances[:, 0]
        scores += [gap, same[:, 1:5].mean(1)]
    return np.column_stack(scores)


def without_class(
    distances: Float[np.ndarray, "n k"], labels: Int[np.ndarray, "n k"], own: Int[np.ndarray, "n"]
) -> tuple[Float[np.ndarray, "n few"], Int[np.ndarray, "n few"]]:
    """What each query would find if the gallery had nothing of its class: `NEIGHBORS` distances and labels, or fewer.

    Args:
        distances: To the nearest neighbors, nearest first, as many as its class has images and some more.
        labels: Of these neighbors.
        own: Class of each query.

    Returns:
        Distances, nan in all of a row where not so many neighbors of other classes are among them; and labels.
    """
    mates = labels == own[:, None]
    order = np.argsort(mates, axis=1, kind="stable")[:, :NEIGHBORS]  # mates last, the others in their order
    few = np.take_along_axis(mates, order, axis=1).any(axis=1, keepdims=True)
    left, left_labels = (np.take_along_axis(array, order, axis=1) for array in (distances, labels))
    return np.where(few, np.nan, left), left_labels


class Asked(NamedTuple):
    """What queries of known classes found: what a calibration is learned from, and what it is judged by.

    Attributes:
        uncertainty: u of each query.
        scores: Of the first answer at each level, the classes first, from `answer_scores`.
        removed: The same for the classes, had the gallery nothing of the query's class; nan where that is not known.
        wrong: Whether the first answer is wrong, at each level.
        ranks: Of the first right answer, from 1; ∞ where none of the neighbors is right.
        classes: Class of each query.
    """

    uncertainty: Float[np.ndarray, "n"]
    scores: Float[np.ndarray, "levels n f"]
    removed: Float[np.ndarray, "n f"]
    wrong: Bool[np.ndarray, "levels n"]
    ranks: Float[np.ndarray, "n"]
    classes: Int[np.ndarray, "n"]

    def take(self, rows: Shaped[np.ndarray, "m"]) -> "Asked":
        """Some of the queries, by index or mask."""
        return self.gathered(lambda column: column[rows])

    def gathered(self, gather: Callable[[np.ndarray], np.ndarray]) -> "Asked":
        """Those of all processes, by a function of what belongs to queries [n, ...]; or whatever else it gives."""
        u, scores, removed, wrong, ranks, classes = self
        scores, wrong = (np.moveaxis(gather(np.moveaxis(side, 0, 1)), 1, 0) for side in (scores, wrong))
        return Asked(gather(u), scores, gather(removed), wrong, gather(ranks), gather(classes))


def ask(
    uncertainty: Float[Array | np.ndarray, "n"],
    distances: Float[Array | np.ndarray, "n k"],
    labels: Int[Array | np.ndarray, "n k"],
    classes: Int[Array | np.ndarray, "n"],
    ancestors: Int[np.ndarray, "c levels"] | None = None,
) -> Asked:
    """Scores of the first answers, right or wrong, at each level of a hierarchy.

    Args:
        uncertainty: Of the queries, in [0, 1].
        distances: To the nearest neighbors, nearest first: `NEIGHBORS`, and as many more as a class has images, so that
            what is found without the query's own class is known.
        labels: Of these neighbors.
        classes: Of the queries.
        ancestors: Of each class, nearest first.
    """
    u, distances = np.asarray(uncertainty, np.float64), np.asarray(distances, np.float64)
    labels, classes = np.asarray(labels), np.asarray(classes)
    scores, wrong = [], []
    for names in (
        np.arange(1 + max(labels.max(initial=0), classes.max(initial=0))),
        *(() if ancestors is None else ancestors.T),
    ):
        near = names[labels[:, :NEIGHBORS]]
        scores.append(answer_scores(u, distances[:, :NEIGHBORS], near))
        wrong.append(near[:, 0] != names[classes])
    removed = answer_scores(u, *without_class(distances, labels, classes))
    right = labels == classes[:, None]
    ranks = np.where(right.any(1), right.argmax(1) + 1.0, np.inf)
    return Asked(u, np.stack(scores), removed, np.stack(wrong), ranks, classes)
