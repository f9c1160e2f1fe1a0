"""Rows that are made as they are asked for, so that an array as large as a disk is never whole in memory."""

from collections.abc import Callable
from typing import Any

import numpy as np
from jaxtyping import Array, Float


class Rows:
    """What stands for an array [n, .] whose rows are read, or computed, by slice or by indices.

    `hypjax.retrieval.knn` takes it for a gallery, a slab at a time.

    Example:
        >>> squares = Rows(5, lambda rows: np.arange(5.0)[rows, None] ** 2)
        >>> len(squares), squares[1:3].tolist(), squares[np.array([4, 0])].tolist()
        (5, [[1.0], [4.0]], [[16.0], [0.0]])

    Args:
        count: n.
        read: A slice or indices [m] to rows [m, .].
    """

    def __init__(self, count: int, read: Callable[[Any], Float[Array | np.ndarray, "m d"]]) -> None:
        self._count, self._read = count, read

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, rows: Any) -> Float[Array | np.ndarray, "m d"]:
        return self._read(rows)
