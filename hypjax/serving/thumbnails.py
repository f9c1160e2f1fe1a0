"""Small pictures of what is indexed, and of nothing else."""

from __future__ import annotations

import threading
from collections import OrderedDict
from pathlib import Path
from typing import NamedTuple

from hypjax.data.decode import decode
from hypjax.data.errors import DataError
from hypjax.serving.answering import Missing
from hypjax.serving.resident import Resident
from hypjax.show.pages import thumbnail

SIDES = range(16, 1025)
MOST_BYTES = 2**26  # that are kept


class Thumbnail(NamedTuple):
    """A small picture.

    Attributes:
      jpeg: its bytes.
      tag: of the file that it was made of, as it was then.
    """

    jpeg: bytes
    tag: str


class Thumbnails:
    """Makes small pictures and keeps the last of them.

    Args:
      resident: whose pictures they are.
    """

    def __init__(self, resident: Resident) -> None:
        self._resident, self._lock = resident, threading.Lock()
        self._kept: OrderedDict[tuple[str, int], Thumbnail] = OrderedDict()
        self._bytes = 0

    def get(self, path: str, side: int) -> Thumbnail:
        """The picture at a path of the index.

        Args:
          path: as the index has it.
          side: the longer side in pixels.

        Raises:
          Missing: the index has no such path, or it leads out of the indexed folder, or no picture is there any more.
        """
        file = self._place(path)
        status = file.stat()
        tag = f'"{status.st_mtime_ns:x}-{status.st_size:x}-{side}"'
        with self._lock:
            kept = self._kept.get((path, side))
            if kept and kept.tag == tag:
                self._kept.move_to_end((path, side))
                return kept
        try:
            made = Thumbnail(thumbnail(decode(file, name=path, shorter_side=side), side), tag)
        except DataError as error:
            raise Missing(f"{path} is no picture any more") from error
        self._keep((path, side), made)
        return made

    def _place(self, path: str) -> Path:
        root = self._resident.root.resolve()
        if self._resident.snapshot.gallery.find(path) is not None:
            file = (root / path).resolve()
            if file.is_relative_to(root) and file.is_file():
                return file
        raise Missing("the index holds no such image")

    def _keep(self, name: tuple[str, int], made: Thumbnail) -> None:
        with self._lock:
            if old := self._kept.pop(name, None):
                self._bytes -= len(old.jpeg)
            self._kept[name] = made
            self._bytes += len(made.jpeg)
            while self._bytes > MOST_BYTES:
                self._bytes -= len(self._kept.popitem(last=False)[1].jpeg)
