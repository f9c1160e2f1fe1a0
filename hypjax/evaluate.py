"""Scores a trained model: `python -m hypjax.evaluate --workdir DIR [--split test|validation] [--state last|best]`.

Writes `results.json` (for the test classes), the pictures and `report.html` into the workdir, and prints the figures.
Several processes score together, started as for training; process 0 alone looks at the workdir.
"""

from __future__ import annotations

import errno
from collections.abc import Sequence
from pathlib import Path

from absl import flags

from hypjax.config import assembly, command_line
from hypjax.data.errors import DataError, UsageError
from hypjax.data.places import as_path
from hypjax.data.source import digest, digest_of_rows
from hypjax.run import answers, starting, status
from hypjax.run.peers import ALONE, Peers
from hypjax.run.results import score, write_results
from hypjax.run.run import STATES, Run
from hypjax.run.stopping import ending
from hypjax.training import sharding

SPLITS = ("test", "validation")


@ending()
def main(argv: Sequence[str]) -> None:
    """Reads the command line and scores."""
    values = flags.FlagValues()
    flags.DEFINE_string("workdir", None, "the folder of a run", flag_values=values)
    flags.DEFINE_enum("split", "test", SPLITS, "which classes to score", flag_values=values)
    flags.DEFINE_enum("state", None, list(STATES), "which state; evaluation.state of the run", flag_values=values)
    flags.DEFINE_string("data_dir", None, "where the pictures are now, if not in data.dir", flag_values=values)
    flags.DEFINE_float("risk", None, "tell how many can be answered with such a share wrong", flag_values=values)
    starting.define_flags(values)
    command_line.parse_flags(argv, values)
    if values.workdir is None:
        raise UsageError("no run given: --workdir runs/hyp_uml (or another)")
    if values.risk is not None and not 0 < values.risk < 1:
        raise UsageError(f"--risk must lie between 0 and 1, a share of the answers; got {values.risk:g}")
    among = starting.start(values, {"program": "evaluate"} | {name: values[name].value for name in ("split", "state")})
    figures = evaluate(
        as_path(values.workdir),
        values.split,
        data_dir=values.data_dir,
        state=values.state,
        risk=values.risk,
        among=among,
    )
    if not among.chief:
        return
    width = max(len(name) for name in figures)
    for name, value in figures.items():
        print(f"{name:<{width}}  {value:.4f}")


def evaluate(
    workdir: Path,
    split: str = "test",
    *,
    data_dir: str | None = None,
    state: str | None = None,
    risk: float | None = None,
    among: Peers = ALONE,
) -> dict[str, float]:
    """Scores a trained model.

    Args:
      workdir: of the run.
      split: `test`, which also writes `results.json` (`results-step-N.json` for a run that is not finished) and the
        pictures, or `validation`.
      data_dir: where the data are now; None for where they were in training.
      state: `last`, `best`, or None for what `evaluation.state` of the run says.
      risk: share of answers that may be wrong, in (0, 1), of which to say how many queries are answered and how many
        of these answers are wrong; None says nothing.
      among: the processes that score together, of which 0 tells and writes.

    Returns:
      The figures by name.

    Raises:
      UsageError: the folder holds no run, or no whole checkpoint, or the run has no validation classes.
    """
    run = Run.open(workdir, among=among)
    config = run.config
    if data_dir is not None:
        config.data.dir = data_dir
    mesh = sharding.data_mesh()
    try:
        setup = assembly.assemble(config)
    except DataError as error:
        if data_dir is not None or not config.data.dir or as_path(config.data.dir).expanduser().exists():
            raise
        raise UsageError(f"{error}; if it was moved, or named from another folder: --data_dir=FOLDER") from error
    source = getattr(setup.splits, split)
    if not len(source):
        raise UsageError(f"{workdir} was trained with data.validation=0, which leaves no {split} classes to score")
    found = {"digest": digest(source), "rows": digest_of_rows(source)}
    starting.require_alike(among, {"digest of the data": found["digest"], "rows": found["rows"]})
    if among.chief and any(run.manifest.get(kind, {}).get(split, value) != value for kind, value in found.items()):
        kind = "rows: other values or labels" if run.takes_features else "images: other names, sizes or labels"
        print(f"{workdir} was trained beside other {split} {kind}")
    variables, step = run.restore(mesh, state)
    evaluator = assembly.create_evaluator(config, setup, mesh)
    if among.chief:
        print(f"scoring {len(source)} {split} images with the checkpoint of step {step} of {run.steps}", flush=True)
    refit = assembly.create_refit(config, setup, evaluator)
    if refit is not None and not among.from_chief(among.chief and run.is_fitted(step, state)):
        variables = refit(variables)
    scored = score(config, setup, evaluator, variables, split, say=print if among.chief else lambda line: None)
    if not among.chief:
        return scored.figures
    if split == "test":
        finished = run.finished and state in (None, run.tested)
        try:
            write_results(run, source, scored, step=step, finished=finished)
        except OSError as error:
            if error.errno not in (errno.EROFS, errno.EACCES):
                raise
            print(f"{workdir} cannot be written: pictures, page and figures in it stay as they are")
    if risk is not None:
        if scored.reliance is None:
            raise UsageError(f"--risk is told of test classes, of which {answers.FEWEST} or more must calibrate")
        print("\n".join(scored.reliance.lines(risk)))
    return scored.figures


if __name__ == "__main__":
    status.run(main)
