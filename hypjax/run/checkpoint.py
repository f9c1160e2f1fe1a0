"""Checkpoints: the train state and the position in the data, written in the background by Orbax.

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
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import jax
import numpy as np
from jax.sharding import NamedSharding
from orbax.checkpoint import v1 as ocp

from hypjax.data.copies import move
from hypjax.data.errors import UsageError
from hypjax.data.places import is_remote
from hypjax.training.state import TrainState

Loaded = TypeVar("Loaded")
WHOLE = "commit_success.txt"
LONGEST = 10 * 365 * 86400  # seconds that a write may take


class SavedStates:
    """The checkpoints of a run as they lie on the disk, to be read.

    Args:
      directory: that holds one folder for each step.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory if is_remote(directory) else directory.absolute()

    @property
    def steps(self) -> list[int]:
        """The steps that have a checkpoint, ascending; one that is being written has another name until it is whole."""
        if not self._directory.is_dir():
            return []
        folders = [folder for folder in self._directory.iterdir() if folder.name.isdecimal()]
        if is_remote(self._directory):  # where no folder is renamed, and Orbax says in the end that one is whole
            folders = [folder for folder in folders if (folder / WHOLE).exists()]
        return sorted(int(folder.name) for folder in folders)

    def read(self, sharding: NamedSharding) -> tuple[dict[str, jax.Array], list[str]]:
        """Reads the state of the newest whole checkpoint as it was written, whatever its structure.

        Args:
          sharding: where the arrays are to lie.

        Returns:
          The leaves by their path in `TrainState`, such as `.params['head/kernel']`, and a line on each checkpoint that
          was passed over.

        Raises:
          FileNotFoundError: there is no whole checkpoint.
          OSError: the file system would not give one, which says nothing about the checkpoint.
        """
        return self._newest(lambda step: self._load(step, sharding)[0])

    def _load(
        self, step: int, sharding: NamedSharding, like: dict[str, Any] | None = None
    ) -> tuple[dict[str, jax.Array], bytes]:
        """The leaves of a checkpoint, as they were written to the last bit, and the data position.

        Args:
          step: whose.
          sharding: where the arrays are to lie.
          like: leaves whose names and shapes it must have, if any.
        """
        folder, held = self._directory / str(step), self._held(step)
        data = ocp.load_checkpointables(folder, {"data": None})["data"]
        position = np.asarray(data["json"]).tobytes()
        # In one of a version that kept none there is nothing to be compared with.
        written = np.asarray(data["checks"]) if "checks" in data else None
        if written is not None and written[:2].tolist() != _check_head(held, position):
            raise ValueError("names, shapes or data position are not as they were written")
        if like is not None:
            _require_same(step, held, like)
        abstract = {
            path: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding) for path, leaf in held.items()
        }
        leaves: dict[str, jax.Array] = ocp.load_checkpointables(folder, {"state": abstract})["state"]
        if written is not None:
            for path, check in zip(sorted(leaves), written[2:].tolist(), strict=True):
                if _check(leaves[path]) != check:
                    raise ValueError(f"{path} is not as it was written")
        return leaves, position

    def _held(self, step: int) -> dict[str, Any]:
        """Shape and type of each leaf that a checkpoint holds."""
        held: dict[str, Any] | None = ocp.checkpointables_metadata(self._directory / str(step)).metadata["state"]
        if held is None:
            raise ValueError("what it holds cannot be read")
        return held

    def _newest(self, load: Callable[[int], Loaded]) -> tuple[Loaded, list[str]]:
        notices: list[str] = []
        damaged: set[int] = set()
        while steps := [step for step in self.steps if step not in damaged]:
            newest = steps[-1]
            error: Exception | None = None
            for _ in range(2):  # what is damaged is so twice
                try:
                    with _file_system(except_for=errno.ENOENT):
                        return load(newest), notices
                except UsageError:
                    raise
                except FileNotFoundError as missing:
                    error = missing
                except OSError as refused:  # of the file system, not of the file
                    raise OSError(refused.errno, f"checkpoint {newest} cannot be read: {_reason(refused)}") from refused
                except Exception as other:  # a damaged file surfaces as whatever its reader makes of it
                    error = other
            if newest in self.steps:  # else a trainer at work has put newer ones in its place
                damaged.add(newest)
                notices.append(self._damaged(newest, _reason(error)))
        raise FileNotFoundError("; ".join([f"no whole checkpoint in {self._directory}", *notices]))

    def _damaged(self, step: int, reason: str) -> str:
        return f"checkpoint {step} is damaged and was passed over ({reason})"


class Checkpoints(SavedStates):
    """The checkpoints of a run that is trained; use as a context manager, which waits for pending writes.

    Args:
      directory: that holds one folder for each step.
      keep: how many of the newest stay.
    """

    def __init__(self, directory: Path, *, keep: int = 2):
        super().__init__(directory)
        self._keep = keep
        self._checkpointer = self._open()

    def _open(self) -> ocp.training.Checkpointer:
        policies = ocp.training.preservation_policies
        # Orbax asks the clock on the wall whether a write takes too long, and a clock may jump.
        patient = ocp.Context(async_options=ocp.options.AsyncOptions(timeout_secs=LONGEST))
        return ocp.training.Checkpointer(
            self._directory,
            save_decision_policy=ocp.training.save_decision_policies.FixedIntervalPolicy(1),
            preservation_policy=policies.LatestN(self._keep),
            cleanup_tmp_directories=True,
            context=patient,
        )

    def save(self, state: TrainState, data: dict[str, Any]) -> None:
        """Writes state and data position in the background, under the state's step.

        Args:
          state: the state; its buffers may be donated as soon as this returns.
          data: the data iterator's JSON-able state.

        Raises:
          OSError: the file system would not take it, or the one before.
        """
        step = int(state.step)
        if step in [checkpoint.step for checkpoint in self._checkpointer.checkpoints]:
            return
        tree, position = _tree(state), json.dumps(data).encode()
        kept = {"json": np.frombuffer(position, np.uint8), "checks": _checks(tree, position)}
        with _file_system():  # also of the one before, which was written in the background
            self._checkpointer.save_checkpointables_async(step, {"state": tree, "data": kept}, force=True)

    def restore(self, like: TrainState, sharding: NamedSharding) -> tuple[TrainState, dict[str, Any], list[str]]:
        """Reads the newest whole checkpoint, onto whatever devices `sharding` names.

        Args:
          like: a state of the same structure.
          sharding: where the arrays are to lie.

        Returns:
          The state, the data iterator's state, and a line on each damaged checkpoint that was set aside.

        Raises:
          FileNotFoundError: there is no whole checkpoint.
          UsageError: a whole one is of another model or other data; says what differs, and leaves it where it is.
          OSError: as `read`.
        """
        wanted = _tree(like)

        def load(step: int) -> tuple[TrainState, dict[str, Any]]:
            leaves, position = self._load(step, sharding, wanted)
            for path in leaves:
                if leaves[path].dtype != wanted[path].dtype:  # a type that another version had
                    leaves[path] = leaves[path].astype(wanted[path].dtype)
            return _untree(like, leaves), json.loads(position)

        (state, data), notices = self._newest(load)
        return state, data, notices

    def _damaged(self, step: int, reason: str) -> str:
        """Sets a damaged checkpoint aside, so that its step can be written again."""
        if jax.process_index() == 0:
            aside = self._directory.parent / "damaged-checkpoints"
            move(self._directory / str(step), aside / str(step))
        if jax.process_count() > 1:
            ocp.multihost.sync_global_processes(f"set-aside-{step}")
        self._checkpointer.close()
        self._checkpointer = self._open()
        return f"checkpoint {step} is damaged and was set aside ({reason})"

    def wait(self) -> None:
        """Returns once all that was saved lies on the disk.

        Raises:
          OSError: the file system would not take it.
        """
        with _file_system():
            self._checkpointer.wait()

    def __enter__(self) -> Checkpoints:
        return self

    def __exit__(self, *exception: object) -> None:
        with _file_system():
            self._checkpointer.close()


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


def _require_same(step: int, held: dict[str, Any], wanted: dict[str, Any]) -> None:
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


def _reason(error: BaseException | None) -> str:
    while error is not None and error.__cause__ is not None:
        error = error.__cause__
    lines = str(error).strip().splitlines()
    return lines[0][:120] if lines else type(error).__name__


def _checks(tree: Mapping[str, Any], position: bytes) -> np.ndarray:
    """What a checkpoint is compared with when it is read: the checks of its head and of each leaf, by their names."""
    return np.array([*_check_head(tree, position), *(_check(tree[path]) for path in sorted(tree))], np.uint32)


def _check_head(tree: Mapping[str, Any], position: bytes) -> list[int]:
    """Of the data position, and of names, shapes and types."""
    told = [f"{path} {tuple(tree[path].shape)} {np.dtype(tree[path].dtype).name}" for path in sorted(tree)]
    return [zlib.crc32(position), zlib.crc32("\n".join(told).encode())]


def _check(leaf: Any) -> int:
    octets: Any = np.ascontiguousarray(leaf).reshape(-1).view(np.uint8)
    return zlib.crc32(octets)


def _tree(state: TrainState) -> dict[str, Any]:
    leaves = jax.tree_util.tree_flatten_with_path(state)[0]
    return {jax.tree_util.keystr(path): leaf for path, leaf in leaves}


def _untree(like: TrainState, tree: dict[str, Any]) -> TrainState:
    paths = [jax.tree_util.keystr(path) for path, _ in jax.tree_util.tree_flatten_with_path(like)[0]]
    return jax.tree.unflatten(jax.tree.structure(like), [tree[path] for path in paths])
