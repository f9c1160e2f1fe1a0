"""Scores a trained model: `python -m hypjax.evaluate --workdir DIR [--split test|validation]`.

Writes `results.json` (for the test classes), the pictures and `report.html` into the workdir, and prints the figures.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from absl import flags

from hypjax.config import assembly, command_line, persistence
from hypjax.config.images import limited
from hypjax.data.errors import DataError, UsageError
from hypjax.run import status
from hypjax.run.results import score, steps_of_run, write_results
from hypjax.run.trained import newest
from hypjax.training import sharding

SPLITS = ("test", "validation")


def main(argv: Sequence[str]) -> None:
    """Reads the command line and scores."""
    values = flags.FlagValues()
    flags.DEFINE_string("workdir", None, "the folder of a run", flag_values=values)
    flags.DEFINE_enum("split", "test", SPLITS, "which classes to score", flag_values=values)
    flags.DEFINE_string("data_dir", None, "where the pictures are now, if not in data.dir", flag_values=values)
    command_line.parse_flags(argv, values)
    if values.workdir is None:
        raise UsageError("no run given: --workdir runs/hyp_uml (or another)")
    figures = evaluate(Path(values.workdir), values.split, data_dir=values.data_dir)
    width = max(len(name) for name in figures)
    for name, value in figures.items():
        print(f"{name:<{width}}  {value:.4f}")


def evaluate(workdir: Path, split: str = "test", *, data_dir: str | None = None) -> dict[str, float]:
    """Scores the newest checkpoint of a run.

    Args:
      workdir: of the run.
      split: `test`, which also writes `results.json` (`results-step-N.json` for a run that is not finished) and the
        pictures, or `validation`.
      data_dir: where the data are now; None for where they were in training.

    Returns:
      The figures by name.

    Raises:
      UsageError: the folder holds no run, or no whole checkpoint, or the run has no validation classes.
    """
    config = persistence.load_config(workdir)
    if data_dir is not None:
        config.data.dir = data_dir
    mesh = sharding.data_mesh()
    try:
        setup = assembly.assemble(config)
    except DataError as error:
        if data_dir is not None or not config.data.dir or Path(config.data.dir).expanduser().exists():
            raise
        raise UsageError(f"{error}; if it was moved, or named from another folder: --data_dir=FOLDER") from error
    config = limited(config, setup.splits.train)
    variables, step = newest(workdir, mesh)
    evaluator = assembly.create_evaluator(config, setup, mesh)
    source = getattr(setup.splits, split)
    steps = steps_of_run(workdir, config.steps)
    if not len(source):
        raise UsageError(f"{workdir} was trained with data.validation=0, which leaves no {split} classes to score")
    print(f"scoring {len(source)} {split} images with the checkpoint of step {step} of {steps}", flush=True)
    refit = assembly.create_refit(config, setup, evaluator)
    if refit is not None and step < steps:  # the last state has it
        variables = refit(variables)
    evaluation = score(config, setup, evaluator, variables, split)
    if split == "test":
        write_results(workdir, source, evaluation, step=step, steps=steps)
    return evaluation.figures


if __name__ == "__main__":
    status.run(main)
