"""Who decodes: threads of this process, or processes that do nothing else; each makes a few views at a time."""

from __future__ import annotations

import dataclasses
import hashlib
import mmap
import os
import pickle
import queue
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import weakref
from collections.abc import Callable, Sequence
from multiprocessing.connection import Connection
from typing import Any, NamedTuple, Protocol, runtime_checkable

import cloudpickle
import numpy as np
from jaxtyping import Float32, UInt8

from hypjax.data.decoding import view_of
from hypjax.data.errors import UsageError
from hypjax.data.source import Source, own_reader
from hypjax.data.transforms import RandomDegradation

SLOT = 2**26  # bytes that the views of a call may take, for each process; only what is written takes memory
LIBRARIES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")  # a process is for one core


@runtime_checkable
class Transform(Protocol):
    """An image and a generator to a view of fixed size."""

    @property
    def size(self) -> int:
        """Side of the square view, pixels."""
        ...

    def __call__(self, image: UInt8[np.ndarray, "h w 3"], rng: np.random.Generator) -> UInt8[np.ndarray, "size size 3"]:
        """The view."""
        ...


@dataclasses.dataclass(frozen=True)
class Views:
    """How views of a source's images are made.

    Attributes:
      source: where the images are.
      transform: from an image to its view.
      degradation: what damages a share of the views, if anything.
    """

    source: Source
    transform: Transform
    degradation: RandomDegradation | None = None


Fill = Callable[
    [Sequence[tuple[int, ...]], Sequence[int], UInt8[np.ndarray, "m size size 3"]], Float32[np.ndarray, " m"]
]
"""Seeds of m views and indices of their images to the views, written into an array, and the levels of degradation."""


class Opened(NamedTuple):
    """What makes the views of a source.

    Attributes:
      fill: any number of threads may call it.
      at_once: of which so many are served side by side.
    """

    fill: Fill
    at_once: int


@runtime_checkable
class Workers(Protocol):
    """Who makes views."""

    def open(self, views: Views, *, keep: bool) -> Opened:
        """What makes the views of a source.

        Args:
          views: how.
          keep: whether decoded images are kept for the next time, as long as there is room.
        """
        ...


def cores() -> int:
    """How many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


class Cached:
    """A source that keeps decoded images until they take `limit` bytes, and decodes the others anew each time.

    Args:
      source: what to read.
      limit: bytes of pixels to keep at most; 0 keeps none.
    """

    def __init__(self, source: Source, *, limit: int) -> None:
        self._source, self._room = source, limit
        self._kept: dict[int, np.ndarray] = {}
        self._lock = threading.Lock()

    def image(self, index: int) -> UInt8[np.ndarray, "h w 3"]:
        """The image, from memory if it is there."""
        kept = self._kept.get(index)
        if kept is not None:
            return kept
        image = self._source.image(index)
        image.flags.writeable = False
        with self._lock:
            if index not in self._kept and image.nbytes <= self._room:
                self._kept[index] = image
                self._room -= image.nbytes
        return image


class Threads:
    """The threads that ask, for images that are in memory; Pillow lets them decode side by side, Python does not.

    Args:
      count: how many; by default one a core, from 2, of which one decodes while the other waits, to 4.
      cache_bytes: decoded images are kept up to this many bytes.
    """

    def __init__(self, count: int | None = None, *, cache_bytes: int = 2**30) -> None:
        self._count, self._cache_bytes = count or max(2, min(4, cores())), cache_bytes

    def open(self, views: Views, *, keep: bool) -> Opened:
        """As `Workers.open`."""
        source = Cached(views.source, limit=self._cache_bytes if keep else 0)

        def fill(seeds: Sequence[tuple[int, ...]], indices: Sequence[int], out: np.ndarray) -> np.ndarray:
            levels = np.zeros(len(indices), np.float32)
            for place, (seed, index) in enumerate(zip(seeds, indices, strict=True)):
                out[place], levels[place] = view_of(source.image(index), seed, views.transform, views.degradation)
            return levels

        return Opened(fill, self._count)


class _Process(NamedTuple):
    number: int
    process: subprocess.Popen[bytes]
    connection: Connection
    knows: set[bytes]


class Processes:
    """Processes that decode, each on a core; they end with this one, however it ends.

    They are started for the first source, and know neither JAX nor the program that started them. What makes views is
    sent to them once, pickled; of each image they are told what finds it (`hypjax.data.source.own_reader`). Views come
    back, and decoded images are kept, in memory that all of them share.

    Args:
      count: how many.
      cache_bytes: decoded images are kept up to this many bytes.
      least: sources of fewer images are left to threads of this process.
    """

    def __init__(self, count: int, *, cache_bytes: int = 2**30, least: int = 0) -> None:
        self._count, self._room, self._least = count, cache_bytes // count, least
        self._idle: queue.SimpleQueue[_Process | None] = queue.SimpleQueue()
        self.crew: list[_Process] = []
        self._shared = np.zeros(0, np.uint8)
        self.close = weakref.finalize(self, _end, self._idle, self.crew)

    def open(self, views: Views, *, keep: bool) -> Opened:
        """As `Workers.open`."""
        own, size = own_reader(views.source), views.transform.size
        if own is None or len(views.source) < self._least:
            return Threads(cache_bytes=self._count * self._room).open(views, keep=keep)
        if 3 * size**2 > SLOT:
            raise UsageError(f"views of {size} pixels are too large to be sent between processes; set data.workers=0")
        if not self.crew:
            self._begin()
        read, key = own
        made = cloudpickle.dumps((read, views.transform, views.degradation))
        name = hashlib.sha256(made).digest()
        kept: dict[int, tuple[int, tuple[int, ...]]] = {}  # where in the shared memory an image is, and its shape

        def fill(seeds: Sequence[tuple[int, ...]], indices: Sequence[int], out: np.ndarray) -> np.ndarray:
            found = [kept.get(index) for index in indices]
            keys = [key(index) if place is None else None for index, place in zip(indices, found, strict=True)]
            levels, new = self._ask(name, made, (keep, seeds, found, keys), out)
            kept.update({indices[place]: where for place, where in new})
            return levels

        return Opened(fill, self._count)

    def _begin(self) -> None:
        memory = _memory(self._count * (SLOT + self._room))
        try:
            self._shared = np.frombuffer(mmap.mmap(memory, 0), np.uint8)
            for number in range(self._count):
                free = self._count * SLOT + number * self._room
                self.crew.append(_start(number, memory, (free, free + self._room)))
                self._idle.put(self.crew[-1])
        finally:
            os.close(memory)

    def _ask(self, name: bytes, made: bytes, wanted: Any, out: np.ndarray) -> tuple[np.ndarray, list[Any]]:
        worker = self._idle.get()
        try:
            if worker is None:
                raise RuntimeError("these processes were closed")
            try:
                # `send` pickles into a buffer that, where the process is gone, Python 3.13 complains of later.
                worker.connection.send_bytes(pickle.dumps((name, None if name in worker.knows else made, wanted)))
                answer = worker.connection.recv()
            except (EOFError, OSError) as error:
                raise _lost(worker.process, self._count) from error
            if isinstance(answer, Exception):
                raise answer
            worker.knows.add(name)
            start = worker.number * SLOT
            out[:] = self._shared[start : start + out.nbytes].reshape(out.shape)
            return answer
        finally:
            self._idle.put(worker)


def _memory(size: int) -> int:
    """A file in memory, or, where there is none, on the disk, that has no name and goes with its last user."""
    if hasattr(os, "memfd_create"):
        file = os.memfd_create("views")
    else:
        with tempfile.TemporaryFile() as made:
            file = os.dup(made.fileno())
    os.ftruncate(file, size)
    return file


def _start(number: int, memory: int, room: tuple[int, int]) -> _Process:
    ours, theirs = socket.socketpair()
    environment = dict.fromkeys(LIBRARIES, "1") | os.environ
    environment["PYTHONPATH"] = os.pathsep.join(path or os.getcwd() for path in sys.path)
    called = f"work({theirs.fileno()}, {memory}, {number * SLOT}, {room[0]}, {room[1]})"
    # What a terminal or a cluster tells every process of a run is for the first one; the others end with it.
    before = signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGINT, signal.SIGTERM))
    try:
        process = subprocess.Popen(
            [sys.executable, "-W", "ignore", "-c", f"from hypjax.data.decoding import work; {called}"],
            env=environment,
            pass_fds=(theirs.fileno(), memory),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
        )
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
        theirs.close()
    return _Process(number, process, Connection(ours.detach()), set())


def _end(idle: queue.SimpleQueue[_Process | None], crew: Sequence[_Process]) -> None:
    for _ in crew:  # each first finishes what it does, since nobody else may read where it is answered
        idle.get()
    idle.put(None)
    for each in crew:
        each.connection.close()
    for each in crew:
        each.process.wait()


def _lost(process: subprocess.Popen[bytes], count: int) -> UsageError:
    status = process.wait()
    how = f"was killed by {signal.Signals(-status).name}" if status < 0 else f"ended with status {status}"
    why = ", as where memory runs out" if status == -signal.SIGKILL else ""
    return UsageError(
        f"a process that decodes images {how}{why}; --config.data.workers={count // 2} starts fewer of them, "
        "and --config.data.cache_gib says how much they keep"
    )
