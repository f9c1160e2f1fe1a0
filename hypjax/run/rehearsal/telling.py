"""What a rehearsal found, for people."""

from __future__ import annotations

from collections.abc import Iterator

from ml_collections import ConfigDict

from hypjax.config import assembly
from hypjax.config.counted import Counted
from hypjax.config.settings import holds_features
from hypjax.run.rehearsal.collectives import FORBIDDEN, by_kind, total
from hypjax.run.rehearsal.measuring import Rehearsal, gib

LEAST = 512  # bytes that are told


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
    whole = f"{scaled(found.operations * found.steps)} the run, over all devices"
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
        "state": f"parameters {gib(found.memory.parameters)}, averages {gib(found.memory.averages)}, moments "
        f"{gib(found.memory.moments)}, other {gib(found.memory.kept)}",
        "operations": f"{scaled(found.operations)} a step, {whole}",
        **_network(found),
        **_step(found),
        "compiled in": f"{found.seconds:.0f} s",
    }
    width = 1 + max(map(len, rows))
    for name, text in rows.items():
        yield f"  {name:<{width}}{text}"
    if found.platform == "cpu":
        yield "  compiled for CPU: an accelerator's own compiler lays out temporaries otherwise, often in less memory"


def scaled(operations: float) -> str:
    """A number of operations for people.

    Examples:
      >>> scaled(3.2e12), scaled(4e9), scaled(7.25e15)
      ('3.20 TFLOP', '4.00 GFLOP', '7.25 PFLOP')
    """
    for unit, name in ((1e15, "P"), (1e12, "T"), (1e9, "G")):
        if operations >= unit:
            return f"{operations / unit:,.2f} {name}FLOP"
    return f"{operations / 1e6:,.2f} MFLOP"


def _memory(found: Rehearsal) -> str:
    memory = found.memory
    held = f"state {gib(memory.state)}, batch {gib(memory.batch)}"
    if memory.temporaries is None:
        return f"{held} a device; what a step needs besides is not known"
    program = f", program {gib(memory.program)}" if memory.program else ""
    there = f" of {gib(found.chip.memory)}" if found.chip else ""
    return f"{gib(memory.total)}{there} a device: {held}, temporaries {gib(memory.temporaries)}{program}"


def _network(found: Rehearsal) -> dict[str, str]:
    """What each kind of collective moves, and whether it should."""
    if found.devices == 1:
        return {}
    rows = {}
    for kind, carried in by_kind(found.transfers).items():
        rows[kind] = ", ".join(f"{name} {gib(sent)}" for name, sent in carried.items() if sent >= LEAST) or "little"
    wrong = [transfer for transfer in found.transfers if transfer.carries in FORBIDDEN]
    rows["network"] = f"each device sends {gib(total(found.transfers))} a step; no image and no activation"
    if wrong:
        worst = max(wrong, key=lambda transfer: transfer.sent)
        rows["network"] = f"{worst.carries} cross it, {gib(total(wrong))} a step: {worst.op_name or worst.array}"
    return rows


def _step(found: Rehearsal) -> dict[str, str]:
    times = found.times
    if times is None:
        return {}
    estimate = (
        f"{1e3 * times.estimate:.1f} ms, {found.images / times.estimate:,.0f} images/s, held by the {times.limit}"
    )
    peaks = (
        f"matrix unit {1e3 * times.matrix:.1f} ms, memory {1e3 * times.memory:.1f}, network {1e3 * times.network:.1f}"
    )
    if not times.counted:
        return {"step": f"at least {estimate}; --config.dry.cycles says more, in minutes", "at its peak": peaks}
    return {
        "step": f"about {estimate}",
        "at its peak": f"{peaks}; by the compiler's cycles {1e3 * times.counted:.1f}",
    }
