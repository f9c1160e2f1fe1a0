"""Compares configs over seeds: `python -m hypjax.compare --seeds 0,1,2 configs/hyp_uml.py configs/hyp_vit.py`.

Trains every config with every seed, one after the other in this process, each in WORKDIR/NAME/seed-S, and writes
comparison.md, comparison.json and comparison.png into WORKDIR. The same command goes on where it was stopped.

A config is `[NAME=]FILE.py[:ARGUMENTS]`; `--config.KEY=VALUE` changes a setting of all. With `--split validation`
the test classes stay untouched, so that hyper-parameters can be chosen; `--report_only` trains nothing. It trains in
one process: of several, which train larger runs one by one, process 0 reports.
"""

from __future__ import annotations

import datetime
import gc
import re
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import jax
import matplotlib
from absl import flags
from ml_collections import ConfigDict

from hypjax import evaluate, train
from hypjax.config import command_line, persistence
from hypjax.data import atomic
from hypjax.data.errors import DataError, UsageError
from hypjax.data.places import as_path
from hypjax.run import Run, comparison, starting, status
from hypjax.run.comparison import Comparison, Entry
from hypjax.run.status import DivergedError
from hypjax.run.stopping import ending
from hypjax.show import plots
from hypjax.show.plots import style


class Job(NamedTuple):
    """One config with one seed, and where it is kept."""

    name: str
    seed: int
    config: ConfigDict
    folder: Path


@ending("goes on with the runs that are left")
def main(argv: Sequence[str]) -> None:
    """Reads the command line, trains what is not finished and reports."""
    values = flags.FlagValues()
    flags.DEFINE_string("workdir", "runs/compare", "where runs and report are kept", flag_values=values)
    flags.DEFINE_string("seeds", "0,1,2", "seeds of each config: 0,1,2", flag_values=values)
    flags.DEFINE_string("baseline", None, "name of the config to compare with; the first", flag_values=values)
    flags.DEFINE_list("metrics", [], "columns of the table: recall@1,map@r,...", flag_values=values)
    flags.DEFINE_enum("split", "test", evaluate.SPLITS, "whose figures to compare", flag_values=values)
    flags.DEFINE_bool("report_only", False, "train nothing, report what is finished", flag_values=values)
    starting.define_flags(values)
    words, overrides = parse(argv, values)
    among = starting.start(values, {"program": "compare"})
    if among.count > 1 and not values.report_only:
        raise UsageError("compare trains in one process; start hypjax.train on all, and then compare --report_only")
    if not among.chief:
        return
    workdir, seeds = as_path(values.workdir), comparison.read_seeds(values.seeds)
    if values.report_only and not words:
        entries, seeds = comparison.find_entries(workdir)
    else:
        entries = [comparison.read_entry(word, overrides) for word in words]
    comparison.check(entries, values.baseline)
    baseline = values.baseline or entries[0].name
    jobs = plan(entries, seeds, workdir, values.split)
    failed = (strangers if values.report_only else train_all)(jobs, values.split)
    figures, notes = comparison.collect(workdir, [entry.name for entry in entries], seeds, values.split, failed)
    table = comparison.compare(figures, baseline=baseline, split=values.split, metrics=values.metrics, notes=notes)
    write(workdir, table)
    if failed and not values.report_only:
        print(f"failed: {', '.join(f'{name} seed {seed}' for name, seed in failed)}", file=sys.stderr)
        sys.exit(1)


def parse(argv: Sequence[str], values: flags.FlagValues) -> tuple[list[str], list[str]]:
    """Parses the flags; returns the configs and the settings that are changed in all of them.

    Raises:
      UsageError: an unknown flag or a bad value.
    """
    command_line.show_help(argv, values)
    overrides = [word for word in argv if re.match(r"--?(no)?config\.", word)]
    for word in overrides:
        if "=" not in word:
            raise UsageError(f"{word} needs its value in the same word: --config.KEY=VALUE")
        if re.match(r"--?config\.seed=", word):
            raise UsageError(f"{word}: seeds are given as --seeds=0,1,2")
    rest = [word for word in argv if word not in overrides]
    if given := next((word for word in rest if re.match(r"--?config(=|$)", word)), ""):
        raise UsageError(f"{given}: configs are given as plain words, configs/hyp_uml.py configs/hyp_vit.py")
    values.set_gnu_getopt(True)  # flags may stand behind the configs
    try:
        return values(rest)[1:], overrides
    except flags.Error as error:
        raise UsageError(str(error)) from error


def plan(entries: Sequence[Entry], seeds: Sequence[int], workdir: Path, split: str) -> list[Job]:
    """All runs, a seed of every config before the next seed, so that early reports compare like with like."""
    jobs = []
    for seed in seeds:
        for entry in entries:
            config = entry.config.copy_and_resolve_references()
            config.seed = seed
            if config.dry.run or config.dry.devices or config.dry.topology:
                raise UsageError(f"{entry.name}: a dry run gives no figures to compare; leave `dry` out")
            if split == "validation":
                config.evaluation.test = False
            jobs.append(Job(entry.name, seed, config, workdir / entry.name / f"seed-{seed}"))
    return jobs


def train_all(jobs: Sequence[Job], split: str) -> dict[tuple[str, int], str]:
    """Trains every run that is not finished; one that fails does not stop the others.

    Returns:
      What went wrong, by name and seed.
    """
    todo = [job for job in jobs if not is_finished(job, split)]
    print(f"{len(jobs)} runs, {len(jobs) - len(todo)} of them finished")
    failed: dict[tuple[str, int], str] = {}
    rates: dict[str, float] = {}  # seconds for each step, by name
    for i, job in enumerate(todo):
        left = time_left(todo[i:], rates)
        print(f"\n[{i + 1}/{len(todo)}] {job.name}, seed {job.seed}{left and f'; {left} left in all'}", flush=True)
        steps, start = steps_left(job), time.monotonic()
        try:
            train.train(job.config, job.folder)
        except (UsageError, DataError, DivergedError) as error:
            failed[job.name, job.seed] = " ".join(str(error).split())
            print(f"\nfailed: {job.name}, seed {job.seed}: {failed[job.name, job.seed]}", file=sys.stderr, flush=True)
        else:
            # The last steps of a resumed run are mostly compilation and scoring.
            if 2 * steps >= job.config.steps:
                rates[job.name] = (time.monotonic() - start) / steps
        release()
    return failed


def release() -> None:
    """Lets go of what a run compiled and kept in memory: none of it serves the next, and it would pile up."""
    jax.clear_caches()
    gc.collect()


def is_finished(job: Job, split: str) -> bool:
    """Whether nothing is left to do; a run with other settings is not, which training will say."""
    run = held(job)
    return run is not None and run.finished and not strangeness(job, run, split)


def held(job: Job) -> Run | None:
    """The run that a job has begun."""
    return Run.open(job.folder) if (job.folder / "config.json").exists() else None


def strangeness(job: Job, run: Run, split: str) -> list[str]:
    """In what the run that is kept there differs from the one that is meant."""
    # A run that went on to score its test classes holds the validation figures all the same.
    ignored = ("evaluation.test",) if split == "validation" else ()
    changed = comparison.differing(run.config, job.config, ignored)
    return [line for line in changed if not line.startswith(persistence.ELSEWHERE)]


def strangers(jobs: Sequence[Job], split: str) -> dict[tuple[str, int], str]:
    """The finished runs that were trained with other settings, and which."""
    found = {}
    for job in jobs:
        run = held(job)
        if run is not None and run.finished and (lines := strangeness(job, run, split)):
            found[job.name, job.seed] = f"other settings ({'; '.join(lines[:4])})"
    return found


def steps_left(job: Job) -> int:
    """Steps that a run has yet to take; at least one."""
    run = held(job)
    taken = max((row["step"] for row in run.metrics), default=0) if run else 0
    return max(1, job.config.steps - taken)


def time_left(jobs: Sequence[Job], rates: Mapping[str, float]) -> str:
    """How long some runs will take, as h:mm:ss, by the seconds a step took so far; nothing before the first run.

    Args:
      jobs: those that are left.
      rates: seconds for each step by name; a config that was not run yet takes the mean of the others.
    """
    if not rates:
        return ""
    mean = sum(rates.values()) / len(rates)
    seconds = sum(steps_left(job) * rates.get(job.name, mean) for job in jobs)
    return f"about {datetime.timedelta(seconds=round(seconds))}"


def write(workdir: Path, table: Comparison) -> None:
    """Prints a comparison, and writes it into its workdir as Markdown, JSON and picture."""
    print(f"\n{comparison.as_text(table)}")
    atomic.write_text(workdir / "comparison.md", comparison.as_markdown(table))
    atomic.write_json(workdir / "comparison.json", comparison.as_record(table))
    drawn = {
        comparison.heading(metric): {name: list(row[metric].values.values()) for name, row in table.rows.items()}
        for metric in table.metrics
    }
    title = f"{table.split.capitalize()} classes: mean ± standard deviation over seeds"
    with matplotlib.rc_context(style.RC):
        style.save(plots.comparison(drawn, baseline=table.baseline, title=title), workdir / "comparison.png")
    print(f"\n{workdir / 'comparison.md'}, comparison.json and comparison.png are written")


if __name__ == "__main__":
    status.run(main)
