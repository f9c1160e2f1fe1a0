"""What a run leaves in the end: the figures of its test classes, pictures, and the page that shows them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

from hypjax.config import assembly, initialization, persistence
from hypjax.config.settings import default_settings
from hypjax.data import atomic
from hypjax.data.errors import UsageError
from hypjax.data.source import Source
from hypjax.run import manifest
from hypjax.run.metrics import as_json, read_metrics
from hypjax.show import pages
from hypjax.show.pictures import draw
from hypjax.training.evaluation import Evaluation, Evaluator


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
    atomic.write_json(
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
    config = persistence.load_config(workdir)
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
