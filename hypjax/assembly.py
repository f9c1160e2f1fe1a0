"""From settings to parts: the one place below the programs that reads a config, once, at start-up."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.sharding import Mesh
from ml_collections import ConfigDict

from hypjax import encoders
from hypjax.data import catalog, pipeline
from hypjax.data.errors import DataError
from hypjax.data.sampling import ClassBalanced
from hypjax.data.source import Source, subset
from hypjax.data.split import Splits
from hypjax.data.transforms import EvaluationTransform, RandomDegradation, TrainTransform
from hypjax.encoders.head import Head
from hypjax.encoders.model import RADII, EmbeddingModel, calibrate_head
from hypjax.errors import UsageError
from hypjax.training import objective as objectives
from hypjax.training import optimizer as optimizers
from hypjax.training import sharding
from hypjax.training.evaluation import Evaluator, create_embedder
from hypjax.training.state import TrainState, create_state
from hypjax.training.step import normalize

CALIBRATION_IMAGES = 1024
PROTOCOLS = ("leave_one_out", "query_gallery")


class Parts(NamedTuple):
    """What training and evaluation share.

    Attributes:
      splits: class-disjoint train, validation and test sources.
      model: encoder and head.
      space: where the embeddings live.
      preprocess: bytes to the encoder's units.
    """

    splits: Splits
    model: EmbeddingModel
    space: objectives.Space
    preprocess: Callable[[jax.Array], jax.Array]


def assemble(config: ConfigDict) -> Parts:
    """Resolves data, model and space by name.

    Raises:
      UsageError: an unknown name or size, or settings out of range.
      DataError: data that is missing, broken or too small.
    """
    head = config.head
    with as_usage():
        splits = catalog.load(
            config.data.name,
            directory=config.data.dir,
            skip_corrupt=config.data.skip_corrupt,
            fractions=tuple(config.data.fractions),
            seed=config.data.split_seed,
        )
        mean, std = encoders.preprocessing(config.encoder.name)
        encoder = encoders.create(
            config.encoder.name,
            dtype=choose_dtype(config.encoder.dtype),
            train_batch_norm=config.encoder.train_batch_norm,
            **config.encoder.sizes,
        )
        model = EmbeddingModel(
            encoder,
            Head(
                dim=head.dim,
                normalize=head.normalize,
                kernel_init=head.init,
                dropout=head.dropout,
                clip=head.clip,
                clip_radius=head.clip_radius,
                start_radius=head.start_radius,
            ),
            doubt=create_doubt(config),
            doubt_gradient=head.doubt_gradient,
            radius_range=tuple(share * head.clip_radius for share in head.radius_range)
            if head.radius == "learned"
            else None,
        )
    space = objectives.create_space(
        config.geometry,
        c=config.curvature,
        distance=config.distance,
        uncertainty=config.uncertainty,
        clip_radius=head.clip_radius,
    )
    return Parts(splits, model, space, partial(normalize, mean=jnp.asarray(mean), std=jnp.asarray(std)))


def create_doubt(config: ConfigDict) -> Head | None:
    """The model's learned uncertainty, where the radius or the uncertainty asks for one.

    Raises:
      UsageError: an unknown kind of radius, or a range that is none.
    """
    head = config.head
    if head.radius not in RADII:
        raise UsageError(f"head.radius {head.radius!r} is unknown; there are: {', '.join(RADII)}")
    low, high = head.radius_range
    if not 0 < low < high <= 1:
        raise UsageError(f"head.radius_range must be two shares with 0 < low < high <= 1, not {(low, high)}")
    if head.radius != "learned" and config.uncertainty != "learned":
        return None
    return Head(dim=1, normalize="standardize", clip="none", dropout=head.doubt_dropout)


def summary(splits: Splits) -> str:
    """Counts of classes and images, as one line for the console.

    Examples:
      >>> from hypjax.data.catalog import load
      >>> summary(load("emoji"))
      'train 3232 images of 739 classes, validation 888 of 200, test 4282 of 970'
    """
    counts = [f"{name} {len(part)} of {len(part.class_names)}" for name, part in splits._asdict().items()]
    return ", ".join(counts).replace(" of ", " images of ", 1).replace(",", " classes,", 1)


def create_objective(config: ConfigDict, space: objectives.Space) -> objectives.Objective:
    """Binds the loss of the settings to the space.

    Raises:
      UsageError: an unknown loss or a batch it can't work on.
    """
    with as_usage():
        return objectives.create_objective(
            space,
            config.loss.name,
            samples_per_class=config.batch.samples_per_class,
            settings=config.loss,
            failure_weight=config.loss.failure_weight,
        )


def create_sampler(config: ConfigDict, source: Source) -> ClassBalanced:
    """Class-balanced batches of the training source.

    Raises:
      DataError: the batch asks for more classes than there are.
    """
    with as_usage():
        return ClassBalanced(
            source.labels,
            classes_per_batch=config.batch.classes,
            samples_per_class=config.batch.samples_per_class,
            seed=config.seed,
        )


def create_augmentation(config: ConfigDict) -> tuple[TrainTransform, RandomDegradation]:
    """The random view of a training image, and what damages a share of the views.

    Raises:
      UsageError: a setting out of range.
    """
    with as_usage():
        options = config.augment.to_dict()
        for name in ("scale", "ratio"):
            options[name] = tuple(options[name])
        degradation = RandomDegradation(options.pop("degrade_share"))
        return TrainTransform(config.data.image_size, **options), degradation


def create_schedule(config: ConfigDict) -> optax.Schedule:
    """The learning rate by step.

    Raises:
      UsageError: an unknown schedule or a warm-up out of range.
    """
    chosen = config.optimizer
    return optimizers.learning_rate_schedule(
        chosen.learning_rate, steps=config.steps, warmup=chosen.warmup, schedule=chosen.schedule
    )


def create_optimizer(config: ConfigDict) -> optax.GradientTransformation:
    """The transformation of the gradients."""
    chosen = config.optimizer
    return optimizers.create_optimizer(
        create_schedule(config),
        head_multiplier=chosen.head_multiplier,
        weight_decay=chosen.weight_decay,
        clip_norm=chosen.clip_norm,
    )


def initial_state(config: ConfigDict, parts: Parts, mesh: Mesh) -> TrainState:
    """The state of step 0, whole on every device.

    Raises:
      UsageError: weights that are missing or don't fit, patterns of frozen parameters that match nothing.
    """
    variables = initial_variables(config, parts, mesh)
    failures = None
    if parts.model.doubt is not None:
        # Before training every class is an unseen class: whose nearest neighbor is wrong now is honest.
        embedder = create_evaluator(config, parts, mesh)
        failures = jnp.asarray(embedder.failures(variables, parts.splits.train), jnp.float32)
    return jax.device_put(_state(config, variables, failures), sharding.replicated(mesh))


def abstract_state(config: ConfigDict, parts: Parts) -> TrainState:
    """Shapes and types of the state, for a checkpoint to fill; nothing is computed."""
    images = jnp.zeros((1, config.data.image_size, config.data.image_size, 3), jnp.float32)
    failures = None if parts.model.doubt is None else jnp.zeros(len(parts.splits.train))
    return jax.eval_shape(lambda: _state(config, dict(parts.model.init(jax.random.key(0), images)), failures))


def _state(config: ConfigDict, variables: dict[str, Any], failures: jax.Array | None) -> TrainState:
    with as_usage():
        return create_state(
            variables,
            create_optimizer(config),
            frozen=config.encoder.frozen,
            average=config.optimizer.ema > 0,
            failures=failures,
        )


def initial_variables(config: ConfigDict, parts: Parts, mesh: Mesh) -> dict[str, Any]:
    """The model's variables at step 0: weights loaded, head fitted to a sample of training images.

    Args:
      config: the settings.
      parts: from `assemble`.
      mesh: whose devices compute the sample's features.

    Raises:
      UsageError: weights that are missing or don't fit.
    """
    encoder_key, head_key = jax.random.split(jax.random.key(config.seed))
    encoder, size = parts.model.encoder, config.data.image_size
    with as_usage():
        if config.encoder.weights:
            path = config.encoder.weights
            if path == "packaged":
                path = encoders.packaged_weights(config.encoder.name)
            of_encoder = encoders.load_weights(path, encoder, image_size=size)
        else:
            images = jnp.zeros((1, size, size, 3), jnp.float32)
            of_encoder = jax.jit(encoder.init)(encoder_key, images)
    features = _sample_features(config, parts, of_encoder, mesh)
    # Only what stands on the features is drawn at random; loaded weights would overwrite the rest.
    variables = dict(parts.model.init(head_key, features[:1], method="project"))
    for name, value in of_encoder.items():
        variables[name] = {**variables.get(name, {}), "encoder": value}
    with as_usage():
        return calibrate_head(parts.model, variables, features)


def _sample_features(config: ConfigDict, parts: Parts, of_encoder: dict[str, Any], mesh: Mesh) -> jax.Array:
    """Features of evenly spaced training images, the same on every process."""
    source = parts.splits.train
    count = min(CALIBRATION_IMAGES, len(source))
    sample = subset(source, np.linspace(0, len(source) - 1, count).astype(int))
    encode = jax.jit(
        lambda values, images: parts.model.encoder.apply(values, parts.preprocess(images), train=False),
        out_shardings=sharding.replicated(mesh),
    )
    batch = min(config.evaluation.batch, count)
    batches = pipeline.evaluation_batches(sample, batch, EvaluationTransform(config.data.eval_image_size))
    features = [np.asarray(encode(of_encoder, b["image"]))[b["valid"]] for b in batches]
    return jnp.concatenate(features)


def create_evaluator(config: ConfigDict, parts: Parts, mesh: Mesh) -> Evaluator:
    """What asks the model for its figures.

    Raises:
      UsageError: an unknown protocol, or a batch that the devices can't share.
    """
    protocol = config.data.protocol
    if protocol not in PROTOCOLS:
        raise UsageError(f"data.protocol {protocol!r} is unknown; there are: {', '.join(PROTOCOLS)}")
    sharding.require_divisible(config.evaluation.batch, mesh)
    return Evaluator(
        create_embedder(parts.model, parts.space, parts.preprocess, mesh),
        parts.space,
        mesh,
        image_size=config.data.eval_image_size,
        batch=config.evaluation.batch,
        clip_radius=config.head.clip_radius,
        ks=tuple(config.evaluation.ks),
        query_gallery=protocol == "query_gallery",
    )


def choose_dtype(name: str) -> Any:
    """The encoder's compute type by name.

    Raises:
      ValueError: neither float32 nor bfloat16.
    """
    if name not in ("float32", "bfloat16"):
        raise ValueError(f"encoder.dtype {name!r} is unknown; there are: float32, bfloat16")
    return jnp.dtype(name)


@contextmanager
def as_usage() -> Iterator[None]:
    """Turns the ValueErrors of construction, which name a bad setting, into a UsageError."""
    try:
        yield
    except (UsageError, DataError):
        raise
    except (ValueError, TypeError) as error:
        raise UsageError(str(error)) from error
