"""What the model is fed: images, features of a frozen encoder from the disk, or features that are the data."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from jax.sharding import Mesh
from ml_collections import ConfigDict

from hypjax.config import assembly, initialization, models
from hypjax.config.images import create_augmentation, create_reader, create_sampler, create_view, create_workers
from hypjax.config.settings import holds_features
from hypjax.data import pipeline
from hypjax.data.errors import UsageError
from hypjax.data.pipeline import Batch
from hypjax.data.source import Source, own_features
from hypjax.data.transforms import EvaluationTransform, RandomDegradation, TrainTransform
from hypjax.training import features as cached
from hypjax.training import sharding
from hypjax.training.embedding import Reader


class Inputs(NamedTuple):
    """Where batches come from.

    Attributes:
      batches: endless training batches of this process, with `get_state`, `set_state` and `close`.
      reader: sources to batches for evaluation.
    """

    batches: Any
    reader: Reader


def create_inputs(config: ConfigDict, setup: assembly.Setup, mesh: Mesh) -> Inputs:
    """Images, or features where the settings say so.

    Raises:
      UsageError: a setting out of range, or cached features in several processes.
    """
    if holds_features(config):
        return _of_rows(config, setup, mesh)
    return (_of_encoder if config.features.cached else _of_images)(config, setup, mesh)


def _of_rows(config: ConfigDict, setup: assembly.Setup, mesh: Mesh) -> Inputs:
    train = setup.splits.train
    read = own_features(train)
    if read is None:
        raise UsageError("data=features needs a source of features")
    batches = cached.FeatureBatches(
        lambda view, row: read(row),
        np.zeros((1, len(train)), np.float32),
        train.labels,
        create_sampler(config, train),
        seed=config.seed,
        process_index=jax.process_index(),
        process_count=jax.process_count(),
    )
    return Inputs(batches, create_reader(config, mesh))


def _of_images(config: ConfigDict, setup: assembly.Setup, mesh: Mesh) -> Inputs:
    transform, degradation = create_augmentation(config)
    workers = create_workers(config)
    batches = pipeline.train_batches(
        setup.splits.train,
        create_sampler(config, setup.splits.train),
        transform,
        seed=config.seed,
        process_index=jax.process_index(),
        process_count=jax.process_count(),
        degradation=degradation,
        workers=workers,
    )
    return Inputs(batches, create_reader(config, mesh, workers))


@dataclasses.dataclass(frozen=True)
class _Clean:
    """The evaluation view, of level 0; with a degradation, of its level."""

    transform: EvaluationTransform

    def __call__(self, image: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, float]:
        return self.transform(image, rng), self.transform.level


@dataclasses.dataclass(frozen=True)
class _Random:
    """A training view, perhaps degraded."""

    transform: TrainTransform
    degradation: RandomDegradation

    def __call__(self, image: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, float]:
        return self.degradation(self.transform(image, rng), rng)


def _of_encoder(config: ConfigDict, setup: assembly.Setup, mesh: Mesh) -> Inputs:
    if jax.process_count() > 1:
        raise UsageError("features.cached serves one process; leave `frozen` out to train on several hosts")
    if config.features.views < 1:
        raise UsageError(f"features.views must be at least 1, not {config.features.views}")
    encoder, size = models.create_encoder(config)[0], config.data.eval_image_size
    variables = initialization.encoder_variables(config, encoder)
    encode = jax.jit(
        lambda images: encoder.apply(variables, setup.preprocess(images), train=False),
        out_shardings=sharding.replicated(mesh),
    )
    # Backend and precision change the last digits; figures must not depend on which machine filled the folder.
    key = f"{cached.digest_of(variables)}|{encoder!r}|{jax.default_backend()}|{jax.__version__}"
    store = cached.FeatureCache(Path(config.features.dir), encode, key=key, batch=config.evaluation.batch)
    train = setup.splits.train

    transform, degradation = create_augmentation(config)
    random = _Random(dataclasses.replace(transform, size=size), degradation)
    views = [store.features(train, _Clean(create_view(config)))]
    views += [store.features(train, random, seed=view) for view in range(1, config.features.views)]
    features, levels = (np.stack(columns) for columns in zip(*views, strict=True))
    batches = cached.FeatureBatches(
        lambda view, image: features[view, image], levels, train.labels, create_sampler(config, train), seed=config.seed
    )

    batch = sharding.shareable(config.evaluation.batch, mesh.size)

    def reader(source: Source, *, degradation: str | None = None, level: float = 0.0) -> Iterable[Batch]:
        clean = _Clean(create_view(config, degradation=degradation, level=level))
        return cached.evaluation_batches(store.features(source, clean)[0], batch)

    return Inputs(batches, reader)
