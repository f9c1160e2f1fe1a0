"""The figures of several runs over several seeds: read from their workdirs and tested against a baseline."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from hypjax.data.errors import UsageError
from hypjax.retrieval.significance import Difference, Summary, holm, paired_t_test, summarize
from hypjax.run.run import Run

METRICS = (
    "recall@1",
    "map@r",
    "uncertainty_auroc",
    "uncertainty_aurc",
    "blur_uncertainty_auroc",
    "noise_uncertainty_auroc",
    "occlusion_uncertainty_auroc",
)

Figures = dict[str, dict[int, dict[str, float]]]  # by run, seed and metric


class Cell(NamedTuple):
    """One figure of one run.

    Attributes:
      values: by seed.
      summary: of the values.
      difference: from the baseline over the seeds in common; None for the baseline, or with fewer than two.
      p_holm: its p-value, corrected for the runs that are compared by this figure; nan without a test.
    """

    values: dict[int, float]
    summary: Summary
    difference: Difference | None
    p_holm: float


class Comparison(NamedTuple):
    """A table of runs against figures.

    Attributes:
      split: whose figures, `test` or `validation`.
      baseline: the run that the others are compared with.
      metrics: the columns.
      rows: cells by run and metric.
      seeds: of each run.
      notes: what a reader must know: runs and tests that are missing.
    """

    split: str
    baseline: str
    metrics: tuple[str, ...]
    rows: dict[str, dict[str, Cell]]
    seeds: dict[str, list[int]]
    notes: tuple[str, ...]


def collect(
    workdir: Path, names: Iterable[str], seeds: Iterable[int], split: str, failed: Mapping[tuple[str, int], str]
) -> tuple[Figures, list[str]]:
    """Reads the figures of the finished runs in WORKDIR/NAME/seed-S.

    Args:
      workdir: of the comparison.
      names: of the runs.
      seeds: of each.
      split: `test` or `validation`.
      failed: what went wrong, by name and seed; those runs are left out.

    Returns:
      The figures, and a note for every run that has none.
    """
    figures: Figures = {}
    notes = []
    seeds = list(seeds)
    for name in names:
        unfinished, unscored = [], []
        for seed in seeds:
            folder = workdir / name / f"seed-{seed}"
            run = Run.open(folder) if (folder / "config.json").exists() else None
            if (name, seed) in failed:
                notes.append(f"left out: {name}, seed {seed}: {failed[name, seed]}")
            elif run is None or not run.finished:
                unfinished.append(seed)
            elif found := read_figures(run, split):
                figures.setdefault(name, {})[seed] = found
            else:
                unscored.append(seed)
        if unfinished:
            notes.append(f"left out: {name}, {_seeds(unfinished)}: not finished")
        if unscored:
            notes.append(f"left out: {name}, {_seeds(unscored)}: holds no {split} figures")
    return figures, notes


def read_figures(run: Run, split: str) -> dict[str, float]:
    """The figures of a finished run by name, of the state that is tested."""
    found = run.validated if split == "validation" else run.results or {}
    return {name: float(value) for name, value in found.items() if value is not None and "/" not in name}


def compare(
    figures: Figures,
    *,
    baseline: str,
    split: str = "test",
    metrics: Sequence[str] = (),
    notes: Sequence[str] = (),
) -> Comparison:
    """Tests every run against the baseline, figure by figure, paired by seed.

    Args:
      figures: from `collect`.
      baseline: name of a run.
      split: whose figures they are.
      metrics: the columns; `METRICS` where none are given. Those that no run holds are left out.
      notes: what is known of missing runs.

    Raises:
      UsageError: no run is finished, or none holds any of the metrics.
    """
    if not figures:
        raise UsageError("; ".join(["no run is finished", *notes]))
    held = {metric: None for by_seed in figures.values() for found in by_seed.values() for metric in found}
    shown = [metric for metric in metrics or METRICS if metric in held]
    if not shown:
        raise UsageError(f"no run holds any of {', '.join(metrics or METRICS)}; there are: {', '.join(held)}")
    notes = list(notes)
    if absent := [metric for metric in metrics if metric not in held]:
        notes.append(f"in no run: {', '.join(absent)}; there are: {', '.join(held)}")

    rows: dict[str, dict[str, Cell]] = {name: {} for name in figures}
    for metric in shown:
        values = {
            name: {seed: found[metric] for seed, found in sorted(by_seed.items()) if metric in found}
            for name, by_seed in figures.items()
        }
        differences = {
            name: _difference(values[name], values.get(baseline, {})) for name in figures if name != baseline
        }
        corrected = holm([math.nan if d is None else d.p for d in differences.values()])
        p_holm = dict(zip(differences, corrected, strict=True))
        for name, by_seed in values.items():
            summary = summarize(np.array(list(by_seed.values()), np.float64))
            rows[name][metric] = Cell(by_seed, summary, differences.get(name), p_holm.get(name, math.nan))

    if baseline not in figures:
        notes.append(f"nothing is tested: the baseline {baseline} has no finished run")
    for name in figures:
        untested = [metric for metric in shown if name != baseline and rows[name][metric].difference is None]
        if untested and baseline in figures:
            what = name if untested == shown else f"{name}, {', '.join(untested)}"
            notes.append(f"not tested: {what}: fewer than two seeds in common with {baseline}")
    if any(cell.difference and math.isnan(cell.difference.p) for row in rows.values() for cell in row.values()):
        notes.append("no p-value where the difference is the same for every seed")
    return Comparison(split, baseline, tuple(shown), rows, {n: sorted(s) for n, s in figures.items()}, tuple(notes))


def _difference(values: Mapping[int, float], baseline: Mapping[int, float]) -> Difference | None:
    common = sorted(values.keys() & baseline.keys())
    if len(common) < 2:
        return None
    return paired_t_test(*(np.array([side[seed] for seed in common], np.float64) for side in (values, baseline)))


def _seeds(seeds: Sequence[int]) -> str:
    return f"seed{'s' if len(seeds) > 1 else ''} {', '.join(map(str, seeds))}"
