"""What crosses the network in a step: each collective of the compiled program, its bytes, and what they are.

No image and no activation has to: the loss of the whole batch needs the embeddings of all devices, their labels and
terms, the update needs the gradients of all. `carried` says which of these an array is, by the part of the step it
comes from and by its size; what it can't tell is `unknown`.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import NamedTuple

from hypjax.run.rehearsal.hlo import Array, Computation, Instruction, Program

KINDS = ("all-reduce", "all-gather", "reduce-scatter", "all-to-all", "collective-permute", "collective-broadcast")
ALLOWED = ("gradients", "embeddings", "labels", "terms", "statistics", "updates")
FORBIDDEN = ("images", "activations", "unknown")
_MOVING = ("bitcast", "copy", "convert", "reshape", "transpose", "copy-done", "slice-done", "async-done", "opt-barrier")


class Transfer(NamedTuple):
    """An array that a collective takes.

    Attributes:
      kind: one of `KINDS`.
      carries: one of `ALLOWED` or `FORBIDDEN`.
      sent: bytes that each device sends for it in a step, by the least that the collective takes.
      array: on each device.
      op_name: where in the step it comes from.
    """

    kind: str
    carries: str
    sent: float
    array: Array
    op_name: str


class Known(NamedTuple):
    """Sizes by which arrays are told apart, in numbers, not bytes.

    Attributes:
      batch: images of all devices.
      widths: numbers of a point or tangent vector.
      gradients: how many trained parameters there are of each size, by whether they are the objective's own.
      statistics: sizes of running statistics of the encoder.
    """

    batch: int
    widths: Collection[int]
    gradients: Mapping[tuple[bool, int], int]
    statistics: Collection[int] = ()


def transfers(program: Program, known: Known, *, devices: int) -> list[Transfer]:
    """All that a compiled step sends over the network.

    Args:
      program: of one device of the mesh.
      known: sizes of what is expected there.
      devices: of the mesh.
    """
    left, found = Counter(known.gradients), []
    for kind, group, times, instruction, computation in _collectives(program, devices):
        results = _results(instruction, computation)
        for place, name in enumerate(instruction.operands):
            if not (operand := computation.get(name)) or not operand.arrays:
                continue
            origin = results.get(place) or _origin(operand, computation, program) or instruction.op_name
            array = operand.arrays[0]
            carries = carried(array, origin, known, left, times=times, group=group)
            sent = times * array.bytes * _share(kind, group)
            found.append(Transfer(kind, carries, sent, array, origin))
    return found


def carried(
    array: Array, op_name: str, known: Known, left: Counter[tuple[bool, int]], *, times: int = 1, group: int = 1
) -> str:
    """What an array is, one of `ALLOWED` or `FORBIDDEN`.

    A gradient is what comes from a backward pass and has the size of a trained parameter; each parameter has one, so
    that an activation of that size is none. An update is what becomes of gradients.

    Args:
      array: on one device.
      op_name: where in the step it comes from, with the scopes that `train_step` and Flax give.
      known: sizes of what is expected.
      left: trained parameters of each size whose gradients were not met yet; one is taken off.
      times: how often a step comes by: the blocks of an encoder may take turns, their parameters in one array.
      group: devices that a gathered array comes from.
    """
    backward, own = "transpose(" in op_name, _in("objective", op_name)
    if array.dtype == "u8" or _in("images", op_name):
        return "images"
    if backward and (size := next((n for n in (array.size * times, array.size) if left[own, n]), 0)):
        left[own, size] -= 1
        return "gradients"
    if _in("encoder", op_name):
        return "statistics" if array.size in known.statistics else "activations"
    if _in("update", op_name):
        return "updates"
    if array.dtype[0] in "sup":  # of integers, and truth
        return "labels"
    if array.size in {known.batch * width // part for width in known.widths for part in (1, group)}:
        return "embeddings"
    return "terms" if own or array.size == 1 else "unknown"


def _in(scope: str, op_name: str) -> bool:
    return re.search(rf"(?:^|[/(]){scope}(?:[/)]|$)", op_name) is not None


def _collectives(program: Program, devices: int) -> Iterator[tuple[str, int, int, Instruction, Computation]]:
    """Each collective once: what is done in pieces beside other work stands in the program several times."""
    seen: set[str] = set()
    for instruction, computation, times in program.steps(fused=True):
        kind = instruction.opcode.removesuffix("-start")
        channel = instruction.attribute(r"channel_id=(\d+)")
        if kind in KINDS and (not channel or channel not in seen):
            seen.add(channel)
            yield kind, _group(instruction, devices), times, instruction, computation


def _group(instruction: Instruction, devices: int) -> int:
    """How many devices take part together."""
    tiled = instruction.attribute(r"replica_groups=\[\d+,(\d+)\]")
    listed = instruction.attribute(r"replica_groups=\{\{([\d,]+)\}")
    return int(tiled) if tiled else len(listed.split(",")) if listed else devices


def _share(kind: str, group: int) -> float:
    """Of its operand, how often a device sends it at the least, in a ring of `group`."""
    others = group - 1
    return {"all-reduce": 2 * others / group, "all-gather": others, "collective-permute": 1.0}.get(kind, others / group)


def _results(collective: Instruction, computation: Computation) -> dict[int, str]:
    """Of a collective that takes several arrays where each comes from, by its place, as what takes it out says."""
    if len(collective.arrays) == 1:
        return {}
    taken = (line for line in computation.values() if line.operands[:1] == (collective.name,))
    parts = (line for line in taken if line.opcode == "get-tuple-element")
    return {int(line.attribute(r"index=(\d+)") or 0): line.op_name for line in parts}


def _origin(instruction: Instruction, computation: Computation, program: Program) -> str:
    """Where an operand comes from: the name of what made it, looking through what only moves it."""
    if instruction.opcode == "parameter":  # of a fusion that has the collective in it
        calls = (line for lines in program.computations.values() for line in lines.values())
        return next((line.op_name for line in calls if any(inner is computation for inner in _of(line, program))), "")
    while instruction.operands and instruction.operands[0] in computation:
        if _moves(instruction, program):
            instruction = computation[instruction.operands[0]]
        elif instruction.opcode == "get-tuple-element":
            source, place = computation[instruction.operands[0]], int(instruction.attribute(r"index=(\d+)") or 0)
            called = program.called(source)
            if source.opcode != "fusion" or not called:
                return source.op_name
            computation = program.computations[called[0]]
            results = next(line for line in computation.values() if line.root)
            if results.opcode != "tuple":
                return results.op_name
            instruction = computation[results.operands[place]]
        else:
            break
    return instruction.op_name


def _of(instruction: Instruction, program: Program) -> list[Computation]:
    """The computations that it runs."""
    return [program.computations[name] for name in program.called(instruction)]


def _moves(instruction: Instruction, program: Program) -> bool:
    """Whether an instruction moves its operand and no more, whole or, then as the first of several, in pieces."""
    if instruction.opcode == "async-start":
        return {line.opcode for lines in _of(instruction, program) for line in lines.values()} == {"parameter", "slice"}
    return instruction.opcode in _MOVING or "ConcatBitcast" in instruction.attribute(r'custom_call_target="(\w+)"')


def total(found: Iterable[Transfer]) -> float:
    """Bytes that each device sends in a step."""
    return sum(transfer.sent for transfer in found)


def by_kind(found: Iterable[Transfer]) -> dict[str, dict[str, float]]:
    """Bytes that each device sends in a step, by the collective and then by what they are, the most first."""
    sums: dict[tuple[str, str], float] = {}
    for transfer in found:
        what = (transfer.kind, transfer.carries)
        sums[what] = sums.get(what, 0.0) + transfer.sent
    kinds: dict[str, dict[str, float]] = {}
    for (kind, carries), sent in sorted(sums.items(), key=lambda item: -item[1]):
        kinds.setdefault(kind, {})[carries] = sent
    return kinds
