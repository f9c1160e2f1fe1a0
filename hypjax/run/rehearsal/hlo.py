"""The text of a compiled program as instructions, and how often a step goes through each of them."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from typing import NamedTuple

_BYTES = {"pred": 1, "bf16": 2, "s4": 0.5, "u4": 0.5}  # of the others the name ends in the bits
_ARRAY = re.compile(r"\b([a-z]+\d*(?:e\d+m\d+\w*)?)\[([\d,]*)\](?:\{([^}]*)\})?")
_INSTRUCTION = re.compile(r"\s+(?:ROOT )?%?([\w.\-]+) = (.*)")
_CALLED = re.compile(r"(?:calls|to_apply|body|branch_computations|true_computation|false_computation)=\{?([^},]*)")
_NAME = re.compile(r"%([\w.\-]+)")


class Array(NamedTuple):
    """An array of an instruction, as the compiler lays it out.

    Attributes:
      dtype: such as `bf16`.
      shape: of it.
      near: whether it lies in the chip's fast memory rather than in its main memory.
    """

    dtype: str
    shape: tuple[int, ...]
    near: bool = False

    @property
    def size(self) -> int:
        """Numbers in it."""
        return math.prod(self.shape)

    @property
    def bytes(self) -> float:
        """Of its numbers, without what a layout fills up."""
        bits = re.search(r"\d+", self.dtype)
        return self.size * (_BYTES.get(self.dtype) or (int(bits[0]) / 8 if bits else 0))


class Instruction(NamedTuple):
    """A line of the program.

    Attributes:
      name: unique in its computation.
      type: of the result, as written.
      opcode: such as `all-reduce`.
      operands: names of its operands.
      rest: attributes, as written.
      root: whether it is what its computation returns.
    """

    name: str
    type: str
    opcode: str
    operands: tuple[str, ...]
    rest: str
    root: bool

    @property
    def arrays(self) -> list[Array]:
        """The arrays of the result."""
        return arrays(self.type)

    @property
    def op_name(self) -> str:
        """Where in the traced program it comes from, or ""."""
        return self.attribute(r'op_name="([^"]*)"')

    def attribute(self, pattern: str) -> str:
        """What a pattern's group finds among the attributes, or ""."""
        found = re.search(pattern, self.rest)
        return found[1] if found else ""


Computation = Mapping[str, Instruction]


class Program(NamedTuple):
    """A compiled program.

    Attributes:
      computations: by name, each with its instructions by name, in order.
      entry: name of the one that a step begins with.
    """

    computations: Mapping[str, Computation]
    entry: str

    def steps(self, *, fused: bool) -> Iterator[tuple[Instruction, Computation, int]]:
        """All that a step goes through: each instruction with the computation it stands in, and how many times.

        Args:
          fused: whether to look into fusions, which are one pass over memory each.

        Yields:
          Every branch of a condition is yielded, though a step takes one.
        """
        yield from self._within(self.entry, 1, fused)

    def _within(self, name: str, times: int, fused: bool) -> Iterator[tuple[Instruction, Computation, int]]:
        computation = self.computations[name]
        for instruction in computation.values():
            yield instruction, computation, times
            if instruction.opcode == "fusion" and not fused:
                continue
            turns = self.turns(instruction) if instruction.opcode == "while" else 1
            for called in self.called(instruction):
                yield from self._within(called, times * turns, fused)

    def called(self, instruction: Instruction) -> list[str]:
        """Computations that an instruction runs."""
        if instruction.opcode not in ("fusion", "call", "while", "conditional", "async-start"):
            return []
        found = re.findall(r"branch_computations=\{([^}]*)\}", instruction.rest) or _CALLED.findall(instruction.rest)
        return [name for name in _NAME.findall(" ".join(found)) if name in self.computations]

    def turns(self, loop: Instruction) -> int:
        """Turns of a loop: as told, or the number that its condition compares with; 1 where neither is known."""
        told = loop.attribute(r'known_trip_count":\{"n":"(\d+)"')
        if told:
            return int(told)
        condition = self.computations.get(loop.attribute(r"condition=%?([\w.\-]+)"), {})
        numbers = [
            int(n) for line in condition.values() for n in re.findall(r"^\((\d+)\)", line.rest) if "s32" in line.type
        ]
        return max(numbers, default=1)


def arrays(text: str) -> list[Array]:
    """The arrays of a type as written, those of a tuple one after the other.

    Examples:
      >>> arrays("(bf16[3,6]{1,0:T(8,128)(2,1)S(1)}, /*index=1*/f32[])")
      [Array(dtype='bf16', shape=(3, 6), near=True), Array(dtype='f32', shape=(), near=False)]
    """
    return [
        Array(dtype, tuple(int(n) for n in sizes.split(",") if n), "S(" in layout)
        for dtype, sizes, layout in _ARRAY.findall(text)
    ]


def parse(text: str) -> Program:
    """Reads what `compiled.as_text()` says.

    Raises:
      ValueError: it is not the text of a compiled program.
    """
    computations: dict[str, dict[str, Instruction]] = {}
    entry, inside = "", None
    for line in text.splitlines():
        if line[:1].strip() and line.endswith("{") and "->" in line:
            name = line.removeprefix("ENTRY ").split()[0].lstrip("%").partition("(")[0]
            inside = computations.setdefault(name, {})
            entry = name if line.startswith("ENTRY") else entry
        elif inside is not None and (found := _INSTRUCTION.match(line)):
            read = _instruction(found[1], found[2], root=line.lstrip().startswith("ROOT "))
            inside[read.name] = read
    if not entry:
        raise ValueError("this is no text of a compiled program: it has no entry")
    return Program(computations, entry)


def _instruction(name: str, text: str, *, root: bool) -> Instruction:
    end = _closing(text) if text.startswith("(") else text.index(" ")
    kind, _, after = text[end:].lstrip().partition("(")
    until = _closing("(" + after) - 1
    inner, rest = after[: until - 1], after[until:]
    # A constant's value stands where others have operands.
    return Instruction(
        name, text[:end], kind, tuple(_NAME.findall(inner)), f"({inner})" if kind == "constant" else rest, root
    )


def _closing(text: str) -> int:
    """Where the first parenthesis of a text is closed, one place beyond."""
    depth = 0
    for place, letter in enumerate(text):
        depth += {"(": 1, ")": -1}.get(letter, 0)
        if depth == 0:
            return place + 1
    raise ValueError(f"a parenthesis is left open in {text[:80]!r}")
