"""What a run was made with: command, versions, devices, time. Kept in its workdir as `environment.json`."""

from __future__ import annotations

import datetime
import json
import platform
import shlex
import subprocess
import sys
from importlib import metadata
from pathlib import Path
from typing import Any

import jax

import hypjax
from hypjax.data import atomic
from hypjax.data.errors import UsageError

PACKAGES = ("jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "numpy", "pillow")
FILE = "environment.json"
FIRST = ("command", "started", "commit", "data", "digest", "rows")  # kept of the first start beside the last one's


def environment() -> dict[str, Any]:
    """This process: how it was started, on what, with which versions."""
    devices = jax.devices()
    return {
        "command": command(sys.argv),
        "started": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "python": platform.python_version(),
        "hypjax": hypjax.__version__,
        "commit": commit(),
        **{name: version(name) for name in PACKAGES},
        "device": f"{len(devices)} × {devices[0].device_kind} ({devices[0].platform})",
        "processes": jax.process_count(),
        "system": f"{platform.system()} {platform.machine()}",
    }


def version(package: str) -> str:
    """Of an installed package; "" where it isn't."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return ""


def commit() -> str:
    """Of the clone that hypjax runs from, with `+` where files of it were changed; "" where it was installed.

    Git may take its time on a network's file system, or be missing: then it is "" too.
    """
    root = Path(hypjax.__file__).parent.parent
    if not (root / ".git").exists():
        return ""
    try:
        told = [
            subprocess.run(
                ["git", "-C", str(root), *words], capture_output=True, text=True, timeout=5, check=True
            ).stdout
            for words in (["rev-parse", "HEAD"], ["status", "--porcelain", "--untracked-files=no"])
        ]
    except (OSError, subprocess.SubprocessError):
        return ""
    return told[0].strip()[:12] + "+" * bool(told[1].strip())


def command(argv: list[str]) -> str:
    """The command line of this process as a shell takes it.

    Examples:
      >>> command(["/lib/hypjax/train.py", "--workdir=my runs/a"])
      "python -m hypjax.train '--workdir=my runs/a'"
    """
    program = Path(argv[0])
    named = f"hypjax.{program.stem}" if program.parent.name == "hypjax" else ""
    return " ".join(["python", *(["-m", named] if named else [shlex.quote(argv[0])]), *map(shlex.quote, argv[1:])])


def record(workdir: Path, made: dict[str, Any], *, seconds: float, resumed_at: int) -> None:
    """Keeps what a run was made with, and as `began` how it was started first.

    Args:
      workdir: of the run.
      made: from `environment`, at its start.
      seconds: since then.
      resumed_at: the step it went on from, 0 for a run that was not broken.
    """
    before = recorded(workdir) if resumed_at else {}
    began = before.get("began") or {name: value for name, value in (before or made).items() if name in FIRST}
    atomic.write_json(workdir / FILE, {**made, "began": began, "seconds": round(seconds, 1), "resumed_at": resumed_at})


def changes(workdir: Path, made: dict[str, Any]) -> list[str]:
    """What differs from when a run was started (its data) or last resumed (all else), a line each.

    Args:
      workdir: of the run.
      made: from `environment`, with the `digest` of each split of the data.

    Raises:
      UsageError: the training images are not those that it began with, in the same order, so that labels, proxies and
        failures would belong to others.
    """
    held = recorded(workdir)
    began = held.get("began") or held
    # A run of a version that did not look into rows of features has none to be compared.
    sides = [(began.get(kind) or made.get(kind) or {}, made.get(kind) or {}) for kind in ("digest", "rows")]
    changed = {name for before, now in sides for name in before if before[name] != now.get(name)}
    if "train" in changed:
        counted = f"{began.get('data')}; now {made['data']}"
        if began.get("data") == made["data"]:
            counted = "as many, but of other names, sizes, labels or features"
        raise UsageError(
            f"the training images are not those that {workdir} was started with ({counted}): bring them back, or "
            "choose another --workdir"
        )
    told = [f"the {name} images changed since this run began" for name in made["digest"] if name in changed]
    if "digest" not in began:
        told.append(f"{workdir} does not say with which images it began: nobody can tell whether these are the same")
    for name in ("python", "hypjax", "commit", *PACKAGES, "device", "processes"):
        if name in held and held[name] != made[name]:
            told.append(f"{name} was {held[name] or 'unknown'}, and is {made[name] or 'unknown'} now")
    return told


def recorded(workdir: Path) -> dict[str, Any]:
    """What a run was made with; nothing where it was not kept, or is damaged."""
    try:
        held = json.loads((workdir / FILE).read_text())
    except (OSError, ValueError):
        return {}
    return held if isinstance(held, dict) else {}
