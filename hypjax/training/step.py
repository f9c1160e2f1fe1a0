"""The train step: pure, the same on one device and on many."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, UInt8

from hypjax.training.objective import Objective
from hypjax.training.state import Params, TrainState

Batch = dict[str, jax.Array]
Metrics = dict[str, jax.Array]


def normalize(images: UInt8[Array, "n h w 3"], mean: jax.Array, std: jax.Array) -> Float[Array, "n h w 3"]:
    """Bytes to the encoder's units: (pixel / 255 − mean) / std."""
    return (images.astype(jnp.float32) / 255 - mean[None, None, None, :]) / std[None, None, None, :]


def train_step(
    state: TrainState,
    batch: Batch,
    *,
    model: nn.Module,
    objective: Objective,
    optimizer: optax.GradientTransformation,
    preprocess: Callable[[jax.Array], jax.Array],
    seed: int,
    decay: float = 0.0,
) -> tuple[TrainState, Metrics]:
    """Takes one optimization step on the loss of the global batch.

    Args:
      state: the state before the step.
      batch: class-major, possibly split over devices: `image` uint8 [b, h, w, 3], `label` and `index` int32 [b],
        and, if images were degraded, their `level` [b] in [0, 1].
      model: maps images to `ModelOutput`.
      objective: maps `(output, labels, prior failures, levels)` to the loss and what is logged beside it.
      optimizer: the transformation whose state `state` holds.
      preprocess: bytes to the encoder's units.
      seed: with `state.step` the only source of randomness.
      decay: of the averaged weights, in [0, 1).

    Returns:
      The state after the step, and scalars: loss, grad_norm and the objective's own.
    """
    dropout_key = jax.random.fold_in(jax.random.key(seed), state.step)
    images = preprocess(batch["image"])
    prior = None if state.failures is None else state.failures[batch["index"]]
    updated = list(state.collections)

    def loss_of(params: Params) -> tuple[jax.Array, tuple[Metrics, Any]]:
        output, collections = model.apply(
            state.variables(params), images, train=True, rngs={"dropout": dropout_key}, mutable=updated
        )
        loss, figures = objective(output, batch["label"], prior, batch.get("level"))
        return loss, (figures, collections)

    (loss, (figures, collections)), grads = jax.value_and_grad(loss_of, has_aux=True)(state.params)
    updates, opt_state = optimizer.update(grads, state.opt_state, state.params)
    params = optax.apply_updates(state.params, updates)
    average = state.average
    if average is not None:
        # Few steps make a short memory, so that the start does not linger in the average.
        memory = jnp.minimum(decay, (1 + state.step) / (10 + state.step))
        average = optax.incremental_update(params, average, 1 - memory)
    state = state.replace(
        step=state.step + 1, params=params, collections=collections, opt_state=opt_state, average=average
    )
    return state, {"loss": loss, "grad_norm": optax.global_norm(grads), **figures}
