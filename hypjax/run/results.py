"""What a run leaves in the end: the figures of its test classes, pictures, and the page that shows them."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from ml_collections import ConfigDict

from hypjax.config import assembly, initialization
from hypjax.config.settings import default_settings
from hypjax.data import atomic
from hypjax.data.errors import UsageError
from hypjax.data.source import Source
from hypjax.run import answers
from hypjax.run.metrics import as_json
from hypjax.run.run import Run
from hypjax.show import pages
from hypjax.training.evaluated import Evaluation, Shown
from hypjax.training.evaluation import Evaluator


class Scored(NamedTuple):
    """Classes that were scored.

    Attributes:
      evaluation: of them.
      shown: what pictures show of it.
      reliance: how far answers can be relied on; None for validation classes, and where too few are left to say.
      figures: of both, by name.
    """

    evaluation: Evaluation
    shown: Shown
    reliance: answers.Reliance | None
    figures: dict[str, float]


def score(
    config: ConfigDict,
    setup: assembly.Setup,
    evaluator: Evaluator,
    variables: Mapping[str, Any],
    split: str,
    *,
    say: Callable[[str], None] = print,
) -> Scored:
    """Scores the classes of a split, and what the encoder's bare features found before training.

    With some of the test classes the answers to the others are told how sure they are.

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
        if encoder is not None and "body_before" in config.evaluation.figures:
            untrained = initialization.with_encoder(variables, initialization.encoder_variables(config, encoder))
    except UsageError as error:
        say(f"the encoder's features before training are left out: {error}")
    wanted = config.evaluation
    count = wanted.degraded_test_queries if split == "test" else wanted.degraded_queries
    evaluation = evaluator(variables, getattr(setup.splits, split), degraded_queries=count, untrained=untrained)
    if split != "test":
        return Scored(evaluation, evaluation.shown(), None, evaluation.figures)
    validation, validated = setup.splits.validation, None
    if answers.too_few(config, setup.splits.test) and len(validation):
        validated = evaluator(variables, validation, degraded_queries=0, clusters=False)
    reliance = answers.rely(config, evaluation, setup.splits, validated)
    return Scored(
        evaluation, evaluation.shown(), reliance, evaluation.figures | (reliance.figures() if reliance else {})
    )


def write_results(run: Run, source: Source, scored: Scored, *, step: int, finished: bool) -> None:
    """Draws the pictures, writes the calibration, the page and, last of all, the figures.

    Args:
      run: whose they are.
      source: the test classes.
      scored: of them.
      step: of the state that was evaluated.
      finished: whether nothing is left to do: `results.json` says so of a run, and one that can still be resumed gets
        `results-step-N.json`.
    """
    from hypjax.show.pictures import draw  # Matplotlib takes half a second, which the first step need not wait for

    reliance = scored.reliance
    told = reliance.told() if reliance else None
    draw(run.workdir, source, scored.evaluation, scored.shown, run.metrics, told, k=run.config.cones.k)
    write_page(run, scored.figures, step=step, finished=finished, promise=reliance.promise if reliance else "")
    if reliance is None and finished:
        (run.workdir / "calibration.json").unlink(missing_ok=True)
    elif reliance is not None and finished:
        atomic.write_text(run.workdir / "calibration.json", json.dumps(reliance.as_dict() | {"step": step}))
    name = "results.json" if finished else f"results-step-{step}.json"
    atomic.write_json(run.workdir / name, as_json(scored.figures))


def write_page(
    run: Run, figures: Mapping[str, float], *, step: int, finished: bool, split: str = "test", promise: str = ""
) -> None:
    """Writes `report.html`, with the pictures that are in the workdir.

    Args:
      run: whose it is.
      figures: by name.
      step: of the state that they are of.
      finished: whether nothing is left to do.
      split: whose figures they are.
      promise: of the answers, see `Reliance.promise`.
    """
    status = f"finished after {run.steps} steps" if finished else f"step {step} of {run.steps}"
    if finished and step != run.steps:
        status += f"; the state of step {step} is the best"
    pages.report(
        run.workdir / "report.html",
        as_json(figures),
        run.config.to_dict(),
        pictures=run.workdir,
        title=run.config.name,
        status=status,
        defaults=default_settings().to_dict(),
        made_with=run.manifest,
        split=split,
        note=gain(run.metrics),
        promise=promise,
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
