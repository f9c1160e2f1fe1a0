"""Trains a retrieval model: `python -m hypjax.train --config configs/hyp_uml.py [--workdir DIR]`.

The same command on the same workdir resumes a run that was stopped, and says so when it is finished. On a TPU
pod or under SLURM or MPI start it on each host; elsewhere add `--coordinator=HOST:PORT --num_processes=N
--process_id=I`.
"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from pathlib import Path

import jax
from absl import flags
from ml_collections import ConfigDict

from hypjax import assembly, cli, dry, evaluate, initialization, provenance
from hypjax.errors import DivergedError, UsageError
from hypjax.images import batch_classes, limited
from hypjax.inputs import create_inputs
from hypjax.training import sharding
from hypjax.training.checkpoint import Checkpoints
from hypjax.training.metrics import MetricWriter, Progress, as_json, read_metrics, require_packages


def main(argv: Sequence[str]) -> None:
    """Reads the command line and trains."""
    values = flags.FlagValues()
    cli.define_config(values)
    flags.DEFINE_string("workdir", None, "where the run is kept; runs/<config name>", flag_values=values)
    flags.DEFINE_string("coordinator", None, "HOST:PORT of process 0", flag_values=values)
    flags.DEFINE_integer("num_processes", None, "number of processes", flag_values=values)
    flags.DEFINE_integer("process_id", None, "this process, from 0", flag_values=values)
    cli.parse_flags(argv, values)
    config = values.config
    if config.dry.run or config.dry.devices:
        dry.rehearse(config)
        return
    sharding.initialize(values.coordinator, values.num_processes, values.process_id)
    train(config, Path(values.workdir or f"runs/{config.name}"))


def train(config: ConfigDict, workdir: Path) -> None:
    """Trains, or goes on training, in `workdir`, then scores the test classes once.

    Args:
      config: the settings, see `hypjax.settings`.
      workdir: holds config.json, metrics.jsonl, checkpoints/, results.json, pictures and report.html.

    Raises:
      UsageError: settings that don't fit together, or a workdir that holds another run.
      DataError: data that is missing, broken or too small.
      DivergedError: a loss or gradient that isn't finite.
    """
    if config.steps < 1:
        raise UsageError(f"steps must be at least 1, not {config.steps}")
    require_packages(tensorboard=config.log.tensorboard, wandb=config.log.wandb)

    # ---- The workdir: new, to be resumed, or finished -------------------------------------------------------
    chief = jax.process_index() == 0
    if claim(workdir, config, chief=chief):
        print(f"{workdir} is finished; its figures are in {workdir / 'results.json'}")
        return
    made_with, began = provenance.environment(), time.monotonic()

    # ---- The setup: data, model, objective ------------------------------------------------------------------
    mesh = sharding.data_mesh()
    setup = assembly.assemble(config)
    config = limited(config, setup.splits.train)
    step_function = assembly.create_step(config, setup, mesh)
    images_per_step = batch_classes(config, setup.splits.train) * config.batch.samples_per_class
    sharding.require_divisible(images_per_step, mesh)
    say = print if chief else (lambda *text, **options: None)
    made_with["data"] = assembly.summary(setup.splits)
    say(f"{config.name}: {made_with['data']}")
    say(f"{mesh.size} {jax.devices()[0].platform} device(s) in {jax.process_count()} process(es); {workdir}")

    # ---- The state: from the start, or from the last whole checkpoint ---------------------------------------
    schedule = jax.jit(assembly.create_schedule(config))
    batches, reader = create_inputs(config, setup, mesh)
    with Checkpoints(workdir / "checkpoints", keep=config.checkpoint.keep) as checkpoints:
        fresh = not checkpoints.steps
        if fresh:
            say("preparing: weights, a sample of features for the head, compilation")
            state = initialization.initial_state(config, setup, mesh, reader)
        else:
            like = initialization.abstract_state(config, setup)
            try:
                state, position, notices = checkpoints.restore(like, sharding.replicated(mesh))
            except FileNotFoundError as error:
                raise UsageError(f"{workdir} cannot be resumed: {error}; delete it to start anew") from error
            batches.set_state(position)
            for notice in notices:
                say(notice)
            say(f"resuming after step {int(state.step)}")
        first = int(state.step)

        evaluator = assembly.create_evaluator(config, setup, mesh, reader)
        refit = assembly.create_refit(config, setup, evaluator)
        writer = (
            MetricWriter(
                workdir,
                resume_step=first,
                tensorboard=config.log.tensorboard,
                wandb=config.log.wandb,
                config=config.to_dict(),
            )
            if chief
            else None
        )
        progress = Progress(config.steps, images_per_step, first=first)

        # ---- The loop: a step's metrics are fetched after the next step is on its way -----------------------
        def record(step: int, metrics: dict[str, jax.Array]) -> None:
            figures = {name: float(value) for name, value in metrics.items()}
            if not all(math.isfinite(figures[name]) for name in ("loss", "grad_norm")):
                raise DivergedError(
                    f"the loss or its gradient is not finite at step {step} "
                    f"(loss {figures['loss']}, gradient norm {figures['grad_norm']}); "
                    f"the last good checkpoint is {max(checkpoints.steps, default='none')}. "
                    "Try a lower optimizer.learning_rate, a smaller optimizer.clip_norm or a higher loss.temperature"
                )
            if writer is None:
                return
            if step % config.log.every == 0 or step in (1, config.steps):
                figures["learning_rate"] = float(schedule(step - 1))
                figures["images_per_second"] = progress.rate(step)
                writer.write(step, figures)
            progress.show(step, figures["loss"])

        validated = len(setup.splits.validation) > 0  # a recipe may train on every class that is not tested

        def validate(step: int, title: str) -> None:
            queries = config.evaluation.degraded_queries
            variables = state.evaluated()
            if refit is not None and 0 < step < config.steps:  # the last state has it
                variables = refit(variables)
            evaluation = evaluator(variables, setup.splits.validation, degraded_queries=queries)
            if writer is not None:
                writer.write(step, {f"validation/{name}": v for name, v in evaluation.figures.items()})
                told = [*evaluate.summary(title, evaluation.figures)]
                if step:  # what is wrong before training need not be so after it
                    told += evaluate.warnings(evaluation.figures)
                for line in told:
                    progress.say(line)

        if fresh and validated:
            validate(0, "validation before training")
        pending = None
        for step in range(first + 1, config.steps + 1):
            batch = sharding.global_batch(next(batches), mesh)
            state, metrics = step_function(state, batch, seed=config.seed)
            if pending is not None:
                record(*pending)
            pending = (step, metrics)
            last = step == config.steps
            evaluating = validated and (last or step % config.evaluation.every == 0)
            saving = last or step % config.checkpoint.every == 0
            if not (evaluating or saving):
                continue
            record(*pending)  # before a state is kept, it must be known to be good
            pending = None
            paused = time.monotonic()
            if last and refit is not None:
                state = refit.keep(state)
            if evaluating:
                validate(step, f"validation at step {step}")
            if saving:
                checkpoints.save(state, batches.get_state())
            progress.pause(time.monotonic() - paused)

    # ---- The end: the test classes, scored once, pictures and report ----------------------------------------
    if writer is not None:
        writer.close()
    if not config.evaluation.test:
        if chief:
            rows = read_metrics(workdir / "metrics.jsonl")
            finals = next(row for row in reversed(rows) if "validation/recall@1" in row)
            figures = {name: value for name, value in finals.items() if name.startswith("validation/")}
            provenance.record(workdir, made_with, seconds=time.monotonic() - began, resumed_at=first)
            bare = {name.removeprefix("validation/"): value for name, value in figures.items()}
            evaluate.write_page(workdir, bare, step=config.steps, steps=config.steps, split="validation")
            cli.write_json(workdir / "results.json", figures)
            say("evaluation.test is off: results.json holds the figures of the validation classes")
        return
    say("scoring the test classes")
    evaluation = evaluate.score(config, setup, evaluator, state.evaluated(), "test", say=say)
    if chief:
        provenance.record(workdir, made_with, seconds=time.monotonic() - began, resumed_at=first)
        evaluate.write_results(workdir, setup.splits.test, evaluation, step=config.steps, steps=config.steps)
        for line in (*evaluate.summary("test", evaluation.figures), *evaluate.warnings(evaluation.figures)):
            say(line)
        say(f"{workdir / 'report.html'} shows figures and pictures, {workdir / 'results.json'} holds the figures")


def claim(workdir: Path, config: ConfigDict, *, chief: bool) -> bool:
    """Takes a workdir for these settings; tells whether a run with them is finished there.

    Raises:
      UsageError: the workdir holds a run with other settings.
    """
    settings = as_json(config.to_dict())
    path = workdir / "config.json"
    if path.exists() and has_begun(workdir):
        held = cli.load_config(workdir)
        changed = [line for line in cli.differences(as_json(held.to_dict()), settings) if not line.startswith("log.")]
        if changed:
            raise UsageError(
                f"{workdir} holds a run with other settings ({'; '.join(changed[:4])}); "
                "choose another --workdir or delete it"
            )
    elif chief:
        workdir.mkdir(parents=True, exist_ok=True)
        cli.write_json(path, settings)
    return (workdir / "results.json").exists()


def has_begun(workdir: Path) -> bool:
    """Whether a run took a step there; one that failed at its settings leaves nothing to protect."""
    return any(row["step"] for row in read_metrics(workdir / "metrics.jsonl")) or (workdir / "results.json").exists()


if __name__ == "__main__":
    cli.run(main)
