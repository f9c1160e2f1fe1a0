"""Published figures of chips, and how long a step takes by them at the least."""

from __future__ import annotations

from typing import NamedTuple


class Chip(NamedTuple):
    """Peak figures of one chip.

    Attributes:
      name: by which it is booked.
      memory: main memory, bytes.
      operations: of the matrix unit in bfloat16, 1/s.
      bandwidth: of main memory, bytes/s.
      network: that it can send to the chips beside it over all its links, bytes/s.
      clock: of the cores, 1/s, by the peak operations and those of all matrix units in a cycle; 0 where what is
        published does not tell.
    """

    name: str
    memory: float
    operations: float
    bandwidth: float
    network: float
    clock: float


# Source: cloud.google.com/tpu/docs/v4, v5e, v5p and v6e, read in 2026; half of what they call bidirectional bandwidth.
CHIPS = {
    "TPU v4": Chip("v4", 32 * 2**30, 275e12, 1200e9, 300e9, 1.05e9),
    "TPU v5 lite": Chip("v5e", 16 * 2**30, 197e12, 819e9, 200e9, 1.5e9),
    "TPU v5": Chip("v5p", 95 * 2**30, 459e12, 2765e9, 600e9, 1.75e9),
    "TPU v6 lite": Chip("v6e", 32 * 2**30, 918e12, 1638e9, 400e9, 0.0),
}


class Times(NamedTuple):
    """Seconds of a step, each by one part of the chip alone.

    Attributes:
      matrix: its products at the peak of the matrix unit.
      memory: its bytes at the peak of main memory.
      network: what the chip sends at the peak of all its links.
      counted: cycles by the compiler's own estimates, in which vector unit and layouts have their share; 0 where
        they were not waited for, or the clock is not known.
    """

    matrix: float
    memory: float
    network: float
    counted: float

    @property
    def limit(self) -> str:
        """What the step waits for: the longest of the three, or the rest of the core where that is twice as long."""
        parts = {"matrix unit": self.matrix, "memory": self.memory, "network": self.network}
        longest = max(parts, key=lambda name: parts[name])
        return longest if self.counted < 2 * parts[longest] else "vector unit"

    @property
    def estimate(self) -> float:
        """The longest of all: parts that work beside each other."""
        return max(self)


def times(chip: Chip, *, operations: float, traffic: float, sent: float, cycles: float) -> Times:
    """How long a step takes by each part of a chip.

    Args:
      chip: of `CHIPS`.
      operations: of the matrix unit of one chip.
      traffic: bytes from and to its main memory.
      sent: bytes that it sends to others.
      cycles: of its core, as the compiler estimates them.

    Examples:
      >>> found = times(CHIPS["TPU v5 lite"], operations=197e9, traffic=1.638e9, sent=2e7, cycles=3e6)
      >>> found.limit, [round(1e3 * seconds, 3) for seconds in found]
      ('memory', [1.0, 2.0, 0.1, 2.0])
    """
    return Times(
        operations / chip.operations,
        traffic / chip.bandwidth,
        sent / chip.network,
        cycles / chip.clock if chip.clock else 0.0,
    )
