"""objective = loss(distance(points), pairs(labels), uncertainty) + regularizers, composed once, at start-up."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Array, Float, Int

from hypjax import losses, optim
from hypjax.data.errors import UsageError
from hypjax.encoders.model import ModelOutput
from hypjax.geometry import Manifold, Product, Sphere, radial
from hypjax.geometry.manifold import HYPERBOLIC
from hypjax.losses.memory import CrossBatchMemory, References
from hypjax.training.comparing import (
    HIER_PROXIES,
    NODE_PROXIES,
    Anchors,
    Compared,
    Params,
    among_images,
    failures,
    node_points,
    points_of,
    to_proxies,
)
from hypjax.training.levels import Levels, create_levels, flat
from hypjax.training.own import initial_params
from hypjax.training.parts import FORMS, LOSSES, PROXIES_AS, LossPart, create_miner
from hypjax.training.regularizers import OF_A_TREE, REGULARIZERS, Regularized
from hypjax.training.space import Space, choose

GRADIENTS = ("euclidean", "riemannian")


class Objective(NamedTuple):
    """Maps the model's output on a batch to the loss and what is logged beside it.

    Attributes:
      space_at: the objective's own parameters to the space the embeddings live in.
      loss: what is compared to terms.
      regularizers: their names, and what makes of what they look at a scalar that is added to the loss.
      initial: `(key, dim) -> params`, the objective's own parameters at step 0: proxies, boundary, curvature.
      failure_weight: of the loss that teaches the model's doubt, where it has one.
      memory_size: of the cross-batch memory; 0 is off.
      riemannian: whether the head gets the Riemannian gradient of the points.
      clip_radius: of the head.
      tree: of the training classes, whose levels are there where something asks for them.
      decay: λ of Σ_l λ^l L_l, where L_l is the loss by the labels of level l of the tree; 0 leaves the classes' alone.
    """

    space_at: Callable[[Params], Space]
    loss: Callable[..., losses.Terms]
    regularizers: tuple[tuple[str, Callable[[Regularized], jax.Array]], ...]
    initial: Callable[[jax.Array, int], dict[str, jax.Array]]
    failure_weight: float = 1.0
    memory_size: int = 0
    riemannian: bool = False
    clip_radius: float = 2.3
    tree: Levels = flat(0)
    decay: float = 0.0

    def __call__(
        self,
        output: ModelOutput,
        labels: Int[Array, " b"],
        *,
        params: Params | None = None,
        key: jax.Array | None = None,
        memory: CrossBatchMemory | None = None,
        prior: Float[Array, " b"] | None = None,
        level: Float[Array, " b"] | None = None,
    ) -> tuple[Float[Array, ""], tuple[dict[str, Float[Array, ""]], CrossBatchMemory | None]]:
        """Evaluates the loss of the global batch.

        Args:
          output: of the model.
          labels: of the images.
          params: the objective's own parameters, as `initial` makes them.
          key: of the step, for a regularizer that draws.
          memory: points of earlier batches, where one is kept.
          prior: for `failure_cross_entropy`.
          level: likewise.

        Returns:
          The loss, what is logged beside it, and the memory with this batch in it.
        """
        params = params or {}
        space = self.space_at(params)
        points, uncertainty = points_of(space, output.tangent, riemannian=self.riemannian), space.uncertainty(output)
        batch = References(points, labels, jnp.arange(len(labels)))
        known = batch if memory is None else losses.references(memory, points, labels)
        anchors = Anchors(*batch, uncertainty)
        total = loss = self._over_levels(space, output.tangent, anchors, known, params)
        figures = {"uncertainty": jnp.mean(uncertainty)}
        if "curvature" in params:
            figures["curvature"] = jnp.asarray(space.curvature)
        if "beta" in params:
            figures["beta"] = params["beta"]
        given = Regularized(space, points, labels, params, key, self.tree, self.clip_radius)
        for name, regularizer in self.regularizers:
            figures[name] = regularizer(given)
            total = total + figures[name]
        if len(self.tree.sizes) > 1 and NODE_PROXIES in params:
            manifold, nodes = radial(space.manifold, node_points(params, space))
            if not isinstance(manifold, Sphere):
                figures["radius_order"] = self.tree.order(manifold.dist0(nodes))
        if output.doubt is not None and self.failure_weight:
            figures["failure_loss"] = losses.mean(failures(space, output.doubt, anchors, batch, prior, level))
            total = total + self.failure_weight * figures["failure_loss"]
        if total is not loss:
            figures["metric_loss"] = loss
        return total, (figures, None if memory is None else losses.remember(memory, points, labels))

    def _over_levels(
        self, space: Space, tangent: jax.Array, anchors: Anchors, known: References, params: Params
    ) -> jax.Array:
        """The loss by the labels of each level of the tree, weighted; by the classes alone where no other counts.

        Of several spaces it is taken in each, and summed: Σ_l λ^l Σ_k w_k L(d_k(z_k), labels of level l).
        """
        total = jnp.zeros(())
        for level in range(len(self.tree.sizes) if self.decay else 1):
            of_anchors, of_known = (self.tree.labels(each.labels, level) for each in (anchors, known))
            compared = anchors._replace(labels=of_anchors), known._replace(labels=of_known)
            given = Compared(space, tangent, *compared, params, self.tree.slice(level))
            for weight, part in given.components():
                total = total + self.decay**level * weight * losses.mean(self.loss(part))
        return total


def create_objective(
    space_at: Callable[[Params], Space],
    loss: str,
    *,
    samples_per_class: int,
    settings: Mapping[str, Any],
    miner: str = "all",
    regularizer: str = "none",
    regularizers: Mapping[str, Mapping[str, Any]] | None = None,
    classes: int = 0,
    ancestors: Int[np.ndarray, "classes levels"] | None = None,
    level_names: Sequence[str] = (),
    decay: float = 0.0,
    dimension: int = 0,
    clip_radius: float = 2.3,
    curvature: ArrayLike | None = None,
    failure_weight: float = 1.0,
    memory_size: int = 0,
    gradient: str = "euclidean",
) -> Objective:
    """Binds loss, miner and regularizers by name to a space.

    In a product of spaces loss, miner and regularizers are those of each space on its share of points and proxies, and
    are summed with the weights of the spaces; cones are those of hyperbolic spaces alone. To sum losses of proxies over
    hyperbolic and Euclidean space, each with a head of its own, is CHEST's (Saeki, Kawahara and Aman, 2025); other
    losses and spaces, and the weights, are ours.

    Args:
      space_at: the objective's own parameters to the space.
      loss: a key of `hypjax.training.parts.LOSSES`.
      samples_per_class: images of each class in a batch, at least 2.
      settings: of the losses: shared ones by name, a loss's own in a mapping under its name.
      miner: see `hypjax.training.parts.create_miner`.
      regularizer: `none`, or keys of `hypjax.training.regularizers.REGULARIZERS` joined by `+`.
      regularizers: settings of each, under its name: a weight and what else it takes.
      classes: of the training set, for class proxies.
      ancestors: of each class, nearest first, for whatever asks for a tree.
      level_names: of their levels.
      decay: weight of each level's labels in the loss, relative to the level below; 0 for the classes alone.
      dimension: of the embeddings' tangent vectors; several spaces know their own.
      clip_radius: of the head; proxies that are points start within it.
      curvature: where a learned one starts, already mapped to the real line; None for a fixed one.
      failure_weight: of the loss that teaches the model's doubt, where it has one.
      memory_size: images of earlier batches to compare with; 0 for none.
      gradient: of the points, as it reaches the head: one of `GRADIENTS`.

    Returns:
      The objective.

    Raises:
      UsageError: an unknown part, fewer than two images of a class, or parts that make no sense together.
    """
    if samples_per_class < 2:
        raise UsageError(f"batch.samples_per_class must be at least 2 to form pairs, not {samples_per_class}")
    part, own = _choose_loss(loss, settings)
    if part.proxies and (miner != "all" or memory_size):
        word = f"miner {miner!r}" if miner != "all" else f"memory.size {memory_size}"
        raise UsageError(f"{word} makes no sense with loss {loss!r}, which compares images with proxies")
    params = {} if curvature is None else {"curvature": jnp.asarray(curvature, jnp.float32)}
    manifold = space_at(params).manifold
    dimensions = manifold.dimensions if isinstance(manifold, Product) else (dimension,)
    mined = [create_miner(miner, dimension=each, margin=settings.get("margin", 0.2)) for each in dimensions]
    choose(dict.fromkeys(GRADIENTS), gradient, "head.gradient")
    added = _choose_regularizers(regularizer, regularizers or {}, manifold)
    tree = _choose_tree(decay, added, ancestors, level_names) or flat(classes)
    if settings.get("learn_beta") and part.boundary and own.get("form", "margin") == "margin":
        params["beta"] = jnp.float32(own["beta"])
    placed = part.proxies is not None and own["proxies_as"] == "points"
    return Objective(
        space_at,
        partial(to_proxies, part, own) if part.proxies else partial(among_images, part, own, mined),
        tuple((name, partial(_weighed, REGULARIZERS[name], chosen)) for name, chosen in added.items()),
        partial(
            initial_params,
            params=params,
            space_at=space_at,
            proxies=part.proxies if not placed else None,
            centers=own.get("centers", 1),
            tree=tree,
            placed=placed or bool(set(added) & set(OF_A_TREE)),
            hier=added.get("hier"),
            clip_radius=clip_radius,
        ),
        failure_weight,
        memory_size,
        gradient == "riemannian",
        clip_radius,
        tree,
        decay,
    )


def _choose_loss(name: str, settings: Mapping[str, Any]) -> tuple[LossPart, dict[str, Any]]:
    """The loss of a name, and its settings with its own over those that all share."""
    part = choose(LOSSES, name, "loss")
    of_loss = settings.get(name)  # `margin` is both a loss and a number
    own = {**settings, **(of_loss if isinstance(of_loss, Mapping) else {})}
    missing = [setting for setting in part.names() if setting not in own]
    if missing:
        raise UsageError(
            f"loss {name!r} needs the setting loss.{missing[0]}; give it a default in hypjax/config/settings.py"
        )
    if "form" in part.settings:
        choose(dict.fromkeys(FORMS), own["form"], "loss.form")
    if part.proxies:
        choose(dict.fromkeys(PROXIES_AS), own["proxies_as"], "loss.proxies_as")
        if own["proxies_as"] == "points" and part.proxies != ("classes",):
            raise UsageError(f"loss.proxies_as=points is one point a class, and loss {name!r} has several: directions")
    return part, own


def _choose_regularizers(
    names: str, settings: Mapping[str, Mapping[str, Any]], manifold: Manifold
) -> dict[str, Mapping[str, Any]]:
    """The settings of those that are joined by +, by name."""
    chosen = [] if names == "none" else names.split("+")
    for name in chosen:
        if name not in REGULARIZERS:
            there = ", ".join(["none, alone", *REGULARIZERS])
            raise UsageError(f"regularizer {name!r} is unknown; there are: {there}, and several joined by +")
        if chosen.count(name) > 1:
            raise UsageError(f"regularizer {names!r} names {name} twice; {name}.weight says how much it counts")
    if "hier" in chosen:
        choose(HIER_PROXIES, settings["hier"]["proxies_as"], "hier.proxies_as")
    for name in chosen:
        for setting, value in settings[name].items():
            if setting in ("k", "temperature") and not value > 0:
                raise UsageError(f"{name}.{setting} must be above 0, not {value:g}")
            if setting in ("weight", "decay", "margin", "anchor") and not value >= 0:
                raise UsageError(f"{name}.{setting} must be at least 0, not {value:g}")
    kinds = manifold.manifolds if isinstance(manifold, Product) else (manifold,)
    if "cones" in chosen and not any(isinstance(kind, HYPERBOLIC) for kind in kinds):
        raise UsageError(
            f"regularizer 'cones' needs hyperbolic space, geometry=poincare or lorentz; {type(kinds[0]).__name__} has "
            "no entailment cones"
        )
    return {name: settings[name] for name in chosen}


def _choose_tree(
    decay: float, added: Mapping[str, Any], ancestors: np.ndarray | None, level_names: Sequence[str]
) -> Levels | None:
    """The tree, if something asks for it."""
    if not decay >= 0:
        raise UsageError(f"tree.decay must be at least 0, not {decay}")
    if not (decay or set(added) & set(OF_A_TREE) or added.get("hier", {}).get("anchor")):
        return None
    if ancestors is None or not ancestors.shape[1]:
        raise UsageError(
            "tree.decay, hier.anchor and the regularizers nodes and cones need a tree, and the data has classes alone: "
            "nest its folders, add columns of super-labels to its listing, or give data.tree=FILE"
        )
    return create_levels(ancestors, level_names)


def _weighed(regularizer: Callable[..., jax.Array], settings: Mapping[str, Any], given: Regularized) -> jax.Array:
    components = given.components()
    return sum((settings["weight"] * weight * regularizer(settings, one) for weight, one in components), jnp.zeros(()))


def learned_space(at: Callable[[Any], Space], low: float, high: float) -> Callable[[Params], Space]:
    """A space whose curvature is learned between two bounds, from the parameter `curvature`."""
    return lambda params: at(optim.bounded_curvature(params["curvature"], low, high))
