"""objective = loss(distance(points), miner, uncertainty) + regularizer, composed once, at start-up."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike
from jaxtyping import Array, Float, Int

from hypjax import losses, optim
from hypjax.encoders.model import ModelOutput
from hypjax.errors import UsageError
from hypjax.geometry import sphere
from hypjax.losses.memory import Memory
from hypjax.losses.pairs import Miner
from hypjax.training.parts import LOSSES, REGULARIZERS, LossPart, create_miner
from hypjax.training.space import Space, choose

Params = Mapping[str, jax.Array]


class Objective(NamedTuple):
    """Maps the model's output on a class-major batch to the loss and what is logged beside it.

    Attributes:
      space_at: the objective's own parameters to the space the embeddings live in.
      loss: `(space, tangent, points, labels, uncertainty, params, miner) -> scalar`.
      miner: weighs positives and negatives, or None for all of them.
      regularizer: `(space, points, labels, params, key) -> scalar`, or None.
      initial: `(key, dim) -> params`, the objective's own parameters at step 0: proxies, boundary, curvature.
      failure_weight: of the loss that teaches the model's doubt, where it has one.
      memory_size: of the cross-batch memory; 0 is off.
    """

    space_at: Callable[[Params], Space]
    loss: Callable[..., jax.Array]
    miner: Miner | None
    regularizer: Callable[..., jax.Array] | None
    initial: Callable[[jax.Array, int], dict[str, jax.Array]]
    failure_weight: float = 1.0
    memory_size: int = 0

    def __call__(
        self,
        output: ModelOutput,
        labels: Int[Array, " b"],
        *,
        params: Params | None = None,
        key: jax.Array | None = None,
        memory: Memory | None = None,
        prior: Float[Array, " b"] | None = None,
        level: Float[Array, " b"] | None = None,
    ) -> tuple[Float[Array, ""], tuple[dict[str, Float[Array, ""]], Memory | None]]:
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
        if memory is None:
            loss = self.loss(space, output.tangent, points, labels, uncertainty, params, self.miner)
        else:
            loss = self.loss(space, output.tangent, *self._recalled(memory, points, labels, uncertainty, params))
            memory = losses.remember(memory, points, labels)
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
            failure = losses.failure_cross_entropy(
                output.doubt, points, labels, distance=space.distance, prior=prior, level=level
            )
            figures["failure_loss"] = failure
            total = total + self.failure_weight * failure
        if total is not loss:
            figures["metric_loss"] = loss
        return total, (figures, memory)

    def _recalled(
        self, memory: Memory, points: jax.Array, labels: jax.Array, uncertainty: jax.Array, params: Params
    ) -> tuple[Any, ...]:
        everything, every_label, miner = losses.recall(memory, points, labels, self.miner)
        # Images of the memory are never anchors, so that what is put here for them is never read.
        known = jnp.concatenate([uncertainty, jnp.zeros(len(memory.labels), uncertainty.dtype)])
        return everything, every_label, known, params, miner


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
) -> Objective:
    """Binds loss, miner and regularizer by name to a space.

    Args:
      space_at: the objective's own parameters to the space.
      loss: a key of `hypjax.training.parts.LOSSES`.
      samples_per_class: images of each class in a class-major batch, at least 2.
      settings: of the losses: shared ones by name, a loss's own in a mapping under its name.
      miner: see `hypjax.training.parts.create_miner`.
      regularizer: one of `hypjax.training.parts.REGULARIZERS`.
      hier: settings of that regularizer: weight, proxies, margin, neighbors, triplets, temperature.
      classes: of the training set, for class proxies.
      dimension: of the embeddings' tangent vectors.
      clip_radius: of the head; HIER's proxies start within it.
      curvature: where a learned one starts, already mapped to the real line; None for a fixed one.
      failure_weight: of the loss that teaches the model's doubt, where it has one.
      memory_size: images of earlier batches to compare with; 0 for none.

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
    if miner != "all" and not part.mined:
        raise UsageError(f"miner {miner!r} makes no sense with loss {loss!r}, which compares images with proxies")
    if memory_size and (part.grouped or not part.mined):
        reason = "takes whole classes of one batch" if part.grouped else "compares images with proxies"
        raise UsageError(f"memory.size {memory_size} makes no sense with loss {loss!r}, which {reason}")
    of_loss = settings.get(loss)  # `margin` is both a loss and a number
    own = {**settings, **(of_loss if isinstance(of_loss, Mapping) else {}), "samples_per_class": samples_per_class}
    missing = [name for name in part.settings if name not in own]
    if missing:
        raise UsageError(f"loss {loss!r} needs the setting loss.{missing[0]}; give it a default in hypjax/settings.py")
    chosen = {name: own[name] for name in part.settings}
    hier = dict(hier or {})
    return Objective(
        space_at,
        partial(_evaluate, part, chosen),
        create_miner(miner, dimension=dimension, margin=settings.get("margin", 0.2)),
        partial(_hier, hier) if regularizer == "hier" else None,
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
    )


def _evaluate(
    part: LossPart,
    chosen: Mapping[str, Any],
    space: Space,
    tangent: jax.Array,
    points: jax.Array,
    labels: jax.Array,
    uncertainty: jax.Array,
    params: Params,
    miner: Miner | None,
) -> jax.Array:
    if part.proxies is not None:  # on directions, whatever the geometry, as their authors do
        return part.function(sphere.project(tangent), labels, params["class_proxies"], **chosen)
    arguments: dict[str, Any] = dict(chosen)
    arguments |= {"similarity": space.similarity} if part.similar else {"distance": space.distance}
    if miner is not None:
        arguments["miner"] = miner
    if "beta" in params:
        arguments["beta"] = params["beta"]
    known = (points, labels, uncertainty) if part.aware else (points, labels)
    value = part.function(*known, **arguments)
    # A mean over all images counts those of the memory, which are no anchors.
    return value * (len(labels) / len(tangent)) if part.similar else value


def _hier(
    settings: Mapping[str, Any], space: Space, points: jax.Array, labels: jax.Array, params: Params, key: jax.Array
) -> jax.Array:
    value = losses.hier(
        points,
        labels,
        space.manifold.project(params["hier_proxies"]),
        key,
        distance=space.distance,
        margin=settings["margin"],
        neighbors=settings["neighbors"],
        triplets_per_anchor=settings["triplets"],
        temperature=settings["temperature"],
    )
    return settings["weight"] * value


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
        params["hier_proxies"] = jax.jit(space_at(params).manifold.embed)(tangent)
    return params


def learned_space(at: Callable[[Any], Space], low: float, high: float) -> Callable[[Params], Space]:
    """A space whose curvature is learned between two bounds, from the parameter `curvature`."""
    return lambda params: at(optim.bounded_curvature(params["curvature"], low, high))
