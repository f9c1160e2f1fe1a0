"""Checkpoints: the train state and the position in the data, written in the background by Orbax.

Among several processes 0 alone writes and reads: the state is whole on each of them, and no other need see the folder.

A run that was killed leaves whole checkpoints only: Orbax writes beside and renames. One damaged afterwards
is passed over for the last whole one; Orbax does not notice a flipped bit in a large array, so that each is kept with a
CRC-32. Who only reads a run writes, moves and cleans nothing: `SavedStates` serves on a
read-only file system and beside a trainer at work, which alone has `Checkpoints`.
"""

from __future__ import annotations

import errno
import json
import os
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import jax
import numpy as np
import orbax.checkpoint as writing
from jax.sharding import NamedSharding
from orbax.checkpoint import v1 as ocp

from hypjax.data.copies import move
from hypjax.data.errors import UsageError
from hypjax.data.places import is_remote
from hypjax.run.checking import check_head, checks, checksum, is_of_this_process, reason_of, require_shapes
from hypjax.run.peers import ALONE, Peers
from hypjax.training import sharding
from hypjax.training.state import TrainState

Loaded = TypeVar("Loaded")
WHOLE = "commit_success.txt"
LONGEST = 10 * 365 * 86400  # seconds that a write may take


class SavedStates:
    """The checkpoints of a run as they lie on the disk, to be read.

    Args:
      directory: that holds one folder for each step.
      among: the processes that read it together.
    """

    def __init__(self, directory: Path, among: Peers = ALONE) -> None:
        self._directory = directory if is_remote(directory) else directory.absolute()
        self._among = among

    @property
    def steps(self) -> list[int]:
        """The steps that have a checkpoint, ascending; one that is being written has another name until it is whole."""
        if not self._directory.is_dir():
            return []
        folders = [folder for folder in self._directory.iterdir() if folder.name.isdecimal()]
        if is_remote(self._directory):  # where no folder is renamed, and Orbax says in the end that one is whole
            folders = [folder for folder in folders if (folder / WHOLE).exists()]
        return sorted(int(folder.name) for folder in folders)

    def read(self, where: NamedSharding) -> tuple[dict[str, jax.Array], list[str]]:
        """Reads the state of the newest whole checkpoint as it was written, whatever its structure.

        Args:
          where: the arrays are to lie.

        Returns:
          The leaves by their path in `TrainState`, such as `.params['head/kernel']`, and a line on each checkpoint that
          was passed over.

        Raises:
          FileNotFoundError: there is no whole checkpoint.
          OSError: the file system would not give one, which says nothing about the checkpoint.
        """
        leaves, _, notices = self._from_chief(self._load)
        return sharding.put(leaves, where), notices

    def _from_chief(
        self, load: Callable[[int], tuple[dict[str, np.ndarray], bytes]]
    ) -> tuple[dict[str, np.ndarray], dict[str, Any], list[str]]:
        """The leaves of the newest whole checkpoint, the data position and notices, as process 0 reads them."""
        leaves: dict[str, np.ndarray] = {}
        told: Any = None
        if self._among.chief:
            (leaves, position), notices = self._newest(load)
            told = json.loads(position), notices
        position, notices = self._among.from_chief(told)
        return sharding.from_chief(leaves) if self._among.count > 1 else leaves, position, notices

    def _load(self, step: int, like: dict[str, Any] | None = None) -> tuple[dict[str, np.ndarray], bytes]:
        """The leaves of a checkpoint, as they were written to the last bit, and the data position.

        Args:
          step: whose.
          like: leaves whose names and shapes it must have, if any.
        """
        folder, held = self._directory / str(step), self._held(step)
        with _by_itself():
            data = ocp.load_checkpointables(folder, {"data": None})["data"]
        position = np.asarray(data["json"]).tobytes()
        # In one of a version that kept none there is nothing to be compared with.
        written = np.asarray(data["checks"]) if "checks" in data else None
        if written is not None and written[:2].tolist() != check_head(held, position):
            raise ValueError("names, shapes or data position are not as they were written")
        if like is not None:
            require_shapes(step, held, like)
        # As NumPy arrays, whatever wrote them; these are of shape and type alone and take no memory.
        abstract = {path: np.broadcast_to(np.zeros((), leaf.dtype), leaf.shape) for path, leaf in held.items()}
        with _by_itself():
            leaves: dict[str, np.ndarray] = ocp.load_checkpointables(folder, {"state": abstract})["state"]
        if written is not None:
            for path, check in zip(sorted(leaves), written[2:].tolist(), strict=True):
                if checksum(leaves[path]) != check:
                    raise ValueError(f"{path} is not as it was written")
        return leaves, position

    def _held(self, step: int) -> dict[str, Any]:
        """Shape and type of each leaf that a checkpoint holds."""
        with _by_itself():
            held: dict[str, Any] | None = ocp.checkpointables_metadata(self._directory / str(step)).metadata["state"]
        if held is None:
            raise ValueError("what it holds cannot be read")
        return held

    def _newest(self, load: Callable[[int], Loaded]) -> tuple[Loaded, list[str]]:
        damaged: dict[int, str] = {}
        while steps := [step for step in self.steps if step not in damaged]:
            newest = steps[-1]
            error: Exception | None = None
            for _ in range(2):  # what is damaged is so twice
                try:
                    with _file_system(except_for=errno.ENOENT):
                        loaded = load(newest)
                    return loaded, [self._damaged(step, reason) for step, reason in damaged.items()]
                except UsageError:
                    raise
                except FileNotFoundError as missing:
                    error = missing
                except OSError as refused:  # of the file system, not of the file
                    raise OSError(
                        refused.errno, f"checkpoint {newest} cannot be read: {reason_of(refused)}"
                    ) from refused
                except Exception as other:  # a damaged file surfaces as whatever its reader makes of it
                    if is_of_this_process(other):
                        raise
                    error = other
            # Else a trainer at work has put a newer one in its place, and may be about to remove it.
            if newest == max((step for step in self.steps if step not in damaged), default=-1):
                damaged[newest] = reason_of(error)
        # Where none is whole, all stay where they are, for who may mend one.
        told = [f"checkpoint {step} is damaged ({reason})" for step, reason in damaged.items()]
        raise FileNotFoundError("; ".join([f"no whole checkpoint in {self._directory}", *told]))

    def _damaged(self, step: int, reason: str) -> str:
        return f"checkpoint {step} is damaged and was passed over ({reason})"


class Checkpoints(SavedStates):
    """The checkpoints of a run that is trained; use as a context manager, which waits for pending writes.

    Args:
      directory: that holds one folder for each step.
      keep: how many of the newest stay.
      among: the processes that train it, of which 0 alone writes.
    """

    def __init__(self, directory: Path, *, keep: int = 2, among: Peers = ALONE):
        super().__init__(directory, among)
        self._keep = keep
        self._manager = self._open() if among.chief else None

    def _open(self) -> writing.CheckpointManager:
        self._directory.mkdir(parents=True, exist_ok=True)
        # Not the v1 checkpointer, which is for all processes or none.
        return writing.CheckpointManager(
            self._directory,
            options=writing.CheckpointManagerOptions(
                create=False,
                max_to_keep=self._keep,
                cleanup_tmp_directories=True,
                # Orbax asks the clock on the wall whether a write takes too long, and a clock may jump.
                async_options=writing.AsyncOptions(timeout_secs=LONGEST),
                multiprocessing_options=writing.options.MultiprocessingOptions(active_processes={0}),
            ),
        )

    def save(self, state: TrainState, data: dict[str, Any]) -> None:
        """Writes state and data position in the background, under the state's step; nothing but on process 0.

        Args:
          state: the state; its buffers may be donated as soon as this returns.
          data: the data iterator's JSON-able state.

        Raises:
          OSError: the file system would not take it, or the one before.
        """
        if self._manager is None or int(state.step) in self._manager.all_steps():
            return
        # Copies, as the background may take its time.
        tree, position = {path: np.array(leaf) for path, leaf in _tree(state).items()}, json.dumps(data).encode()
        kept = {"json": np.frombuffer(position, np.uint8), "checks": checks(tree, position)}
        save = writing.args.StandardSave
        with _file_system():  # also of the one before, which was written in the background
            self._manager.save(
                int(state.step), args=writing.args.Composite(state=save(tree), data=save(kept)), force=True
            )

    def restore(self, like: TrainState, where: NamedSharding) -> tuple[TrainState, dict[str, Any], list[str]]:
        """Reads the newest whole checkpoint, onto whatever devices `where` names.

        Args:
          like: a state of the same structure.
          where: the arrays are to lie.

        Returns:
          The state, the data iterator's state, and a line on each damaged checkpoint that was set aside.

        Raises:
          FileNotFoundError: there is no whole checkpoint; damaged ones stay where they are.
          UsageError: a whole one is of another model or other data; says what differs, and leaves it where it is.
          OSError: as `read`.
        """
        wanted = _tree(like)
        leaves, position, notices = self._from_chief(lambda step: self._load(step, wanted))
        # Some may be of a type that another version had.
        typed = {path: leaf.astype(wanted[path].dtype, copy=False) for path, leaf in leaves.items()}
        return _untree(like, sharding.put(typed, where)), position, notices

    def _damaged(self, step: int, reason: str) -> str:
        """Sets a damaged checkpoint aside, so that its step can be written again."""
        aside = self._directory.parent / "damaged-checkpoints"
        move(self._directory / str(step), aside / str(step))
        if self._manager is not None:
            self._manager.close()
            self._manager = self._open()
        return f"checkpoint {step} is damaged and was set aside ({reason})"

    def wait(self) -> None:
        """Returns once all that was saved lies on the disk.

        Raises:
          OSError: the file system would not take it.
        """
        if self._manager is not None:
            with _file_system():
                self._manager.wait_until_finished()

    def __enter__(self) -> Checkpoints:
        return self

    def __exit__(self, *exception: object) -> None:
        if self._manager is not None:
            with _file_system():
                self._manager.close()


def _by_itself() -> ocp.Context:
    """Within it Orbax waits for no other process."""
    alone, here = ocp.Context(), jax.process_index()
    alone.multiprocessing.primary_host, alone.multiprocessing.active_processes = here, {here}
    return alone


@contextmanager
def _file_system(except_for: int | None = None) -> Iterator[None]:
    """Within it, what the file system refuses is an `OSError`, as anywhere: TensorStore makes a `ValueError` of it."""
    try:
        yield
    except OSError:
        raise
    except Exception as error:
        cause: BaseException | None = error
        while cause is not None:
            told = re.search(r"os_error_code='(\d+)'", str(cause))
            number = cause.errno if isinstance(cause, OSError) else int(told[1]) if told else None
            if number is not None and number != except_for:
                raise OSError(number, f"a checkpoint: {os.strerror(number)}") from error
            cause = cause.__cause__
        raise


def _tree(state: TrainState) -> dict[str, Any]:
    leaves = jax.tree_util.tree_flatten_with_path(state)[0]
    return {jax.tree_util.keystr(path): leaf for path, leaf in leaves}


def _untree(like: TrainState, tree: dict[str, Any]) -> TrainState:
    paths = [jax.tree_util.keystr(path) for path, _ in jax.tree_util.tree_flatten_with_path(like)[0]]
    return jax.tree.unflatten(jax.tree.structure(like), [tree[path] for path in paths])
