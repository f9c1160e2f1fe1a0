"""Compares configs over seeds: `python -m hypjax.compare --seeds 0,1,2 configs/hyp_uml.py configs/hyp_vit.py`.

Trains every config with every seed, one after the other in this process, each in WORKDIR/NAME/seed-S, and writes
comparison.md, comparison.json and comparison.png into WORKDIR. The same command goes on where it was stopped.

A config is `[NAME=]FILE.py[:ARGUMENTS]`; `--config.KEY=VALUE` changes a setting of all. With `--split validation`
the test classes stay untouched, so that hyper-parameters can be chosen; `--report_only` trains nothing.
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
from hypjax.run import comparison, status
from hypjax.run.comparison import Comparison, Entry
from hypjax.run.metrics import read_metrics
from hypjax.run.status import DivergedError
from hypjax.show import plots
from hypjax.show.plots import style


class Run(NamedTuple):
    """One config with one seed, and where it is kept."""

    name: str
    seed: int
    config: ConfigDict
    folder: Path


def main(argv: Sequence[str]) -> None:
    """Reads the command line, trains what is not finished and reports."""
    values = flags.FlagValues()
    flags.DEFINE_string("workdir", "runs/compare", "where runs and report are kept", flag_values=values)
    flags.DEFINE_string("seeds", "0,1,2", "seeds of each config: 0,1,2", flag_values=values)
    flags.DEFINE_string("baseline", None, "name of the config to compare with; the first", flag_values=values)
    flags.DEFINE_list("metrics", [], "columns of the table: recall@1,map@r,...", flag_values=values)
    flags.DEFINE_enum("split", "test", evaluate.SPLITS, "whose figures to compare", flag_values=values)
    flags.DEFINE_bool("report_only", False, "train nothing, report what is finished", flag_values=values)
    words, overrides = parse(argv, values)
    workdir, seeds = Path(values.workdir), comparison.read_seeds(values.seeds)
    if values.report_only and not words:
        entries, seeds = comparison.find_entries(workdir)
    else:
        entries = [comparison.read_entry(word, overrides) for word in words]
    comparison.check(entries, values.baseline)
    baseline = values.baseline or entries[0].name
    runs = plan(entries, seeds, workdir, values.split)
    if values.report_only:
        failed = strangers(runs, values.split)
    else:
        keep_compiled(workdir / ".jax_cache")
        failed = train_all(runs, values.split)
    figures, notes = comparison.collect(workdir, [entry.name for entry in entries], seeds, values.split, failed)
    table = comparison.compare(figures, baseline=baseline, split=values.split, metrics=values.metrics, notes=notes)
    report(workdir, table)
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


def plan(entries: Sequence[Entry], seeds: Sequence[int], workdir: Path, split: str) -> list[Run]:
    """All runs, a seed of every config before the next seed, so that early reports compare like with like."""
    runs = []
    for seed in seeds:
        for entry in entries:
            config = entry.config.copy_and_resolve_references()
            config.seed = seed
            if config.dry.run or config.dry.devices:
                raise UsageError(f"{entry.name}: a dry run gives no figures to compare; leave `dry` out")
            if split == "validation":
                config.evaluation.test = False
            runs.append(Run(entry.name, seed, config, workdir / entry.name / f"seed-{seed}"))
    return runs


def train_all(runs: Sequence[Run], split: str) -> dict[tuple[str, int], str]:
    """Trains every run that is not finished; one that fails does not stop the others.

    Returns:
      What went wrong, by name and seed.
    """
    todo = [run for run in runs if not is_finished(run, split)]
    print(f"{len(runs)} runs, {len(runs) - len(todo)} of them finished")
    failed: dict[tuple[str, int], str] = {}
    rates: dict[str, float] = {}  # seconds for each step, by name
    for i, run in enumerate(todo):
        left = time_left(todo[i:], rates)
        print(f"\n[{i + 1}/{len(todo)}] {run.name}, seed {run.seed}{left and f'; {left} left in all'}", flush=True)
        steps, start = steps_left(run), time.monotonic()
        try:
            train.train(run.config, run.folder)
        except (UsageError, DataError, DivergedError) as error:
            failed[run.name, run.seed] = " ".join(str(error).split())
            print(f"\nfailed: {run.name}, seed {run.seed}: {failed[run.name, run.seed]}", file=sys.stderr, flush=True)
        else:
            # The last steps of a resumed run are mostly compilation and scoring.
            if 2 * steps >= run.config.steps:
                rates[run.name] = (time.monotonic() - start) / steps
        release()
    return failed


def release() -> None:
    """Lets go of what a run compiled and kept in memory: none of it serves the next, and it would pile up."""
    jax.clear_caches()
    gc.collect()


def is_finished(run: Run, split: str) -> bool:
    """Whether nothing is left to do; a run with other settings is not, which training will say."""
    return (run.folder / "results.json").exists() and not strangeness(run, split)


def strangeness(run: Run, split: str) -> list[str]:
    """In what the run that is kept there differs from the one that is meant."""
    # A run that went on to score its test classes holds the validation figures all the same.
    ignored = ("evaluation.test",) if split == "validation" else ()
    found = comparison.changes(persistence.load_config(run.folder), run.config, ignored)
    return [line for line in found if not line.startswith("log.")]


def strangers(runs: Sequence[Run], split: str) -> dict[tuple[str, int], str]:
    """The finished runs that were trained with other settings, and which."""
    finished = [run for run in runs if (run.folder / "results.json").exists()]
    found = {(run.name, run.seed): strangeness(run, split) for run in finished}
    return {key: f"other settings ({'; '.join(lines[:4])})" for key, lines in found.items() if lines}


def steps_left(run: Run) -> int:
    """Steps that a run has yet to take; at least one."""
    taken = max((row["step"] for row in read_metrics(run.folder / "metrics.jsonl")), default=0)
    return max(1, run.config.steps - taken)


def time_left(runs: Sequence[Run], rates: Mapping[str, float]) -> str:
    """How long some runs will take, as h:mm:ss, by the seconds a step took so far; nothing before the first run.

    Args:
      runs: those that are left.
      rates: seconds for each step by name; a config that was not run yet takes the mean of the others.
    """
    if not rates:
        return ""
    mean = sum(rates.values()) / len(rates)
    seconds = sum(steps_left(run) * rates.get(run.name, mean) for run in runs)
    return f"about {datetime.timedelta(seconds=round(seconds))}"


def keep_compiled(folder: Path) -> None:
    """Keeps compiled programs on disk, so that the next run of the same shapes starts sooner; results are the same."""
    # On CPU, older versions print two kilobytes of alarm for every program that they read back.
    quiet = jax.default_backend() != "cpu" or jax.__version_info__ >= (0, 12)
    if quiet and jax.config.values["jax_compilation_cache_dir"] is None:
        jax.config.update("jax_compilation_cache_dir", str(folder))
        # A run of frozen features consists of hundreds of small programs.
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)


def report(workdir: Path, table: Comparison) -> None:
    """Prints a comparison, and writes it into its workdir as Markdown, JSON and picture."""
    print(f"\n{comparison.as_text(table)}")
    (workdir / "comparison.md").write_text(comparison.as_markdown(table))
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
