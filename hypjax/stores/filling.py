"""Filling a file or a database with what a model makes of pictures, resumed where it was stopped, with progress."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Protocol, TypeVar

import numpy as np

from hypjax.data import files
from hypjax.data.errors import DataError, UsageError
from hypjax.data.places import is_remote
from hypjax.data.source import Source
from hypjax.data.unlabeled import Files, Picture
from hypjax.run.peers import Peers
from hypjax.show.progress import Progress
from hypjax.stores.embeddings import Embeddings

KEEP_EVERY = 5.0  # seconds of work that a kill may cost
NAMED = 10  # undecodable files that are named on the console; the file names all

Embed = Callable[[Source], Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]]
"""A source to batches, in order: points [b, .], uncertainty [b] and indices [b] in the source."""


class Filled(Protocol):
    """What was made of pictures.

    Attributes:
      pictures: that are in it.
      coordinates: of a point.
      skipped: files that are no images, and why.
    """

    @property
    def pictures(self) -> Sequence[Picture]:
        """As above."""

    @property
    def coordinates(self) -> int:
        """As above."""

    @property
    def skipped(self) -> Sequence[tuple[Picture, str]]:
        """As above."""


Made = TypeVar("Made", bound=Filled, covariant=True)


class Filling(Protocol[Made]):
    """What is filled: a file, or a database.

    Attributes:
      path: its name.
      notices: lines to be told before all else.
    """

    notices: list[str]

    @property
    def path(self) -> Path | str:
        """As above."""

    def missing(self, pictures: Sequence[Picture]) -> list[Picture]:
        """Those that were not looked at yet, or were changed since."""

    def current(self, pictures: Sequence[Picture]) -> Made | None:
        """What it holds, if it is finished and holds just these pictures; else None."""

    def add(self, part: Embeddings) -> None:
        """Keeps a part for good, so that a killed run need not do it again."""

    def finish(self, pictures: Sequence[Picture]) -> Made:
        """Leaves just these pictures, none of them missing, in it."""

    def discard(self) -> None:
        """Leaves nothing behind where no picture was one."""


def require_place(out: Path) -> None:
    """Checks that a file can be meant.

    Raises:
      UsageError: it is a folder, has another ending than .npz, or lies at an address, where what is done so far could
        not be read in place.
    """
    if is_remote(out):
        raise UsageError(f"--out names a file of this machine, not {out}; copy it there in the end")
    if out.is_dir():
        raise UsageError(f"{out} is a folder; --out names a file, such as {out / 'photos.npz'}")
    if out.suffix.lower() != ".npz":
        raise UsageError(f"--out={out}: what is written is an .npz, so its name is to end so: {out.name}.npz")


def fill(
    store: Filling[Made],
    embed: Embed,
    images: Path,
    pictures: Sequence[Picture],
    *,
    shorter_side: int,
    by: str,
    of: str,
) -> Made:
    """Embeds the pictures that are missing in a store and finishes it.

    Args:
      store: the file or the database.
      embed: what makes points of images.
      images: the folder of the pictures.
      pictures: all that are to be in it.
      shorter_side: larger images are shrunk to it as they are read, in pixels; 0 for none.
      by: what `embed` is, for the console.
      of: what the points are, for the console.

    Returns:
      What it holds.

    Raises:
      DataError: none of the pictures decodes.
    """
    for notice in store.notices:
        print(notice)
    missing = store.missing(pictures)
    if (current := store.current(pictures)) is not None:
        print(f"{store.path} is up to date: {len(pictures):,} files of {images}")
        return current
    already = f", {len(pictures) - len(missing):,} of them are done" if len(missing) < len(pictures) else ""
    print(f"{len(pictures):,} files in {images}{already}; {by}", flush=True)
    for part in embed_pictures(embed, images, missing, shorter_side=shorter_side):
        store.add(part)
    whole = store.finish(pictures)
    report_skipped(whole, isinstance(store.path, Path))
    if pictures and not whole.pictures:
        store.discard()
        raise DataError(f"none of the {len(pictures)} files in {images} decodes; the first: {whole.skipped[0][1]}")
    count = len(whole.skipped)
    left_out = f"; {count:,} {'file' if count == 1 else 'files'} left out" if count else ""
    print(f"{store.path}: {len(whole.pictures):,} {of.format(whole.coordinates)}{left_out}")
    return whole


def fill_share(
    store: Filling[Made],
    embed: Embed,
    images: Path,
    pictures: Sequence[Picture],
    *,
    shorter_side: int,
    among: Peers,
) -> None:
    """Embeds this process's share of the pictures that are missing in a store, and waits for the others.

    Args:
      store: the file; each process has one of its own, whose shards lie in a folder that all see.
      embed: what makes points of images.
      images: the folder of the pictures.
      pictures: all that are to be in it, the same on all processes.
      shorter_side: larger images are shrunk to it as they are read, in pixels; 0 for none.
      among: the processes that share them.
    """
    missing = store.missing(pictures)
    among.share(None)  # before any of them adds to it
    for part in embed_pictures(embed, images, missing[among.index :: among.count], shorter_side=shorter_side):
        store.add(part)
    among.share(None)


def embed_pictures(embed: Embed, root: Path, pictures: Sequence[Picture], *, shorter_side: int) -> Iterator[Embeddings]:
    """Embeds pictures in their order, in parts that are worth keeping, and shows how far it is.

    Args:
      embed: what makes points of images.
      root: their folder.
      pictures: which; none is held in memory for longer than it takes.
      shorter_side: larger images are shrunk to it as they are read, in pixels; 0 for none.

    Yields:
      Parts, without `about`, each made of whole batches.
    """
    if not pictures:
        return
    paths = [root if root.is_file() else root / picture.path for picture in pictures]
    source = Files(paths, shorter_side=shorter_side)
    progress = Progress()
    points, uncertainty, seen = [], [], []
    kept_at = time.monotonic()
    for of_batch, doubts, indices in embed(source):
        points.append(of_batch)
        uncertainty.append(doubts)
        seen.extend(indices.tolist())
        last = seen[-1] + 1 == len(pictures)
        progress.show(seen[-1] + 1, len(pictures))
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


def report_skipped(whole: Filled, kept: bool) -> None:
    """Names the files that were left out, the first of them at least; the file that was made may keep them all."""
    for _, reason in whole.skipped[:NAMED]:
        print(files.printable(f"skipped {reason}"), file=sys.stderr)
    if len(whole.skipped) > NAMED:
        hint = "; `about` in the file names all" if kept else ""
        print(f"skipped {len(whole.skipped) - NAMED} more{hint}", file=sys.stderr)
