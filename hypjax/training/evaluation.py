"""Embeds whole sources and asks what the embeddings, and their uncertainties, are worth."""

from __future__ import annotations

import contextlib
import ctypes
import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np
from jax.sharding import Mesh
from jaxtyping import Float

from hypjax.data.source import Source, own_features, own_queries, subset
from hypjax.data.split import query_gallery
from hypjax.data.transforms import DEGRADATIONS
from hypjax.geometry import sphere
from hypjax.retrieval import Blocks, Retrieved, Rows, Shares, knn, retrieval_figures
from hypjax.retrieval.asking import needed
from hypjax.training.comparing import HIER_PROXIES, hier_points
from hypjax.training.embedding import Embedded, Embedder, Reader, embed_all
from hypjax.training.evaluated import Evaluation, spread
from hypjax.training.features import one_batch
from hypjax.training.responses import Response
from hypjax.training.space import Space
from hypjax.training.state import Params
from hypjax.training.trees import grow
from hypjax.training.windows import nearest_wrong

LEVELS = (0.0, 0.25, 0.5, 0.75, 1.0)  # of degradation
FIGURES = ("nmi", "trees", "direction", "body", "body_before")  # those that can be left out
PLAIN_K = 100  # the most neighbors for recall by direction and by bare features, which are there to compare with
SATURATED = 0.98  # of the clip radius: beyond it a radius says nothing any more


def radius_figures(
    radius: Float[np.ndarray, " n"], uncertainty: Float[np.ndarray, " n"], clip_radius: float
) -> dict[str, float]:
    """Whether the radius carries information: its mean and spread, the saturated share, the spread of u.

    Args:
      radius: of some images.
      uncertainty: of theirs.
      clip_radius: the head's; a point within 2 % of it counts as saturated.
    """
    return {
        "radius_mean": float(radius.mean()),
        "radius_std": float(radius.std()),
        "saturated_share": float((radius >= SATURATED * clip_radius).mean()),
        "uncertainty_mean": float(uncertainty.mean()),
        "uncertainty_std": float(uncertainty.std()),
    }


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
      figures: which of `FIGURES` there are: NMI, trees, and recall by direction, by the encoder's features, and by
        those before training.
    """

    embedder: Embedder
    space_at: Callable[[Params], Space]
    mesh: Mesh
    reader: Reader
    clip_radius: float
    ks: tuple[int, ...] = (1, 2, 4, 8)
    query_gallery: bool = False
    queries: int = 0
    figures: tuple[str, ...] = FIGURES

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
          The evaluation, the same on every process but for what each holds; the trees are on process 0 alone.
        """
        _give_back()
        own = variables.get("objective", {})
        space = self.space_at(own)
        embedded, shares = self._embed(variables, source)
        radius, uncertainty = (shares.gather(side) for side in (embedded.radius, embedded.uncertainty))
        roles, bare = self._roles(source), {}
        if untrained is not None and "body_before" in self.figures:
            bare["body_before"] = self._embed(untrained, source)[0].features
        figures, retrieved = self._score(
            source, embedded, shares, space, roles, bare, uncertainty=uncertainty, clusters=clusters
        )
        figures |= radius_figures(radius, uncertainty, self.clip_radius)
        responses = self._responses(variables, source, embedded, shares, space, degraded_queries)
        for kind, response in responses.items():
            figures |= response.figures(kind)
        trees = None
        if clusters and "trees" in self.figures:
            learned = set(own) & set(HIER_PROXIES.values())
            proxies = np.asarray(hier_points(own, space, self.clip_radius)) if learned else None
            trees, agreement = grow(embedded.points, shares, source, space, proxies)
            figures |= agreement
        return Evaluation(
            figures,
            embedded,
            shares,
            radius,
            uncertainty,
            roles.asking,
            roles.answering,
            retrieved,
            responses,
            trees,
            space,
        )

    def features(self, variables: Mapping[str, Any], source: Source) -> np.ndarray:
        """What the encoder makes of each image of a source, few enough for each process to hold them [n, features]."""
        read = own_features(source)
        if read is not None:
            return read(np.arange(len(source)))
        embedded, shares = self._embed(variables, source)
        return shares.gather(np.asarray(embedded.features))

    def failures(self, variables: Mapping[str, Any], source: Source, features: np.ndarray | None = None) -> np.ndarray:
        """Whether the nearest other image of each image, by the angle of its tangent vector, is wrong [n].

        Of more than `MOST_TOGETHER` images each searches as many, its whole class among them (`windows`), of which each
        process asks for a part.

        Args:
          variables: the model's.
          source: the images.
          features: of theirs, where they are known [n, features].
        """
        embedded, shares = self._embed(variables, source, rows=features)
        return nearest_wrong(embedded.tangent, source.labels, shares)

    def _embed(
        self, variables: Mapping[str, Any], source: Source, *, rows: np.ndarray | None = None, **degradation: Any
    ) -> tuple[Embedded, Shares]:
        read = own_features(source)
        batches = self.reader(source, **degradation) if rows is None else [one_batch(rows, self.mesh.size)]
        return embed_all(self.embedder, variables, batches, self.mesh, len(source), features=read)

    def _score(
        self,
        source: Source,
        embedded: Embedded,
        shares: Shares,
        space: Space,
        roles: Roles,
        bare: Mapping[str, np.ndarray | Rows],
        *,
        uncertainty: np.ndarray,
        clusters: bool,
    ) -> tuple[dict[str, float], Retrieved]:
        """Retrieval, hierarchy, uncertainty figures; and by cosine those of bare features and of directions."""
        asking, answering, own = roles
        items = len(answering) - (own is not None)
        ks = tuple(k for k in self.ks if k <= items)  # a small folder has no eight others to find
        queries, gallery = shares.mine(asking), None if own is not None else shares.mine(answering)

        def search(points: Any, ks: tuple[int, ...] = ks, **more: Any) -> Retrieved:
            blocks = Blocks(points if gallery is None else points[gallery], shares.of(answering))
            found = retrieval_figures(
                points[queries],
                source.labels[asking],
                gallery=(blocks, source.labels[answering]),
                exclude=own,
                ks=ks,
                shares=shares.of(asking),
                **more,
            )
            few = more.get("neighbors", 1)  # of up to a thousand; the others are not looked at again
            return found._replace(neighbors=found.neighbors[:, :few].copy(), distances=found.distances[:, :few].copy())

        retrieved = search(
            embedded.points,
            distance=space.distance,
            uncertainty=uncertainty[asking],
            ancestors=source.ancestors,
            level_names=source.level_names,
            neighbors=needed(source.labels[answering]),
            # With one query a class, any clustering is a perfect one.
            manifold=space.manifold if clusters and own is not None and "nmi" in self.figures else None,
        )
        figures = dict(retrieved.figures)
        plainer: dict[str, Any] = {**bare, "body": embedded.features, "direction": embedded.tangent}
        for name in filter(self.figures.__contains__, plainer):
            few = tuple(k for k in ks if k <= max(PLAIN_K, min(ks)))
            by_angle = search(plainer[name], few, distance=sphere.pairwise_cosine_distance)
            kept = (*(f"recall@{k}" for k in few), "map@r")
            figures |= {f"{name}_{key}": by_angle.figures[key] for key in kept}
            if name == "direction":
                # Where radii are equal the geometry ranks as the cosine does; this is how far it does.
                same = shares.of(asking).gather(by_angle.neighbors[:, 0] == retrieved.neighbors[:, 0])
                figures["direction_agreement"] = float(same.mean())
        return figures, retrieved

    def _roles(self, source: Source) -> Roles:
        """Who asks and who answers; without query and gallery sets all images answer all others."""
        marked = own_queries(source)
        if marked is None and self.query_gallery:
            marked = query_gallery(source.labels)
        everyone = np.arange(len(source))
        asking = everyone if marked is None else np.flatnonzero(marked)
        if 0 < self.queries < len(asking):
            asking = spread(asking, self.queries)
        return Roles(asking, everyone, asking) if marked is None else Roles(asking, np.flatnonzero(~marked), None)

    def _responses(
        self,
        variables: Mapping[str, Any],
        source: Source,
        clean: Embedded,
        shares: Shares,
        space: Space,
        count: int,
    ) -> dict[str, Response]:
        """Degrades `count` evenly spaced queries and searches the clean gallery, or the others where there is none."""
        if not count:
            return {}
        asking, answering, leave_out = self._roles(source)
        chosen = spread(asking, count)
        queries, labels = subset(source, chosen), source.labels[answering]
        searched = Blocks(clean.points[shares.mine(answering)], shares.of(answering))

        def found(images: Sequence[Embedded], held: Shares) -> list[tuple[np.ndarray, ...]]:
            """Uncertainty, whether the nearest is wrong and two distances, of the same queries in several states."""
            rows, points = np.tile(chosen[held.own], len(images)), np.concatenate([one.points for one in images])
            own = None if leave_out is None else rows
            nearest, distances = map(np.asarray, knn(points, searched, k=2, distance=space.distance, exclude=own))
            wrong = labels[nearest[:, 0]] != source.labels[rows]
            parts = (np.split(side, len(images)) for side in (wrong, distances))
            each = zip((one.uncertainty for one in images), *parts, strict=True)
            return [tuple(held.gather(side) for side in one) for one in each]

        mine = shares.mine(chosen)
        (undamaged,) = found([jax.tree.map(lambda column: column[mine], clean)], shares.of(chosen))
        responses = {}
        for kind in DEGRADATIONS:
            embedded = [self._embed(variables, queries, degradation=kind, level=level) for level in LEVELS[1:]]
            damaged = found([one for one, _ in embedded], embedded[0][1])
            responses[kind] = Response(LEVELS, *map(np.stack, zip(undamaged, *damaged, strict=True)))
        return responses


def _give_back() -> None:
    """Gives the system what malloc keeps of freed memory: to compile a train step leaves hundreds of megabytes."""
    with contextlib.suppress(OSError, AttributeError):  # malloc of glibc alone can be asked for it
        ctypes.CDLL(None).malloc_trim(0)
