"""Training a run: its parts made at the start, its steps taken, its test classes scored in the end."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

import jax

from hypjax.config import assembly, initialization, optimization
from hypjax.config.images import batch_classes, limited
from hypjax.config.inputs import create_inputs
from hypjax.config.settings import learns_points
from hypjax.data import atomic
from hypjax.data.errors import UsageError
from hypjax.data.source import digest, digest_of_rows
from hypjax.run import answers, manifest, results, starting
from hypjax.run.checkpoint import Checkpoints
from hypjax.run.compiled import Ahead
from hypjax.run.hooks import Fitting, Logging, Profiling, Saving, Stop, Validating
from hypjax.run.loop import Hook, Plan, take_steps
from hypjax.run.metrics import MetricWriter
from hypjax.run.run import Run
from hypjax.run.stopping import Stopping
from hypjax.show import console
from hypjax.show.pages.figures import meaning
from hypjax.show.progress import Progress
from hypjax.training import sharding
from hypjax.training.state import TrainState
from hypjax.training.step import Metrics


class Training:
    """A run that is trained: what its steps are made of.

    Args:
      run: opened to be trained.
      stopping: which a signal may ask for.
      profile: whether to keep a profile of a few steps.

    Raises:
      UsageError: settings that don't fit together.
      DataError: data that is missing, broken or too small.
    """

    def __init__(self, run: Run, stopping: Stopping, *, profile: bool = False) -> None:
        self.made_with, self.began = manifest.environment(), time.monotonic()
        self.run, self.stopping, self.among, self.chief = run, stopping, run.among, run.among.chief
        self.profile = profile and self.chief
        self.say = print if self.chief else (lambda *text, **options: None)
        self.mesh = sharding.data_mesh()
        self.setup = assembly.assemble(run.config)
        train = self.setup.splits.train
        self.config = config = limited(run.config, train)
        self.plan = Plan(config.steps)
        step = optimization.create_step(config, self.setup, self.mesh)
        classes, samples = batch_classes(config, train), config.batch.samples_per_class
        self.images_per_step = classes * samples
        sharding.require_shares(classes, samples, self.mesh.size, limit=len(train.class_names))
        if config.init_from and config.features.cached:
            raise UsageError("init_from brings an encoder, and `frozen` keeps the features of the published one")
        if (config.patience or config.evaluation.state == "best") and not len(self.setup.splits.validation):
            raise UsageError("patience and evaluation.state=best need validation classes: data.validation above 0")
        if config.patience and not config.evaluation.every:
            raise UsageError("patience counts validations, of which evaluation.every=0 makes none on the way")
        if config.evaluation.state == "best" and not config.checkpoint.best:
            raise UsageError("evaluation.state=best needs checkpoint.best, the figure by which the best state is kept")
        if config.checkpoint.best and not meaning(config.checkpoint.best).better:
            raise UsageError(
                f"checkpoint.best {config.checkpoint.best!r} is no figure of which more or less is better, such as "
                "recall@1, map@r or uncertainty_auroc"
            )
        self.made_with["data"] = assembly.summary(self.setup.splits)
        self.made_with["digest"] = {name: digest(part) for name, part in self.setup.splits._asdict().items()}
        if run.takes_features:
            self.made_with["rows"] = {n: digest_of_rows(part) for n, part in self.setup.splits._asdict().items()}
        told = {"digest of the data": self.made_with["digest"], "rows": self.made_with.get("rows")}
        starting.require_alike(self.among, told)
        self.say(f"{config.name}: {self.made_with['data']}")
        devices = f"{self.mesh.size} {jax.devices()[0].platform} device(s) in {self.among.count} process(es)"
        self.say(f"{devices}; {run.workdir}")
        if config.steps < run.config.steps:
            self.say(
                f"{config.steps} steps instead of {run.config.steps}: they go through the training images "
                f"{config.most_epochs:g} times (most_epochs)"
            )

        def compile_step() -> Callable[..., tuple[TrainState, Metrics]]:
            arguments = initialization.abstract_arguments(config, self.setup, self.mesh)
            return step.lower(*arguments, seed=config.seed).compile()

        self.step = Ahead(compile_step)
        self.batches, reader = create_inputs(config, self.setup, self.mesh)
        self.evaluator = assembly.create_evaluator(config, self.setup, self.mesh, reader)
        self.refit = assembly.create_refit(config, self.setup, self.evaluator)

    def __call__(self) -> None:
        """Takes the steps that are left, and scores the test classes."""
        with ExitStack() as stack:
            stack.callback(self.batches.close)
            checkpoints = stack.enter_context(self.run.keep_states("last", keep=self.config.checkpoint.keep))
            best = None
            if self.config.checkpoint.best and len(self.setup.splits.validation):
                best = stack.enter_context(self.run.keep_states("best", keep=1))

            def settle() -> None:
                for states in filter(None, (checkpoints, best)):
                    states.wait()

            self.stopping.settle = settle
            self.stopping.saved = lambda: max(self.run.states().steps, default=None)
            with self.stopping.nothing_to_save():
                state, first = self._begin(checkpoints)
                writer = self._open_metrics(first)
                if writer is not None:
                    stack.callback(writer.close)
                progress = Progress(each=self.images_per_step)
                log, validating, hooks = self._hooks(first, checkpoints, best, writer, progress)
                if validating.is_due(first):  # also where a run was stopped between saving and validating
                    validating(first, state)
            state = take_steps(state, self.batches, self._step, self.plan, log=log, hooks=hooks)
        with self.stopping.nothing_to_save():
            self._finish(state, first)

    def _begin(self, checkpoints: Checkpoints) -> tuple[TrainState, int]:
        """The state, from the start or from the last whole checkpoint, and its step."""
        config = self.config
        fresh = self.among.from_chief(self.chief and not checkpoints.steps)
        if self.chief:
            for line in manifest.changes(self.run.workdir, self.made_with) if not fresh else ():
                self.say(line)
            self.run.keep_data_dir()
        if fresh:
            self.say("preparing: weights, a sample of features for the head, compilation")
            start = None
            if config.init_from:
                source = Run.open(config.init_from, among=self.among)
                start, step = source.restore(self.mesh)
                start = initialization.without_other_adapters(config, source.config, start)
                self.say(f"starting from step {step} of {config.init_from}")
            state = initialization.initial_state(
                config, self.setup, self.evaluator, start, say=self.say, meanwhile=self.step.start
            )
            return state, 0
        self.step.start()
        like = initialization.abstract_state(config, self.setup)
        try:
            state, position, notices = checkpoints.restore(like, sharding.replicated(self.mesh))
        except FileNotFoundError as error:
            raise UsageError(f"{self.run.workdir} cannot be resumed: {error}; delete it to start anew") from error
        self.batches.set_state(position)
        for notice in notices:
            self.say(notice)
        self.say(f"resuming after step {int(state.step)}")
        return state, int(state.step)

    def _open_metrics(self, first: int) -> MetricWriter | None:
        if not self.chief:
            return None
        log = self.config.log
        if log.wandb:
            self.made_with["wandb"] = self.run.manifest.get("wandb") or secrets.token_hex(4)
        self._keep_manifest(first)
        return MetricWriter(
            self.run.workdir,
            resume_step=first,
            tensorboard=log.tensorboard,
            wandb=self.made_with.get("wandb", ""),
            config=self.config.to_dict(),
            require=self.run.require_held,
        )

    def _hooks(
        self,
        first: int,
        checkpoints: Checkpoints,
        best: Checkpoints | None,
        writer: MetricWriter | None,
        progress: Progress,
    ) -> tuple[Logging, Validating, list[Hook]]:
        config, plan = self.config, self.plan

        def last_saved() -> int | None:
            checkpoints.wait()
            saved: int | None = self.among.from_chief(max(checkpoints.steps, default=None) if self.chief else None)
            return saved

        log = Logging(
            writer,
            progress,
            plan,
            every=config.log.every,
            learning_rate=optimization.create_schedule(config),
            last_saved=last_saved,
        )
        validating = Validating(
            self.evaluator,
            self.setup.splits.validation,
            config,
            plan,
            stopping=self.stopping,
            writer=writer,
            progress=progress,
            refit=self.refit,
            best=best,
            position=self.batches.get_state,
            among=self.among,
        )
        validating.recall(self.run.metrics if self.chief else [])
        every, minutes = config.checkpoint.every, config.checkpoint.minutes
        saving = Saving(
            checkpoints,
            self.batches,
            plan,
            every=every,
            minutes=minutes,
            before=validating,
            writer=writer,
            fits=self.refit is not None,
        )
        hooks: list[Hook] = [saving, validating, Stop(self.stopping, saving)]
        if self.refit is not None:
            hooks.insert(0, Fitting(self.refit, plan))
        if self.profile:
            hooks.append(Profiling(self.run.workdir / "profile", first, plan))
        return log, validating, hooks

    def _step(self, state: TrainState, batch: dict[str, Any]) -> tuple[TrainState, Metrics]:
        return self.step(state, sharding.global_batch(batch, self.mesh), seed=self.config.seed)

    def _finish(self, state: TrainState, first: int) -> None:
        """The test classes, scored once, pictures and report; or the last figures of the validation classes."""
        config, run, step = self.config, self.run, self.plan.last
        run.require_held()
        tested = self.among.from_chief(run.tested if self.chief else None)
        if tested != config.evaluation.state:
            self.say(f"{config.checkpoint.best} was no number at any validation: the last state is taken for the best")
        if not config.evaluation.test:
            if self.chief:
                self._keep_manifest(first)
                if tested == "best":
                    step = run.states("best").steps[-1]
                results.write_page(run, run.validated, step=step, finished=True, split="validation")
                figures = {f"validation/{name}": value for name, value in run.validated.items()}
                atomic.write_json(run.workdir / "results.json", figures)
                self.say("evaluation.test is off: results.json holds the figures of the validation classes")
            return
        variables = state.evaluated()
        if tested == "best":
            variables, step = run.restore(self.mesh, tested)
        self.say("scoring the test classes" + (f" with the state of step {step}" if step != self.plan.last else ""))
        scored = results.score(config, self.setup, self.evaluator, variables, "test", say=self.say)
        run.require_held()
        if self.chief:
            self._keep_manifest(first)
            results.write_results(run, self.setup.splits.test, scored, step=step, finished=True)
            for line in (
                *console.summary("test", scored.figures),
                *(scored.reliance.lines() if scored.reliance else answers.uncalibrated(config)),
                *console.warnings(scored.figures, refits=not learns_points(config)),
            ):
                self.say(line)
            page, figures_at = run.workdir / "report.html", run.workdir / "results.json"
            self.say(f"{page} shows figures and pictures, {figures_at} holds the figures")

    def _keep_manifest(self, first: int) -> None:
        """Keeps what the run is made with, at its start and, with the time it took, at its end."""
        self.made_with["steps"] = self.plan.last
        manifest.record(self.run.workdir, self.made_with, seconds=time.monotonic() - self.began, resumed_at=first)
