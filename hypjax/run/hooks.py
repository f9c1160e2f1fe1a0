"""What is done between the steps of training: log, fit the head, save, validate, stop."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import optax
from ml_collections import ConfigDict

from hypjax.config.settings import learns_points
from hypjax.data.errors import UsageError
from hypjax.data.source import Source
from hypjax.run.checkpoint import Checkpoints
from hypjax.run.loop import Plan
from hypjax.run.metrics import MetricWriter
from hypjax.run.peers import ALONE, Peers
from hypjax.run.status import DivergedError
from hypjax.run.stopping import Stopping
from hypjax.show import console
from hypjax.show.pages.figures import LOWER, meaning
from hypjax.show.progress import Progress
from hypjax.training.evaluation import Evaluator
from hypjax.training.refitting import Refit
from hypjax.training.state import TrainState


class Logging:
    """Tells a step's metrics to file and console, and stops where they are not finite; as `loop.Log`."""

    def __init__(
        self,
        writer: MetricWriter | None,
        progress: Progress,
        plan: Plan,
        *,
        every: int,
        learning_rate: optax.Schedule,
        last_saved: Callable[[], int | None],
    ) -> None:
        self._writer, self._progress, self._plan, self._every = writer, progress, plan, every
        self._learning_rate, self._last_saved = jax.jit(learning_rate), last_saved

    def __call__(self, step: int, metrics: dict[str, jax.Array]) -> None:
        """Logs the metrics of a step."""
        figures = {name: float(value) for name, value in metrics.items()}
        if not all(math.isfinite(figures[name]) for name in ("loss", "grad_norm")):
            raise DivergedError(
                f"the loss or its gradient is not finite at step {step} "
                f"(loss {figures['loss']}, gradient norm {figures['grad_norm']}); "
                f"the last good checkpoint is {self._last_saved() or 'none'}. "
                "Try a lower optimizer.learning_rate, a smaller optimizer.clip_norm or a higher loss.temperature"
            )
        if self._writer is None:
            return
        if self._plan.is_due(step, self._every) or step == 1:
            figures["learning_rate"] = float(self._learning_rate(step - 1))
            figures["images_per_second"] = self._progress.rate(step)
            self._writer.write(step, figures)
        words = f"step {step}/{self._plan.last}  loss {figures['loss']:.4f}"
        self._progress.show(step, self._plan.last, words)


class Fitting:
    """Fits the head anew at the end, where the settings ask for it."""

    def __init__(self, refit: Refit, plan: Plan) -> None:
        self._refit, self._plan = refit, plan

    def is_due(self, step: int) -> bool:
        """After the last step."""
        return step == self._plan.last

    def __call__(self, step: int, state: TrainState) -> TrainState:
        """The state with the head that evaluation will use."""
        return self._refit.keep(state)


class Saving:
    """Writes the state: every so many steps or minutes, before a validation, and when a signal asks to stop."""

    def __init__(
        self,
        checkpoints: Checkpoints,
        batches: Any,
        plan: Plan,
        *,
        every: int,
        minutes: float,
        before: Validating,
        writer: MetricWriter | None,
        fits: bool = False,
    ) -> None:
        self._checkpoints, self._batches, self._plan = checkpoints, batches, plan
        self._every, self._seconds, self._before, self._writer = every, 60 * minutes, before, writer
        self._fits = fits
        self._saved = time.monotonic()

    def is_due(self, step: int) -> bool:
        """By steps, by the clock, or because a validation follows, or a fit of the head, which may take long."""
        late = bool(self._seconds) and time.monotonic() - self._saved > self._seconds
        fit = self._fits and step == self._plan.last - 1
        return self._plan.is_due(step, self._every) or self._before.is_due(step) or late or fit

    def __call__(self, step: int, state: TrainState) -> TrainState:
        """Starts to write; what waits for the file system goes on in the background."""
        if self._writer is not None:
            self._writer.flush()
        self._checkpoints.save(state, self._batches.get_state())
        self._saved = time.monotonic()
        return state


class Stop:
    """Ends the run where a signal has asked for it, once all is saved."""

    def __init__(self, stopping: Stopping, saving: Saving) -> None:
        self._stopping, self._saving = stopping, saving

    def is_due(self, step: int) -> bool:
        """Once a signal has come."""
        return self._stopping.asked is not None

    def __call__(self, step: int, state: TrainState) -> TrainState:
        """Saves, unless that is done, and raises `Stopped`."""
        self._saving(step, state)
        self._stopping.end_if_asked()
        return state


class Validating:
    """Scores the validation classes, keeps the best state, and ends training where nothing gets better any more.

    Args:
      evaluator: what scores.
      source: the validation classes; without any nothing is done.
      config: the settings.
      plan: of the run, whose end early stopping brings nearer.
      stopping: which a signal may ask for meanwhile.
      writer: of the metrics; None where another process writes them.
      progress: of the console.
      refit: what fits the head anew, as it will be in the end.
      best: where the best state is kept; None for nowhere.
      position: the state of the batches.
      among: the processes that validate together, on which the figures of process 0 count.
    """

    def __init__(
        self,
        evaluator: Evaluator,
        source: Source,
        config: ConfigDict,
        plan: Plan,
        *,
        stopping: Stopping,
        writer: MetricWriter | None,
        progress: Progress,
        refit: Refit | None,
        best: Checkpoints | None,
        position: Callable[[], dict[str, Any]],
        among: Peers = ALONE,
    ) -> None:
        self._evaluator, self._source, self._config, self._plan = evaluator, source, config, plan
        self._stopping, self._writer, self._progress, self._refit = stopping, writer, progress, refit
        self._best, self._position, self._among = best, position, among
        self._figure = config.checkpoint.best or "recall@1"
        self._sign = -1 if meaning(self._figure).better == LOWER else 1  # by which a higher figure is the better one
        self._highest, self._since = -math.inf, 0  # validations since the best figure
        self._kept = -math.inf  # figure of the best state on the disk
        self._step = self._counted = -1  # of the last validation; of the last one whose figures are kept

    def recall(self, rows: Sequence[dict[str, Any]]) -> None:
        """Takes up the validations of an earlier start.

        Args:
          rows: of the metrics, as process 0 has them.
        """
        figures = {row["step"]: self._rated(row, "validation/") for row in rows if "validation/recall@1" in row}
        for step, figure in figures.items():
            self._take(step, figure)
        if self._best is not None and self._highest > -math.inf:
            self._kept = max((figures.get(step, -math.inf) for step in self._best.steps), default=-math.inf)
            if self._kept < self._highest == figures[self._counted]:
                self._step = -1  # killed before its state was kept: it is looked at again, and not counted twice
        known = [self._highest, self._kept, self._since, self._step, self._counted, self._plan.last]
        known = self._among.from_chief(known)
        self._highest, self._kept, self._since, self._step, self._counted, self._plan.last = known

    def is_due(self, step: int) -> bool:
        """Every so many steps, after the last, and at the start, but for what is known."""
        due = self._plan.is_due(step, self._config.evaluation.every) or not step
        return bool(len(self._source)) and due and step != self._step

    def __call__(self, step: int, state: TrainState) -> TrainState:
        """Scores the state with its head as it will be in the end; training goes on with the state as it was."""
        began = time.monotonic()
        with self._stopping.nothing_to_save():
            fitted = state
            if self._refit is not None and 0 < step < self._plan.last:  # the last state has it
                fitted = self._refit.keep(state)
            # Before training the doubt is one and the same and answers to nothing, and recall is what one compares.
            queries = self._config.evaluation.degraded_queries if step else 0
            evaluation = self._evaluator(fitted.evaluated(), self._source, degraded_queries=queries, clusters=step > 0)
            figures = self._among.from_chief(evaluation.figures)
            if step and self._figure not in figures:
                raise UsageError(f"checkpoint.best {self._figure!r} is no figure; there are: {', '.join(figures)}")
            figure = self._rated(figures)
            if step > self._counted:
                self._tell(step, figures)
                self._take(step, figure)
            self._step = step
            if step and figure > self._kept and self._best is not None:
                self._kept = figure
                if self._writer is not None:
                    self._writer.flush()
                self._best.save(fitted, self._position())
        self._progress.pause(time.monotonic() - began)
        return state

    def _rated(self, figures: Mapping[str, Any], prefix: str = "") -> float:
        """The figure by which the best state is known, higher where better; −∞ where it is no number."""
        figure = figures.get(prefix + self._figure)
        return -math.inf if figure is None or math.isnan(figure) else self._sign * figure

    def _take(self, step: int, figure: float) -> None:
        """Counts a validation, and ends training where it is one too many without a better figure."""
        self._step = self._counted = step
        if step and figure > self._highest:
            self._highest, self._since = figure, 0
        elif step:
            self._since += 1
        if self._config.patience and self._since >= self._config.patience and step + 1 < self._plan.last:
            # The next step is the last one as any other: fitted, saved and validated.
            self._plan.last = step + 1
            if self._writer is not None:
                why = f"{self._figure} got no better in {self._since} validations (patience)"
                self._progress.say(f"  {why}: step {step + 1} is the last")

    def _tell(self, step: int, figures: Mapping[str, float]) -> None:
        if self._writer is None:
            return
        self._writer.write(step, {f"validation/{name}": value for name, value in figures.items()})
        title = f"validation at step {step}" if step else "validation before training"
        told = [*console.summary(title, figures)]
        if step:  # what is wrong before training need not be so after it
            told += console.warnings(figures, refits=not learns_points(self._config))
        for line in told:
            self._progress.say(line)


class Profiling:
    """Keeps a profile of a few steps, once all is compiled; `xprof` or TensorBoard shows it.

    Args:
      folder: where it goes.
      first: the step that this process starts after.
      plan: of the run.
    """

    def __init__(self, folder: Path, first: int, plan: Plan) -> None:
        self._folder, self._plan = folder, plan
        self._start, self._end, self._runs = first + 2, first + 7, False

    def is_due(self, step: int) -> bool:
        """At its start and at its end."""
        return step == self._start or (self._runs and (step == self._end or step == self._plan.last))

    def __call__(self, step: int, state: TrainState) -> TrainState:
        """Starts the profile, or ends it."""
        if self._runs:
            jax.block_until_ready(state)
            jax.profiler.stop_trace()
            print(f"{self._folder} holds a profile of the steps {self._start + 1} to {step}")
        elif step < self._plan.last:
            jax.profiler.start_trace(str(self._folder))
        self._runs = step == self._start and step < self._plan.last
        return state
