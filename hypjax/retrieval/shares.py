"""Rows of which each process holds a share: what processes tell each other, and a gallery that comes in blocks.

One process holds all its rows itself, and nothing is copied; the code is the same for one and for several.
"""

import dataclasses
import functools
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from jaxtyping import Int, Shaped

from hypjax.retrieval.rows import Rows
from hypjax.retrieval.scan import SLAB, rounded

BLOCK = 2**24  # coordinates of a block of a gallery
SUMMED = 2**22  # numbers of all processes that are summed at a time


@dataclasses.dataclass(frozen=True)
class Shares:
    """Which process holds which of n rows.

    `gather`, `take`, `total` and `blocks` bring processes together: all must call them, in the same order.

    Example:
        >>> # Of two processes this is the second.
        >>> both = lambda own: np.stack([np.resize([5, 6, 9], len(own)), own])
        >>> shares = Shares(np.array([0, 0, 1, 1, 0]), process=1, allgather=both)
        >>> shares.own.tolist(), shares.mine(np.array([0, 3])).tolist(), shares.gather(np.array([7, 8])).tolist()
        ([2, 3], [1], [5, 6, 7, 8, 9])

    Args:
        holder: Of each row the process that holds it, from 0.
        process: Which of them this is.
        allgather: An array of each process, of equal shape, to those of all of them [processes, ...]; None where one
            process holds all.
    """

    holder: Int[np.ndarray, "n"]
    process: int = 0
    allgather: Callable[[np.ndarray], np.ndarray] | None = None

    @classmethod
    def whole(cls, count: int) -> "Shares":
        """So many rows, all of them here."""
        return cls(np.zeros(count, np.int8))

    def __len__(self) -> int:
        return len(self.holder)

    @functools.cached_property
    def processes(self) -> int:
        """How many there are, but for those after the last that holds a row."""
        return 1 + int(self.holder.max(initial=0))

    @functools.cached_property
    def own(self) -> Int[np.ndarray, "own"]:
        """The rows that this process holds, ascending."""
        return np.flatnonzero(self.holder == self.process)

    def of(self, rows: Any) -> "Shares":
        """Who holds these rows, by a slice or by indices."""
        return dataclasses.replace(self, holder=self.holder[rows])

    def mine(self, rows: Int[np.ndarray, "m"]) -> Int[np.ndarray, "own"]:
        """Of these rows those that this process holds, by their places in its share."""
        return rows if self.allgather is None else np.searchsorted(self.own, rows[self.of(rows).own])

    def gather(self, own: Shaped[np.ndarray, "own ..."]) -> Shaped[np.ndarray, "n ..."]:
        """What belongs to all rows, from what belongs to those of each process."""
        if self.allgather is None or not len(self):
            return own
        sent = np.zeros((rounded(int(np.bincount(self.holder).max(initial=0))), *own.shape[1:]), own.dtype)
        sent[: len(own)] = own
        whole = np.empty((len(self), *own.shape[1:]), own.dtype)
        for process, part in enumerate(self.allgather(sent)):
            held = self.holder == process
            whole[held] = part[: np.count_nonzero(held)]
        return whole

    def take(self, own: Shaped[np.ndarray, "own ..."], rows: Int[np.ndarray, "m"]) -> Shaped[np.ndarray, "m ..."]:
        """These rows, few enough for each process to hold them, from the share of each."""
        return self.of(rows).gather(own[self.mine(rows)])

    def total(self, own: Shaped[np.ndarray, "..."]) -> Shaped[np.ndarray, "..."]:
        """The sum over all processes of an array that each has."""
        if self.allgather is None or not own.size:
            return own
        flat = np.ascontiguousarray(own).reshape(-1)
        step = max(1, SUMMED // self.processes)
        sums = [self.allgather(flat[start : start + step]).sum(axis=0) for start in range(0, len(flat), step)]
        return np.concatenate(sums).reshape(own.shape)


@dataclasses.dataclass(frozen=True)
class Blocks:
    """A gallery [m, .] of which each process holds a share, and which comes to all of them block by block.

    Iterating gives each block's first row and its rows, in the order of the gallery: all that there is at once where
    one process holds it, else as many as one can hold beside its share.

    Args:
        rows: Those of this process, an array or `Rows`.
        shares: Which process holds which.
    """

    rows: Shaped[np.ndarray, "own d"] | Rows
    shares: Shares

    def __len__(self) -> int:
        return len(self.shares)

    def __iter__(self) -> Iterator[tuple[int, Any]]:
        if self.shares.allgather is None:
            yield 0, self.rows
            return
        size = max(1, min(SLAB, BLOCK // np.asarray(self.rows[:0]).shape[1]))
        given = 0
        for start in range(0, len(self), size):
            block = self.shares.of(slice(start, start + size))
            own = slice(given, given + len(block.own))
            yield start, block.gather(np.asarray(self.rows[own]))
            given = own.stop
