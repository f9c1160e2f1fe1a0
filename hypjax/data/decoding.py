"""A process that does nothing but decode: what `hypjax.data.workers.Processes` starts."""

from __future__ import annotations

import math
import mmap
import pickle
import traceback
from collections.abc import Callable, Sequence
from multiprocessing.connection import Connection
from typing import Any

import numpy as np

from hypjax.data.errors import DataError


def view_of(
    image: np.ndarray,
    seed: Sequence[int],
    transform: Callable[..., np.ndarray],
    degradation: Callable[..., tuple[np.ndarray, float]] | None,
) -> tuple[np.ndarray, float]:
    """One view of an image, and the level of its degradation."""
    # A generator for each view, which so depends on nothing but its seed and its image.
    rng = np.random.default_rng(seed)
    view = transform(image, rng)
    return (view, 0.0) if degradation is None else degradation(view, rng)


def work(control: int, memory: int, slot: int, free: int, end: int) -> None:
    """The whole life of a process that makes views: answers until nobody asks any more.

    Args:
      control: the socket on which it is asked.
      memory: the file that is shared.
      slot: where in it views are put.
      free: where in it decoded images are put first.
      end: where that must end.
    """
    connection, known = Connection(control), dict[bytes, Any]()
    shared = np.frombuffer(mmap.mmap(memory, 0), np.uint8)
    while True:
        answer: Any
        try:
            name, made, wanted = connection.recv()
            if made is not None:
                known[name] = pickle.loads(made)
            levels, kept, free = _answer(shared, slot, free, end, known[name], wanted)
            answer = levels, kept
        except EOFError:
            return
        except Exception as error:
            answer = _sendable(error)
        try:
            connection.send(answer)
        except OSError:
            return


def _answer(
    shared: np.ndarray, slot: int, free: int, end: int, made: Any, wanted: Any
) -> tuple[np.ndarray, list[Any], int]:
    """Levels of the views that are wanted, which images were kept and where, and where the next one may be."""
    (read, transform, degradation), (keep, seeds, found, keys) = made, wanted
    levels, kept = np.zeros(len(seeds), np.float32), []
    for place, (seed, where, key) in enumerate(zip(seeds, found, keys, strict=True)):
        if where is None:
            image = read(key)
            if keep and image.nbytes <= end - free:
                shared[free : free + image.nbytes] = image.ravel()
                kept.append((place, (free, image.shape)))
                free += image.nbytes
        else:
            image = shared[where[0] : where[0] + math.prod(where[1])].reshape(where[1])
            image.flags.writeable = False
        view, levels[place] = view_of(image, seed, transform, degradation)
        shared[slot : slot + view.nbytes] = view.ravel()
        slot += view.nbytes
    return levels, kept, free


def _sendable(error: Exception) -> Exception:
    if isinstance(error, DataError):
        return error
    error.add_note(traceback.format_exc())
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:  # whatever its class asks for
        return RuntimeError(f"{type(error).__name__}: {error}\n{traceback.format_exc()}")
    return error
