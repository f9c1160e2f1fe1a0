"""Reaching a Milvus database by its address, and writing text in its expressions."""

from __future__ import annotations

import importlib
import logging
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hypjax.data.errors import UsageError
from hypjax.stores.where import quoted

SCHEME = "milvus:"
IN_LITE = "pictures"  # the one collection of a folder
LONGEST = 4096  # bytes of a path


def parse(address: str) -> tuple[str, str]:
    """Where the database is, and the name of the collection.

    Examples:
      >>> parse("milvus:photos.db"), parse("milvus:http://localhost:19530/photos")
      (('photos.db', 'pictures'), ('http://localhost:19530', 'photos'))
    """
    place = address.removeprefix(SCHEME)
    if "://" not in place:
        if not place.endswith(".db") or len(place) < 4:
            raise UsageError(
                f"{address} is no database; milvus:photos.db is one, milvus:http://HOST:19530/photos another"
            )
        return place, IN_LITE
    found = re.fullmatch(r"(https?://[^/\s]+)/([A-Za-z_]\w{0,254})/?", place, re.ASCII)
    if not found:
        raise UsageError(f"{address} names no collection; milvus:http://HOST:19530/photos does")
    return found[1], found[2]


def refuse_folder(path: Path) -> None:
    """Checks that what is to be read as a file is no folder, be it one of Milvus Lite whose scheme was forgotten.

    Raises:
      UsageError: it is.
    """
    if path.is_dir():
        meant = f"did you mean {SCHEME}{path}?" if path.suffix == ".db" else "--index names a file, such as photos.npz"
        raise UsageError(f"{path} is a folder; {meant}")


def client_class() -> Any:
    """The client of Milvus, which keeps quiet.

    Raises:
      UsageError: it is not installed.
    """
    try:
        client = importlib.import_module("pymilvus").MilvusClient
    except ImportError as error:
        raise UsageError('a milvus: address needs pymilvus: pip install "hypjax[milvus]"') from error
    # They print tracebacks of what comes as an exception, too.
    for name in [
        "milvus_lite",
        "grpc",
        *(name for name in logging.root.manager.loggerDict if name.startswith("pymilvus")),
    ]:
        logging.getLogger(name).setLevel(logging.CRITICAL + 1)
    return client


def start_lite(address: str, folder: Path) -> str:
    """Opens a folder with Milvus Lite, in this process, and gives the address that it is served at.

    Raises:
      UsageError: another process has it, or it is none of Milvus Lite's.
    """
    if folder.exists() and not folder.is_dir():
        raise UsageError(f"{address}: {folder} is a file, which the Milvus Lite of today does not read; choose another")
    folder.parent.mkdir(parents=True, exist_ok=True)
    served: str | None = _lite().start_and_get_uri(str(folder))
    if served is None:
        raise UsageError(
            f"{address} is in use by another process, and Milvus Lite is for one at a time; a server takes several"
        )
    return served


def stop_lite(folder: str) -> None:
    """Closes a folder, which is then free for other processes."""
    _lite().release_server(folder)


def _lite() -> Any:
    return importlib.import_module("milvus_lite.server_manager").server_manager_instance


def quoted_path(path: str) -> str:
    """A path in the quotes of an expression; it may hold what no filter does, ends of lines."""
    return quoted(path).replace("\n", "\\n").replace("\r", "\\r")


def quoted_paths(paths: Sequence[str]) -> str:
    """Several, as a list in an expression."""
    return ", ".join(map(quoted_path, paths))


def can_be_kept(path: str) -> bool:
    """Whether a database can keep a path, or look for it."""
    try:
        return len(path.encode()) <= LONGEST and "\0" not in path
    except UnicodeEncodeError:
        return False
