"""What a checkpoint is known again by, and what kept one from being read: Orbax does not notice a flipped bit."""

from __future__ import annotations

import re
import zlib
from collections.abc import Mapping
from typing import Any

import numpy as np

from hypjax.data.errors import UsageError


def checks(tree: Mapping[str, Any], position: bytes) -> np.ndarray:
    """What a checkpoint is compared with when it is read: the checks of its head and of each leaf, by their names."""
    return np.array([*check_head(tree, position), *(checksum(tree[path]) for path in sorted(tree))], np.uint32)


def check_head(tree: Mapping[str, Any], position: bytes) -> list[int]:
    """Of the data position, and of names, shapes and types."""
    told = [f"{path} {tuple(tree[path].shape)} {np.dtype(tree[path].dtype).name}" for path in sorted(tree)]
    return [zlib.crc32(position), zlib.crc32("\n".join(told).encode())]


def checksum(leaf: Any) -> int:
    """The CRC-32 of an array's bytes."""
    octets: Any = np.ascontiguousarray(leaf).reshape(-1).view(np.uint8)
    return zlib.crc32(octets)


def require_shapes(step: int, held: dict[str, Any], wanted: dict[str, Any]) -> None:
    """Checks that a checkpoint has the leaves that a state needs, by names and shapes.

    Raises:
      UsageError: it hasn't; names three of those that differ.
    """

    def told(leaves: dict[str, Any], path: str) -> str:
        return str(tuple(leaves[path].shape)) if path in leaves else "nothing"

    changed = [
        f"{path.removeprefix('.')}: {told(held, path)} -> {told(wanted, path)}"
        for path in sorted({*held, *wanted})
        if told(held, path) != told(wanted, path)
    ]
    if changed:
        more = f" and {len(changed) - 3} more" if len(changed) > 3 else ""
        raise UsageError(
            f"checkpoint {step} is of another model or other data ({'; '.join(changed[:3])}{more}); nothing was "
            "changed: bring the settings and data back that it was trained with, or choose another --workdir"
        )


def is_of_this_process(error: BaseException | None) -> bool:
    """Whether a reading failed for want of memory, threads or modules, which says nothing about what was read."""
    while error is not None:
        if isinstance(error, MemoryError | ImportError | RecursionError):
            return True
        if re.search(r"RESOURCE_EXHAUSTED|[Oo]ut of memory|can't start new thread", str(error)):
            return True
        error = error.__cause__ or error.__context__
    return False


def reason_of(error: BaseException | None) -> str:
    """The first line of what an error came from."""
    while error is not None and error.__cause__ is not None:
        error = error.__cause__
    lines = str(error).strip().splitlines()
    return lines[0][:120] if lines else type(error).__name__
