"""A run being trained."""

from __future__ import annotations

import math
import time
from pathlib import Path

import jax
from ml_collections import ConfigDict

from hypjax.config import assembly, initialization, optimization, persistence
from hypjax.config.images import batch_classes, limited
from hypjax.config.inputs import create_inputs
from hypjax.data import atomic
from hypjax.data.errors import UsageError
from hypjax.data.source import digest
from hypjax.run import manifest, results
from hypjax.run.checkpoint import Checkpoints
from hypjax.run.metrics import MetricWriter, Progress, as_json, read_metrics
from hypjax.run.status import DivergedError
from hypjax.run.stopping import Stopping
from hypjax.show import console
from hypjax.training import sharding
from hypjax.training.state import TrainState


class Training:
    """A run that is trained: what its steps are made of, and where they leave their traces."""

    def __init__(self, config: ConfigDict, workdir: Path, stopping: Stopping) -> None:
        self.made_with, self.began = manifest.environment(), time.monotonic()
        self.workdir, self.stopping, self.chief = workdir, stopping, jax.process_index() == 0
        self.say = print if self.chief else (lambda *text, **options: None)
        self.mesh = sharding.data_mesh()
        self.setup = assembly.assemble(config)
        self.config = config = limited(config, self.setup.splits.train)
        self.step_function = optimization.create_step(config, self.setup, self.mesh)
        self.images_per_step = batch_classes(config, self.setup.splits.train) * config.batch.samples_per_class
        sharding.require_divisible(self.images_per_step, self.mesh)
        self.made_with["data"] = assembly.summary(self.setup.splits)
        self.made_with["digest"] = {name: digest(part) for name, part in self.setup.splits._asdict().items()}
        self.say(f"{config.name}: {self.made_with['data']}")
        devices = f"{self.mesh.size} {jax.devices()[0].platform} device(s) in {jax.process_count()} process(es)"
        self.say(f"{devices}; {workdir}")
        self.schedule = jax.jit(optimization.create_schedule(config))
        self.batches, self.reader = create_inputs(config, self.setup, self.mesh)
        self.evaluator = assembly.create_evaluator(config, self.setup, self.mesh, self.reader)
        self.refit = assembly.create_refit(config, self.setup, self.evaluator)
        self.validated = len(self.setup.splits.validation) > 0  # a recipe may train on every class that is not tested

    def run(self) -> None:
        """Takes the steps that are left, and scores the test classes."""
        with Checkpoints(self.workdir / "checkpoints", keep=self.config.checkpoint.keep) as self.checkpoints:
            with self.stopping.nothing_to_save():
                state, first = self.begin()
                self.progress = Progress(self.config.steps, self.images_per_step, first=first)
                if self.is_due(first, self.config.evaluation.every) and not self.has_validated(first):
                    self.validate(state, first)  # also where a run was stopped between saving and validating
            state = self.take_steps(state, first)
        if self.writer is not None:
            self.writer.close()
        with self.stopping.nothing_to_save():
            self.finish(state, first)

    def begin(self) -> tuple[TrainState, int]:
        """The state, from the start or from the last whole checkpoint, and its step."""
        config, workdir = self.config, self.workdir
        if not self.checkpoints.steps:
            self.say("preparing: weights, a sample of features for the head, compilation")
            state = initialization.initial_state(config, self.setup, self.mesh, self.reader)
        else:
            for line in manifest.changes(workdir, self.made_with):
                self.say(line)
            like = initialization.abstract_state(config, self.setup)
            try:
                state, position, notices = self.checkpoints.restore(like, sharding.replicated(self.mesh))
            except FileNotFoundError as error:
                raise UsageError(f"{workdir} cannot be resumed: {error}; delete it to start anew") from error
            self.batches.set_state(position)
            for notice in notices:
                self.say(notice)
            self.say(f"resuming after step {int(state.step)}")
        first = int(state.step)
        self.writer = None
        if self.chief:
            self.keep_manifest(first)
            log = config.log
            options = {"tensorboard": log.tensorboard, "wandb": log.wandb, "config": config.to_dict()}
            self.writer = MetricWriter(workdir, resume_step=first, **options)
        return state, first

    def take_steps(self, state: TrainState, first: int) -> TrainState:
        """The loop: a step's metrics are fetched after the next step is on its way."""
        config, pending, saved = self.config, None, time.monotonic()
        for step in range(first + 1, config.steps + 1):
            batch = sharding.global_batch(next(self.batches), self.mesh)
            state, metrics = self.step_function(state, batch, seed=config.seed)
            if pending is not None:
                self.record(*pending)
            pending = (step, metrics)
            evaluating = self.is_due(step, config.evaluation.every)
            saving = evaluating or self.is_due(step, config.checkpoint.every, alone=True)
            minutes = config.checkpoint.minutes if jax.process_count() == 1 else 0
            saving |= bool(minutes) and time.monotonic() - saved > 60 * minutes
            if not (saving or self.stopping.asked):
                continue
            self.record(*pending)  # before a state is kept, it must be known to be good
            pending, paused = None, time.monotonic()
            if step == config.steps and self.refit is not None:
                state = self.refit.keep(state)
            self.checkpoints.save(state, self.batches.get_state())
            saved = time.monotonic()
            with self.stopping.nothing_to_save():
                if evaluating:
                    self.validate(state, step)
            self.progress.pause(time.monotonic() - paused)
        return state

    def is_due(self, step: int, every: int, *, alone: bool = False) -> bool:
        """Whether something is done at this step: every so many, and at the end; validation at the start, too."""
        if not (alone or self.validated):
            return False
        return step == self.config.steps or (step % every == 0 if every else not step)

    def has_validated(self, step: int) -> bool:
        """Whether the figures of a validation at this step are kept."""
        rows = read_metrics(self.workdir / "metrics.jsonl") if self.chief else []
        return sharding.from_chief(any(row["step"] == step and "validation/recall@1" in row for row in rows))

    def record(self, step: int, metrics: dict[str, jax.Array]) -> None:
        """Logs a step, and stops where it went wrong."""
        figures = {name: float(value) for name, value in metrics.items()}
        if not all(math.isfinite(figures[name]) for name in ("loss", "grad_norm")):
            self.checkpoints.wait()
            raise DivergedError(
                f"the loss or its gradient is not finite at step {step} "
                f"(loss {figures['loss']}, gradient norm {figures['grad_norm']}); "
                f"the last good checkpoint is {max(self.checkpoints.steps, default='none')}. "
                "Try a lower optimizer.learning_rate, a smaller optimizer.clip_norm or a higher loss.temperature"
            )
        if self.writer is None:
            return
        if step % self.config.log.every == 0 or step in (1, self.config.steps):
            figures["learning_rate"] = float(self.schedule(step - 1))
            figures["images_per_second"] = self.progress.rate(step)
            self.writer.write(step, figures)
        self.progress.show(step, figures["loss"])

    def validate(self, state: TrainState, step: int) -> None:
        """Scores the validation classes."""
        variables = state.evaluated()
        if self.refit is not None and 0 < step < self.config.steps:  # the last state has it
            variables = self.refit(variables)
        queries = self.config.evaluation.degraded_queries
        evaluation = self.evaluator(variables, self.setup.splits.validation, degraded_queries=queries)
        if self.writer is None:
            return
        self.writer.write(step, {f"validation/{name}": v for name, v in evaluation.figures.items()})
        title = f"validation at step {step}" if step else "validation before training"
        told = [*console.summary(title, evaluation.figures)]
        if step:  # what is wrong before training need not be so after it
            told += console.warnings(evaluation.figures)
        for line in told:
            self.progress.say(line)

    def finish(self, state: TrainState, first: int) -> None:
        """The test classes, scored once, pictures and report; or the last figures of the validation classes."""
        config, workdir = self.config, self.workdir
        if not config.evaluation.test:
            if self.chief:
                rows = read_metrics(workdir / "metrics.jsonl")
                finals = next(row for row in reversed(rows) if "validation/recall@1" in row)
                figures = {name: value for name, value in finals.items() if name.startswith("validation/")}
                self.keep_manifest(first)
                bare = {name.removeprefix("validation/"): value for name, value in figures.items()}
                results.write_page(workdir, bare, step=config.steps, steps=config.steps, split="validation")
                atomic.write_json(workdir / "results.json", figures)
                self.say("evaluation.test is off: results.json holds the figures of the validation classes")
            return
        self.say("scoring the test classes")
        evaluation = results.score(config, self.setup, self.evaluator, state.evaluated(), "test", say=self.say)
        if self.chief:
            self.keep_manifest(first)
            results.write_results(workdir, self.setup.splits.test, evaluation, step=config.steps, steps=config.steps)
            for line in (*console.summary("test", evaluation.figures), *console.warnings(evaluation.figures)):
                self.say(line)
            figures_at, page = workdir / "results.json", workdir / "report.html"
            self.say(f"{page} shows figures and pictures, {figures_at} holds the figures")

    def keep_manifest(self, first: int) -> None:
        """Keeps what the run is made with, at its start and, with the time it took, at its end."""
        manifest.record(self.workdir, self.made_with, seconds=time.monotonic() - self.began, resumed_at=first)


def claim(workdir: Path, config: ConfigDict, *, chief: bool) -> bool:
    """Takes a workdir for these settings; tells whether a run with them is finished there.

    Raises:
      UsageError: the workdir holds a run with other settings.
    """
    settings = as_json(config.to_dict())
    path = workdir / "config.json"
    if path.exists() and has_begun(workdir):
        held = persistence.load_config(workdir)
        changed = [
            line for line in persistence.differences(as_json(held.to_dict()), settings) if not line.startswith("log.")
        ]
        if changed:
            raise UsageError(
                f"{workdir} holds a run with other settings ({'; '.join(changed[:4])}); "
                "choose another --workdir or delete it"
            )
    elif chief:
        workdir.mkdir(parents=True, exist_ok=True)
        atomic.write_json(path, settings)
    return (workdir / "results.json").exists()


def has_begun(workdir: Path) -> bool:
    """Whether a run took a step there; one that failed at its settings leaves nothing to protect."""
    return any(row["step"] for row in read_metrics(workdir / "metrics.jsonl")) or (workdir / "results.json").exists()
