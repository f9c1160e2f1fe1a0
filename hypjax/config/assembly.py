"""From settings to what training and evaluation share, once, at start-up: data, model, space, evaluator."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import jax
from jax.sharding import Mesh
from ml_collections import ConfigDict

from hypjax.config.images import create_reader, require_no_images, width_of
from hypjax.config.models import create_model, create_space_at
from hypjax.config.settings import holds_features, learns_points
from hypjax.data import catalog
from hypjax.data.errors import UsageError, as_usage
from hypjax.data.source import coarsened
from hypjax.data.split import Splits
from hypjax.encoders.model import EmbeddingModel
from hypjax.training import objective as objectives
from hypjax.training.embedding import Reader, create_embedder
from hypjax.training.evaluation import FIGURES, Evaluator
from hypjax.training.refitting import Refit
from hypjax.training.space import Space

PROTOCOLS = ("leave_one_out", "query_gallery")


class Setup(NamedTuple):
    """What training and evaluation share.

    Attributes:
      splits: class-disjoint train, validation and test sources.
      model: encoder and head, or the head alone where the data are features.
      space_at: the objective's own parameters to where the embeddings live.
      preprocess: bytes to the encoder's units.
    """

    splits: Splits
    model: EmbeddingModel
    space_at: Callable[[objectives.Params], Space]
    preprocess: Callable[[jax.Array], jax.Array]


def assemble(config: ConfigDict, splits: Splits | None = None) -> Setup:
    """Resolves data, model and space by name.

    Args:
      config: the settings.
      splits: data to take instead of what the settings name.

    Raises:
      UsageError: an unknown name or size, or settings out of range.
      DataError: data that is missing, broken or too small.
    """
    with as_usage():
        if splits is None:
            splits = catalog.load(
                config.data.name,
                directory=config.data.dir,
                skip_corrupt=config.data.skip_corrupt,
                fractions=tuple(config.data.fractions),
                validation=config.data.validation,
                seed=config.data.split_seed,
                shorter_side=config.data.shorter_side,
                copies=Path(config.features.dir),
                tree=config.data.tree,
            )
        if not len(splits.validation) and not config.evaluation.test:
            raise UsageError("evaluation.test=false scores validation classes, of which data.validation=0 leaves none")
        if config.data.train_level:
            splits = splits._replace(train=coarsened(splits.train, config.data.train_level))
    if holds_features(config):
        require_no_images(config, width_of(splits.train))
    model, preprocess = create_model(config)
    return Setup(splits, model, create_space_at(config), preprocess)


def summary(splits: Splits) -> str:
    """Counts of classes and images, as one line for the console.

    Examples:
      >>> from hypjax.data.catalog import load
      >>> summary(load("emoji"))
      'train 3232 images of 739 classes, validation 888 of 200, test 4282 of 970'
    """
    counts = [f"{name} {len(part)} of {len(part.class_names)}" for name, part in splits._asdict().items()]
    return ", ".join(counts).replace(" of ", " images of ", 1).replace(",", " classes,", 1)


def create_evaluator(config: ConfigDict, setup: Setup, mesh: Mesh, reader: Reader | None = None) -> Evaluator:
    """What asks the model for its figures.

    Args:
      config: the settings.
      setup: from `assemble`.
      mesh: whose devices share the images.
      reader: sources to batches; None for one of images.

    Raises:
      UsageError: an unknown protocol or figure.
    """
    protocol = config.data.protocol
    if protocol not in PROTOCOLS:
        raise UsageError(f"data.protocol {protocol!r} is unknown; there are: {', '.join(PROTOCOLS)}")
    if config.evaluation.batch < 1:
        raise UsageError(f"evaluation.batch must be at least 1, not {config.evaluation.batch}")
    if unknown := [name for name in config.evaluation.figures if name not in FIGURES]:
        raise UsageError(f"evaluation.figures {unknown[0]!r} is unknown; there are: {', '.join(FIGURES)}")
    return Evaluator(
        create_embedder(setup.model, setup.space_at, setup.preprocess, mesh),
        setup.space_at,
        mesh,
        reader or create_reader(config, mesh),
        clip_radius=config.head.clip_radius,
        ks=tuple(config.evaluation.ks),
        query_gallery=protocol == "query_gallery",
        queries=config.evaluation.queries,
        figures=tuple(config.evaluation.figures),
    )


def create_refit(config: ConfigDict, setup: Setup, evaluator: Evaluator) -> Refit | None:
    """What fits the head anew to the trained features, where the settings ask for it.

    Raises:
      UsageError: a head that is trained, or that normalizes features.
    """
    head = config.head
    if not head.refit:
        return None
    if head.kernel != "kept" or head.normalize not in ("none", "center"):
        raise UsageError(
            f"head.refit fits a kernel that training keeps, of features as they are or centered: head.kernel "
            f"{head.kernel!r} must be 'kept', head.normalize {head.normalize!r} 'none' or 'center'"
        )
    if learns_points(config):
        raise UsageError(
            "head.refit would move the embeddings away from HIER's proxies or those of a tree, which lie among them: "
            "head=principal, or regularizer=none and loss.proxies_as=directions"
        )
    if not head.shrinkage > 0:
        raise UsageError(f"head.shrinkage must be positive, not {head.shrinkage}")
    return Refit(
        evaluator.embedder, evaluator.mesh, evaluator.reader, setup.splits.train, setup.model.head, head.shrinkage
    )
