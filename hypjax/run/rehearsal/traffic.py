"""What a step costs a chip as the compiler laid it out: bytes from and to main memory, cycles."""

from __future__ import annotations

from hypjax.run.rehearsal.hlo import Array, Computation, Instruction, Program

_NO_TRAFFIC = {"parameter", "tuple", "get-tuple-element", "bitcast", "constant", "iota", "partition-id", "replica-id"}
_NO_TRAFFIC |= {"while", "conditional", "call", "async-start", "after-all", "opt-barrier"}
# Of a large operand they touch no more than they give.
_PARTS = ("slice", "dynamic-slice", "gather", "slice-start", "dynamic-slice-start")


def memory_traffic(program: Program) -> float:
    """Bytes read from and written to main memory in a step.

    A fusion reads its operands once and writes its results once; of an operand that it only takes slices of it reads
    those, and where it changes a slice in place it touches that slice. What lies in the chip's fast memory counts when
    it is copied there. What a layout fills up is not counted.

    Args:
      program: compiled, for one device of a mesh.
    """
    return sum(times * _moved(i, computation, program) for i, computation, times in program.steps(fused=False))


def cycles(program: Program) -> int:
    """Cycles of a step by the estimates that the TPU compiler leaves beside its instructions; 0 where there are none.

    Copies that run beside the computation and collectives have no estimate.
    """
    return sum(
        times * int(i.attribute(r'"estimated_cycles":"(\d+)"') or 0) for i, _, times in program.steps(fused=False)
    )


def _moved(instruction: Instruction, computation: Computation, program: Program) -> float:
    code, results = instruction.opcode, instruction.arrays
    if code in _NO_TRAFFIC or code.endswith(("-done", "-update")):
        return 0.0
    operands = [computation[name].arrays for name in instruction.operands if name in computation]
    if code == "copy-start":  # (there, here, its mark)
        return _far(results[:2])
    if code.endswith("-start"):  # the operands stand in front of the result
        results = results[sum(len(operand) for operand in operands) :][:1]
    if code in _PARTS:
        far = sum(not array.near for array in (*operands[0], *results))
        return far * sum(array.bytes for array in results)
    if code == "dynamic-update-slice":
        return 2 * _far(operands[1])
    if code == "fusion":
        return _far(results) + _of_fusion(program.computations[program.called(instruction)[0]])
    return _far(results) + sum(_far(operand) for operand in operands)


def _of_fusion(inside: Computation) -> float:
    """What a fusion reads, less what of its results it leaves as it was."""
    moved = 0.0
    for line in inside.values():
        if line.opcode == "parameter" and (far := _far(line.arrays)):
            uses = [use for use in inside.values() if line.name in use.operands]
            first = [use for use in uses if use.operands[0] == line.name]
            parts = [sum(array.bytes for array in use.arrays) for use in first if use.opcode in _PARTS]
            changed = [use for use in first if use.opcode == "dynamic-update-slice"]
            moved += sum(parts) if len(parts) + len(changed) == len(uses) else far
            moved += sum(sum(a.bytes for a in inside[use.operands[1]].arrays) - far for use in changed)
    return moved


def _far(found: list[Array]) -> float:
    return sum(array.bytes for array in found if not array.near)
