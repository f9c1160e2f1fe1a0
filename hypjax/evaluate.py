"""Scores a trained model: `python -m hypjax.evaluate --workdir DIR [--split test|validation]`.

Writes `results.json` (for the test classes), the pictures and `report.html` into the workdir, and prints the figures.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from absl import flags
from ml_collections import ConfigDict

from hypjax import assembly, cli, initialization, pages
from hypjax.data.errors import DataError
from hypjax.data.source import Source
from hypjax.errors import UsageError
from hypjax.images import limited
from hypjax.run import manifest
from hypjax.run.metrics import as_json, read_metrics
from hypjax.run.trained import newest
from hypjax.settings import default_settings
from hypjax.training import sharding
from hypjax.training.evaluation import Evaluation, Evaluator
from hypjax.training.pictures import draw

SPLITS = ("test", "validation")
WORSE = 0.01  # of Recall@1, by which an embedding may stay behind its encoder's bare features without a warning


def summary(title: str, figures: Mapping[str, float]) -> Iterator[str]:
    """Two lines on an evaluation, for the console: its figures, and recall of the plain things beside them."""
    shown = {
        "recall@1": "recall@1",
        "map@r": "map@r",
        "uncertainty_auroc": "auroc of u",
        "radius_mean": "radius",
        "saturated_share": "saturated",
    }
    words = [f"{word} {figures[key]:.3f}" for key, word in shown.items() if not math.isnan(figures[key])]
    yield f"  {title}: " + "  ".join(words)
    beside = {
        "direction_recall@1": "by angle alone",
        "body_recall@1": "the encoder's bare features",
        "body_before_recall@1": "before training",
    }
    words = [f"{word} {figures[key]:.3f}" for key, word in beside.items() if key in figures]
    yield "    recall@1 of plainer searches: " + "  ".join(words)


def warnings(figures: Mapping[str, float]) -> Iterator[str]:
    """What a person should know of an evaluation that went wrong in a known way."""
    share = figures["saturated_share"]
    if share > 0.5:
        yield (
            f"  warning: {share:.0%} of the embeddings lie at the clip radius, where uncertainty is a constant and "
            "the ranking that of cosine; try a larger head.clip_radius, a smaller head.start_radius or fewer steps"
        )
    found, bare = figures["recall@1"], figures["body_recall@1"]
    if found < bare - WORSE:
        yield (
            f"  warning: the embedding finds less than the encoder's bare features by cosine ({found:.3f} against "
            f"{bare:.3f}); try head=discriminant behind the colon, or a larger head.dim"
        )


def main(argv: Sequence[str]) -> None:
    """Reads the command line and scores."""
    values = flags.FlagValues()
    flags.DEFINE_string("workdir", None, "the folder of a run", flag_values=values)
    flags.DEFINE_enum("split", "test", SPLITS, "which classes to score", flag_values=values)
    flags.DEFINE_string("data_dir", None, "where the pictures are now, if not in data.dir", flag_values=values)
    cli.parse_flags(argv, values)
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
    config = cli.load_config(workdir)
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


def score(
    config: ConfigDict,
    setup: assembly.Setup,
    evaluator: Evaluator,
    variables: Mapping[str, Any],
    split: str,
    *,
    say: Callable[[str], None] = print,
) -> Evaluation:
    """Scores the classes of a split, and what the encoder's bare features found before training.

    Args:
      config: the settings.
      setup: from `assembly.assemble`.
      evaluator: from `assembly.create_evaluator`.
      variables: the model's.
      split: `test` or `validation`.
      say: told when the encoder's weights are gone, so that the figures before training are left out.
    """
    encoder, untrained = setup.model.encoder, None
    try:
        if encoder is not None:
            untrained = initialization.with_encoder(variables, initialization.encoder_variables(config, encoder))
    except UsageError as error:
        say(f"the encoder's features before training are left out: {error}")
    wanted = config.evaluation
    count = wanted.degraded_test_queries if split == "test" else wanted.degraded_queries
    return evaluator(variables, getattr(setup.splits, split), degraded_queries=count, untrained=untrained)


def steps_of_run(workdir: Path, planned: int) -> int:
    """How many steps the whole run has: as planned, or what it took, where it is finished.

    The two differ where pictures were added to a folder since: `most_epochs` of more pictures are more steps.
    """
    if not (workdir / "results.json").exists():
        return planned
    return max((row["step"] for row in read_metrics(workdir / "metrics.jsonl")), default=planned)


def write_results(workdir: Path, source: Source, evaluation: Evaluation, *, step: int, steps: int) -> None:
    """Draws the pictures, writes the page and, last of all, the figures.

    Args:
      workdir: of the run.
      source: the test classes.
      evaluation: of them.
      step: of the state that was evaluated.
      steps: of the whole run.
    """
    draw(workdir, source, evaluation, read_metrics(workdir / "metrics.jsonl"))
    write_page(workdir, evaluation.figures, step=step, steps=steps)
    # results.json marks a run as finished, which one that can still be resumed is not.
    cli.write_json(
        workdir / ("results.json" if step == steps else f"results-step-{step}.json"), as_json(evaluation.figures)
    )


def write_page(workdir: Path, figures: Mapping[str, float], *, step: int, steps: int, split: str = "test") -> None:
    """Writes `report.html`, with the pictures that are in the workdir.

    Args:
      workdir: of the run.
      figures: by name.
      step: of the state that they are of.
      steps: of the whole run.
      split: whose figures they are.
    """
    config = cli.load_config(workdir)
    pages.report(
        workdir / "report.html",
        as_json(figures),
        config.to_dict(),
        pictures=workdir,
        title=config.name,
        status=f"finished after {step} steps" if step == steps else f"step {step} of {steps}",
        defaults=default_settings().to_dict(),
        made_with=manifest.recorded(workdir),
        split=split,
        note=gain(read_metrics(workdir / "metrics.jsonl")),
    )


def gain(rows: Sequence[Mapping[str, Any]]) -> str:
    """What training did for the validation classes, as a sentence; "" where it is not known.

    Examples:
      >>> gain([{"step": 0, "validation/recall@1": 0.4}, {"step": 9, "validation/recall@1": 0.8}])
      'On the validation classes Recall@1 was 0.400 before training and 0.800 at step 9.'
    """
    found = [(row["step"], row["validation/recall@1"]) for row in rows if row.get("validation/recall@1") is not None]
    if len(found) < 2 or found[0][0] != 0:
        return ""
    step, after = found[-1]
    return f"On the validation classes Recall@1 was {found[0][1]:.3f} before training and {after:.3f} at step {step}."


if __name__ == "__main__":
    cli.run(main)
