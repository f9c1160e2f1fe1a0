"""Where figures go: one JSON object a line, the console, and TensorBoard or W&B for those who have them."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Mapping
from importlib import import_module
from pathlib import Path
from typing import Any, TextIO

from hypjax.data import atomic
from hypjax.data.errors import UsageError
from hypjax.data.places import is_remote


def as_json(value: Any) -> Any:
    """Makes a figure fit for JSON, which knows no NaN and no infinity: those become null.

    Examples:
      >>> as_json({"a": float("nan"), "b": (1, 2.5)})
      {'a': None, 'b': [1, 2.5]}
    """
    if isinstance(value, Mapping):
        return {str(key): as_json(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [as_json(item) for item in value]
    if isinstance(value, (str, bool, int, type(None))):
        return value
    number = float(value)
    return number if math.isfinite(number) else None


def read_metrics(path: Path) -> list[dict[str, Any]]:
    """Reads `metrics.jsonl`; a line cut short by a kill, or damaged, is passed over."""
    rows = []
    for line in path.read_bytes().decode(errors="replace").splitlines() if path.exists() else ():
        try:
            row = json.loads(line)
        except json.JSONDecodeError:
            continue
        if isinstance(row, dict) and isinstance(row.get("step"), int):
            rows.append(row)
    return rows


def require_packages(*, tensorboard: bool, wandb: bool) -> None:
    """Checks at the start that what a writer will need is installed.

    Raises:
      UsageError: a package is missing; says the pip command.
    """
    if tensorboard:
        installed("tensorboardX", "tensorboard")
    if wandb:
        installed("wandb", "wandb")


class Appended:
    """A text file that grows by lines, each there as soon as it is written."""

    def __init__(self, path: Path, text: str) -> None:
        atomic.write_text(path, text)
        self._file: TextIO = path.open("a")

    def write(self, line: str) -> None:
        """Writes a line."""
        self._file.write(line)
        self._file.flush()

    def flush(self) -> None:
        """All is there."""

    def close(self) -> None:
        """Closes the file."""
        self._file.close()


class Rewritten:
    """A text file that grows by lines where nothing can be appended: written anew now and then, and when asked.

    Args:
      path: of the file.
      text: that it begins with.
      require: called before each writing; what it raises keeps the file as it is.
      interval: seconds from one writing to the next, at least; more where writing takes more than a twentieth of them.
      clock: seconds.
    """

    def __init__(
        self,
        path: Path,
        text: str,
        *,
        require: Callable[[], None] = lambda: None,
        interval: float = 10.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._path, self._require, self._interval, self._clock = path, require, interval, clock
        self._lines, self._written = [text], 0
        self.flush()

    def write(self, line: str) -> None:
        """Takes a line, and writes the file where it is time to."""
        self._lines.append(line)
        if self._clock() >= self._due:
            self.flush()

    def flush(self) -> None:
        """Writes what is not there yet."""
        self._require()
        if self._written < len(self._lines):
            began = self._clock()
            atomic.write_text(self._path, "".join(self._lines))
            self._written = len(self._lines)
            now = self._clock()
            self._due = now + max(self._interval, 20 * (now - began))

    def close(self) -> None:
        """Writes what is not there yet."""
        self.flush()


class MetricWriter:
    """Appends rows to `metrics.jsonl`, and to TensorBoard and W&B where asked.

    Rows past `resume_step` were logged by a run that was killed after its last checkpoint; they are dropped, from
    TensorBoard too, since the steps will be taken again.

    Args:
      workdir: of the run.
      resume_step: that it goes on after.
      tensorboard: whether to write for it, into `tensorboard/`.
      wandb: the run's id at W&B, the same at every start; empty for none.
      config: the settings, for W&B.
      require: called before a file on another machine is written; what it raises keeps that file as it is.
    """

    def __init__(
        self,
        workdir: Path,
        *,
        resume_step: int = 0,
        tensorboard: bool = False,
        wandb: str = "",
        config: Any,
        require: Callable[[], None] = lambda: None,
    ):
        path = workdir / "metrics.jsonl"
        kept = [row for row in read_metrics(path) if row["step"] <= resume_step] if resume_step else []
        text = "".join(json.dumps(row) + "\n" for row in kept)
        remote = is_remote(path)
        self._file = Rewritten(path, text, require=require) if remote else Appended(path, text)
        self._tensorboard = self._wandb = None
        if tensorboard:
            module = installed("tensorboardX", "tensorboard")
            self._tensorboard = module.SummaryWriter(str(workdir / "tensorboard"), purge_step=resume_step + 1)
        if wandb:
            folder = None if remote else str(workdir)
            self._wandb = installed("wandb", "wandb").init(dir=folder, config=config, id=wandb, resume="allow")

    def write(self, step: int, figures: Mapping[str, Any]) -> None:
        """Writes one row; figures are scalars."""
        row = {"step": step, **as_json(figures)}
        self._file.write(json.dumps(row) + "\n")
        numbers = {key: value for key, value in row.items() if isinstance(value, (int, float))}
        if self._tensorboard is not None:
            for key, value in numbers.items():
                self._tensorboard.add_scalar(key, value, step)
        if self._wandb is not None:
            self._wandb.log(numbers, step=step)

    def flush(self) -> None:
        """Has all rows in the file, as those of a step must be before its state is kept."""
        self._file.flush()

    def close(self) -> None:
        """Flushes and closes all that is open."""
        self._file.close()
        if self._tensorboard is not None:
            self._tensorboard.close()
        if self._wandb is not None:
            self._wandb.finish()


def installed(module: str, extra: str) -> Any:
    """Imports an optional package.

    Raises:
      UsageError: it isn't installed; says which command installs it.
    """
    try:
        return import_module(module)
    except ImportError as error:
        raise UsageError(f'{module} is not installed: pip install "hypjax[{extra}]"') from error
