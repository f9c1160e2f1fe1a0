"""From settings to parts: the one place below the programs that reads a config, once, at start-up."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh
from ml_collections import ConfigDict

from hypjax import encoders
from hypjax.data import catalog, pipeline, transforms
from hypjax.data.errors import DataError
from hypjax.data.sampling import ClassBalanced
from hypjax.data.split import Splits
from hypjax.encoders.head import Head
from hypjax.encoders.model import EmbeddingModel, calibrate_head
from hypjax.errors import UsageError
from hypjax.training import objective as objectives
from hypjax.training import sharding
from hypjax.training.step import normalize

CALIBRATION_IMAGES = 1024


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
                init=head.init,
                dropout=head.dropout,
                clip=head.clip,
                clip_radius=head.clip_radius,
                start_radius=head.start_radius,
            ),
            learned_uncertainty=config.uncertainty == "learned",
        )
    space = objectives.create_space(
        config.geometry,
        c=config.curvature,
        distance=config.distance,
        uncertainty=config.uncertainty,
        clip_radius=head.clip_radius,
    )
    return Parts(splits, model, space, partial(normalize, mean=jnp.asarray(mean), std=jnp.asarray(std)))


def create_objective(config: ConfigDict, space: objectives.Space) -> objectives.Objective:
    """Binds the loss of the settings to the space.

    Raises:
      UsageError: an unknown loss or a batch it can't work on.
    """
    with as_usage():
        return objectives.create_objective(
            space, config.loss.name, samples_per_class=config.batch.samples_per_class, settings=config.loss
        )


def create_sampler(config: ConfigDict, source: Any) -> ClassBalanced:
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


def initial_variables(
    config: ConfigDict, parts: Parts, mesh: Mesh, *, pretrained: bool = True
) -> dict[str, Any]:
    """The model's variables at step 0: weights loaded, head fitted to a sample of training images.

    Args:
      config: the settings.
      parts: from `assemble`.
      mesh: whose devices compute the sample's features.
      pretrained: False skips weights and fit, where a checkpoint will replace all values anyway.

    Raises:
      UsageError: weights that are missing or don't fit.
    """
    size = config.data.image_size
    images = jnp.zeros((1, size, size, 3), jnp.float32)
    variables = dict(jax.jit(parts.model.init)(jax.random.key(config.seed), images))
    if not pretrained:
        return variables
    if config.encoder.weights:
        with as_usage():
            path = config.encoder.weights
            if path == "packaged":
                path = encoders.packaged_weights(config.encoder.name)
            loaded = encoders.load_weights(path, parts.model.encoder, image_size=size)
        variables = {
            name: {**value, "encoder": loaded[name]} if name in loaded else value
            for name, value in variables.items()
        }
    return calibrate_head(parts.model, variables, _sample_features(config, parts, variables, mesh))


def _sample_features(config: ConfigDict, parts: Parts, variables: dict[str, Any], mesh: Mesh) -> jax.Array:
    """Features of evenly spaced training images, the same on every process."""
    source = parts.splits.train
    count = min(CALIBRATION_IMAGES, len(source))
    chosen = np.linspace(0, len(source) - 1, count).astype(int)
    resize = create_resize(config)
    encode = jax.jit(
        lambda values, images: parts.model.encoder.apply(values, parts.preprocess(images), train=False),
        out_shardings=sharding.replicated(mesh),
    )
    held = {name: value["encoder"] for name, value in variables.items() if "encoder" in value}
    chunks = np.array_split(chosen, -(-count // config.evaluation.batch))
    return jnp.concatenate(
        [encode(held, np.stack([resize(source.image(i)) for i in chunk])) for chunk in chunks]
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
