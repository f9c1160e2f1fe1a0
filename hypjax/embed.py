"""Embeds a folder of pictures: `python -m hypjax.embed --workdir DIR --images FOLDER --out FILE [--batch N]`.

Looks through all of the folder's subfolders and writes one .npz that NumPy alone reads: points, uncertainty and paths.
The same command goes on where it was stopped, and later takes in only what was added or changed since. What does not
decode is named and left out. `python -m hypjax.search` searches the file.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from absl import flags

import hypjax
from hypjax import cli, trained
from hypjax.data.errors import DataError
from hypjax.data.unlabeled import Files, Picture, find_pictures
from hypjax.embeddings import Embeddings, Store
from hypjax.errors import UsageError

KEEP_EVERY = 5.0  # seconds of work that a kill may cost
NAMED = 10  # undecodable files that are named on the console; the file names all


def main(argv: Sequence[str]) -> None:
    """Reads the command line and embeds."""
    values = flags.FlagValues()
    flags.DEFINE_string("workdir", None, "the folder of a run", flag_values=values)
    flags.DEFINE_string("images", None, "a folder of pictures, nested at will", flag_values=values)
    flags.DEFINE_string("out", None, "the file to write, such as photos.npz", flag_values=values)
    flags.DEFINE_integer("batch", None, "images at a time; evaluation.batch of the run", flag_values=values)
    cli.parse_flags(argv, values)
    for name, example in (("workdir", "runs/hyp_uml"), ("images", "photos"), ("out", "photos.npz")):
        if not values[name].value:
            raise UsageError(f"--{name} is missing: --{name} {example} (or another)")
    embed(Path(values.workdir), Path(values.images), Path(values.out), batch=values.batch)


def embed(workdir: Path, images: Path, out: Path, *, batch: int | None = None) -> Embeddings:
    """Embeds all pictures below a folder, or those that are missing in the file.

    Args:
      workdir: of a run.
      images: the folder.
      out: the file; while it is made, shards lie in `OUT.partial/`.
      batch: images at a time; None for `evaluation.batch` of the run.

    Returns:
      What the file holds.

    Raises:
      UsageError: no run, or a file that is something else or was made by another model.
      DataError: no picture there, or none that decodes.
    """
    if out.is_dir():
        raise UsageError(f"{out} is a folder; --out names a file, such as {out / 'photos.npz'}")
    pictures = find_pictures(images)
    model = trained.load(workdir, batch=batch, images=len(pictures))
    store = Store(out, describe(model, images))
    for notice in store.notices:
        print(notice)
    missing = store.missing(pictures)
    if (current := store.current(pictures)) is not None:
        print(f"{out} is up to date: {len(pictures):,} files of {images}")
        return current
    already = f", {len(pictures) - len(missing):,} of them are done" if len(missing) < len(pictures) else ""
    print(f"{len(pictures):,} files in {images}{already}; the model of step {model.step} in {workdir}", flush=True)
    for part in embed_pictures(model, images, missing):
        store.add(part)
    whole = store.finish(pictures)
    report_skipped(whole)
    if not whole.pictures:
        out.unlink()
        raise DataError(f"none of the {len(pictures)} files in {images} decodes; the first: {whole.skipped[0][1]}")
    left_out = f"; {len(whole.skipped):,} files left out" if whole.skipped else ""
    print(f"{out}: {len(whole.pictures):,} embeddings of {whole.points.shape[1]} coordinates{left_out}")
    return whole


def describe(model: trained.Trained, images: Path) -> dict[str, Any]:
    """What a file of embeddings says of itself."""
    config, curvature = model.config, model.space.curvature
    return {
        "hypjax": hypjax.__version__,
        "model": model.fingerprint,
        "run": config.name,
        "step": model.step,
        "root": str(images.resolve()),
        "geometry": config.geometry,
        "distance": config.distance,
        "curvature": None if curvature is None else float(np.asarray(curvature)),
        "uncertainty": config.uncertainty,
    }


def embed_pictures(model: trained.Trained, root: Path, pictures: Sequence[Picture]) -> Iterator[Embeddings]:
    """Embeds pictures in their order, in parts that are worth keeping, and shows how far it is.

    Args:
      model: whose embeddings.
      root: their folder.
      pictures: which; none is held in memory for longer than it takes.

    Yields:
      Parts, without `about`, each made of whole batches.
    """
    if not pictures:
        return
    paths = [root if root.is_file() else root / picture.path for picture in pictures]
    source = Files(paths, shorter_side=model.shorter_side)
    progress = Progress(len(pictures))
    points, uncertainty, seen = [], [], []
    kept_at = time.monotonic()
    for embedded, indices in model.embed(source):
        points.append(embedded.points)
        uncertainty.append(embedded.uncertainty)
        seen.extend(indices.tolist())
        last = seen[-1] + 1 == len(pictures)
        progress.show(seen[-1] + 1)
        if last or time.monotonic() - kept_at >= KEEP_EVERY:
            good = np.array([index not in source.reasons for index in seen])
            yield Embeddings(
                np.concatenate(points)[good],
                np.concatenate(uncertainty)[good],
                [pictures[index] for index in seen if index not in source.reasons],
                [(pictures[index], source.reasons[index]) for index in seen if index in source.reasons],
                {},
            )
            points, uncertainty, seen = [], [], []
            kept_at = time.monotonic()
    progress.close()


class Progress:
    """One line that moves on a terminal, and a line now and then where output goes to a file."""

    def __init__(self, total: int, *, interval: float = 10.0) -> None:
        self._total, self._moving = total, sys.stdout.isatty()
        self._interval = 0.2 if self._moving else interval
        self._first: tuple[float, int] | None = None  # after the first batch, which holds the compilation
        self._shown_at = time.monotonic()

    def show(self, done: int) -> None:
        """Reports how many are done, unless a report is fresh."""
        now = time.monotonic()
        if self._first is None:
            self._first = (now, done)
        if now - self._shown_at < self._interval and done < self._total:
            return
        self._shown_at = now
        line = f"{done:,}/{self._total:,}"
        since, before = self._first
        if done > before and now > since:
            rate = (done - before) / (now - since)
            left = round((self._total - done) / rate)
            line += f"  {rate:.0f} images/s  {left // 3600}:{left // 60 % 60:02d}:{left % 60:02d} left"
        print(f"\r{line:<78}" if self._moving else line, end="" if self._moving else "\n", flush=True)

    def close(self) -> None:
        """Ends the moving line."""
        if self._moving:
            print()


def report_skipped(whole: Embeddings) -> None:
    """Names the files that were left out, the first of them at least."""
    for _, reason in whole.skipped[:NAMED]:
        print(cli.printable(f"skipped {reason}"), file=sys.stderr)
    if len(whole.skipped) > NAMED:
        print(f"skipped {len(whole.skipped) - NAMED} more; `about` in the file names all", file=sys.stderr)


if __name__ == "__main__":
    cli.run(main)
