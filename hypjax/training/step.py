"""The train step: pure, the same on one device and on many."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax
from jax.sharding import PartitionSpec
from jaxtyping import Array, Float, UInt8

from hypjax.training.objective import Objective
from hypjax.training.state import Params, TrainState, of_objective

Batch = dict[str, jax.Array]
Metrics = dict[str, jax.Array]


@jax.named_scope("images")
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
    return model.apply(variables, preprocess(batch["image"]), **options)


def encode_in_slices(
    model: nn.Module,
    variables: Mapping[str, Any],
    images: UInt8[Array, "b h w 3"],
    preprocess: Callable[[jax.Array], jax.Array],
    slices: int,
) -> Float[Array, "b features"]:
    """Features of a batch whose encoder keeps nothing for the gradient but its images, and looks at a slice at a time.

    The gradient of the features is made first, by whatever loss of the whole batch stands on them; then each slice is
    encoded anew for that of the parameters, so that a step takes one more pass forward and memory for one slice. Each
    device cuts its own share of the batch: no image moves, and gradients are summed over devices once.

    Args:
      model: one whose `encoder` sees each image by itself.
      variables: its variables.
      images: of the batch.
      preprocess: bytes to the encoder's units.
      slices: how many; must divide the images of each device.

    Source: Gao et al., Scaling Deep Contrastive Learning Batch Size under Memory Limited Setup, RepL4NLP 2021.
    """

    def of_share(variables: Mapping[str, Any], images: jax.Array) -> jax.Array:
        @partial(jax.checkpoint, prevent_cse=False)
        def encode(images: jax.Array) -> Any:
            return model.apply(variables, preprocess(images), method=lambda model, x: model.encoder(x, train=True))

        features = jax.lax.map(encode, images.reshape(slices, -1, *images.shape[1:]))
        return features.reshape(len(images), -1)

    own = {name: {"encoder": value["encoder"]} for name, value in variables.items() if "encoder" in value}
    mesh = jax.sharding.get_abstract_mesh()
    if not mesh.empty:
        whole, share = PartitionSpec(), PartitionSpec("data")
        of_share = jax.shard_map(of_share, in_specs=(whole, share), out_specs=share, check_vma=False)
    return of_share(own, images)


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
    slices: int = 1,
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
      slices: in which the encoder takes the batch, see `encode_in_slices`; 1 for all at once.

    Returns:
      The state after the step, and scalars: loss, grad_norm and the objective's own.
    """
    step_key = jax.random.fold_in(jax.random.key(seed), state.step)
    prior = None if state.failures is None else state.failures[batch["index"]]
    updated = list(state.collections)

    def loss_of(params: Params) -> tuple[jax.Array, tuple[Metrics, Any, Any]]:
        variables, seen = state.variables(params), batch
        if slices > 1:
            seen = {"features": encode_in_slices(model, variables, batch["image"], preprocess, slices)}
        output, collections = apply_model(
            model, variables, seen, preprocess, train=True, rngs={"dropout": step_key}, mutable=updated
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
