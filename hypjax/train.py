"""Trains a retrieval model: `python -m hypjax.train --config configs/hyp_uml.py [--workdir DIR]`.

The same command on the same workdir resumes a run that was stopped, and says so when it is finished. On a TPU
pod or under SLURM or MPI start it on each host; elsewhere add `--coordinator=HOST:PORT --num_processes=N
--process_id=I`. Process 0 alone looks at the workdir.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from absl import flags
from ml_collections import ConfigDict

from hypjax.config import command_line, persistence
from hypjax.data.errors import UsageError
from hypjax.data.places import as_path, is_remote
from hypjax.run import rehearsal, starting, status
from hypjax.run.metrics import as_json, require_packages
from hypjax.run.peers import ALONE, Peers
from hypjax.run.run import STATES, Run
from hypjax.run.stopping import Stopping
from hypjax.run.training import Training


def main(argv: Sequence[str]) -> None:
    """Reads the command line and trains."""
    values = flags.FlagValues()
    command_line.define_config(values)
    flags.DEFINE_string("workdir", None, "where the run is kept; runs/<config name>", flag_values=values)
    starting.define_flags(values)
    flags.DEFINE_boolean("profile", False, "keep a JAX profile of a few steps in the workdir", flag_values=values)
    command_line.parse_flags(argv, values)
    config = values.config
    if config.dry.run or config.dry.devices or config.dry.topology:
        rehearsal.rehearse(config)
        status.leave(0)
    among = starting.start(values, {"program": "train"} | persistence.shared(as_json(config.to_dict())))
    train(config, as_path(values.workdir or f"runs/{config.name}"), profile=values.profile, among=among)


def train(config: ConfigDict, workdir: Path, *, profile: bool = False, among: Peers = ALONE) -> None:
    """Trains, or goes on training, in `workdir`, then scores the test classes once.

    Args:
      config: the settings, see `hypjax.config.settings`.
      workdir: holds config.json, metrics.jsonl, checkpoints/, results.json, pictures and report.html.
      profile: whether to keep a profile of a few steps in `profile/`.
      among: the processes that train it together.

    Raises:
      UsageError: settings that don't fit together, a workdir that holds another run or is being trained by another
        process, or data that changed since the run began.
      DataError: data that is missing, broken or too small.
      DivergedError: a loss or gradient that isn't finite.
      Stopped: a signal asked for it, and what there was is saved.
    """
    if config.steps < 1:
        raise UsageError(f"steps must be at least 1, not {config.steps}")
    for name, value, least in (
        ("evaluation.every", config.evaluation.every, 0),
        ("checkpoint.every", config.checkpoint.every, 0),
        ("checkpoint.minutes", config.checkpoint.minutes, 0),
        ("checkpoint.keep", config.checkpoint.keep, 1),
        ("patience", config.patience, 0),
    ):
        if value < least:
            raise UsageError(f"{name} must be at least {least}, not {value}")
    if config.evaluation.state not in STATES:
        raise UsageError(f"evaluation.state {config.evaluation.state!r} is unknown; there are: {', '.join(STATES)}")
    workdir = as_path(workdir)
    if profile and is_remote(workdir):
        raise UsageError(f"--profile keeps its files in a folder of this machine, not in {workdir}")
    require_packages(tensorboard=config.log.tensorboard, wandb=config.log.wandb)
    with Run.open(workdir, "train", config=config, among=among) as run, Stopping(among=among) as stopping:
        if among.from_chief(among.chief and run.finished):
            if among.chief:
                print(f"{workdir} is finished; its figures are in {workdir / 'results.json'}")
            return
        with stopping.nothing_to_save():
            training = Training(run, stopping, profile=profile)
        training()
        among.share(None)  # signals are heard as long as process 0 is at work


if __name__ == "__main__":
    status.run(main)
