"""Tiny runs to be broken, and how they are looked at afterwards: what `benchmarks/faults.py` and its tests stand on."""

from __future__ import annotations

import hashlib
import json
import os
import resource
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from PIL import Image

from hypjax.config import assembly
from hypjax.run.run import Run
from hypjax.training import sharding

ROOT = Path(__file__).resolve().parent.parent
STEPS = 15
LONGEST = 600.0  # seconds that a tiny run may take where it shares its cores
LEFT = ("results.json", "report.html", "*.png")  # of a run that is finished


class Ended(NamedTuple):
    """How a program ended.

    Attributes:
      status: its exit status, −n by signal n.
      out: lines that it printed.
      err: lines that it complained with.
    """

    status: int
    out: list[str]
    err: list[str]


class Program:
    """A program at work, in a process of its own.

    Attributes:
      process: it.
      out: lines that it has printed so far.
    """

    def __init__(self, words: list[str], cache: Path, *, limit: int | None = None) -> None:
        environment = {
            **os.environ,
            "PYTHONPATH": str(ROOT),
            "PYTHONUNBUFFERED": "1",
            "JAX_PLATFORMS": "cpu",
            "XLA_FLAGS": "--xla_force_host_platform_device_count=1",
            "JAX_DISABLE_MOST_OPTIMIZATIONS": "1",
            "JAX_COMPILATION_CACHE_DIR": str(cache),
            "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
            "TF_CPP_MIN_LOG_LEVEL": "3",
        }

        self.process = subprocess.Popen(
            [sys.executable, *words],
            cwd=ROOT,
            env=environment,
            text=True,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        if limit is not None:  # beyond it a write fails as on a full disk: Python ignores the signal
            resource.prlimit(self.process.pid, resource.RLIMIT_FSIZE, (limit, limit))
        self.out: list[str] = []
        self._err: list[str] = []
        streams = ((self.process.stdout, self.out), (self.process.stderr, self._err))
        self._threads = [threading.Thread(target=self._take, args=pair, daemon=True) for pair in streams]
        for thread in self._threads:
            thread.start()

    @staticmethod
    def _take(stream: Any, into: list[str]) -> None:
        with stream:
            into.extend(line for text in stream if (line := text.rstrip()))

    def until(self, reached: Callable[[], Any]) -> bool:
        """Waits for something to be so; tells whether the program was still at work then."""
        while self.process.poll() is None:
            if reached():
                return True
            time.sleep(0.002)
        return False

    def says(self, words: str) -> Callable[[], bool]:
        """Whether it has printed something."""
        return lambda: any(words in line for line in list(self.out))

    def end(self, number: int | None = None) -> Ended:
        """Sends it a signal, if any, and waits until it is gone."""
        if number is not None and self.process.poll() is None:
            self.process.send_signal(number)
        try:
            status = self.process.wait(LONGEST)
        except subprocess.TimeoutExpired:
            self.process.kill()
            status = self.process.wait()
        for thread in self._threads:
            thread.join()
        self.process.stdin.close()
        return Ended(status, self.out, self._err)


class Bench:
    """Pictures, one unbroken run of them, and as many to be broken as one likes.

    Args:
      root: a folder of its own.
      cache: where compiled programs are, if they are there already.

    Attributes:
      pictures: ten classes of four noisy color fields.
      unbroken: the workdir of the run that nothing happened to.
      span: seconds that such a run takes.
    """

    def __init__(self, root: Path, cache: Path | None = None) -> None:
        self.root, self.pictures, self.unbroken = root, root / "pictures", root / "unbroken"
        self.cache = cache or root / "compiled"
        save_pictures(self.pictures)
        if cache is None:
            self.end(self.unbroken)  # compiles
            shutil.rmtree(self.unbroken)
        began = time.monotonic()
        ended = self.end(self.unbroken)
        self.span = time.monotonic() - began
        if ended.status:
            raise RuntimeError(f"the unbroken run ended with status {ended.status}: {ended.err}")
        self.state = {which: state_of(self.unbroken, which) for which in ("last", "best")}

    def words(self, workdir: Path, pictures: Path | None = None) -> list[str]:
        """The command line of a run."""
        return [
            f"--config=configs/hyp_uml.py:quick,encoder=vit_ti8,data=folder,data_dir={pictures or self.pictures}",
            "--config.encoder.sizes={'width': 32, 'depth': 1, 'heads': 2}",
            "--config.batch.classes=4",
            "--config.batch.samples_per_class=4",
            "--config.data.fractions=(0.4, 0.3, 0.3)",
            "--config.evaluation.ks=(1, 2)",
            f"--config.steps={STEPS}",
            "--config.checkpoint.every=3",
            "--config.evaluation.every=6",
            "--config.log.every=1",
            f"--workdir={workdir}",
        ]

    def start(self, workdir: Path, pictures: Path | None = None, *, limit: int | None = None) -> Program:
        """Starts to train in a workdir, or goes on."""
        return Program(["-m", "hypjax.train", *self.words(workdir, pictures)], self.cache, limit=limit)

    def end(self, workdir: Path, pictures: Path | None = None, *, limit: int | None = None) -> Ended:
        """Trains to the end."""
        return self.start(workdir, pictures, limit=limit).end()

    def resumable(self, workdir: Path, step: int, pictures: Path | None = None) -> None:
        """Makes a workdir as a kill after this step leaves it: 12 or 15."""
        shutil.copytree(self.unbroken, workdir)
        for pattern in LEFT:
            for path in workdir.glob(pattern):
                path.unlink()
        for folder in (workdir / "checkpoints").iterdir():
            if int(folder.name) > step:
                shutil.rmtree(folder)
        lines = [line for line in lines_of(workdir) if json.loads(line)["step"] <= step]
        (workdir / "metrics.jsonl").write_text("".join(f"{line}\n" for line in lines))
        if pictures is not None:
            config = json.loads((workdir / "config.json").read_text())
            config["data"]["dir"] = str(pictures)
            (workdir / "config.json").write_text(json.dumps(config))

    def classes(self, split: str) -> list[int]:
        """The numbers of the classes of a split."""
        names = getattr(assembly.assemble(Run.open(self.unbroken).config).splits, split).class_names
        return [int(name.split()[-1]) for name in names]

    def differences(self, workdir: Path) -> list[str]:
        """What a finished run has otherwise than the unbroken one, to the last bit."""
        told = []
        if rows_of(workdir) != rows_of(self.unbroken):
            told.append("other metrics")
        for name in ("results.json",):
            if (workdir / name).read_bytes() != (self.unbroken / name).read_bytes():
                told.append(f"another {name}")
        for which, (digest, steps) in self.state.items():
            found, kept = state_of(workdir, which) or ("", [0])
            if (found, kept[-1], len(kept)) != (digest, steps[-1], len(steps)):  # a stop keeps a step between
                told.append(f"another {which} state")
        for path in (*self.unbroken.glob("*.png"), self.unbroken / "report.html"):
            if not is_whole(workdir / path.name):
                told.append(f"no whole {path.name}")
        return told


class Held(NamedTuple):
    """What a workdir holds after a fault, none of which may be lost.

    Attributes:
      config: `config.json`; empty where there is none.
      lines: of the metrics, but for one that is cut short.
      step: of the newest whole checkpoint; 0 where there is none.
    """

    config: bytes
    lines: list[str]
    step: int

    @classmethod
    def of(cls, workdir: Path) -> Held:
        """Looks at a workdir."""
        path = workdir / "config.json"
        config = path.read_bytes() if path.exists() else b""
        state = state_of(workdir, "last")
        return cls(config, lines_of(workdir), state[1][-1] if state else 0)

    def lost(self, workdir: Path, ended: Ended) -> list[str]:
        """What of it is no more, once the run went on to its end."""
        told = []
        if self.config not in (b"", (workdir / "config.json").read_bytes()):
            told.append("config.json changed")
        resumed = [int(line.split()[-1]) for line in ended.out if line.startswith("resuming after step")]
        if not any("is finished" in line for line in ended.out) and [self.step] != (resumed or [0]):
            told.append(f"checkpoint {self.step} was there, and it went on after {resumed or 0}")
        lines = [line for line in self.lines if json.loads(line)["step"] <= self.step]
        if self.step and lines_of(workdir)[: len(lines)] != lines:
            told.append("lines of the metrics changed")
        return told


def save_pictures(root: Path) -> None:
    """Ten classes of four noisy color fields."""
    for label in range(10):
        (root / f"class {label}").mkdir(parents=True)
        for i in range(4):
            save_picture(root / f"class {label}" / f"{i}.png", label, i)


def save_picture(path: Path, label: int, i: int) -> None:
    """One of them."""
    color = np.random.default_rng(label).integers(0, 255, 3)
    noise = np.random.default_rng((label, i)).normal(0, 20, (30, 24, 3))
    Image.fromarray(np.clip(color + noise, 0, 255).astype(np.uint8)).save(path)


def lines_of(workdir: Path) -> list[str]:
    """The whole lines of its metrics."""
    path = workdir / "metrics.jsonl"
    text = path.read_text() if path.exists() else ""
    return [line.rstrip("\n") for line in text.splitlines(keepends=True) if line.endswith("\n")]


def rows_of(workdir: Path) -> list[dict[str, Any]]:
    """The rows of its metrics, but for how fast it was."""
    rows = [json.loads(line) for line in lines_of(workdir)]
    return [{name: row[name] for name in row if name != "images_per_second"} for row in rows]


def state_of(workdir: Path, which: str) -> tuple[str, list[int]] | None:
    """A digest of its newest whole state, and the steps up to it that have a checkpoint; None where there is none."""
    states = Run(workdir, None).states(which)
    try:
        leaves, _ = states.read(sharding.replicated(sharding.data_mesh(jax.devices()[:1])))
    except FileNotFoundError:
        return None
    digest = hashlib.sha256()
    for path in sorted(leaves):
        digest.update(path.encode() + np.asarray(leaves[path]).tobytes())
    return digest.hexdigest(), [step for step in states.steps if step <= int(leaves[".step"])]


def is_whole(path: Path) -> bool:
    """Whether a picture can be decoded; of a page, whether it has an end."""
    if not path.exists():
        return False
    if path.suffix != ".png":
        return path.read_text().rstrip().endswith("</html>")
    try:
        with Image.open(path) as image:
            image.load()
    except (OSError, SyntaxError):
        return False
    return True
