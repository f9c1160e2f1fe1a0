"""Files that are either whole or as they were, whatever kills the process and however full the disk is."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO, Any

from hypjax.data.places import Place, is_remote

IN_MEMORY = 2**26  # bytes that are on their way to another machine


@contextmanager
def writing(path: Place) -> Iterator[IO[bytes]]:
    """A file in the making, its folder made if it is not there: beside its place, and renamed in the end.

    One that goes to an address (`hypjax.data.places`) is made here and sent in the end; storage of objects shows what
    it is sent once all of it has arrived.
    """
    if is_remote(path):
        with tempfile.SpooledTemporaryFile(IN_MEMORY) as made:
            yield made
            made.seek(0)
            with path.open("wb") as sent:
                shutil.copyfileobj(made, sent)
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with beside.open("wb") as file:
            yield file
        beside.replace(path)
    finally:
        beside.unlink(missing_ok=True)


def write_json(path: Place, content: Any) -> None:
    """Writes a JSON file as `writing` does."""
    write_text(path, json.dumps(content, indent=2) + "\n")


def write_text(path: Place, text: str) -> None:
    """Writes a text as `writing` does, in UTF-8; what that does not know becomes a question mark."""
    with writing(path) as file:
        file.write(text.encode("utf-8", "replace"))
