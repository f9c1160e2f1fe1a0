"""What an objective's parts are handed: a batch as anchors, what it is compared with, in blocks of rows; proxies."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from hypjax import losses, mining, optim
from hypjax.encoders.head import clip_norm
from hypjax.losses.memory import References
from hypjax.training.parts import LossPart, Miner
from hypjax.training.space import Space, cosine

Params = Mapping[str, jax.Array]

HIER_PROXIES = {"points": "hier_proxies", "tangent": "hier_tangents"}  # what they are learned as, by parameter
CLASS_PROXIES, NODE_PROXIES = "class_proxies", "node_proxies"  # as directions, and as points

# Numbers in one array of a block of anchors against all references: 128 MB in float32.
_BLOCK = 2**25


class Anchors(NamedTuple):
    """A batch as anchors, or a block of its rows: points, labels, ids among the references, uncertainty."""

    points: Float[Array, "n d"]
    labels: Int[Array, " n"]
    ids: Int[Array, " n"]
    uncertainty: Float[Array, " n"]


class Compared(NamedTuple):
    """What a loss looks at.

    Attributes:
      space: where the embeddings live.
      tangent: vectors of the batch [b, d].
      anchors: the batch.
      known: what it is compared with, itself and the memory.
      params: the objective's own parameters.
      proxies: which of the class or node proxies the labels count.
    """

    space: Space
    tangent: Float[Array, "b d"]
    anchors: Anchors
    known: References
    params: Params
    proxies: slice


def among_images(part: LossPart, settings: Mapping[str, Any], miner: Miner, given: Compared) -> losses.Terms:
    """The terms of a loss of pairs: images of the batch as anchors, among all that is known.

    Args:
      part: the loss.
      settings: of the losses.
      miner: chooses among the pairs.
      given: what is compared.
    """
    space, known = given.space, given.known
    learned = {name: given.params[name] for name in ("beta",) if name in given.params}

    def compare(rows: Anchors) -> tuple[jax.Array, jax.Array, losses.Pairs]:
        compared = (space.similarity if part.similar else space.distance)(rows.points, known.points)
        return compared, -compared if part.similar else compared, _pairs(rows, known)

    def terms(rows: Anchors) -> losses.Terms:
        compared, distances, pairs = compare(rows)
        return part.function(
            compared, miner(distances, pairs, scale), **(part.at(settings, rows.uncertainty) | learned)
        )

    scale = None
    if miner.measures:
        among = losses.mean(_by_rows(lambda rows: mining.negative_distance(*compare(rows)[1:]), given.anchors, known))
        scale = jnp.where(among > 0, among / 2**0.5, 1)  # of distances that have no unit
    return _by_rows(terms, given.anchors, known)


def to_proxies(part: LossPart, settings: Mapping[str, Any], given: Compared) -> losses.Terms:
    """The terms of a loss of proxies: by directions, whatever the geometry, or by its distance to points.

    Args:
      part: the loss.
      settings: of the losses.
      given: what is compared.
    """
    anchors = given.anchors
    if settings["proxies_as"] == "points":
        compare = given.space.similarity if part.similar else given.space.distance
        compared = compare(anchors.points, node_points(given.params, given.space)[given.proxies])
    else:
        proxies = given.params[CLASS_PROXIES][given.proxies]
        compared = cosine(given.tangent, proxies.reshape(-1, proxies.shape[-1])).reshape(-1, *proxies.shape[:-1])
        compared = compared if part.similar else 1 - compared
    pairs = losses.pairs(anchors.labels, jnp.arange(compared.shape[1]))
    return part.function(compared, pairs, **part.at(settings, anchors.uncertainty))


def failures(
    space: Space,
    doubt: jax.Array,
    anchors: Anchors,
    batch: References,
    prior: jax.Array | None,
    level: jax.Array | None,
) -> losses.Terms:
    """The terms of the loss that teaches a doubt, each image of the batch among the others.

    Args:
      space: where the embeddings live.
      doubt: of the images.
      anchors: the batch.
      batch: the same as references.
      prior: for `failure_cross_entropy`.
      level: likewise.
    """
    batch = batch._replace(points=jax.lax.stop_gradient(batch.points))

    def terms(block: tuple[Any, ...]) -> losses.Terms:
        rows, doubt, known = block
        distances = space.distance(jax.lax.stop_gradient(rows.points), batch.points)
        return losses.failure_cross_entropy(doubt, distances, _pairs(rows, batch), **known)

    given = {name: value for name, value in (("prior", prior), ("level", level)) if value is not None}
    return _by_rows(terms, (anchors, doubt, given), batch)


def _pairs(rows: Anchors, known: References) -> losses.Pairs:
    return losses.pairs(rows.labels, known.labels, ids=rows.ids, reference_ids=known.ids)


def _by_rows(terms: Callable[[Any], losses.Terms], anchors: Any, known: References) -> losses.Terms:
    return losses.in_blocks(terms, anchors, size=max(1, _BLOCK // len(known.labels)))


def hier_points(params: Params, space: Space, clip_radius: float) -> jax.Array:
    """HIER's proxies as points, from whichever parameters they are learned as.

    Args:
      params: the objective's own.
      space: where the embeddings live.
      clip_radius: the longest that tangent vectors count.
    """
    if HIER_PROXIES["points"] in params:
        return space.manifold.project(params[HIER_PROXIES["points"]])
    clipped = clip_norm(params[HIER_PROXIES["tangent"]], radius=clip_radius, kind="hard")
    return optim.riemannian_gradient(space.manifold.embed(clipped), space.manifold)


def node_points(params: Params, space: Space) -> jax.Array:
    """The proxies of classes, or of all nodes of a tree, as points.

    Args:
      params: the objective's own.
      space: where the embeddings live.
    """
    return space.manifold.project(params[NODE_PROXIES])
