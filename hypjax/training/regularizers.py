"""What is added to an objective's loss: HIER's latent proxies, and proxies and cones of a known tree."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike
from jaxtyping import Array, Float, Int

from hypjax import losses
from hypjax.geometry import Product
from hypjax.geometry import cones as cone
from hypjax.geometry.manifold import HYPERBOLIC
from hypjax.training.comparing import Params, hier_points, node_points, split_params
from hypjax.training.levels import Levels
from hypjax.training.space import Space

Settings = Mapping[str, Any]


class Regularized(NamedTuple):
    """What a regularizer looks at.

    Attributes:
      space: where the embeddings live.
      points: of the batch.
      labels: likewise.
      params: the objective's own parameters.
      key: of what is drawn.
      tree: of the training classes.
      clip_radius: the longest that tangent vectors count.
    """

    space: Space
    points: Float[Array, "b e"]
    labels: Int[Array, " b"]
    params: Params
    key: Any
    tree: Levels
    clip_radius: float

    def components(self) -> list[tuple[ArrayLike, Regularized]]:
        """The weight and what each space of a product looks at; of a single space itself."""
        product = self.space.manifold
        if not isinstance(product, Product):
            return [(1, self)]
        shares = zip(product.split(self.points), split_params(self.params, product), strict=True)
        return [
            (weight, self._replace(space=space, points=points, params=params))
            for (weight, space), (points, params) in zip(self.space.components, shares, strict=True)
        ]


def hier(settings: Settings, given: Regularized) -> jax.Array:
    """HIER's; and with an anchor the first of its proxies are pulled to the known ancestors [ours]."""
    space, points, pairs = given.space, given.points, losses.pairs(given.labels)
    proxies = hier_points(given.params, space, given.clip_radius)
    terms = losses.hier(
        space.distance(points, points),
        space.distance(points, proxies),
        space.distance(proxies, proxies),
        pairs,
        given.key,
        margin=settings["margin"],
        neighbors=settings["neighbors"],
        triplets_per_anchor=settings["triplets"],
        temperature=settings["temperature"],
    )
    loss = losses.mean(terms)
    if settings["anchor"]:
        loss = loss + settings["anchor"] * losses.mean(_to_known(given, proxies))
    return loss


def _to_known(given: Regularized, proxies: jax.Array) -> losses.Terms:
    """How far the first proxies are from the midpoints of the batch's images of known ancestors, the topmost first."""
    tree = given.tree
    levels = range(len(tree.sizes) - 1, 0, -1)
    of_level = [tree.labels(given.labels, level)[None] == jnp.arange(tree.sizes[level])[:, None] for level in levels]
    members = jnp.concatenate(of_level)[: len(proxies)].astype(given.points.dtype)
    points = jax.lax.stop_gradient(given.points)
    midpoints = given.space.manifold.midpoint(jnp.broadcast_to(points[None], (len(members), *points.shape)), members)
    there = members.any(axis=1)
    distances = given.space.manifold.dist(proxies[: len(members)], midpoints)
    return (losses.Term(jnp.where(there, distances, 0), there.astype(distances.dtype)),)


def nodes(settings: Settings, given: Regularized) -> jax.Array:
    """Cross-entropy over the nodes of each level, by the distances of images to their proxies [ours].

        Σ_l λ^l mean_i −log( exp(−d(z_i, p_il)/τ) / Σ_{q of level l} exp(−d(z_i, q)/τ) )

    With p_il the ancestor of image i on level l, its class on level 0.
    """
    tree, proxies = given.tree, node_points(given.params, given.space)

    def at(level: int) -> jax.Array:
        pairs = losses.pairs(tree.labels(given.labels, level), jnp.arange(tree.sizes[level]))
        distances = given.space.distance(given.points, proxies[tree.slice(level)])
        return losses.mean(losses.supcon(distances, pairs, temperature=settings["temperature"]))

    return _over_levels(given, settings["decay"], at)


def cones(settings: Settings, given: Regularized) -> jax.Array:
    """Images in the cones of their class and its ancestors, nodes in those of theirs; each level counts alike."""
    tree, manifold, proxies = given.tree, given.space.manifold, node_points(given.params, given.space)
    if not isinstance(manifold, HYPERBOLIC):  # a space of a product beside the hyperbolic one
        return jnp.zeros(())
    apertures = cone.half_aperture(manifold, proxies, k=settings["k"])

    def outside(level: int, points: jax.Array, labels: jax.Array) -> jax.Array:
        apexes = tree.slice(level)
        angles = cone.pairwise_exterior_angle(manifold, proxies[apexes], points).T
        pairs = losses.pairs(labels, jnp.arange(tree.sizes[level]))
        return losses.mean(losses.entailment(angles, apertures[apexes], pairs, margin=settings["margin"]))

    def at(level: int) -> jax.Array:
        of_images = outside(level, given.points, tree.labels(given.labels, level))
        if not level:
            return of_images
        below = tree.slice(level).start
        return of_images + outside(level, proxies[:below], jnp.asarray(tree.paths[:below, level]))

    return _over_levels(given, 1.0, at) / len(given.tree.sizes)


def _over_levels(given: Regularized, decay: float, at: Callable[[int], jax.Array]) -> jax.Array:
    levels = range(len(given.tree.sizes))
    return sum((decay**level * at(level) for level in levels), start=jnp.zeros(()))


REGULARIZERS: dict[str, Callable[[Settings, Regularized], jax.Array]] = {"hier": hier, "nodes": nodes, "cones": cones}
OF_A_TREE = ("nodes", "cones")  # those that have a proxy for every node of the known tree
