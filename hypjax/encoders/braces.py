"""Many names of tensors in few words, as a shell has them: `blocks.{0-11}.{norm1.{bias,weight}, ls1.gamma}`."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from functools import partial

Name = tuple[str, ...]  # in words, which dots keep apart


def braced(names: Iterable[str]) -> list[str]:
    """Sorted names, those as one that differ in a number, in their last word or in what follows a number alone.

    Example:
        >>> braced(["b.0.w", "b.1.w", "b.2.w", "b.4.w", "head.w"])
        ['b.{0-2,4}.w', 'head.w']
        >>> braced(f"s.{s}.b.{b}.{unit}" for s in range(2) for b in range(2) for unit in ("fc.w", "fc.b", "norm"))
        ['s.{0,1}.b.{0,1}.{fc.{b,w}, norm}']
    """
    held: list[Name] = [tuple(name.split(".")) for name in names]
    for at in reversed(range(max(map(len, held), default=0))):
        held = _folded(held, partial(_number, at), _ranges)
    held = _folded(held, lambda name: slice(len(name) - 1, None) if len(name) > 1 else None, ",".join)
    return sorted(".".join(name) for name in _folded(held, _behind_numbers, ", ".join))


def _number(at: int, name: Name) -> slice | None:
    return slice(at, at + 1) if len(name) > at and name[at].isdigit() else None


def _behind_numbers(name: Name) -> slice | None:
    numbers = [at for at, word in enumerate(name) if re.match(r"\{?\d", word)]
    return slice(numbers[-1] + 1, None) if numbers else None


def _folded(
    names: Iterable[Name], where: Callable[[Name], slice | None], join: Callable[[list[str]], str]
) -> list[Name]:
    """Names, those as one that differ in a part of theirs alone; one that has no such part stays as it is."""
    alike: dict[tuple[Name, Name | None], list[str]] = {}
    for name in names:
        part = where(name)
        if part is None or not name[part]:
            alike[name, None] = []
        else:
            after = name[part.stop :] if part.stop else ()
            alike.setdefault((name[: part.start], after), []).append(".".join(name[part]))
    return [
        before if after is None else (*before, f"{{{join(sorted(held))}}}" if len(held) > 1 else held[0], *after)
        for (before, after), held in alike.items()
    ]


def _ranges(numbers: list[str]) -> str:
    """Numbers in their order, three and more that follow one another as a range.

    >>> _ranges(["0", "1", "10", "2", "4", "5"])
    '0-2,4,5,10'
    """
    runs: list[list[int]] = []
    for number in sorted(map(int, numbers)):
        if runs and number == runs[-1][-1] + 1:
            runs[-1].append(number)
        else:
            runs.append([number])
    return ",".join(f"{run[0]}-{run[-1]}" if len(run) > 2 else ",".join(map(str, run)) for run in runs)
