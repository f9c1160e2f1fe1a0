"""The train step: pure, the same on one device and on many."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, UInt8

from hypjax.training.objective import Objective
from hypjax.training.state import Params, TrainState, of_objective

Batch = dict[str, jax.Array]
Metrics = dict[str, jax.Array]


def normalize(images: UInt8[Array, "n h w 3"], mean: jax.Array, std: jax.Array) -> Float[Array, "n h w 3"]:
    """Bytes to the encoder's units: (pixel / 255 − mean) / std."""
    return (images.astype(jnp.float32) / 255 - mean[None, None, None, :]) / std[None, None, None, :]


def apply_model(
    model: nn.Module,
    variables: Mapping[str, Any],
    batch: Batch,
    preprocess: Callable[[jax.Array], jax.Array],
    **options: Any,
) -> Any:
    """What the model says of a batch of images, or of features that its encoder gave earlier.

    Args:
      model: maps images to `ModelOutput`, and by its method `project` features.
      variables: its variables.
      batch: `image` uint8 [b, h, w, 3], or `features` float32 [b, features].
      preprocess: bytes to the encoder's units.
      options: of the model.
    """
    if "features" in batch:
        return model.apply(variables, batch["features"], method="project", **options)
    with jax.named_scope("images"):
        images = preprocess(batch["image"])
    return model.apply(variables, images, **options)


def train_step(
    state: TrainState,
    batch: Batch,
    *,
    model: nn.Module,
    objective: Objective,
    optimizer: optax.GradientTransformationExtraArgs,
    preprocess: Callable[[jax.Array], jax.Array],
    seed: int,
    decay: float = 0.0,
) -> tuple[TrainState, Metrics]:
    """Takes one optimization step on the loss of the global batch.

    Args:
      state: the state before the step.
      batch: class-major, possibly split over devices: `image` uint8 [b, h, w, 3] or `features` float32 [b, features],
        `label` and `index` int32 [b], and, if images were degraded, their `level` [b] in [0, 1].
      model: maps images to `ModelOutput`.
      objective: maps the model's output to the loss and what is logged beside it.
      optimizer: the transformation whose state `state` holds.
      preprocess: bytes to the encoder's units.
      seed: with `state.step` the only source of randomness.
      decay: of the averaged weights, in [0, 1).

    Returns:
      The state after the step, and scalars: loss, grad_norm and the objective's own.
    """
    step_key = jax.random.fold_in(jax.random.key(seed), state.step)
    prior = None if state.failures is None else state.failures[batch["index"]]
    updated = list(state.collections)

    def loss_of(params: Params) -> tuple[jax.Array, tuple[Metrics, Any, Any]]:
        output, collections = apply_model(
            model, state.variables(params), batch, preprocess, train=True, rngs={"dropout": step_key}, mutable=updated
        )
        with jax.named_scope("objective"):
            loss, (figures, memory) = objective(
                output,
                batch["label"],
                params=of_objective(params),
                key=jax.random.fold_in(step_key, 1),
                memory=state.memory,
                prior=prior,
                level=batch.get("level"),
            )
        return loss, (figures, collections, memory)

    (loss, (figures, collections, memory)), grads = jax.value_and_grad(loss_of, has_aux=True)(state.params)
    manifold = objective.space_at(of_objective(state.params)).manifold
    with jax.named_scope("update"):
        updates, opt_state = optimizer.update(grads, state.opt_state, state.params, manifold=manifold)
        params = optax.apply_updates(state.params, updates)
        average = state.average
        if average is not None:
            # Few steps make a short span, so that the start does not linger in the average.
            span = jnp.minimum(decay, (1 + state.step) / (10 + state.step))
            average = optax.incremental_update(params, average, 1 - span)
    state = state.replace(
        step=state.step + 1,
        params=params,
        collections=collections,
        opt_state=opt_state,
        average=average,
        memory=memory,
    )
    return state, {"loss": loss, "grad_norm": optax.global_norm(grads), **figures}
