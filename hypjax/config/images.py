"""From settings to images, or to features in their place: batches and random views for training, one for evaluation."""

from __future__ import annotations

import math
from collections.abc import Iterator
from functools import partial

import numpy as np
from jax.sharding import Mesh
from ml_collections import ConfigDict

from hypjax.config.settings import holds_features
from hypjax.data import pipeline
from hypjax.data.errors import UsageError, as_usage
from hypjax.data.sampling import ClassBalanced
from hypjax.data.source import Source, own_features
from hypjax.data.transforms import EvaluationTransform, RandomDegradation, TrainTransform
from hypjax.data.workers import Processes, Threads, Workers, cores
from hypjax.training import sharding
from hypjax.training.embedding import Reader
from hypjax.training.features import row_batches

FEW = 1000  # images, which a core decodes in the time that processes take to start


def batch_classes(config: ConfigDict, source: Source) -> int:
    """Classes of a training batch: as set, or by default as many as there are up to a limit."""
    return int(config.batch.classes) or min(config.batch.most_classes, len(source.class_names))


def limited(config: ConfigDict, source: Source) -> ConfigDict:
    """The settings of a run on a training source, with `steps` cut to `most_epochs` times through its images."""
    batch = batch_classes(config, source) * config.batch.samples_per_class
    most = math.ceil(config.most_epochs * len(source) / batch)
    if not config.most_epochs or config.steps <= most:
        return config
    config = config.copy_and_resolve_references()
    config.steps = most
    return config


def create_sampler(config: ConfigDict, source: Source) -> ClassBalanced:
    """Class-balanced batches of the training source.

    Raises:
      DataError: the batch asks for more classes than there are.
    """
    with as_usage():
        return ClassBalanced(
            source.labels,
            classes_per_batch=batch_classes(config, source),
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
        view = TrainTransform(config.data.image_size, **options, interpolation=config.data.interpolation)
        return view, degradation


def create_view(config: ConfigDict, *, degradation: str | None = None, level: float = 0.0) -> EvaluationTransform:
    """What evaluation sees of an image; by choice a degraded one.

    Raises:
      UsageError: `data.eval_resize` is below `data.eval_image_size`, or an unknown fit or interpolation.
    """
    resize = config.data.eval_resize or None
    with as_usage():
        return EvaluationTransform(
            config.data.eval_image_size,
            resize,
            degradation,
            level,
            fit=config.data.eval_fit,
            interpolation=config.data.interpolation,
        )


def create_workers(config: ConfigDict) -> Workers:
    """Who decodes: processes, as many as set, or one a core for `FEW` images and more, or threads.

    Raises:
      UsageError: a negative number of them other than -1.
    """
    count, cache_bytes, least = config.data.workers, int(config.data.cache_gib * 2**30), 0
    if count < -1:
        raise UsageError(f"data.workers must be a number of processes, 0 for threads or -1 for one a core, not {count}")
    if count == -1:
        count, least = 0 if config.data.name == "emoji" else cores(), FEW
    return Processes(count, cache_bytes=cache_bytes, least=least) if count else Threads(cache_bytes=cache_bytes)


def create_reader(config: ConfigDict, mesh: Mesh, workers: Workers | None = None) -> Reader:
    """Sources to batches for evaluation, of images or of the features in their place, each process its slice.

    Args:
      config: the settings; `evaluation.batch` is rounded up to what the devices can share.
      mesh: of these devices.
      workers: who decodes; by default others than those that serve training.
    """
    batch = sharding.shareable(config.evaluation.batch, mesh.size)
    if holds_features(config):
        return partial(row_batches, batch_size=batch)
    decoding, (index, count) = workers or create_workers(config), sharding.place_among(mesh)

    def read(source: Source, *, degradation: str | None = None, level: float = 0.0) -> Iterator[pipeline.Batch]:
        return pipeline.evaluation_batches(
            source,
            batch,
            create_view(config, degradation=degradation, level=level),
            process_index=index,
            process_count=count,
            workers=decoding,
        )

    return read


def width_of(source: Source) -> int:
    """How many features a row of a source has that holds features in place of images.

    Raises:
      UsageError: it has images.
    """
    read = own_features(source)
    if read is None:
        raise UsageError("a source of images has no features; data=features takes a file of them")
    return read(np.zeros(1, int)).shape[1]


def require_no_images(config: ConfigDict, width: int) -> None:
    """Checks that nothing is asked of features that images alone can give.

    Args:
      config: the settings of data that are features.
      width: how many there are in a row.

    Raises:
      UsageError: an encoder, degradations, or more principal directions than features.
    """
    chosen = {
        "encoder.name": config.encoder.name != "none",
        "features.cached": config.features.cached,
        "augment.degrade_share": config.augment.degrade_share > 0,
        "evaluation.degraded_queries": config.evaluation.degraded_queries > 0,
        "evaluation.degraded_test_queries": config.evaluation.degraded_test_queries > 0,
    }
    if asked := next((name for name, there in chosen.items() if there), None):
        raise UsageError(f"{asked} is for images, which data=features has none of; leave it out")
    if config.head.init == "pca" and config.head.dim > width:
        raise UsageError(
            f"head.init=pca gives at most {width} dimensions, one a feature, but head.dim is {config.head.dim}; "
            f"set head.dim={width} or less, or head.init=orthogonal"
        )
