"""A rehearsal: everything is built and compiled for a number of devices, nothing is read, trained or written.

`:dry` behind a config's colon prints what one wants to know before one books machines: parameters, memory of each
device, steps and images of an epoch, operations of a step. Of the benchmarks neither pictures nor weights need be
there: their published counts stand in for them.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from typing import Any, NamedTuple

import jax
from jax.sharding import Mesh
from ml_collections import ConfigDict

from hypjax.config import assembly, initialization, optimization
from hypjax.config.counted import Counted, splits_of
from hypjax.config.images import batch_classes, create_augmentation, create_sampler, create_view, limited
from hypjax.config.settings import holds_features
from hypjax.data.errors import UsageError
from hypjax.data.split import Splits
from hypjax.training import sharding
from hypjax.training.state import OBJECTIVE


class Rehearsal(NamedTuple):
    """What training would take.

    Attributes:
      splits: the data, or its counts.
      platform: of the devices compiled for, such as `cpu`.
      devices: how many.
      classes: of a batch.
      images: of a batch, over all devices.
      steps: of the run.
      trained: parameters of encoder and head that the optimizer changes.
      objective: parameters of the objective: proxies and the like.
      frozen: parameters that stay as they are.
      state_bytes: of the state (parameters, averages, moments), on each device.
      batch_bytes: of a batch, on each device.
      temporary_bytes: needed during a step, on each device, or None where the compiler doesn't say.
      operations: floating-point operations of a step over all devices, or None where the compiler doesn't say.
      seconds: that compiling took.
    """

    splits: Splits
    platform: str
    devices: int
    classes: int
    images: int
    steps: int
    trained: int
    objective: int
    frozen: int
    state_bytes: int
    batch_bytes: int
    temporary_bytes: int | None
    operations: float | None
    seconds: float

    @property
    def steps_per_epoch(self) -> int:
        """Steps that see as many images as there are."""
        return -(-len(self.splits.train) // self.images)


def rehearse(config: ConfigDict) -> None:
    """Builds and compiles the job that settings describe, and prints what it takes.

    Raises:
      UsageError: settings that don't fit together, or a batch that the devices can't share.
      DataError: data that is missing, broken or too small, where it isn't one of the benchmarks.
    """
    mesh = claim_devices(config.dry.devices)
    for line in describe(config, measure(config, mesh)):
        print(line)


def claim_devices(count: int) -> Mesh:
    """A mesh of so many devices: of those that are there, or else of as many CPU devices as are asked for.

    Args:
      count: how many; 0 for all there are.

    Raises:
      UsageError: a negative number, or JAX has started already with fewer devices.
    """
    if count < 0:
        raise UsageError(f"dry.devices must not be negative, but is {count}")
    if count:
        with contextlib.suppress(RuntimeError):  # too late, and perhaps needless: there may be as many
            jax.config.update("jax_num_cpu_devices", count)
    devices = jax.devices()
    if count > len(devices):
        devices = jax.devices("cpu")
    if count > len(devices):
        raise UsageError(f"JAX has started with {len(devices)} devices, which is too late to ask for {count}")
    return sharding.data_mesh(devices[: count or None])


def measure(config: ConfigDict, mesh: Mesh) -> Rehearsal:
    """Compiles the train step from shapes alone and asks the compiler what it takes.

    Args:
      config: the settings.
      mesh: the devices to compile for.

    Raises:
      UsageError: settings that don't fit together, or a batch that the devices can't share.
    """
    setup = assembly.assemble(config, splits_of(config))
    config = limited(config, setup.splits.train)
    classes = batch_classes(config, setup.splits.train)
    images = classes * config.batch.samples_per_class
    require_shares(classes, config.batch.samples_per_class, mesh.size, limit=len(setup.splits.train.class_names))
    # Made to be checked: what they refuse would else be found out on the machines that were booked.
    create_sampler(config, setup.splits.train)
    if not holds_features(config):
        create_augmentation(config)
        create_view(config)
    step = optimization.create_step(config, setup, mesh)
    arguments = initialization.abstract_arguments(config, setup, mesh)
    start = time.monotonic()
    lowered = step.lower(*arguments, seed=config.seed)
    compiled = lowered.compile(_quickly(mesh))
    memory = compiled.memory_analysis()
    state_bytes, whole_batch = _bytes(arguments[0]), _bytes(arguments[1])
    own = [path for path in arguments[0].params if path.startswith(OBJECTIVE)]
    return Rehearsal(
        splits=setup.splits,
        platform=mesh.devices.flat[0].platform,
        devices=mesh.size,
        classes=classes,
        images=images,
        steps=config.steps,
        trained=_size(arguments[0].params) - _size([arguments[0].params[path] for path in own]),
        objective=_size([arguments[0].params[path] for path in own]),
        frozen=_size(arguments[0].frozen),
        state_bytes=state_bytes,
        batch_bytes=whole_batch // mesh.size,
        temporary_bytes=memory.temp_size_in_bytes if memory else None,
        operations=_operations(lowered),
        seconds=time.monotonic() - start,
    )


def require_shares(classes: int, samples: int, devices: int, *, limit: int) -> None:
    """Checks that a batch can be shared out evenly.

    Args:
      classes: of the batch.
      samples: images of each.
      devices: how many.
      limit: classes that there are.

    Raises:
      UsageError: it can't; names the nearest number of classes that would do.
    """
    if classes * samples % devices == 0:
        return
    fitting = [n for n in range(1, limit + 1) if n * samples % devices == 0]
    nearest = min(fitting, key=lambda n: abs(n - classes), default=None)
    hint = "take fewer devices" if nearest is None else f"--config.batch.classes={nearest} makes it {nearest * samples}"
    raise UsageError(
        f"a batch of {classes * samples} images ({classes} classes of {samples}) cannot be shared out over {devices} "
        f"devices; {hint}"
    )


def _bytes(tree: Any) -> int:
    return sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(tree))


def _size(tree: Any) -> int:
    return sum(leaf.size for leaf in jax.tree.leaves(tree))


def _quickly(mesh: Mesh) -> dict[str, Any] | None:
    """Options of the compiler: on CPU machine code need not be good, since it never runs; its buffers stay the same."""
    return {"xla_backend_optimization_level": 0} if mesh.devices.flat[0].platform == "cpu" else None


def _operations(lowered: jax.stages.Lowered) -> float | None:
    """Operations of the whole step, as written: the compiled one calls libraries, whose work isn't counted."""
    costs = lowered.cost_analysis()
    return costs.get("flops") if costs else None


def describe(config: ConfigDict, found: Rehearsal) -> Iterator[str]:
    """What a rehearsal found, line by line.

    Args:
      config: the settings.
      found: from `measure`.
    """
    counted = ", by its published counts" if isinstance(found.splits.train, Counted) else ""
    seen = found.steps * found.images
    own = f", {found.objective:,} of the objective" if found.objective else ""
    samples, each = config.batch.samples_per_class, found.images // found.devices
    yield f"{config.name}: dry run for {found.devices} {found.platform} device(s); nothing is read, trained or written"
    rows = {
        "data": f"{config.data.name}{counted}: {assembly.summary(found.splits)}",
        "encoder": "none, features are the data"
        if holds_features(config)
        else f"{config.encoder.name}, {config.encoder.dtype}, images of {config.data.image_size} pixels",
        "parameters": f"{found.trained:,} trained{own}, {found.frozen:,} frozen",
        "batch": f"{found.images:,} images, {found.classes} classes × {samples}; {each:,} a device",
        "epoch": f"{found.steps_per_epoch:,} steps, {len(found.splits.train):,} images",
        "run": f"{found.steps:,} steps, {seen:,} images, {seen / len(found.splits.train):.1f} epochs",
        "memory": _memory(found),
    }
    if found.operations:
        whole = f"{found.operations * found.steps / 1e15:,.1f} PFLOP the run, over all devices"
        rows["operations"] = f"{found.operations / 1e12:,.2f} TFLOP a step, {whole}"
    rows["compiled in"] = f"{found.seconds:.0f} s"
    for name, text in rows.items():
        yield f"  {name:<12}{text}"
    if found.platform == "cpu":
        yield "  compiled for CPU: an accelerator's own compiler lays out temporaries otherwise, often in less memory"


def _memory(found: Rehearsal) -> str:
    held = f"state {gib(found.state_bytes)}, batch {gib(found.batch_bytes)}"
    if found.temporary_bytes is None:
        return f"{held} a device; what a step needs besides is not known"
    total = found.state_bytes + found.batch_bytes + found.temporary_bytes
    return f"{gib(total)} a device: {held}, temporaries {gib(found.temporary_bytes)}"


def gib(size: int) -> str:
    """A number of bytes for people.

    Examples:
      >>> gib(3 * 2**30), gib(5 * 2**20)
      ('3.00 GiB', '5 MiB')
    """
    return f"{size / 2**30:.2f} GiB" if size >= 2**29 else f"{size / 2**20:.0f} MiB"
