"""What does a fault cost a run? Breaks tiny runs in every way, goes on with each, and compares with an unbroken one.

    python benchmarks/faults.py                             # 20 signals of each kind: an hour on two cores
    python benchmarks/faults.py --only "during a save"      # the faults with these words; their rows are made anew
    python benchmarks/faults.py --times 2 --out /tmp/a.md   # a few times, for a look

Writes the table into `docs/faults.md`. A run is lost where it ends otherwise than the unbroken one in the last digit
(metrics, results, the states of both kinds of checkpoint), where something that was there before is gone, or where it
ends with more or less than one line. Each such run is printed with what was lost, and the status is 1.
"""

from __future__ import annotations

import argparse
import math
import os
import platform
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from importlib import metadata
from pathlib import Path
from signal import SIGINT, SIGTERM
from typing import NamedTuple

os.environ["JAX_PLATFORMS"] = "cpu"

import breaking
import moments
from breaking import Break, Lost
from broken_runs import ROOT, STEPS, Bench, Held
from moments import Case

START, END = "<!-- made by benchmarks/faults.py -->", "<!-- end -->"


class Fault(NamedTuple):
    """A row of the table.

    Attributes:
      name: what happens.
      breaks: does it.
      times: how often, if not a quarter as often as is asked for of signals, whose moments are random.
    """

    name: str
    breaks: Break
    times: int | None = None


class Came(NamedTuple):
    """What came of one case.

    Attributes:
      line: that the broken run ended with; "" where it could say nothing.
      unbroken: whether the run had the figures of the unbroken one in the end.
      lost: what was lost, or otherwise than it should be.
    """

    line: str
    unbroken: bool
    lost: list[str]


def faults(bench: Bench, times: int) -> Iterator[Fault]:
    """The rows of the table."""
    at = {
        "at any moment": moments.anywhere,
        "during a save": moments.saving,
        "during an evaluation": moments.evaluating,
        "while pictures are drawn": moments.drawing,
        "during a resume": moments.resuming,
    }
    for name, moment in at.items():
        yield Fault(f"`kill -9` {name}", breaking.killed(moment), times)
    at |= {"at any moment": moments.anywhere_heard, "during a compilation": moments.compiling}
    for name, moment in at.items():
        yield Fault(f"SIGTERM {name}", breaking.stopped(moment, SIGTERM), times)
    yield Fault("Ctrl-C at any moment", breaking.stopped(moments.anywhere_heard, SIGINT), times)
    between = breaking.size_between
    yield Fault("disk full at a checkpoint (no file above 30 to 400 kB)", breaking.full(0, between(30_000, 400_000)))
    yield Fault("disk full at a line of the metrics", breaking.full(12, breaking.just_above_metrics))
    yield Fault("disk full at a picture (no file above 20 to 190 kB)", breaking.full(STEPS, between(20_000, 190_000)))
    if breaking.can_mount(bench.root / "mounted"):
        yield Fault("disk full anywhere (a file system of 0.3 to 2.5 MB)", breaking.small_disk)
    yield Fault("a reader every half second, a `kill -9` and a resume", breaking.watched)
    yield Fault("a second trainer", breaking.contended)
    files = len(breaking.files_of(bench.unbroken))
    yield Fault("each file of the newest checkpoint cut to a half", breaking.damaged(cut=True), files)
    yield Fault("one bit flipped in each file of the newest checkpoint", breaking.damaged(cut=False), files)
    yield Fault("training pictures added", breaking.changed(breaking.added))
    yield Fault("a training picture removed", breaking.changed(breaking.removed))
    yield Fault("a training picture replaced", breaking.changed(breaking.replaced))
    yield Fault("a test picture replaced, and brought back", breaking.test_picture_replaced)
    yield Fault("a clock that jumps by days, and a `kill -9`", breaking.jumping)


def come(bench: Bench, fault: Fault, index: int, seed: int) -> Came:
    """Breaks one run and goes on with it to its end."""
    with tempfile.TemporaryDirectory(dir=bench.root) as folder:
        case = Case(bench, Path(folder), random.Random(f"{seed} {fault.name} {index}"), index)
        pictures = case.folder / "pictures"
        try:
            line = fault.breaks(case)
            held = Held.of(case.workdir)
            ended = bench.end(case.workdir, pictures if pictures.exists() else None)
            breaking.require(not ended.status, f"going on, it ended with status {ended.status}: {ended.err}")
            breaking.require(not ended.err, f"going on, it complained: {ended.err[:2]}")
            differ = bench.differences(case.workdir)
            return Came(line, not differ, differ + held.lost(case.workdir, ended))
        except Lost as lost:
            return Came("", False, [str(lost)])
        except Exception as error:
            return Came("", False, [f"{type(error).__name__}: {error}"])
        finally:
            if case.workdir.is_mount():
                subprocess.run(["umount", str(case.workdir)], check=True)


def table(rows: list[tuple[str, list[Came]]]) -> Iterator[str]:
    """The lines of the table."""
    yield "| what happens | times | said why in one line | then ended with the unbroken figures | lost |"
    yield "|---|---|---|---|---|"
    for name, came in rows:
        said, unbroken = sum(bool(one.line) for one in came), sum(one.unbroken for one in came)
        yield f"| {name} | {len(came)} | {said or '–'} | {unbroken} | {sum(bool(one.lost) for one in came)} |"


def made_with(times: int, seed: int) -> str:
    """How the table was made."""
    versions = ", ".join(f"{name} {metadata.version(name)}" for name in ("jax", "orbax-checkpoint"))
    words = f"--times {times}" + (f" --seed {seed}" if seed else "")
    return f"`python benchmarks/faults.py {words}` (Python {platform.python_version()}, {versions})"


def write(page: Path, made: list[str], only: str) -> None:
    """Puts the table in its place on the page, or, of some rows, them in the place of their like; or makes a page."""
    text = page.read_text(encoding="utf-8") if page.exists() else f"{START}\n{END}\n"
    before, _, rest = text.partition(START)
    held, _, after = rest.partition(END)
    if only and held.strip():
        rows = {line.split(" | ")[0]: line for line in made if line.startswith("| ")}
        made = [rows.get(line.split(" | ")[0], line) for line in held.strip().splitlines()]
    page.write_text("\n".join([before + START, "", *made, "", END]) + after, encoding="utf-8")


def main() -> None:
    """Reads the command line, breaks and tells."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--times", type=int, default=20, help="how often each signal, other faults a quarter of it; 20")
    parser.add_argument("--out", type=Path, default=ROOT / "docs" / "faults.md", help="the page; docs/faults.md")
    parser.add_argument("--seed", type=int, default=0, help="of the random moments; 0")
    parser.add_argument("--only", default="", help="the faults with this in their name")
    parser.add_argument("--jobs", type=int, default=2, help="runs at once; 2")
    asked = parser.parse_args()
    others = math.ceil(asked.times / 4)
    rows: list[tuple[str, list[Came]]] = []
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor(asked.jobs) as pool:
        bench = Bench(Path(folder))
        print(f"an unbroken run takes {bench.span:.1f} s", flush=True)
        pending = [
            (fault.name, [pool.submit(come, bench, fault, i, asked.seed) for i in range(fault.times or others)])
            for fault in faults(bench, asked.times)
            if asked.only in fault.name
        ]
        for name, cases in pending:
            came = [case.result() for case in cases]
            rows.append((name, came))
            print(f"{list(table(rows))[-1]}  ({time.monotonic() - began:.0f} s)", flush=True)
            for line in sorted({one.line for one in came if one.line})[:3]:
                print(f"    says: {line}", flush=True)
            for i, one in enumerate(came):
                if one.lost:
                    print(f"    lost by {i}: {'; '.join(one.lost)}", flush=True)
    longest = f"From a signal to the end of the process it took at most {breaking.LONGEST[0]:.1f} s."
    print(longest)
    write(asked.out, [f"{made_with(asked.times, asked.seed)}:", "", *table(rows), "", longest], asked.only)
    sys.exit(any(one.lost for _, came in rows for one in came))


if __name__ == "__main__":
    main()
