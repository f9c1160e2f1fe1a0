"""The state of step 0: weights loaded, head fitted to a sample of images, failures before training counted."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from flax.traverse_util import flatten_dict, unflatten_dict
from jax.sharding import Mesh
from ml_collections import ConfigDict

from hypjax import encoders, losses
from hypjax.config import assembly, optimization
from hypjax.config.images import create_view, width_of
from hypjax.config.settings import holds_features
from hypjax.data import pipeline
from hypjax.data.errors import as_usage
from hypjax.data.source import subset
from hypjax.encoders.model import calibrate_head
from hypjax.training import sharding
from hypjax.training.embedding import Reader
from hypjax.training.state import TrainState, create_state

CALIBRATION_IMAGES = 1024


def initial_state(
    config: ConfigDict,
    setup: assembly.Setup,
    mesh: Mesh,
    reader: Reader,
    start: Mapping[str, Any] | None = None,
    say: Callable[[str], None] = print,
) -> TrainState:
    """The state of step 0, whole on every device.

    Args:
      config: the settings.
      setup: from `assembly.assemble`.
      mesh: whose devices look at the training images.
      reader: sources to batches.
      start: variables of another run, `objective` among them, taken over where they fit.
      say: told what did not fit.

    Raises:
      UsageError: weights that are missing or don't fit, patterns of frozen parameters that match nothing.
    """
    variables, own = initial_variables(config, setup, mesh, reader), initial_objective(config, setup)
    if start is not None:
        taken, misfits = taken_over({**variables, "objective": own}, start)
        own = taken.pop("objective")
        variables = taken
        for line in misfits:
            say(f"  {line}")
    failures = None
    if setup.model.doubt is not None:
        # Before training every class is an unseen class: whose nearest neighbor is wrong now is honest.
        embedder = assembly.create_evaluator(config, setup, mesh, reader)
        failures = jnp.asarray(embedder.failures(variables, setup.splits.train), jnp.float32)
    return jax.device_put(_state(config, setup, variables, own, failures), sharding.replicated(mesh))


def abstract_state(config: ConfigDict, setup: assembly.Setup) -> TrainState:
    """Shapes and types of the state, for a checkpoint to fill; nothing is computed."""
    if holds_features(config):
        seen, method = jnp.zeros((1, width_of(setup.splits.train)), jnp.float32), "project"
    else:
        size = config.data.image_size
        seen, method = jnp.zeros((1, size, size, 3), jnp.float32), "__call__"
    initial = partial(setup.model.init, jax.random.key(0), seen, method=method)
    failures = None if setup.model.doubt is None else jnp.zeros(len(setup.splits.train))
    return jax.eval_shape(lambda: _state(config, setup, dict(initial()), initial_objective(config, setup), failures))


def initial_objective(config: ConfigDict, setup: assembly.Setup) -> dict[str, jax.Array]:
    """The objective's own parameters at step 0, by short name: proxies and the like."""
    objective = optimization.create_objective(config, setup)
    return objective.initial(jax.random.fold_in(jax.random.key(config.seed), 2), config.head.dim)


def taken_over(variables: Mapping[str, Any], start: Mapping[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """Variables with those of another model in their place, wherever name and shape agree.

    Examples:
      >>> mine = {"params": {"head": {"a": np.zeros(2), "b": np.zeros(3)}}}
      >>> other = {"params": {"head": {"a": np.ones(2), "b": np.ones(4)}, "doubt": {"c": np.ones(1)}}}
      >>> taken, misfits = taken_over(mine, other)
      >>> taken["params"]["head"]["a"], misfits
      (array([1., 1.]), ['params/head/b is (4,) there and (3,) here: not taken', 'params/doubt/c is not here'])

    Returns:
      The variables, and a line on each that did not fit.
    """
    here, there = flatten_dict(dict(variables), sep="/"), flatten_dict(dict(start), sep="/")
    misfits = []
    for path, value in here.items():
        if path not in there:
            misfits.append(f"{path} is not there: it starts anew")
        elif there[path].shape != value.shape:
            misfits.append(f"{path} is {there[path].shape} there and {value.shape} here: not taken")
        else:
            here[path] = there[path]
    misfits += [f"{path} is not here" for path in there if path not in here]
    return {name: {} for name in variables} | unflatten_dict(here, sep="/"), misfits


def _state(
    config: ConfigDict,
    setup: assembly.Setup,
    variables: dict[str, Any],
    own: dict[str, jax.Array],
    failures: jax.Array | None,
) -> TrainState:
    objective = optimization.create_objective(config, setup)
    memory = None
    if objective.memory_size:
        width = jax.eval_shape(setup.space_at(own).manifold.embed, jnp.zeros((1, config.head.dim))).shape[-1]
        memory = losses.create_cross_batch_memory(objective.memory_size, width, jnp.float32)
    with as_usage():
        return create_state(
            variables,
            optimization.create_optimizer(config),
            objective=own,
            frozen=(*config.encoder.frozen, *(f"head/{name}$" for name in setup.model.head.kept_parameters())),
            average=config.optimizer.ema > 0,
            failures=failures,
            memory=memory,
        )


def encoder_variables(config: ConfigDict, encoder: nn.Module | None) -> dict[str, Any]:
    """The encoder's variables at step 0: its weights loaded, or drawn by the seed; none without an encoder.

    Raises:
      UsageError: weights that are missing or don't fit.
    """
    encoder_key, _ = jax.random.split(jax.random.key(config.seed))
    size = config.data.image_size
    if encoder is None:
        return {}
    with as_usage():
        if config.encoder.weights:
            path = config.encoder.weights
            if path == "packaged":
                path = encoders.packaged_weights(config.encoder.name)
            return encoders.load_weights(path, encoder, image_size=size)
        images = jnp.zeros((1, size, size, 3), jnp.float32)
        return dict(jax.jit(encoder.init)(encoder_key, images))


def initial_variables(config: ConfigDict, setup: assembly.Setup, mesh: Mesh, reader: Reader) -> dict[str, Any]:
    """The model's variables at step 0: weights loaded, head fitted to a sample of training images.

    Args:
      config: the settings.
      setup: from `assembly.assemble`.
      mesh: whose devices compute the sample's features.
      reader: sources to batches.

    Raises:
      UsageError: weights that are missing or don't fit.
    """
    _, head_key = jax.random.split(jax.random.key(config.seed))
    of_encoder = encoder_variables(config, setup.model.encoder)
    features = _sample_features(config, setup, of_encoder, mesh, reader)
    # Only what stands on the features is drawn at random; loaded weights would overwrite the rest.
    variables = dict(jax.jit(partial(setup.model.init, method="project"))(head_key, features[:1]))
    with as_usage():
        return calibrate_head(setup.model, with_encoder(variables, of_encoder), features)


def with_encoder(variables: Mapping[str, Any], of_encoder: Mapping[str, Any]) -> dict[str, Any]:
    """A model's variables with the encoder's replaced.

    Example:
      >>> with_encoder({"params": {"head": 1, "encoder": 2}}, {"params": 3, "batch_stats": 4})
      {'params': {'head': 1, 'encoder': 3}, 'batch_stats': {'encoder': 4}}
    """
    replaced = {name: {**variables.get(name, {}), "encoder": value} for name, value in of_encoder.items()}
    return {**variables, **replaced}


def _sample_features(
    config: ConfigDict, setup: assembly.Setup, of_encoder: dict[str, Any], mesh: Mesh, reader: Reader
) -> jax.Array:
    """Features of evenly spaced training images, the same on every process."""
    source = setup.splits.train
    count = min(max(CALIBRATION_IMAGES, 4 * config.head.dim), len(source))  # a direction asks for a few images
    sample, encoder = subset(source, np.linspace(0, len(source) - 1, count).astype(int)), setup.model.encoder
    if encoder is None or config.features.cached:
        return jnp.concatenate([batch["features"][batch["valid"]] for batch in reader(sample)])
    encode = jax.jit(
        lambda values, images: encoder.apply(values, setup.preprocess(images), train=False),
        out_shardings=sharding.replicated(mesh),
    )
    batch = min(config.evaluation.batch, count)
    batches = pipeline.evaluation_batches(sample, batch, create_view(config))
    features = [np.asarray(encode(of_encoder, b["image"]))[b["valid"]] for b in batches]
    return jnp.concatenate(features)
