"""The state of step 0: weights loaded, head fitted to a sample of images, failures before training counted."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
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
from hypjax.config.images import batch_classes, create_view, width_of
from hypjax.config.models import choose_dtype
from hypjax.config.settings import holds_features
from hypjax.data.copies import local_copy
from hypjax.data.errors import as_usage
from hypjax.data.source import Source, subset
from hypjax.encoders import lora
from hypjax.encoders.model import calibrate_head
from hypjax.training import features, sharding
from hypjax.training.evaluation import Evaluator
from hypjax.training.state import TrainState, create_state
from hypjax.training.windows import MOST_TOGETHER

CALIBRATION_IMAGES = 1024


def initial_state(
    config: ConfigDict,
    setup: assembly.Setup,
    evaluator: Evaluator,
    start: Mapping[str, Any] | None = None,
    *,
    say: Callable[[str], None] = print,
    meanwhile: Callable[[], None] = lambda: None,
) -> TrainState:
    """The state of step 0, whole on every device.

    Args:
      config: the settings.
      setup: from `assembly.assemble`.
      evaluator: looks at the training images.
      start: variables of another run, `objective` among them, taken over where they fit.
      say: told what did not fit.
      meanwhile: called when the images begin to be looked at, which leaves Python idle for a while.

    Raises:
      UsageError: weights that are missing or don't fit, patterns of frozen parameters that match nothing.
    """
    mesh, train, model = evaluator.mesh, setup.splits.train, setup.model
    drawn = {**drawn_variables(config, setup), "objective": initial_objective(config, setup)}
    if start is not None:
        drawn, misfits = taken_over(drawn, start)
        for line in misfits:
            say(f"  {line}")
    own, drawn = drawn["objective"], sharding.replicate({k: v for k, v in drawn.items() if k != "objective"}, mesh)
    sample = calibration_sample(config, train)
    # One look at the images serves head and failures, where their features can be held.
    together = model.doubt is not None and len(train) <= MOST_TOGETHER
    meanwhile()
    looked_at = train if together else subset(train, sample)

    def look() -> dict[str, np.ndarray]:
        return {"features": evaluator.features({**drawn, "objective": own}, looked_at)}

    words = features_words(config, setup, drawn, looked_at) if together and jax.process_count() == 1 else ""
    held = features.kept(Path(config.features.dir), words, look) if words else look()
    seen = held["features"]
    with as_usage():
        variables = calibrate_head(model, drawn, jnp.asarray(seen[sample] if together else seen))
    if start is not None:
        variables, _ = taken_over(variables, {name: value for name, value in start.items() if name != "objective"})
    variables, failures = sharding.replicate(variables, mesh), None
    if model.doubt is not None:
        # Before training every class is an unseen class: whose nearest neighbor is wrong now is honest.
        wrong = evaluator.failures({**variables, "objective": own}, train, seen if together else None)
        failures = jnp.asarray(wrong, jnp.float32)
    # Hosts may round differently, and a state must be one: that of process 0.
    return sharding.replicate(_state(config, setup, variables, own, failures), mesh)


def abstract_state(config: ConfigDict, setup: assembly.Setup) -> TrainState:
    """Shapes and types of the state, for a checkpoint to fill; nothing is computed."""
    features, of_encoder = abstract_encoder(config, setup)
    failures = None if setup.model.doubt is None else jnp.zeros(len(setup.splits.train))

    def state(of_encoder: dict[str, Any]) -> TrainState:
        drawn = setup.model.init(jax.random.key(0), jnp.zeros(features.shape), method="project")
        variables = with_encoder(dict(drawn), of_encoder)
        return _state(config, setup, variables, initial_objective(config, setup), failures)

    return jax.eval_shape(state, of_encoder)


def abstract_encoder(config: ConfigDict, setup: assembly.Setup) -> tuple[jax.ShapeDtypeStruct, dict[str, Any]]:
    """Features of one image, or of one row where the data are features, and the encoder's variables, as shapes."""
    size = config.data.image_size
    if setup.model.encoder is None:
        return jax.ShapeDtypeStruct((1, width_of(setup.splits.train)), jnp.float32), {}
    features, variables = encoders.abstract(setup.model.encoder, size, size)
    return features, jax.eval_shape(partial(as_kept, config), variables)


def abstract_arguments(
    config: ConfigDict, setup: assembly.Setup, mesh: Mesh
) -> tuple[TrainState, dict[str, jax.ShapeDtypeStruct]]:
    """Shapes, types and places of a step's arguments: the state, whole on every device, and a batch, shared out."""
    images = batch_classes(config, setup.splits.train) * config.batch.samples_per_class
    return (
        _placed(abstract_state(config, setup), sharding.replicated(mesh)),
        _placed(_abstract_batch(config, setup, images), sharding.split(mesh)),
    )


def _abstract_batch(config: ConfigDict, setup: assembly.Setup, images: int) -> dict[str, jax.ShapeDtypeStruct]:
    size = config.data.image_size
    shapes: dict[str, Any] = {
        "label": ((images,), jnp.int32),
        "index": ((images,), jnp.int32),
        "level": ((images,), jnp.float32),
        "valid": ((images,), jnp.bool_),
    }
    if holds_features(config) or config.features.cached:
        shapes["features"] = ((images, abstract_encoder(config, setup)[0].shape[-1]), jnp.float32)
    else:
        shapes["image"] = ((images, size, size, 3), jnp.uint8)
    return {name: jax.ShapeDtypeStruct(shape, dtype) for name, (shape, dtype) in shapes.items()}


def _placed(tree: Any, where: jax.sharding.NamedSharding) -> Any:
    return jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=where), tree)


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
            here[path] = there[path].astype(value.dtype)
    misfits += [f"{path} is not here" for path in there if path not in here]
    return {name: {} for name in variables} | unflatten_dict(here, sep="/"), misfits


def without_other_adapters(config: ConfigDict, theirs: ConfigDict, start: Mapping[str, Any]) -> dict[str, Any]:
    """Another run's variables, its adapters folded into its kernels where this run has none, or others.

    Args:
      config: the settings of this run.
      theirs: those of the other one.
      start: its variables.
    """
    here, there = (lora.checked(of.encoder.lora_rank, of.encoder.lora_alpha) for of in (config, theirs))
    if not there.rank or there == here:
        return dict(start)
    return {**start, "params": lora.merged(start["params"], there)}


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
            frozen=(*kept_parameters(config), *(f"head/{name}$" for name in setup.model.head.kept_parameters())),
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
            elif "://" in path:
                path = local_copy(path)
            return as_kept(config, encoders.load_weights(path, encoder, image_size=size))
        images = jnp.zeros((1, size, size, 3), jnp.float32)
        return as_kept(config, dict(jax.jit(encoder.init)(encoder_key, images)))


def kept_parameters(config: ConfigDict) -> tuple[str, ...]:
    """Patterns of the encoder's parameters that are not trained: with adapters all but these."""
    return (*config.encoder.frozen, *((lora.BASE,) if config.encoder.lora_rank else ()))


def as_kept(config: ConfigDict, variables: dict[str, Any]) -> dict[str, Any]:
    """An encoder's variables, those that are not trained in the type that they are kept in.

    Raises:
      UsageError: neither float32 nor bfloat16.
    """
    with as_usage():
        dtype = choose_dtype(config.encoder.frozen_dtype, "encoder.frozen_dtype")
    patterns = [re.compile(pattern) for pattern in kept_parameters(config)]
    flat = flatten_dict(variables["params"], sep="/")
    kept = {path for path in flat if any(pattern.match(f"encoder/{path}") for pattern in patterns)}
    params = {path: value.astype(dtype) if path in kept else value for path, value in flat.items()}
    return {**variables, "params": unflatten_dict(params, sep="/")}


def drawn_variables(config: ConfigDict, setup: assembly.Setup) -> dict[str, Any]:
    """The model's variables, the encoder's weights loaded and what stands on its features drawn by the seed.

    Raises:
      UsageError: weights that are missing or don't fit.
    """
    _, head_key = jax.random.split(jax.random.key(config.seed))
    of_encoder = encoder_variables(config, setup.model.encoder)
    features, _ = abstract_encoder(config, setup)
    # Only what stands on the features is drawn at random; loaded weights would overwrite the rest.
    drawn = jax.jit(partial(setup.model.init, method="project"))(head_key, jnp.zeros(features.shape))
    return with_encoder(dict(drawn), of_encoder)


def features_words(config: ConfigDict, setup: assembly.Setup, variables: Mapping[str, Any], source: Source) -> str:
    """All that the features of images depend on, so that the next run with this encoder need not look at them again.

    "" where they are kept already: by `frozen`, or as the data.
    """
    if setup.model.encoder is None or config.features.cached:
        return ""
    of_encoder = {name: value["encoder"] for name, value in variables.items() if "encoder" in value}
    made_by = f"{jax.default_backend()}|{jax.__version__}|{jax.device_count()}|{config.evaluation.batch}"
    view = create_view(config)
    return f"{features.digest_of(of_encoder)}|{setup.model.encoder!r}|{view!r}|{made_by}|{features.identity(source)}"


def calibration_sample(config: ConfigDict, source: Source) -> np.ndarray:
    """Evenly spaced training images, by whose features the head is fitted: indices."""
    count = min(max(CALIBRATION_IMAGES, 4 * config.head.dim), len(source))  # a direction asks for a few images
    return np.linspace(0, len(source) - 1, count).astype(int)


def with_encoder(variables: Mapping[str, Any], of_encoder: Mapping[str, Any]) -> dict[str, Any]:
    """A model's variables with the encoder's replaced.

    Example:
      >>> with_encoder({"params": {"head": 1, "encoder": 2}}, {"params": 3, "batch_stats": 4})
      {'params': {'head': 1, 'encoder': 3}, 'batch_stats': {'encoder': 4}}
    """
    replaced = {name: {**variables.get(name, {}), "encoder": value} for name, value in of_encoder.items()}
    return {**variables, **replaced}
