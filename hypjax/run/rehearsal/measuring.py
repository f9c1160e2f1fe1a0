"""The train step compiled from shapes alone, and what the compiler says of it."""

from __future__ import annotations

import re
from collections import Counter
from typing import Any, NamedTuple

import jax
from jax.sharding import Mesh
from ml_collections import ConfigDict

from hypjax.config import assembly, initialization, optimization
from hypjax.config.counted import splits_of
from hypjax.config.images import (
    batch_classes,
    create_augmentation,
    create_sampler,
    create_view,
    create_workers,
    limited,
)
from hypjax.config.settings import holds_features
from hypjax.data.errors import UsageError
from hypjax.data.split import Splits
from hypjax.run.rehearsal import chips, compiling, hlo, traffic
from hypjax.run.rehearsal.collectives import Known, Transfer, transfers
from hypjax.run.rehearsal.operations import operations
from hypjax.training import sharding
from hypjax.training.state import OBJECTIVE, TrainState

_UNITS = {"K": 2.0**10, "M": 2.0**20, "G": 2.0**30}


class Memory(NamedTuple):
    """Bytes that a step takes on each device, by what they are for.

    Attributes:
      parameters: trained and frozen ones, running statistics.
      averages: of the parameters.
      moments: of the optimizer.
      kept: what else the state holds: failures, points of earlier batches.
      batch: images, labels and the rest.
      temporaries: needed during a step, what layouts fill up included, or None where the compiler doesn't say.
      program: its machine code, or 0 where it was not waited for.
    """

    parameters: int
    averages: int
    moments: int
    kept: int
    batch: int
    temporaries: int | None
    program: int

    @property
    def state(self) -> int:
        """Of the state, which is whole on each device."""
        return self.parameters + self.averages + self.moments + self.kept

    @property
    def total(self) -> int:
        """All of it, as far as it is known."""
        return self.state + self.batch + (self.temporaries or 0) + self.program


class Rehearsal(NamedTuple):
    """What training would take.

    Attributes:
      splits: the data, or its counts.
      platform: of the devices compiled for, such as `cpu`.
      chip: its published figures, or None where they are not known.
      devices: how many.
      classes: of a batch.
      images: of a batch, over all devices.
      steps: of the run.
      trained: parameters of encoder and head that the optimizer changes.
      objective: parameters of the objective: proxies and the like.
      frozen: parameters that stay as they are.
      memory: of each device.
      operations: floating-point operations of a step's products and convolutions, over all devices.
      transfers: what crosses the network in a step.
      times: seconds of a step by each part of the chip, or None without its figures.
      seconds: that compiling took, as far as it was waited for.
    """

    splits: Splits
    platform: str
    chip: chips.Chip | None
    devices: int
    classes: int
    images: int
    steps: int
    trained: int
    objective: int
    frozen: int
    memory: Memory
    operations: float
    transfers: list[Transfer]
    times: chips.Times | None
    seconds: float

    @property
    def steps_per_epoch(self) -> int:
        """Steps that see as many images as there are."""
        return -(-len(self.splits.train) // self.images)


class TooLarge(UsageError):
    """A step that does not fit in a chip's memory.

    Attributes:
      images: of its batch.
      needed: bytes of each chip.
      available: bytes of each chip.
      held: of `needed`, by the state, whatever the batch.
    """

    def __init__(self, images: int, needed: float, available: float, held: float) -> None:
        super().__init__(
            f"a step of {images:,} images needs {gib(needed)} of each chip's memory, which has {gib(available)} for it"
        )
        self.images, self.needed, self.available, self.held = images, needed, available, held


def measure(config: ConfigDict, mesh: Mesh) -> Rehearsal:
    """Compiles the train step from shapes alone and asks the compiler what it takes.

    Args:
      config: the settings; by `dry.cycles` the machine code of a TPU is waited for, too.
      mesh: the devices to compile for.

    Raises:
      UsageError: settings that don't fit together, or a batch that the devices can't share.
      TooLarge: the compiler finds that a chip's memory does not hold the step.
    """
    setup = assembly.assemble(config, splits_of(config))
    config = limited(config, setup.splits.train)
    classes = batch_classes(config, setup.splits.train)
    samples, limit = config.batch.samples_per_class, len(setup.splits.train.class_names)
    images = classes * samples
    sharding.require_shares(classes, samples, mesh.size, limit=limit)
    # Made to be checked: what they refuse would else be found out on the machines that were booked.
    create_sampler(config, setup.splits.train)
    if not holds_features(config):
        create_augmentation(config)
        create_view(config)
        create_workers(config)
    step = optimization.create_step(config, setup, mesh)
    state, batch = initialization.abstract_arguments(config, setup, mesh)
    device = mesh.devices.flat[0]
    traced = step.trace(state, batch, seed=config.seed)
    # On CPU machine code need not be good, since it never runs; its buffers stay the same.
    options: compiling.Options = {"xla_backend_optimization_level": 0} if device.platform == "cpu" else None
    try:
        made = compiling.compiled(traced.lower(), options, ahead=device.platform == "tpu" and not config.dry.cycles)
    except jax.errors.JaxRuntimeError as error:
        if (sizes := exceeded(str(error))) is None:
            raise
        raise TooLarge(images, *sizes, _bytes(state)) from None
    own = _size([state.params[path] for path in state.params if path.startswith(OBJECTIVE)])
    chip, count = chips.CHIPS.get(device.device_kind), operations(traced.jaxpr)
    program = hlo.parse(made.text)
    found = transfers(program, _known(config, setup, state, images), devices=mesh.size)
    return Rehearsal(
        splits=setup.splits,
        platform=device.platform if chip is None else chip.name,
        chip=chip,
        devices=mesh.size,
        classes=classes,
        images=images,
        steps=config.steps,
        trained=_size(state.params) - own,
        objective=own,
        frozen=_size(state.frozen),
        memory=_memory(state, batch, made, mesh.size),
        operations=count,
        transfers=found,
        times=chip
        and chips.times(
            chip,
            operations=count / mesh.size,
            traffic=traffic.memory_traffic(program),
            sent=sum(transfer.sent for transfer in found),
            cycles=traffic.cycles(program),
        ),
        seconds=made.seconds,
    )


def exceeded(message: str) -> tuple[float, float] | None:
    """Bytes needed and available by what the TPU compiler says of memory that is too small; None for other complaints.

    Examples:
      >>> exceeded("Ran out of memory on HBM, the total (24.00G) exceeds available HBM (512.00M). HLO module")
      (25769803776.0, 536870912.0)
    """
    size = r"([\d.]+)([KMG])"
    found = re.search(rf"\({size}\) exceeds available HBM \({size}\)|Used {size} of {size} hbm", message)
    if found is None:
        return None
    needed, unit, available, its_unit = (group for group in found.groups() if group)
    return float(needed) * _UNITS[unit], float(available) * _UNITS[its_unit]


def _memory(state: TrainState, batch: Any, made: compiling.Compiled, devices: int) -> Memory:
    held, shared = _bytes(state), _bytes(batch) // devices
    return Memory(
        parameters=_bytes([state.params, state.frozen, state.collections]),
        averages=_bytes(state.average),
        moments=_bytes(state.opt_state),
        kept=_bytes([state.step, state.failures, state.memory]),
        batch=shared,
        temporaries=None if made.buffers is None else made.buffers - held - shared,
        program=made.code,
    )


def _known(config: ConfigDict, setup: assembly.Setup, state: TrainState, images: int) -> Known:
    """Sizes by which what crosses the network is told apart."""
    own = {path.removeprefix(OBJECTIVE): leaf for path, leaf in state.params.items() if path.startswith(OBJECTIVE)}
    tangent = jax.ShapeDtypeStruct((1, config.head.dim), "float32")
    point = jax.eval_shape(lambda params, v: setup.space_at(params).manifold.embed(v), own, tangent)
    return Known(
        batch=images,
        widths={config.head.dim, point.shape[-1]},
        gradients=Counter((path.startswith(OBJECTIVE), leaf.size) for path, leaf in state.params.items()),
        statistics={leaf.size for leaf in jax.tree.leaves(state.collections)},
    )


def _bytes(tree: Any) -> int:
    return sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(tree))


def _size(tree: Any) -> int:
    return sum(leaf.size for leaf in jax.tree.leaves(tree))


def gib(size: float) -> str:
    """A number of bytes for people.

    Examples:
      >>> gib(3 * 2**30), gib(5 * 2**20), gib(2000)
      ('3.00 GiB', '5 MiB', '2 KiB')
    """
    for unit, name, digits in ((2**30, "GiB", 2), (2**20, "MiB", 0)):
        if size >= unit / 2:
            return f"{size / unit:.{digits}f} {name}"
    return f"{size / 2**10:.0f} KiB"
