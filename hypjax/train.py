"""Trains a retrieval model: `python -m hypjax.train --config configs/hyp_uml.py [--workdir DIR]`.

The same command on the same workdir resumes a run that was stopped, and says so when it is finished. On a TPU
pod or under SLURM or MPI start it on each host; elsewhere add `--coordinator=HOST:PORT --num_processes=N
--process_id=I`.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path

import jax
from absl import flags
from ml_collections import ConfigDict

from hypjax.config import command_line
from hypjax.data.errors import UsageError
from hypjax.run import manifest, rehearsal, status
from hypjax.run.lock import Lock
from hypjax.run.metrics import require_packages
from hypjax.run.stopping import Stopping
from hypjax.run.training import Training, claim
from hypjax.training import sharding


def main(argv: Sequence[str]) -> None:
    """Reads the command line and trains."""
    values = flags.FlagValues()
    command_line.define_config(values)
    flags.DEFINE_string("workdir", None, "where the run is kept; runs/<config name>", flag_values=values)
    flags.DEFINE_string("coordinator", None, "HOST:PORT of process 0", flag_values=values)
    flags.DEFINE_integer("num_processes", None, "number of processes", flag_values=values)
    flags.DEFINE_integer("process_id", None, "this process, from 0", flag_values=values)
    command_line.parse_flags(argv, values)
    config = values.config
    if config.dry.run or config.dry.devices:
        rehearsal.rehearse(config)
        return
    sharding.initialize(values.coordinator, values.num_processes, values.process_id)
    train(config, Path(values.workdir or f"runs/{config.name}"))


def train(config: ConfigDict, workdir: Path) -> None:
    """Trains, or goes on training, in `workdir`, then scores the test classes once.

    Args:
      config: the settings, see `hypjax.config.settings`.
      workdir: holds config.json, metrics.jsonl, checkpoints/, results.json, pictures and report.html.

    Raises:
      UsageError: settings that don't fit together, a workdir that holds another run or is being trained by another
        process, or data that changed since the run began.
      DataError: data that is missing, broken or too small.
      DivergedError: a loss or gradient that isn't finite.
      Stopped: a signal asked for it, and what there was is saved.
    """
    if config.steps < 1:
        raise UsageError(f"steps must be at least 1, not {config.steps}")
    for name, value in (("evaluation", config.evaluation), ("checkpoint", config.checkpoint)):
        if value.every < 0:
            raise UsageError(f"{name}.every must be at least 0 steps, not {value.every}; 0 is at the end alone")
    require_packages(tensorboard=config.log.tensorboard, wandb=config.log.wandb)
    chief = jax.process_index() == 0
    with Lock(workdir, manifest.command(sys.argv)) if chief else nullcontext(), Stopping() as stopping:
        if claim(workdir, config, chief=chief):
            print(f"{workdir} is finished; its figures are in {workdir / 'results.json'}")
            return
        with stopping.nothing_to_save():
            training = Training(config, workdir, stopping)
        training.run()


if __name__ == "__main__":
    status.run(main)
