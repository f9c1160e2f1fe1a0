"""A file of embeddings, searched."""

from __future__ import annotations

import numpy as np

from hypjax import geometry
from hypjax.data.errors import UsageError
from hypjax.retrieval import Index, knn
from hypjax.stores.embeddings import Embeddings
from hypjax.training.space import Space


def nearest(
    index: Embeddings, points: np.ndarray, exclude: np.ndarray, k: int, *, space: Space | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """The nearest rows of an index, in the order of exact distances.

    Args:
      index: what is searched.
      points: that ask [n, .].
      exclude: row that each must not find, −1 for none [n].
      k: neighbors, at most.
      space: of the model that made the index; needed for a hybrid distance, which no inner product orders by.

    Returns:
      Rows [n, k] and distances [n, k].

    Raises:
      UsageError: there is nothing but the query itself, or a hybrid distance without its space.
    """
    k = min(k, len(index.points) - bool((exclude >= 0).any()))
    if k < 1:
        raise UsageError("the index holds no image but the query")
    distance = index.about["distance"]
    if distance == "hybrid":
        if space is None:
            raise UsageError("a hybrid distance has no order of inner products, which this takes")
        indices, distances = knn(points, index.points, k=k, distance=space.distance, exclude=exclude)
        return np.asarray(indices), np.asarray(distances)
    manifold = geometry.named(index.about["geometry"], index.about["curvature"])
    return Index(index.points, manifold, distance=distance).search(points, k, exclude=exclude)
