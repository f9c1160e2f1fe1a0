"""A run on disk: what it was started with, how far it is, what it found. Every program goes through it."""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Literal

from jax.sharding import Mesh
from ml_collections import ConfigDict

from hypjax.config import persistence
from hypjax.config.settings import holds_features
from hypjax.data import atomic
from hypjax.data.errors import UsageError
from hypjax.data.places import as_path, is_remote
from hypjax.run import manifest
from hypjax.run.checkpoint import Checkpoints, SavedStates
from hypjax.run.lease import hold
from hypjax.run.lock import Hold
from hypjax.run.metrics import as_json, read_metrics
from hypjax.run.peers import ALONE, Peers
from hypjax.training import sharding
from hypjax.training.state import merge

STATES = {"last": "checkpoints", "best": "best"}
"""The folders of its states: those of the last steps, and the one with the best validation figure."""


class Run:
    """A run in its workdir; `Run.open` makes one.

    One that is opened to be read writes, moves and cleans nothing: it serves beside a trainer at work and on a file
    system that cannot be written. One that is opened to be trained holds the workdir's lock, as a context manager.

    Among several processes 0 alone looks at the folder, which the others need not see: what it holds (all properties,
    `states`) is to be asked there alone, `open`, `restore` and `keep_states` on all of them together.

    Attributes:
      workdir: its folder.
      config: its settings.
      among: the processes that open it together.
    """

    def __init__(self, workdir: Path, config: ConfigDict, lock: Hold | None = None, among: Peers = ALONE) -> None:
        self.workdir, self.config, self._lock, self.among = workdir, config, lock, among

    @classmethod
    def open(
        cls,
        workdir: str | os.PathLike[str],
        mode: Literal["read", "train"] = "read",
        *,
        config: ConfigDict | None = None,
        among: Peers = ALONE,
    ) -> Run:
        """Opens a run.

        Args:
          workdir: its folder, or the address of one (`hypjax.data.places`).
          mode: `read`, or `train`, which makes the folder and takes it for these settings.
          config: to train with.
          among: the processes that open it together.

        Raises:
          UsageError: there is none to be read; or another process trains there, or it has other settings.
        """
        workdir = as_path(workdir)
        if mode == "read":
            held = as_json(persistence.load_config(workdir).to_dict()) if among.chief else None
            return cls(workdir, ConfigDict(among.from_chief(held)), among=among)
        if config is None:
            raise UsageError(f"training in {workdir} needs its settings")
        if is_remote(workdir) and not str(workdir).startswith("gs://"):
            raise UsageError(f"nothing can be trained in {workdir}: Orbax keeps states in folders and at gs:// alone")
        run = cls(workdir, config, hold(workdir, manifest.command(sys.argv)) if among.chief else None, among)
        try:
            if among.chief:
                run._claim()
        except BaseException:
            run.__exit__(None, None, None)
            raise
        return run

    def _claim(self) -> None:
        settings = as_json(self.config.to_dict())
        path = self.workdir / "config.json"
        if not path.exists() and self.states().steps:
            raise UsageError(
                f"{self.workdir} holds checkpoints and no config.json, so that nobody knows what they were trained "
                "with; bring it back, or choose another --workdir"
            )
        if path.exists() and self.begun:
            held = as_json(persistence.load_config(self.workdir).to_dict())
            found = persistence.differences(held, settings)
            elsewhere = (*persistence.ELSEWHERE, *(["data.dir:"] if self.manifest.get("digest") else []))
            changed = [line for line in found if not line.startswith(elsewhere)]
            if changed:
                raise UsageError(
                    f"{self.workdir} holds a run with other settings ({'; '.join(changed[:4])}); "
                    "choose another --workdir or delete it"
                )
        else:
            atomic.write_json(path, settings)

    def keep_data_dir(self) -> None:
        """Keeps where the data are now, once they are known to be the same."""
        held = persistence.load_config(self.workdir)
        if held.data.dir != self.config.data.dir:
            held.data.dir = self.config.data.dir
            atomic.write_json(self.workdir / "config.json", as_json(held.to_dict()))

    def __enter__(self) -> Run:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._lock is not None:
            self._lock.__exit__(kind, error, traceback)

    def require_held(self) -> None:
        """Checks, before something is written, that this process still has the workdir.

        Raises:
          UsageError: another trainer has taken it, while this process stood still.
        """
        if self._lock is not None:
            self._lock.require()

    @property
    def begun(self) -> bool:
        """Whether a step was taken; a run that failed at its settings leaves nothing to protect."""
        return any(row["step"] for row in self.metrics) or self.finished or bool(self.states().steps)

    @property
    def finished(self) -> bool:
        """Whether nothing is left to do."""
        return self.results is not None

    @property
    def results(self) -> dict[str, Any] | None:
        """The figures of its test classes by name; None before it is finished, and where they are damaged."""
        try:
            held = json.loads((self.workdir / "results.json").read_text())
        except (OSError, ValueError):
            return None
        return held if isinstance(held, dict) else None

    @property
    def calibration(self) -> dict[str, Any] | None:
        """How far its answers can be relied on, see `run.answers`; None where that is not known."""
        try:
            held = json.loads((self.workdir / "calibration.json").read_text())
        except (OSError, ValueError):
            return None
        return held if isinstance(held, dict) and "made" in held else None

    @property
    def metrics(self) -> list[dict[str, Any]]:
        """The rows of `metrics.jsonl`, each with its `step`."""
        return read_metrics(self.workdir / "metrics.jsonl")

    @property
    def validated(self) -> dict[str, Any]:
        """The figures of the validation classes for the state that is tested, by name; empty where there are none."""
        rows = [row for row in self.metrics if any(name.startswith("validation/") for name in row)]
        if self.tested == "best":
            rows = [row for row in rows if row["step"] in self.states("best").steps]
        row = rows[-1] if rows else {}
        return {name.removeprefix("validation/"): row[name] for name in row if name.startswith("validation/")}

    @property
    def manifest(self) -> dict[str, Any]:
        """What it was made with: command, versions, devices, data; empty where that was not kept."""
        return manifest.recorded(self.workdir)

    @property
    def pictures(self) -> dict[str, Path]:
        """Its pictures by name."""
        return {path.stem: path for path in sorted(self.workdir.glob("*.png"))}

    @property
    def steps(self) -> int:
        """How many steps it has in all: as planned for its data, or what it took, where it ended sooner."""
        if "steps" in self.manifest:
            return int(self.manifest["steps"])
        if self.finished:  # of a version that did not say
            return max((row["step"] for row in self.metrics), default=self.config.steps)
        return self.config.steps

    def is_fitted(self, step: int, which: str | None = None) -> bool:
        """Whether the state of a step has the head that `head.refit` fits in the end; the best one has it, too."""
        return step == self.steps or (which or self.tested) == "best"

    @property
    def tested(self) -> str:
        """Which of its states is tested and used: as `evaluation.state` says, or the last where none was the best."""
        return "best" if self.config.evaluation.state == "best" and self.states("best").steps else "last"

    @property
    def takes_features(self) -> bool:
        """Whether it was trained on features rather than images."""
        return holds_features(self.config)

    def states(self, which: str = "last") -> SavedStates:
        """Its states to be read: `last` or `best`."""
        return SavedStates(self.workdir / STATES[which], self.among)

    def keep_states(self, which: str, *, keep: int) -> Checkpoints:
        """Its states to be written, so many of the newest kept; for who trains it."""
        return Checkpoints(self.workdir / STATES[which], keep=keep, among=self.among)

    def restore(self, mesh: Mesh, which: str | None = None) -> tuple[dict[str, Any], int]:
        """The variables of its model, whole on every device, and the step that they are of.

        Says which checkpoints were passed over. No training data is needed.

        Args:
          mesh: whose devices.
          which: `last`, `best`, or None for the one that is tested.

        Raises:
          UsageError: there is no whole checkpoint.
        """
        try:
            which = which or self.among.from_chief(self.tested if self.among.chief else None)
            leaves, notices = self.states(which).read(sharding.replicated(mesh))
        except FileNotFoundError as error:
            raise UsageError(f"{self.workdir} holds no trained model: {error}") from error
        for notice in notices if self.among.chief else ():
            print(notice)
        return variables_of(leaves), int(leaves[".step"])


def variables_of(leaves: Mapping[str, Any]) -> dict[str, Any]:
    """The variables that a model is evaluated with, from the leaves of its train state.

    Args:
      leaves: by their path, from `SavedStates.read`; averaged weights take the place of the last ones.

    Examples:
      >>> leaves = {".params['head/b']": 1, ".average['head/b']": 2, ".collections['stats']['head']['mean']": 3}
      >>> variables_of(leaves)
      {'params': {'head': {'b': 2}}, 'objective': {}, 'stats': {'head': {'mean': 3}}}
    """
    flat: dict[str, dict[str, Any]] = {"params": {}, "average": {}, "frozen": {}}
    collections: dict[str, Any] = {}
    for path, leaf in leaves.items():
        field, keys = path.removeprefix(".").partition("[")[0], re.findall(r"\['([^']*)'\]", path)
        if field in flat:
            flat[field][keys[0]] = leaf
        elif field == "collections":
            node = collections
            for key in keys[:-1]:
                node = node.setdefault(key, {})
            node[keys[-1]] = leaf
    return merge({**flat["params"], **flat["average"]}, flat["frozen"], collections)
