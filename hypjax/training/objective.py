"""objective = loss(distance(points), pairs(labels), uncertainty) + regularizer, composed once, at start-up."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike
from jaxtyping import Array, Float, Int

from hypjax import losses, optim
from hypjax.data.errors import UsageError
from hypjax.encoders.model import ModelOutput
from hypjax.losses.memory import CrossBatchMemory, References
from hypjax.training.comparing import (
    HIER_PROXIES,
    Anchors,
    Compared,
    Params,
    among_images,
    failures,
    regularize,
    to_proxies,
)
from hypjax.training.parts import FORMS, LOSSES, REGULARIZERS, LossPart, create_miner
from hypjax.training.space import Space, choose

GRADIENTS = ("euclidean", "riemannian")


class Objective(NamedTuple):
    """Maps the model's output on a batch to the loss and what is logged beside it.

    Attributes:
      space_at: the objective's own parameters to the space the embeddings live in.
      loss: what is compared to terms.
      regularizer: `(space, points, labels, params, key) -> scalar`, or None.
      initial: `(key, dim) -> params`, the objective's own parameters at step 0: proxies, boundary, curvature.
      failure_weight: of the loss that teaches the model's doubt, where it has one.
      memory_size: of the cross-batch memory; 0 is off.
      riemannian: whether the head gets the Riemannian gradient of the points.
    """

    space_at: Callable[[Params], Space]
    loss: Callable[..., losses.Terms]
    regularizer: Callable[..., jax.Array] | None
    initial: Callable[[jax.Array, int], dict[str, jax.Array]]
    failure_weight: float = 1.0
    memory_size: int = 0
    riemannian: bool = False

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
        points, uncertainty = space.manifold.embed(output.tangent), space.uncertainty(output)
        if self.riemannian:
            points = optim.riemannian_gradient(points, space.manifold)
        batch = References(points, labels, jnp.arange(len(labels)))
        known = batch if memory is None else losses.references(memory, points, labels)
        anchors = Anchors(*batch, uncertainty)
        loss = losses.mean(self.loss(Compared(space, output.tangent, anchors, known, params)))
        figures = {"uncertainty": jnp.mean(uncertainty)}
        if "curvature" in params:
            figures["curvature"] = jnp.asarray(space.curvature)
        if "beta" in params:
            figures["beta"] = params["beta"]
        total = loss
        if self.regularizer is not None:
            extra = self.regularizer(space, points, labels, params, key)
            figures["regularizer"] = extra
            total = total + extra
        if output.doubt is not None and self.failure_weight:
            failure = losses.mean(failures(space, output.doubt, anchors, batch, prior, level))
            figures["failure_loss"] = failure
            total = total + self.failure_weight * failure
        if total is not loss:
            figures["metric_loss"] = loss
        return total, (figures, None if memory is None else losses.remember(memory, points, labels))


def create_objective(
    space_at: Callable[[Params], Space],
    loss: str,
    *,
    samples_per_class: int,
    settings: Mapping[str, Any],
    miner: str = "all",
    regularizer: str = "none",
    hier: Mapping[str, Any] | None = None,
    classes: int = 0,
    dimension: int = 0,
    clip_radius: float = 2.3,
    curvature: ArrayLike | None = None,
    failure_weight: float = 1.0,
    memory_size: int = 0,
    gradient: str = "euclidean",
) -> Objective:
    """Binds loss, miner and regularizer by name to a space.

    Args:
      space_at: the objective's own parameters to the space.
      loss: a key of `hypjax.training.parts.LOSSES`.
      samples_per_class: images of each class in a batch, at least 2.
      settings: of the losses: shared ones by name, a loss's own in a mapping under its name.
      miner: see `hypjax.training.parts.create_miner`.
      regularizer: one of `hypjax.training.parts.REGULARIZERS`.
      hier: settings of that regularizer: weight, proxies and what they are, margin, neighbors, triplets, temperature.
      classes: of the training set, for class proxies.
      dimension: of the embeddings' tangent vectors.
      clip_radius: of the head; HIER's proxies start within it.
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
    part = choose(LOSSES, loss, "loss")
    if regularizer not in REGULARIZERS:
        raise UsageError(f"regularizer {regularizer!r} is unknown; there are: {', '.join(REGULARIZERS)}")
    if part.proxies and (miner != "all" or memory_size):
        word = f"miner {miner!r}" if miner != "all" else f"memory.size {memory_size}"
        raise UsageError(f"{word} makes no sense with loss {loss!r}, which compares images with proxies")
    of_loss = settings.get(loss)  # `margin` is both a loss and a number
    own = {**settings, **(of_loss if isinstance(of_loss, Mapping) else {})}
    missing = [name for name in part.names() if name not in own]
    if missing:
        raise UsageError(
            f"loss {loss!r} needs the setting loss.{missing[0]}; give it a default in hypjax/config/settings.py"
        )
    if "form" in part.settings:
        choose(dict.fromkeys(FORMS), own["form"], "loss.form")
    mined = create_miner(miner, dimension=dimension, margin=settings.get("margin", 0.2))
    choose(dict.fromkeys(GRADIENTS), gradient, "head.gradient")
    hier = dict(hier or {})
    if regularizer == "hier":
        choose(HIER_PROXIES, hier["proxies_as"], "hier.proxies_as")
    return Objective(
        space_at,
        partial(to_proxies, part, own) if part.proxies else partial(among_images, part, own, mined),
        partial(regularize, hier, clip_radius) if regularizer == "hier" else None,
        partial(
            _initial_params,
            part=part,
            space_at=space_at,
            sizes={"classes": classes, "centers": own.get("centers", 1)},
            beta=own["beta"] if settings.get("learn_beta") and part.boundary else None,
            hier=hier if regularizer == "hier" else None,
            clip_radius=clip_radius,
            curvature=curvature,
        ),
        failure_weight,
        memory_size,
        gradient == "riemannian",
    )


def _initial_params(
    key: jax.Array,
    dim: int,
    *,
    part: LossPart,
    space_at: Callable[[Params], Space],
    sizes: Mapping[str, int],
    beta: float | None,
    hier: Mapping[str, Any] | None,
    clip_radius: float,
    curvature: ArrayLike | None,
) -> dict[str, jax.Array]:
    proxy_key, hier_key = jax.random.split(key)
    params: dict[str, jax.Array] = {}
    if curvature is not None:
        params["curvature"] = jnp.asarray(curvature, jnp.float32)
    if beta is not None:
        params["beta"] = jnp.float32(beta)
    if part.proxies is not None:
        params["class_proxies"] = jax.random.normal(proxy_key, (*(sizes[axis] for axis in part.proxies), dim))
    if hier is not None:
        # N(0, 1) · 0.9 r/√d [code: HIER]: lengths about 0.9 of the clip radius.
        tangent = 0.9 * clip_radius / dim**0.5 * jax.random.normal(hier_key, (hier["proxies"], dim))
        points = hier["proxies_as"] == "points"
        made = jax.jit(space_at(params).manifold.embed)(tangent) if points else tangent
        params[HIER_PROXIES[hier["proxies_as"]]] = made
    return params


def learned_space(at: Callable[[Any], Space], low: float, high: float) -> Callable[[Params], Space]:
    """A space whose curvature is learned between two bounds, from the parameter `curvature`."""
    return lambda params: at(optim.bounded_curvature(params["curvature"], low, high))
