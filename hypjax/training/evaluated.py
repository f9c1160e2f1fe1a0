"""What an evaluation found: figures, the share of the embeddings that this process holds, and what pictures show."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from hypjax.retrieval import Retrieved, Shares
from hypjax.training.embedding import Embedded
from hypjax.training.responses import Response
from hypjax.training.space import Space
from hypjax.training.trees import Trees

MOST_SHOWN = 20_000  # images in pictures: more only hide one another


class Shown(NamedTuple):
    """What pictures show of an evaluation: evenly spaced images, and what evenly spaced queries found.

    Attributes:
      images: indices in the source [s].
      points: of theirs [s, .].
      queries: places among the queries [t].
      neighbors: places in the gallery, nearest first, five of each or fewer [t, 5].
      distances: to these [t, 5].
    """

    images: np.ndarray
    points: np.ndarray
    queries: np.ndarray
    neighbors: np.ndarray
    distances: np.ndarray


class Evaluation(NamedTuple):
    """Figures of a source, and what they were computed from.

    Attributes:
      figures: by name.
      embedded: every image of the source that this process holds.
      shares: which process holds which.
      radius: of every image [n].
      uncertainty: of every image [n].
      asking: indices of the queries in the source [q].
      answering: indices of the gallery in the source [m], to which `retrieved` refers.
      retrieved: neighbors of the queries that this process holds.
      responses: by kind of degradation.
      trees: over the classes, if they were asked for; on process 0 alone.
      space: where the embeddings live.
    """

    figures: dict[str, float]
    embedded: Embedded
    shares: Shares
    radius: np.ndarray
    uncertainty: np.ndarray
    asking: np.ndarray
    answering: np.ndarray
    retrieved: Retrieved
    responses: dict[str, Response]
    trees: Trees | None
    space: Space

    def shown(self) -> Shown:
        """What pictures show, on every process; all of them ask for it together."""
        images, queries = (spread(np.arange(n), MOST_SHOWN) for n in (len(self.shares), len(self.asking)))
        points, found = self.shares.take(self.embedded.points, images), self.retrieved
        near = self.shares.of(self.asking)
        columns = (near.take(side[:, :5], queries) for side in (found.neighbors, found.distances))
        return Shown(images, points, queries, *columns)


def spread(indices: np.ndarray, count: int) -> np.ndarray:
    """At most `count` of them, evenly spaced."""
    return indices[np.unique(np.linspace(0, len(indices) - 1, min(count, len(indices))).astype(int))]
