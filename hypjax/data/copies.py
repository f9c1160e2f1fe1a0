"""Files copied and moved between here and elsewhere."""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from etils import epath

from hypjax.data import atomic
from hypjax.data.places import Place, as_path


def copy(source: Place, target: Place) -> None:
    """Copies a file from any place to any other."""
    with source.open("rb") as held, atomic.writing(target) as made:
        shutil.copyfileobj(held, made)


def below(folder: Place) -> Iterator[Place]:
    """Every file below a folder, wherever it lies; asked for folder by folder."""
    for path in folder.iterdir():
        if path.is_dir():
            yield from below(path)
        else:
            yield path


def move(folder: Place, target: Place) -> None:
    """Moves a folder, in the place of one that may be there; file by file where it lies at an address."""
    if isinstance(folder, Path):
        target.parent.mkdir(exist_ok=True)
        shutil.rmtree(target, ignore_errors=True)
        shutil.move(folder, target)
        return
    epath.Path(target).rmtree(missing_ok=True)
    for path in below(folder):
        copy(path, target / path.relative_to(folder))
    folder.rmtree()


def local_copy(place: str | os.PathLike[str]) -> Path:
    """The file itself, or the copy of one from elsewhere in `$XDG_CACHE_HOME/hypjax` or `~/.cache/hypjax`.

    It is copied once for each size and time of change; where no such time is told, as by S3, each time it is asked for.

    Raises:
      FileNotFoundError: there is none.
    """
    path = as_path(place)
    if isinstance(path, Path):
        return path
    told = path.stat()
    key = hashlib.sha256(f"{path}|{told.length}|{told.mtime}".encode()).hexdigest()[:32]
    home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    kept = home / "hypjax" / "files" / f"{key}{path.suffix}"
    if not told.mtime or not kept.exists():
        copy(path, kept)
    return kept
