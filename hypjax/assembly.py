"""From settings to parts, once, at start-up; `images`, `initialization` and `inputs` alone read settings beside it."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax
from jax.sharding import Mesh
from ml_collections import ConfigDict

from hypjax import encoders, optim
from hypjax.data import catalog
from hypjax.data.source import coarsened
from hypjax.data.split import Splits
from hypjax.encoders.head import Head
from hypjax.encoders.model import RADII, EmbeddingModel
from hypjax.encoders.vit import VisionTransformer
from hypjax.errors import UsageError, as_usage
from hypjax.images import create_reader, require_no_images, width_of
from hypjax.settings import holds_features
from hypjax.training import objective as objectives
from hypjax.training import optimizer as optimizers
from hypjax.training import sharding
from hypjax.training.embedding import Reader, create_embedder
from hypjax.training.evaluation import Evaluator
from hypjax.training.refitting import Refit
from hypjax.training.space import Space, create_space
from hypjax.training.state import TrainState
from hypjax.training.step import Batch, Metrics, normalize, train_step

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
            )
        if not len(splits.validation) and not config.evaluation.test:
            raise UsageError("evaluation.test=false scores validation classes, of which data.validation=0 leaves none")
        if config.data.train_level:
            splits = splits._replace(train=coarsened(splits.train, config.data.train_level))
    if holds_features(config):
        require_no_images(config, width_of(splits.train))
    model, preprocess = create_model(config)
    return Setup(splits, model, create_space_at(config), preprocess)


def create_model(config: ConfigDict) -> tuple[EmbeddingModel, Callable[[jax.Array], jax.Array]]:
    """The model, and what brings bytes to its encoder's units; no data is looked at.

    Raises:
      UsageError: an unknown name or size, or settings out of range.
    """
    head = config.head
    with as_usage():
        encoder, preprocess = (None, _as_is) if holds_features(config) else create_encoder(config)
        model = EmbeddingModel(
            encoder,
            Head(
                dim=head.dim,
                normalize=head.normalize,
                kernel_init=head.init,
                kernel=head.kernel,
                rank=head.rank,
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
    return model, preprocess


def create_encoder(config: ConfigDict) -> tuple[nn.Module, Callable[[jax.Array], jax.Array]]:
    """The encoder, and what brings bytes to its units.

    Raises:
      UsageError: an unknown name or size, or settings out of range.
    """
    with as_usage():
        mean, std, *_ = encoders.preprocessing(config.encoder.name)
        encoder = encoders.create(
            config.encoder.name,
            dtype=choose_dtype(config.encoder.dtype),
            train_batch_norm=config.encoder.train_batch_norm,
            **config.encoder.sizes,
        )
        sizes = config.data.image_size, config.data.eval_image_size
        if isinstance(encoder, VisionTransformer) and sizes[0] != sizes[1]:
            raise UsageError(
                f"{config.encoder.name} has positions for one size of image: data.image_size {sizes[0]} and "
                f"data.eval_image_size {sizes[1]} must be the same"
            )
    return encoder, partial(normalize, mean=jnp.asarray(mean), std=jnp.asarray(std))


def _as_is(images: jax.Array) -> jax.Array:
    raise TypeError("a model of features takes no images")


def create_space_at(config: ConfigDict) -> Callable[[objectives.Params], Space]:
    """Where the embeddings live, given what the objective learns: its curvature, where that is learned.

    Raises:
      UsageError: an unknown name, or a curvature out of range.
    """

    def at(c: Any) -> Space:
        return create_space(
            config.geometry,
            c=c,
            distance=config.distance,
            uncertainty=config.uncertainty,
            clip_radius=config.head.clip_radius,
            hybrid=config.hybrid,
        )

    with as_usage():
        fixed = at(config.curvature)  # made once: a search compiled for it stays compiled
    if not config.learn_curvature:
        return lambda params: fixed
    low, high = config.curvature_range
    if fixed.curvature is None:
        raise UsageError(f"learn_curvature makes no sense with geometry {config.geometry!r}, which has none")
    if not 0 < low < config.curvature < high:
        raise UsageError(f"need 0 < curvature_range[0] < curvature < curvature_range[1], not {(low, high)}")
    return objectives.learned_space(at, low, high)


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


def create_objective(config: ConfigDict, setup: Setup) -> objectives.Objective:
    """Binds loss, miner and regularizer of the settings to the space.

    Raises:
      UsageError: an unknown part, a batch it can't work on, or parts that make no sense together.
    """
    curvature = None
    with as_usage():
        if config.learn_curvature:
            curvature = optim.unbounded_curvature(config.curvature, *config.curvature_range)
        return objectives.create_objective(
            setup.space_at,
            config.loss.name,
            samples_per_class=config.batch.samples_per_class,
            settings=config.loss.to_dict(),
            miner=config.miner,
            regularizer=config.regularizer,
            hier=config.hier.to_dict(),
            classes=len(setup.splits.train.class_names),
            dimension=config.head.dim,
            clip_radius=config.head.clip_radius,
            curvature=curvature,
            failure_weight=config.loss.failure_weight,
            memory_size=config.memory.size,
            gradient=config.head.gradient,
        )


def create_schedule(config: ConfigDict) -> optax.Schedule:
    """The learning rate by step.

    Raises:
      UsageError: an unknown schedule, a warm-up or a decay out of range.
    """
    chosen = config.optimizer
    schedule = optimizers.learning_rate_schedule(
        chosen.learning_rate, steps=config.steps, warmup=chosen.warmup, schedule=chosen.schedule
    )
    every, factor = chosen.decay_every, chosen.decay_factor
    if not 0 <= every <= 1 or not 0 < factor <= 1:
        raise UsageError(f"need optimizer.decay_every in [0, 1] and decay_factor in (0, 1], not {every} and {factor}")
    if not every:
        return schedule
    span = max(1, round(every * config.steps))
    return lambda step: schedule(step) * factor ** (step // span)


def create_optimizer(config: ConfigDict) -> optax.GradientTransformationExtraArgs:
    """The transformation of the gradients."""
    chosen = config.optimizer
    return optimizers.create_optimizer(
        create_schedule(config),
        head_multiplier=chosen.head_multiplier,
        doubt_multiplier=chosen.doubt_multiplier or chosen.head_multiplier,
        weight_decay=chosen.weight_decay,
        head_decay=chosen.head_decay or chosen.weight_decay,
        clip_norm=chosen.clip_norm,
        proxy_multiplier=chosen.proxy_multiplier,
        hier_multiplier=chosen.hier_multiplier,
        curvature_multiplier=chosen.curvature_multiplier,
    )


def create_step(config: ConfigDict, setup: Setup, mesh: Mesh) -> jax.stages.Wrapped:
    """The compiled train step, `(state, batch, seed=...) -> (state, metrics)`; it takes the state's place in memory.

    Raises:
      UsageError: parts that make no sense together.
    """
    step = partial(
        train_step,
        model=setup.model,
        objective=create_objective(config, setup),
        optimizer=create_optimizer(config),
        preprocess=setup.preprocess,
        decay=config.optimizer.ema,
    )

    def on_mesh(state: TrainState, batch: Batch, *, seed: int) -> tuple[TrainState, Metrics]:
        with jax.sharding.use_abstract_mesh(mesh.abstract_mesh):  # by which a loss shares its anchors out
            return step(state, batch, seed=seed)

    return jax.jit(
        on_mesh,
        donate_argnums=0,
        # Named, since what stands for a row of the batch would else be split by the compiler's own choice.
        out_shardings=sharding.replicated(mesh),
    )


def create_evaluator(config: ConfigDict, setup: Setup, mesh: Mesh, reader: Reader | None = None) -> Evaluator:
    """What asks the model for its figures.

    Args:
      config: the settings.
      setup: from `assemble`.
      mesh: whose devices share the images.
      reader: sources to batches; None for one of images.

    Raises:
      UsageError: an unknown protocol, or a batch that the devices can't share.
    """
    protocol = config.data.protocol
    if protocol not in PROTOCOLS:
        raise UsageError(f"data.protocol {protocol!r} is unknown; there are: {', '.join(PROTOCOLS)}")
    sharding.require_divisible(config.evaluation.batch, mesh)
    return Evaluator(
        create_embedder(setup.model, setup.space_at, setup.preprocess, mesh),
        setup.space_at,
        mesh,
        reader or create_reader(config),
        clip_radius=config.head.clip_radius,
        ks=tuple(config.evaluation.ks),
        query_gallery=protocol == "query_gallery",
        queries=config.evaluation.queries,
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
    if config.regularizer == "hier":
        raise UsageError(
            "head.refit would move the embeddings away from HIER's proxies, which lie among them: head=principal, or "
            "regularizer=none"
        )
    if not head.shrinkage > 0:
        raise UsageError(f"head.shrinkage must be positive, not {head.shrinkage}")
    return Refit(
        evaluator.embedder, evaluator.mesh, evaluator.reader, setup.splits.train, setup.model.head, head.shrinkage
    )


def choose_dtype(name: str) -> Any:
    """The encoder's compute type by name.

    Raises:
      ValueError: neither float32 nor bfloat16.
    """
    if name not in ("float32", "bfloat16"):
        raise ValueError(f"encoder.dtype {name!r} is unknown; there are: float32, bfloat16")
    return jnp.dtype(name)
