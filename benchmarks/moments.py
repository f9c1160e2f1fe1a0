"""The moments at which a run is broken: each starts one and returns once it is there."""

from __future__ import annotations

import os
import random
import time
from pathlib import Path
from typing import NamedTuple

from broken_runs import STEPS, Bench, Program, rows_of


class Case(NamedTuple):
    """One run that is broken once.

    Attributes:
      bench: the unbroken run.
      folder: of its own.
      random: draws of its own.
      index: of so many cases of a fault.
    """

    bench: Bench
    folder: Path
    random: random.Random
    index: int

    @property
    def workdir(self) -> Path:
        """Of the run."""
        return self.folder / "run"


def anywhere(case: Case) -> Program:
    """Anywhere in the time that a run takes."""
    program = case.bench.start(case.workdir)
    deadline = time.monotonic() + case.random.uniform(0, case.bench.span)
    program.until(lambda: time.monotonic() > deadline)
    return program


def anywhere_heard(case: Case) -> Program:
    """Anywhere after it has taken the workdir: before, the system ends it as any program."""
    program = case.bench.start(case.workdir)
    program.until((case.workdir / ".lock").exists)
    deadline = time.monotonic() + case.random.uniform(0.1, 0.8) * case.bench.span
    program.until(lambda: time.monotonic() > deadline)
    return program


def saving(case: Case) -> Program:
    """While a checkpoint is written: it has another name until it is whole."""
    program, seen, wanted = case.bench.start(case.workdir), set(), case.random.randint(1, 6)

    def reached() -> bool:
        for which in ("checkpoints", "best"):
            folder = case.workdir / which
            if folder.is_dir():
                seen.update(name for name in os.listdir(folder) if not name.isdecimal())
        return len(seen) >= wanted

    program.until(reached)
    time.sleep(case.random.uniform(0, 0.04))
    return program


def evaluating(case: Case) -> Program:
    """While it scores: the test classes, or those of the validation after step 6 or 12."""
    program, wanted = case.bench.start(case.workdir), case.random.choice((6, 12, STEPS))

    def reached() -> bool:
        rows = rows_of(case.workdir)
        return bool(rows) and rows[-1]["step"] == wanted and "loss" in rows[-1]

    program.until(program.says("scoring the test") if wanted == STEPS else reached)
    time.sleep(case.random.uniform(0, 0.3))
    return program


def drawing(case: Case) -> Program:
    """While pictures and page are written, by a run whose steps are all taken."""
    case.bench.resumable(case.workdir, STEPS)
    program, wanted = case.bench.start(case.workdir), case.random.randint(1, 6)
    program.until(lambda: len(list(case.workdir.glob("*.png"))) >= wanted)
    time.sleep(case.random.uniform(0, 0.2))
    return program


def resuming(case: Case) -> Program:
    """While it resumes, from finding the pictures to the first steps."""
    case.bench.resumable(case.workdir, 12)
    program, early = case.bench.start(case.workdir), case.random.random() < 0.7
    program.until(program.says("cpu device(s)" if early else "resuming after step"))
    time.sleep(case.random.uniform(0, 2.0 if early else 0.3))
    return program


def compiling(case: Case) -> Program:
    """While it compiles, before the first step."""
    program = case.bench.start(case.workdir)
    program.until(program.says("preparing"))
    time.sleep(case.random.uniform(0, 3.0))
    return program
