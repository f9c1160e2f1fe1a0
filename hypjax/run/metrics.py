"""Where figures go: one JSON object a line, the console, and TensorBoard or W&B for those who have them."""

from __future__ import annotations

import json
import math
import sys
import time
from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import Any, TextIO

from hypjax.data import atomic
from hypjax.data.errors import UsageError
from hypjax.run.loop import Plan


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
    """Reads `metrics.jsonl`; a line cut short by a kill is passed over."""
    rows = []
    for line in path.read_text().splitlines() if path.exists() else ():
        try:
            rows.append(json.loads(line))
        except json.JSONDecodeError:
            continue
    return rows


def require_packages(*, tensorboard: bool, wandb: bool) -> None:
    """Checks at the start that what a writer will need is installed.

    Raises:
      UsageError: a package is missing; says the pip command.
    """
    if tensorboard:
        require("tensorboardX", "tensorboard")
    if wandb:
        require("wandb", "wandb")


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
    """

    def __init__(
        self,
        workdir: Path,
        *,
        resume_step: int = 0,
        tensorboard: bool = False,
        wandb: str = "",
        config: Any,
    ):
        path = workdir / "metrics.jsonl"
        kept = [row for row in read_metrics(path) if row["step"] <= resume_step] if resume_step else []
        atomic.write_text(path, "".join(json.dumps(row) + "\n" for row in kept))
        self._file: TextIO = path.open("a")
        self._tensorboard = self._wandb = None
        if tensorboard:
            module = require("tensorboardX", "tensorboard")
            self._tensorboard = module.SummaryWriter(str(workdir / "tensorboard"), purge_step=resume_step + 1)
        if wandb:
            self._wandb = require("wandb", "wandb").init(dir=str(workdir), config=config, id=wandb, resume="allow")

    def write(self, step: int, figures: Mapping[str, Any]) -> None:
        """Writes one row; figures are scalars."""
        row = {"step": step, **as_json(figures)}
        self._file.write(json.dumps(row) + "\n")
        self._file.flush()
        numbers = {key: value for key, value in row.items() if isinstance(value, (int, float))}
        if self._tensorboard is not None:
            for key, value in numbers.items():
                self._tensorboard.add_scalar(key, value, step)
        if self._wandb is not None:
            self._wandb.log(numbers, step=step)

    def close(self) -> None:
        """Flushes and closes all that is open."""
        self._file.close()
        if self._tensorboard is not None:
            self._tensorboard.close()
        if self._wandb is not None:
            self._wandb.finish()


def require(module: str, extra: str) -> Any:
    """Imports an optional package.

    Raises:
      UsageError: it isn't installed; says which command installs it.
    """
    try:
        return import_module(module)
    except ImportError as error:
        raise UsageError(f'{module} is not installed: pip install "hypjax[{extra}]"') from error


class Progress:
    """One line that moves on a terminal, and a line now and then where output goes to a file."""

    def __init__(self, plan: Plan, images_per_step: int, *, first: int = 0, interval: float = 10.0):
        self._plan = plan
        self._images_per_step = images_per_step
        self._start = self._last = time.monotonic()
        self._first = first
        self._paused = 0.0
        self._moving = sys.stdout.isatty()
        self._interval = 0.2 if self._moving else interval

    def show(self, step: int, loss: float) -> None:
        """Reports the step just finished, unless a report is fresh."""
        now = time.monotonic()
        # The first step of a run holds the compilation, which says nothing about the time left.
        if step == self._first + 1:
            self._start, self._paused = now, 0.0
        if now - self._last < self._interval and step not in (self._first + 1, self._plan.last):
            return
        self._last = now
        rate = self.rate(step)
        line = f"step {step}/{self._plan.last}  loss {loss:.4f}"
        if rate:
            left = round((self._plan.last - step) * self._images_per_step / rate)
            line += f"  {rate:.0f} images/s  {left // 60}:{left % 60:02d} left"
        print(f"\r{line:<78}" if self._moving else line, end="" if self._moving else "\n", flush=True)

    def rate(self, step: int) -> float:
        """Images per second since the first step, evaluations left out."""
        elapsed = time.monotonic() - self._start - self._paused
        done = step - self._first - 1
        return done * self._images_per_step / elapsed if done > 0 and elapsed > 0 else 0.0

    def say(self, text: str) -> None:
        """Prints a line of its own."""
        print(f"\r{'':<78}\r{text}" if self._moving else text, flush=True)

    def pause(self, seconds: float) -> None:
        """Leaves time spent on something else out of the rate."""
        self._paused += seconds
