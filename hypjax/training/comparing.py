"""What an objective's parts are handed: a batch as anchors, what it is compared with, in blocks of rows; proxies."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike
from jaxtyping import Array, Float, Int

from hypjax import losses, mining, optim
from hypjax.encoders.head import clip_norm
from hypjax.geometry import Product
from hypjax.losses.memory import References
from hypjax.losses.terms import on_shares
from hypjax.retrieval.scan import as_argument
from hypjax.training.parts import LossPart, Miner
from hypjax.training.space import Distance, Space, cosine

Params = Mapping[str, jax.Array]

HIER_PROXIES = {"points": "hier_proxies", "tangent": "hier_tangents"}  # what they are learned as, by parameter
CLASS_PROXIES, NODE_PROXIES = "class_proxies", "node_proxies"  # as directions, and as points

# Numbers in one array of a block of anchors against all references, over all devices: 128 MB in float32; and on one
# device, which reads all references for each of its blocks.
_BLOCK, _LEAST = 2**25, 2**22


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
      part: which component of a product this is.
    """

    space: Space
    tangent: Float[Array, "b d"]
    anchors: Anchors
    known: References
    params: Params
    proxies: slice
    part: int = 0

    def components(self) -> list[tuple[ArrayLike, Compared]]:
        """The weight and what each space of a product looks at; of a single space itself."""
        product = self.space.manifold
        if not isinstance(product, Product):
            return [(1, self)]
        tangents, params = product.split_tangent(self.tangent), split_params(self.params, product)
        own, known = product.split(self.anchors.points), product.split(self.known.points)
        return [
            (
                weight,
                self._replace(
                    space=space,
                    tangent=tangents[k],
                    anchors=self.anchors._replace(points=own[k]),
                    known=self.known._replace(points=known[k]),
                    params=params[k],
                    part=k,
                ),
            )
            for k, (weight, space) in enumerate(self.space.components)
        ]


def split_params(params: Params, product: Product) -> list[Params]:
    """The objective's own parameters as each space of a product sees them: its share of every proxy.

    Args:
      params: proxies of all dimensions.
      product: of the spaces.
    """
    shares = {}
    for name in params:
        if name in (NODE_PROXIES, HIER_PROXIES["points"]):
            shares[name] = product.split(params[name])
        elif name in (CLASS_PROXIES, HIER_PROXIES["tangent"]):
            shares[name] = product.split_tangent(params[name])
    return [{**params, **{name: share[k] for name, share in shares.items()}} for k in range(len(product.dimensions))]


def points_of(space: Space, tangent: Float[Array, "b d"], *, riemannian: bool) -> Float[Array, "b e"]:
    """The points of tangent vectors; to these goes on, if asked for, their Riemannian gradient.

    Args:
      space: where they live; the weights of a product are those of its losses, and no part of its metric here.
      tangent: of a batch.
      riemannian: whether to.
    """
    manifold = space.manifold
    points = manifold.embed(tangent)
    if not riemannian:
        return points
    return optim.riemannian_gradient(
        points, replace(manifold, weights=None) if isinstance(manifold, Product) else manifold
    )


def among_images(part: LossPart, settings: Mapping[str, Any], miners: Sequence[Miner], given: Compared) -> losses.Terms:
    """The terms of a loss of pairs: images of the batch as anchors, among all that is known.

    Args:
      part: the loss.
      settings: of the losses.
      miners: choose among the pairs, one for each space of a product.
      given: what is compared.
    """
    miner = miners[given.part]
    compare = as_argument(given.space.similarity if part.similar else given.space.distance)
    learned = {name: given.params[name] for name in ("beta",) if name in given.params}

    def compared(rows: Anchors, known: References, compare: Distance) -> tuple[jax.Array, jax.Array, losses.Pairs]:
        values = compare(rows.points, known.points)
        return values, -values if part.similar else values, _pairs(rows, known)

    def negative_distance(rows: Anchors, whole: tuple[Any, ...]) -> losses.Terms:
        return mining.negative_distance(*compared(rows, *whole)[1:])

    def terms(rows: Anchors, whole: tuple[Any, ...]) -> losses.Terms:
        *compare, learned, scale = whole
        values, distances, pairs = compared(rows, *compare)
        return part.function(values, miner(distances, pairs, scale), **(part.at(settings, rows.uncertainty) | learned))

    scale, whole = None, (given.known, compare)
    if miner.measures:
        among = losses.mean(_by_rows(negative_distance, given.anchors, whole, given.known))
        scale = jnp.where(among > 0, among / 2**0.5, 1)  # of distances that have no unit
    return _by_rows(terms, given.anchors, (*whole, learned, scale), given.known)


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

    def terms(block: tuple[Any, ...], whole: tuple[References, Distance]) -> losses.Terms:
        (rows, doubt, known), (batch, distance) = block, whole
        distances = distance(jax.lax.stop_gradient(rows.points), batch.points)
        return losses.failure_cross_entropy(doubt, distances, _pairs(rows, batch), **known)

    batch = batch._replace(points=jax.lax.stop_gradient(batch.points))
    given = {name: value for name, value in (("prior", prior), ("level", level)) if value is not None}
    return _by_rows(terms, (anchors, doubt, given), (batch, as_argument(space.distance)), batch)


def _pairs(rows: Anchors, known: References) -> losses.Pairs:
    return losses.pairs(rows.labels, known.labels, ids=rows.ids, reference_ids=known.ids)


def _by_rows(function: Callable[[Any, Any], losses.Terms], anchors: Any, whole: Any, known: References) -> losses.Terms:
    """The terms of all anchors: at once, or where that is too much by blocks of rows, each device its own."""
    n, m = len(jax.tree.leaves(anchors)[0]), len(known.labels)
    if n * m <= _BLOCK:
        return function(anchors, whole)

    def of_share(share: Any, whole: Any) -> losses.Terms:
        pairs = max(_LEAST, _BLOCK * len(jax.tree.leaves(share)[0]) // n)
        return losses.in_blocks(lambda rows: function(rows, whole), share, size=max(1, pairs // m))

    return on_shares(of_share, anchors, whole)


def hier_points(params: Params, space: Space, clip_radius: float) -> jax.Array:
    """HIER's proxies as points, from whichever parameters they are learned as.

    Args:
      params: the objective's own.
      space: where the embeddings live.
      clip_radius: the longest that tangent vectors count.
    """
    if isinstance(space.manifold, Product):
        each = zip(split_params(params, space.manifold), space.components, strict=True)
        return jnp.concatenate([hier_points(own, part, clip_radius) for own, (_, part) in each], axis=-1)
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
