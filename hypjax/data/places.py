"""Where files may lie: in a folder here, or under an address such as `gs://bucket/folder`."""

from __future__ import annotations

import importlib.util
import os
import re
from pathlib import Path
from typing import TypeAlias

import fsspec.config
from etils import epath

from hypjax.data.errors import UsageError

Place: TypeAlias = Path | epath.Path
"""A path here, or at an address; in what both can do they are alike."""
EXTRAS = {"gs": ("gcsfs", "gcs"), "s3": ("s3fs", "s3")}
"""The package that opens an address of a scheme, and the extra of hypjax that installs it."""
# A Path made of an address has lost one of its slashes.
_ADDRESS = re.compile(r"^(gs|s3):/+(?=[^/])")


def as_path(place: str | os.PathLike[str]) -> Place:
    """The path of a folder or a file: of the standard library, or for an address an `etils.epath.Path`, which is alike.

    Args:
      place: such as `runs/a`, `gs://bucket/runs/a` or a path.

    Raises:
      UsageError: what opens such an address is not installed; says which command installs it.

    Examples:
      >>> as_path("runs/a"), is_remote(as_path("runs/a"))
      (PosixPath('runs/a'), False)
    """
    words = os.fspath(place)
    found = _ADDRESS.match(words)
    if not found:
        return Path(words)
    scheme, rest = found[1], words[found.end() :]
    _prepare(scheme, words)
    return epath.Path(f"{scheme}://{rest}")


def is_remote(path: Place) -> bool:
    """Whether a path of `as_path` is an address, where nothing can be appended, locked or renamed at once."""
    return not isinstance(path, Path)


def size(path: Place) -> int:
    """Bytes of a file."""
    return path.stat().st_size if isinstance(path, Path) else path.stat().length


def changed(path: Place) -> int:
    """When a file was last changed, in ns; 0 where its storage does not say."""
    return path.stat().st_mtime_ns if isinstance(path, Path) else round(1e9 * (path.stat().mtime or 0))


def _prepare(scheme: str, words: str) -> None:
    package, extra = EXTRAS[scheme]
    if not any(importlib.util.find_spec(name) for name in (package, "tensorflow")):
        raise UsageError(f'{words} needs {package}: pip install "hypjax[{extra}]"')
    # What is there is asked for each time: another process may have written it.
    for name in {"gs": ("gs", "gcs")}.get(scheme, (scheme,)):
        fsspec.config.conf.setdefault(name, {}).setdefault("use_listings_cache", False)
