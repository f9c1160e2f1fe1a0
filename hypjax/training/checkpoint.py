"""Checkpoints: the train state and the position in the data, written in the background by Orbax.

A run that was killed leaves whole checkpoints only: Orbax writes beside and renames. One damaged afterwards
is passed over for the last whole one.
"""

from __future__ import annotations

import json
import shutil
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import jax
import numpy as np
from jax.sharding import NamedSharding
from orbax.checkpoint import v1 as ocp

from hypjax.training.state import TrainState

# Orbax leaves a coroutine behind when it meets a damaged file, which is reported here in better words.
warnings.filterwarnings("ignore", message=r"coroutine '.*_background_load' was never awaited")

Loaded = TypeVar("Loaded")


class Checkpoints:
    """The checkpoints of a run, newest last; use as a context manager, which waits for pending writes."""

    def __init__(self, directory: Path, *, keep: int = 2):
        self._directory = directory.absolute()
        self._checkpointer = self._open(keep)
        self._keep = keep

    def _open(self, keep: int) -> ocp.training.Checkpointer:
        policies = ocp.training.preservation_policies
        return ocp.training.Checkpointer(
            self._directory,
            save_decision_policy=ocp.training.save_decision_policies.FixedIntervalPolicy(1),
            preservation_policy=policies.LatestN(keep),
            cleanup_tmp_directories=True,
        )

    @property
    def steps(self) -> list[int]:
        """The steps that have a checkpoint, ascending."""
        return [checkpoint.step for checkpoint in self._checkpointer.checkpoints]

    def save(self, state: TrainState, data: dict[str, Any]) -> None:
        """Writes state and data position in the background, under the state's step.

        Args:
          state: the state; its buffers may be donated as soon as this returns.
          data: the data iterator's JSON-able state.
        """
        step = int(state.step)
        if step in self.steps:
            return
        self._checkpointer.save_checkpointables_async(
            step, {"state": _tree(state), "data": {"json": _encode(data)}}, force=True
        )

    def restore(self, like: TrainState, sharding: NamedSharding) -> tuple[TrainState, dict[str, Any], list[str]]:
        """Reads the newest whole checkpoint, onto whatever devices `sharding` names.

        Args:
          like: a state of the same structure.
          sharding: where the arrays are to lie.

        Returns:
          The state, the data iterator's state, and a line on each damaged checkpoint that was set aside.

        Raises:
          FileNotFoundError: there is no whole checkpoint.
        """
        abstract = jax.tree.map(
            lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding), _tree(like)
        )

        def load(step: int) -> tuple[TrainState, dict[str, Any]]:
            loaded = self._checkpointer.load_checkpointables(step, {"state": abstract, "data": None})
            return _untree(like, loaded["state"]), json.loads(bytes(np.asarray(loaded["data"]["json"])))

        (state, data), notices = self._newest(load)
        return state, data, notices

    def read(self, sharding: NamedSharding) -> tuple[dict[str, jax.Array], list[str]]:
        """Reads the state of the newest whole checkpoint as it was written, whatever its structure.

        Args:
          sharding: where the arrays are to lie.

        Returns:
          The leaves by their path in `TrainState`, such as `.params['head/kernel']`, and a line on each damaged
          checkpoint that was set aside.

        Raises:
          FileNotFoundError: there is no whole checkpoint.
        """

        def load(step: int) -> dict[str, jax.Array]:
            held = self._checkpointer.checkpointables_metadata(step).metadata["state"]
            abstract = {
                path: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding) for path, leaf in held.items()
            }
            return self._checkpointer.load_checkpointables(step, {"state": abstract})["state"]

        return self._newest(load)

    def _newest(self, load: Callable[[int], Loaded]) -> tuple[Loaded, list[str]]:
        notices: list[str] = []
        for step in reversed(self.steps):
            try:
                return load(step), notices
            except Exception as error:  # a damaged file surfaces as whatever its reader makes of it
                notices.append(f"checkpoint {step} is damaged and was set aside ({_reason(error)})")
                self._set_aside(step)
        raise FileNotFoundError("; ".join([f"no whole checkpoint in {self._directory}", *notices]))

    def _set_aside(self, step: int) -> None:
        if jax.process_index() == 0:
            aside = self._directory.parent / "damaged-checkpoints"
            aside.mkdir(exist_ok=True)
            shutil.rmtree(aside / str(step), ignore_errors=True)
            shutil.move(self._directory / str(step), aside / str(step))
        if jax.process_count() > 1:
            ocp.multihost.sync_global_processes(f"set-aside-{step}")
        self._checkpointer.close()
        self._checkpointer = self._open(self._keep)

    def __enter__(self) -> Checkpoints:
        return self

    def __exit__(self, *exception: object) -> None:
        self._checkpointer.close()


def _reason(error: BaseException) -> str:
    while error.__cause__ is not None:
        error = error.__cause__
    lines = str(error).strip().splitlines()
    return lines[0][:120] if lines else type(error).__name__


def _encode(data: dict[str, Any]) -> np.ndarray:
    return np.frombuffer(json.dumps(data).encode(), np.uint8)


def _tree(state: TrainState) -> dict[str, Any]:
    leaves = jax.tree_util.tree_flatten_with_path(state)[0]
    return {jax.tree_util.keystr(path): leaf for path, leaf in leaves}


def _untree(like: TrainState, tree: dict[str, Any]) -> TrainState:
    paths = [jax.tree_util.keystr(path) for path, _ in jax.tree_util.tree_flatten_with_path(like)[0]]
    return jax.tree.unflatten(jax.tree.structure(like), [tree[path] for path in paths])
