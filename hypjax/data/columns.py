"""Columns of a table with many rows, in as few bytes as hold them."""

from __future__ import annotations

import array
import dataclasses
import itertools
from collections.abc import Iterable, Sequence
from typing import overload

import numpy as np
from jaxtyping import Int32, Integer, Shaped

from hypjax.data.source import dense

_CODING = "utf-8", "surrogatepass"  # holds file names that are none


class Names(Sequence[str]):
    """Strings end to end in one buffer: ten million names of 40 letters take half a gigabyte, as a list two and more.

    >>> names = Names(["owl.jpg", "ñandú.jpg"])
    >>> len(names), names[1], list(names)
    (2, 'ñandú.jpg', ['owl.jpg', 'ñandú.jpg'])

    Args:
      names: what it begins with.
    """

    def __init__(self, names: Iterable[str] = ()) -> None:
        self._text, self._ends = bytearray(), array.array("q", [0])
        self.extend(names)

    def extend(self, names: Iterable[str]) -> None:
        """Adds names at the end."""
        coded = [name.encode(*_CODING) for name in names]
        self._text += b"".join(coded)
        ends = itertools.accumulate(map(len, coded), initial=self._ends.pop())
        self._ends.extend(ends)

    def __len__(self) -> int:
        return len(self._ends) - 1

    @overload
    def __getitem__(self, index: int) -> str: ...
    @overload
    def __getitem__(self, index: slice) -> list[str]: ...
    def __getitem__(self, index: int | slice) -> str | list[str]:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        index = range(len(self))[index]
        return self._text[self._ends[index] : self._ends[index + 1]].decode(*_CODING)


@dataclasses.dataclass(frozen=True)
class Words:
    """A column of few different values.

    Attributes:
      values: those that occur, sorted.
      codes: which of them each row has.
    """

    values: Shaped[np.ndarray, values]
    codes: Int32[np.ndarray, n]

    @classmethod
    def of(cls, column: Words | Shaped[np.ndarray, n]) -> Words:
        """From an array of values, if it is one.

        >>> Words.of(np.array(["owl", "cod", "owl"]))
        Words(values=array(['cod', 'owl'], dtype='<U3'), codes=array([1, 0, 1], dtype=int32))
        """
        return column if isinstance(column, Words) else cls(*dense(column))

    def take(self, rows: Integer[np.ndarray, m]) -> Words:
        """The column of some rows."""
        kept, codes = dense(self.codes[rows])
        return Words(self.values[kept], codes)

    def array(self) -> Shaped[np.ndarray, n]:
        """The value of each row."""
        return self.values[self.codes]
