"""Settings to what training minimizes and how: objective, learning rate, optimizer and the compiled step."""

from __future__ import annotations

from functools import partial

import jax
import optax
from jax.sharding import Mesh
from ml_collections import ConfigDict

from hypjax import optim
from hypjax.config.assembly import Setup
from hypjax.config.images import batch_classes
from hypjax.config.settings import holds_features
from hypjax.data.errors import UsageError, as_usage
from hypjax.training import objective as objectives
from hypjax.training import optimizer as optimizers
from hypjax.training import sharding
from hypjax.training.regularizers import REGULARIZERS
from hypjax.training.state import TrainState
from hypjax.training.step import Batch, Metrics, train_step


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
            regularizers={name: config[name].to_dict() for name in REGULARIZERS},
            classes=len(setup.splits.train.class_names),
            ancestors=setup.splits.train.ancestors,
            level_names=setup.splits.train.level_names,
            decay=config.tree.decay,
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
      UsageError: parts that make no sense together, or a batch that can't be cut into slices.
    """
    require_slices(config, setup, mesh)
    step = partial(
        train_step,
        model=setup.model,
        objective=create_objective(config, setup),
        optimizer=create_optimizer(config),
        preprocess=setup.preprocess,
        decay=config.optimizer.ema,
        slices=config.batch.slices,
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


def require_slices(config: ConfigDict, setup: Setup, mesh: Mesh) -> None:
    """Checks that the encoder can take a batch in slices.

    Raises:
      UsageError: it can't; says why, and which number would do.
    """
    slices = config.batch.slices
    if slices == 1:
        return
    if slices < 1:
        raise UsageError(f"batch.slices must be at least 1, not {slices}")
    if holds_features(config) or config.features.cached:
        raise UsageError(f"batch.slices={slices} makes no sense with features as input: no encoder is run")
    if getattr(setup.model.encoder, "train_batch_norm", False):
        raise UsageError(
            f"encoder.train_batch_norm takes its statistics over the whole batch, so that batch.slices={slices} would "
            "give others; set one of them back"
        )
    images = batch_classes(config, setup.splits.train) * config.batch.samples_per_class
    each = images // mesh.size
    if each % slices:
        nearest = min((n for n in range(1, each + 1) if each % n == 0), key=lambda n: abs(n - slices))
        raise UsageError(
            f"{each} images of each device can't be cut into {slices} equal slices; --config.batch.slices={nearest} can"
        )
