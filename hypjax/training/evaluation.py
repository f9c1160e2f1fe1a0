"""Embeds whole sources and asks what the embeddings, and their uncertainties, are worth."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from hypjax.data.source import Source, own_features, own_queries, subset
from hypjax.data.split import query_gallery
from hypjax.data.transforms import DEGRADATIONS
from hypjax.geometry import sphere
from hypjax.retrieval import Retrieved, Rows, knn, retrieval_figures
from hypjax.retrieval.asking import needed
from hypjax.training import sharding
from hypjax.training.comparing import HIER_PROXIES, hier_points
from hypjax.training.embedding import Embedded, Embedder, Reader, embed_all
from hypjax.training.responses import Response
from hypjax.training.space import Space
from hypjax.training.state import Params
from hypjax.training.trees import Trees, grow
from hypjax.training.windows import windows

LEVELS = (0.0, 0.25, 0.5, 0.75, 1.0)  # of degradation
MOST_TOGETHER = 2**14  # training images that search each other for the failures before training
SATURATED = 0.98  # of the clip radius: beyond it a radius says nothing any more

_direction = jax.jit(sphere.project)


def radius_figures(embedded: Embedded, clip_radius: float) -> dict[str, float]:
    """Whether the radius carries information: its mean and spread, the saturated share, the spread of u.

    Args:
      embedded: of some images.
      clip_radius: the head's; a point within 2 % of it counts as saturated.
    """
    return {
        "radius_mean": float(embedded.radius.mean()),
        "radius_std": float(embedded.radius.std()),
        "saturated_share": float((embedded.radius >= SATURATED * clip_radius).mean()),
        "uncertainty_mean": float(embedded.uncertainty.mean()),
        "uncertainty_std": float(embedded.uncertainty.std()),
    }


class Evaluation(NamedTuple):
    """Figures of a source, and what they were computed from.

    Attributes:
      figures: by name.
      embedded: every image of the source.
      asking: indices of the queries in the source [q].
      answering: indices of the gallery in the source [m], to which `retrieved` refers.
      retrieved: neighbors of the queries.
      responses: by kind of degradation.
      trees: over the classes, if they were asked for.
      space: where the embeddings live.
    """

    figures: dict[str, float]
    embedded: Embedded
    asking: np.ndarray
    answering: np.ndarray
    retrieved: Retrieved
    responses: dict[str, Response]
    trees: Trees | None
    space: Space


class Roles(NamedTuple):
    """Who asks and who answers.

    Attributes:
      asking: indices of the queries in the source [q].
      answering: indices of the gallery in the source [m].
      own: place in the gallery of each query, which it must not find [q]; None where no query is in the gallery.
    """

    asking: np.ndarray
    answering: np.ndarray
    own: np.ndarray | None


@dataclasses.dataclass(frozen=True)
class Evaluator:
    """Asks a model for all its figures on a source; compiled once, asked at intervals.

    Attributes:
      embedder: from `create_embedder`.
      space_at: the objective's own parameters to where the embeddings live.
      mesh: whose devices share the images.
      reader: a source, as it is or degraded, to batches.
      clip_radius: the head's, against which saturation is measured.
      ks: for which K to report Recall@K, as far as there are so many others.
      query_gallery: whether the first image of each class asks and the others answer; else all ask all others. A
        source's own query and gallery sets go before either.
      queries: at most so many ask, evenly spaced among those that would; 0 for all.
    """

    embedder: Embedder
    space_at: Callable[[Params], Space]
    mesh: Mesh
    reader: Reader
    clip_radius: float
    ks: tuple[int, ...] = (1, 2, 4, 8)
    query_gallery: bool = False
    queries: int = 0

    def __call__(
        self,
        variables: Mapping[str, Any],
        source: Source,
        *,
        degraded_queries: int,
        clusters: bool = True,
        untrained: Mapping[str, Any] | None = None,
    ) -> Evaluation:
        """Embeds a source and scores it.

        Args:
          variables: the model's.
          source: images of classes that the model was not trained on.
          degraded_queries: how many of them to degrade, evenly spaced.
          clusters: whether to cluster the embeddings, too: NMI, and the trees with their figures.
          untrained: the same with the encoder as it was before training, whose bare features are what a user would
            search with who trains nothing; None leaves their figures out.

        Returns:
          The evaluation, the same on every process.
        """
        own = variables.get("objective", {})
        space = self.space_at(own)
        embedded = self._embed(variables, source)
        bare = {} if untrained is None else {"body_before": self._embed(untrained, source).features}
        roles = self._roles(source)
        figures, retrieved = self._score(source, embedded, space, roles, bare, clusters=clusters)
        responses = self._responses(variables, source, embedded, space, degraded_queries)
        for kind, response in responses.items():
            figures |= response.figures(kind)
        if not clusters:
            return Evaluation(figures, embedded, roles.asking, roles.answering, retrieved, responses, None, space)
        learned = set(own) & set(HIER_PROXIES.values())
        proxies = np.asarray(hier_points(own, space, self.clip_radius)) if learned else None
        trees, agreement = grow(embedded.points, source, space, proxies)
        return Evaluation(
            figures | agreement, embedded, roles.asking, roles.answering, retrieved, responses, trees, space
        )

    def features(self, variables: Mapping[str, Any], source: Source) -> np.ndarray:
        """What the encoder makes of each image of a source [n, features]; what a source of features holds."""
        read = own_features(source)
        if read is not None:
            return read(np.arange(len(source)))
        return np.asarray(self._embed(variables, source).features)

    def failures(self, variables: Mapping[str, Any], source: Source, features: np.ndarray | None = None) -> np.ndarray:
        """Whether the nearest other image of each image, by the angle of its tangent vector, is wrong [n].

        Of more than `MOST_TOGETHER` images each searches as many, its whole class among them (`windows`).

        Args:
          variables: the model's.
          source: the images.
          features: of theirs, where they are known [n, features].
        """
        if features is None:
            tangent = self._embed(variables, source).tangent
        else:
            rows = jax.device_put(jnp.asarray(features), sharding.replicated(self.mesh))
            tangent = np.asarray(self.embedder(variables, {"features": rows}).tangent)
        wrong = np.zeros(len(source), bool)
        for window in windows(source.labels, MOST_TOGETHER):
            directions, own = _direction(tangent[window.rows]), np.arange(len(window.rows))
            indices, _ = knn(directions, directions, k=1, distance=sphere.pairwise_cosine_distance, exclude=own)
            labels = source.labels[window.rows]
            missed = labels[np.asarray(indices)[:, 0]] != labels
            wrong[window.rows[window.whole]] = missed[window.whole]
        return wrong

    def _embed(self, variables: Mapping[str, Any], source: Source, **degradation: Any) -> Embedded:
        read = own_features(source)
        features = None if read is None else Rows(len(source), read)
        return embed_all(self.embedder, variables, self.reader(source, **degradation), self.mesh, features=features)

    def _score(
        self,
        source: Source,
        embedded: Embedded,
        space: Space,
        roles: Roles,
        bare: Mapping[str, np.ndarray | Rows],
        *,
        clusters: bool,
    ) -> tuple[dict[str, float], Retrieved]:
        """Retrieval, hierarchy, uncertainty, radius figures; and by cosine those of bare features and of directions."""
        asking, answering, own = roles
        items = len(answering) - (own is not None)
        ks = tuple(k for k in self.ks if k <= items)  # a small folder has no eight others to find

        def search(points: np.ndarray | Rows, **more: Any) -> Retrieved:
            gallery = points if own is not None else points[answering], source.labels[answering]
            return retrieval_figures(points[asking], source.labels[asking], gallery=gallery, exclude=own, ks=ks, **more)

        retrieved = search(
            embedded.points,
            distance=space.distance,
            uncertainty=embedded.uncertainty[asking],
            ancestors=source.ancestors,
            level_names=source.level_names,
            neighbors=needed(source.labels[answering]),
            # With one query a class, any clustering is a perfect one.
            manifold=space.manifold if clusters and own is not None else None,
        )
        figures = dict(retrieved.figures)
        for name, vectors in {**bare, "body": embedded.features, "direction": embedded.tangent}.items():
            directions = Rows(len(source), partial(_directions, vectors))
            by_angle = search(directions, distance=sphere.pairwise_cosine_distance)
            kept = (*(f"recall@{k}" for k in ks), "map@r")
            figures |= {f"{name}_{key}": by_angle.figures[key] for key in kept}
        # Where radii are equal the geometry ranks as the cosine does; this is how far it does.
        figures["direction_agreement"] = float((by_angle.neighbors[:, 0] == retrieved.neighbors[:, 0]).mean())
        return figures | radius_figures(embedded, self.clip_radius), retrieved

    def _roles(self, source: Source) -> Roles:
        """Who asks and who answers; without query and gallery sets all images answer all others."""
        marked = own_queries(source)
        if marked is None and self.query_gallery:
            marked = query_gallery(source.labels)
        everyone = np.arange(len(source))
        asking = everyone if marked is None else np.flatnonzero(marked)
        if 0 < self.queries < len(asking):
            asking = _spread(asking, self.queries)
        return Roles(asking, everyone, asking) if marked is None else Roles(asking, np.flatnonzero(~marked), None)

    def _responses(
        self, variables: Mapping[str, Any], source: Source, clean: Embedded, space: Space, count: int
    ) -> dict[str, Response]:
        """Degrades `count` evenly spaced queries and searches the clean gallery, or the others where there is none."""
        if not count:
            return {}
        asking, searched, leave_out = self._roles(source)
        chosen = _spread(asking, count)
        queries, own = subset(source, chosen), None if leave_out is None else chosen
        labels = source.labels[searched]
        responses = {}
        for kind in DEGRADATIONS:
            at_levels = [
                self._embed(variables, queries, degradation=kind, level=level)
                if level
                else jax.tree.map(lambda whole: whole[chosen], clean)
                for level in LEVELS
            ]
            found = [_nearest(embedded.points, clean.points[searched], own, space) for embedded in at_levels]
            wrong = np.stack([labels[neighbors[:, 0]] != source.labels[chosen] for neighbors, _ in found])
            uncertainty = np.stack([embedded.uncertainty for embedded in at_levels])
            responses[kind] = Response(LEVELS, uncertainty, wrong, np.stack([distances for _, distances in found]))
        return responses


def _spread(indices: np.ndarray, count: int) -> np.ndarray:
    """At most `count` of them, evenly spaced."""
    return indices[np.unique(np.linspace(0, len(indices) - 1, min(count, len(indices))).astype(int))]


def _directions(vectors: np.ndarray | Rows, rows: Any) -> np.ndarray:
    return np.asarray(_direction(vectors[rows]))


def _nearest(
    queries: np.ndarray, gallery: np.ndarray, own: np.ndarray | None, space: Space
) -> tuple[np.ndarray, np.ndarray]:
    """Indices of, and distances to, the two nearest [n, 2]."""
    indices, distances = knn(queries, gallery, k=2, distance=space.distance, exclude=own)
    return np.asarray(indices), np.asarray(distances)
