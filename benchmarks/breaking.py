"""The faults themselves: each starts a run, or takes one that was stopped, and breaks it."""

from __future__ import annotations

import random
import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

from broken_runs import STEPS, Ended, Program, save_picture
from moments import Case, anywhere, saving

import hypjax

BESIDE = str(Path(__file__).resolve().parent / "run_beside.py")


class Lost(Exception):
    """A run ended in a way that it should not."""


Break = Callable[[Case], str]
"""Breaks a run in `workdir`; gives the line that it ended with, or "" where it could say nothing."""


def require(held: bool, told: str) -> None:
    """Raises `Lost` where something does not hold."""
    if not held:
        raise Lost(told)


def one_line(ended: Ended, status: int, *words: str) -> str:
    """The one line that a program ended with."""
    require(ended.status == status, f"status {ended.status} instead of {status}: {ended.err[-3:]}")
    require(len(ended.err) == 1, f"{len(ended.err)} lines instead of one: {ended.err[:3]}")
    require(all(word in ended.err[0] for word in words), f"says {ended.err[0]!r}")
    return ended.err[0]


def killed(moment: Callable[[Case], Program]) -> Break:
    """`kill -9` at a moment."""

    def breaks(case: Case) -> str:
        moment(case).end(signal.SIGKILL)
        return ""

    return breaks


LONGEST = [0.0]  # seconds from a signal to the end


def stopped(moment: Callable[[Case], Program], number: int) -> Break:
    """A signal that asks to stop, at a moment; a run that ends before it comes, or as it comes, is left out."""

    def breaks(case: Case) -> str:
        program = moment(case)
        at_work, began = program.process.poll() is None, time.monotonic()
        ended = program.end(number)
        if not at_work or not ended.status:
            return ""
        if ended.status in (-number, 128 + number) and not (case.workdir / ".lock").exists():
            return ""  # before it was there to hear
        if ended.status == -number and (case.workdir / "results.json").exists():
            return ""  # when all was done, and only the process was left to end
        LONGEST[0] = max(LONGEST[0], time.monotonic() - began)
        require(time.monotonic() - began < 25, f"took {time.monotonic() - began:.1f} s to stop")
        return one_line(ended, 128 + number, hypjax.ended_by(number), "the same command resumes")

    return breaks


def full(step: int, limit: Callable[[Case], int]) -> Break:
    """No file may grow beyond a size: what is larger meets a full disk."""

    def breaks(case: Case) -> str:
        if step:
            case.bench.resumable(case.workdir, step)
        return one_line(case.bench.end(case.workdir, limit=limit(case)), 1, "stopped: no space left")

    return breaks


def small_disk(case: Case) -> str:
    """A file system of 0.3 to 2.5 MB, which is made larger afterwards."""
    case.workdir.mkdir()
    size = case.random.randint(300, 2500)
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}k", "tmpfs", str(case.workdir)], check=True)
    ended = case.bench.end(case.workdir)
    subprocess.run(["mount", "-o", "remount,size=64m", str(case.workdir)], check=True)
    return one_line(ended, 1, "stopped: no space left")


def watched(case: Case) -> str:
    """A reader opens the run every half second throughout, while it is killed during a save and goes on."""
    reader = Program([BESIDE, "read", str(case.workdir)], case.bench.cache)
    reader.until(reader.says("early"))
    saving(case).end(signal.SIGKILL)
    ended = case.bench.end(case.workdir)
    reader.until(reader.says("read"))
    reader.process.stdin.close()
    told = reader.end()
    require(not ended.status, f"status {ended.status}: {ended.err}")
    faults = [line for line in told.out if not line.startswith(("read", "early"))]
    require(not faults and not told.err, f"the reader met {faults[:3]} {told.err[-3:]}")
    require(any(line.startswith("read") for line in told.out), f"the reader read nothing: {told}")
    return ""


def contended(case: Case) -> str:
    """A second trainer comes while the first is at work."""
    first = anywhere(case)
    if not first.until((case.workdir / ".lock").exists):
        return ""
    second = case.bench.end(case.workdir)
    ended = first.end()
    require(not ended.status, f"the first ended with {ended.status}: {ended.err}")
    if not second.status:
        return ""  # the first was finished by then
    return one_line(second, 2, "is being trained by process", str(first.process.pid))


def jumping(case: Case) -> str:
    """The clock jumps a day back and a day forth."""
    program = Program([BESIDE, "clock", *case.bench.words(case.workdir)], case.bench.cache)
    deadline = time.monotonic() + case.random.uniform(0.3, 1.2) * case.bench.span
    program.until(lambda: time.monotonic() > deadline)
    program.end(signal.SIGKILL)
    again = Program([BESIDE, "clock", *case.bench.words(case.workdir)], case.bench.cache).end()
    require(not again.status, f"status {again.status}: {again.err}")
    return ""


def damaged(*, cut: bool) -> Break:
    """A file of the newest checkpoint, each in its turn, is cut to a half or has one bit flipped."""

    def breaks(case: Case) -> str:
        case.bench.resumable(case.workdir, STEPS)
        damage(files_of(case.workdir)[case.index], case.random, cut=cut)
        return ""

    return breaks


def damage(path: Path, draws: random.Random, *, cut: bool) -> None:
    """Cuts a file to a half, or flips one bit of it."""
    content = bytearray(path.read_bytes())
    if cut:
        content = content[: len(content) // 2]
    else:
        content[draws.randrange(len(content))] ^= 1 << draws.randrange(8)
    path.write_bytes(content)


def files_of(workdir: Path) -> list[Path]:
    """The files of its newest checkpoint that are not empty; their names, but not their order, differ between runs."""
    newest = max((workdir / "checkpoints").iterdir(), key=lambda folder: int(folder.name))
    return sorted(path for path in newest.rglob("*") if path.is_file() and path.stat().st_size)


def changed(how: Callable[[Case, Path], None]) -> Break:
    """The pictures of a run that was stopped change; it is refused, and goes on once they are as they were."""

    def breaks(case: Case) -> str:
        pictures = case.folder / "pictures"
        shutil.copytree(case.bench.pictures, pictures)
        case.bench.resumable(case.workdir, 12, pictures)
        before = {path: path.read_bytes() for path in case.workdir.rglob("*") if path.is_file()}
        how(case, pictures)
        line = one_line(case.bench.end(case.workdir, pictures), 2, "the training images are not those")
        told = [path.name for path in before if not path.exists() or before[path] != path.read_bytes()]
        require(set(told) <= {".lock"}, f"changed {told}")
        shutil.rmtree(pictures)
        shutil.copytree(case.bench.pictures, pictures)
        return line

    return breaks


def test_picture_replaced(case: Case) -> str:
    """A test picture is replaced: that is named, and the run goes on; then it is brought back and scored again."""
    pictures = case.folder / "pictures"
    shutil.copytree(case.bench.pictures, pictures)
    case.bench.resumable(case.workdir, 12, pictures)
    label = case.random.choice(case.bench.classes("test"))
    save_picture(pictures / f"class {label}" / "1.png", label, 99)
    ended = case.bench.end(case.workdir, pictures)
    require(not ended.status, f"status {ended.status}: {ended.err}")
    told = [line for line in ended.out if line == "the test images changed since this run began"]
    require(len(told) == 1, f"said {ended.out}")
    shutil.copy(case.bench.pictures / f"class {label}" / "1.png", pictures / f"class {label}" / "1.png")
    (case.workdir / "results.json").unlink()
    return told[0]


def added(case: Case, pictures: Path) -> None:
    """A picture more in each class."""
    for label in range(10):
        save_picture(pictures / f"class {label}" / "more.png", label, 9)


def removed(case: Case, pictures: Path) -> None:
    """A training picture less."""
    (pictures / f"class {case.random.choice(case.bench.classes('train'))}" / "2.png").unlink()


def replaced(case: Case, pictures: Path) -> None:
    """Another training picture in the place of one."""
    label = case.random.choice(case.bench.classes("train"))
    save_picture(pictures / f"class {label}" / "2.png", label, 99)


def size_between(low: int, high: int) -> Callable[[Case], int]:
    """Any size of these, in bytes."""
    return lambda case: case.random.randint(low, high)


def just_above_metrics(case: Case) -> int:
    """The size of the metrics that it has, and a part of a line."""
    return (case.workdir / "metrics.jsonl").stat().st_size + case.random.randint(1, 150)


def can_mount(folder: Path) -> bool:
    """Whether a small file system can be made here."""
    folder.mkdir(exist_ok=True)
    try:
        subprocess.run(["mount", "-t", "tmpfs", "tmpfs", str(folder)], check=True, capture_output=True)
        subprocess.run(["umount", str(folder)], check=True, capture_output=True)
    except (OSError, subprocess.SubprocessError):
        return False
    return True
