"""A million features of ten thousand classes: time and peak memory of training, evaluation, embedding and search.

Run it with:

    python benchmarks/million_features.py --work DIR [--rows 1000000] [--width 768] [--classes 10000] …

Makes `DIR/features.npz` unless it is there (`clustered`, seed 0: a class is a random direction within one of a hundred
groups, a row is its class's direction and noise; rows lie in random order), and runs each program in a process of its
own. `peak` is the largest resident memory that the system counts for it (`VmHWM`), in which pages of the file that the
system can drop at any time are included; `own` is the largest anonymous memory seen, both at four looks a second.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import NamedTuple

import numpy as np


class Measured(NamedTuple):
    """What a program took.

    Attributes:
      seconds: on the clock.
      cpu: seconds of all cores.
      peak: bytes resident at most.
      own: bytes of anonymous memory at most.
    """

    seconds: float
    cpu: float
    peak: int
    own: int


def clustered(path: Path, *, rows: int, width: int, classes: int, seed: int = 0) -> None:
    """Writes features [rows, width] float32 in blocks, so that making them takes little memory."""
    rng = np.random.default_rng(seed)
    groups = rng.normal(size=(100, width)).astype(np.float32)
    group = rng.integers(100, size=classes)
    centers = groups[group] + rng.normal(size=(classes, width)).astype(np.float32)
    labels = rng.permutation(np.arange(rows, dtype=np.int32) % classes)
    bare = path.with_suffix(".npy")
    held = np.lib.format.open_memmap(bare, mode="w+", dtype=np.float32, shape=(rows, width))
    for start in range(0, rows, 20_000):
        own = labels[start : start + 20_000]
        held[start : start + 20_000] = centers[own] + 3.0 * rng.standard_normal((len(own), width), np.float32)
    held.flush()
    np.savez(path, features=held, labels=labels, group=group[labels])
    bare.unlink()


def measure(*words: str) -> Measured:
    """Runs `python -m WORDS` and watches it.

    Raises:
      SystemExit: it failed.
    """
    began = time.monotonic()
    process = subprocess.Popen([sys.executable, "-m", *words])
    own, peak, over = [0], [0], threading.Event()

    def watch() -> None:
        while not over.wait(0.25):
            try:
                status = Path(f"/proc/{process.pid}/status").read_text()
            except OSError:
                return
            for name, seen in (("RssAnon", own), ("VmHWM", peak)):
                seen.extend(int(line.split()[1]) * 1024 for line in status.splitlines() if line.startswith(name))

    watcher = threading.Thread(target=watch)
    watcher.start()
    _, status, used = os.wait4(process.pid, 0)
    over.set()
    watcher.join()
    if status:
        raise SystemExit(f"{' '.join(words)} ended with status {os.waitstatus_to_exitcode(status)}")
    return Measured(time.monotonic() - began, used.ru_utime + used.ru_stime, max(peak), max(own))


def main() -> None:
    """Makes the data, runs the programs and prints what they took."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--width", type=int, default=768)
    parser.add_argument("--classes", type=int, default=10_000)
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--asking", type=int, default=10_000, help="evaluation.queries")
    parser.add_argument("--queries", type=int, default=1000, help="rows that search in the end")
    parser.add_argument("--config", default="configs/hyp_uml.py")
    chosen = parser.parse_args()
    data, run, index = chosen.work / "features.npz", chosen.work / "run", chosen.work / "index.npz"
    chosen.work.mkdir(parents=True, exist_ok=True)
    if not data.exists():
        clustered(data, rows=chosen.rows, width=chosen.width, classes=chosen.classes)
    shutil.rmtree(run, ignore_errors=True)
    index.unlink(missing_ok=True)
    words = f"{chosen.config}:data=features,data_dir={data},steps={chosen.steps},evaluation.every={chosen.steps}"
    words += f",evaluation.queries={chosen.asking}"
    programs = {
        "train": ["hypjax.train", "--config", f"{words},evaluation.test=false", f"--workdir={run}"],
        "evaluate": ["hypjax.evaluate", f"--workdir={run}"],
        "embed": ["hypjax.embed", f"--workdir={run}", f"--images={data}", f"--out={index}"],
        "search": [
            *("hypjax.search", f"--workdir={run}", f"--index={index}", f"--query={data}"),
            *(f"--rows=0:{chosen.queries}", f"--out={chosen.work / 'found.npz'}"),
        ],
    }
    found = {}
    for name, program in programs.items():
        found[name] = measure(*program)
        print(f"{name}: {found[name]}", flush=True)
    print(f"\n{chosen.rows:,} x {chosen.width} features of {chosen.classes:,} classes, {os.cpu_count()} cores")
    print(f"{'':>10}{'seconds':>10}{'CPU s':>10}{'peak GiB':>10}{'own GiB':>10}")
    for name, took in found.items():
        print(
            f"{name:>10}{took.seconds:>10.0f}{took.cpu:>10.0f}{took.peak / 2**30:>10.2f}{took.own / 2**30:>10.2f}",
            flush=True,
        )


if __name__ == "__main__":
    main()
