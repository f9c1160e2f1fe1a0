"""A collection of embeddings in a Milvus database, as `milvus:` addresses name it.

    milvus:photos.db                      Milvus Lite, in a folder of this machine, for one process at a time
    milvus:http://HOST:19530/COLLECTION   a server or a cluster; its token, if it wants one, is in MILVUS_TOKEN

Each image is a row under its path: the lifted vector, by whose inner product Milvus finds candidates, the point, by
which they are measured, and what is known of the image. What the rows were made with is a property of the collection.
"""

from __future__ import annotations

import errno
import importlib
import itertools
import json
import os
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from hypjax.data.errors import UsageError
from hypjax.stores.milvus_client import LONGEST, client_class, parse, quoted_paths, start_lite, stop_lite

ABOUT = "hypjax.about"
"""The property of a collection that says how its rows were made, as JSON."""
FORMAT = "hypjax embeddings in Milvus 1"
MOST = 16384  # rows that a server gives at a time; Lite, which looks at every row each time, gives more
LOTS = 2**32  # numbers that are drawn for paths
NAMED = 2**12  # paths that an expression names
CHUNK = 2**20  # numbers that are sent at a time
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
TIMEOUT = 60.0  # seconds that a server may take to be reached


class Candidate(NamedTuple):
    """A row that a search proposes.

    Attributes:
      path: of the image.
      point: of the geometry [.].
      uncertainty: in [0, 1].
      product: of its lifted vector and the query's; under an index of the metric L2 the square of their distance.
    """

    path: str
    point: Sequence[float]
    uncertainty: float
    product: float


def lot_of(path: str) -> int:
    """A number in [0, LOTS) for a path, the same everywhere; by it rows are paged, shared out and sampled."""
    return zlib.crc32(os.fsencode(path))


class Collection:
    """A collection, there or to be created.

    Attributes:
      address: its name, `milvus:…`.
      about: how its rows were made; None as long as it is not there.
      coordinates: of a point; 0 as long as it is not there.
      metric: of its index: IP, the inner product, or L2 of one that a user put in its place.

    Args:
      address: as above.
      create: whether it may be created; else it must be there.
      lagging: whether a server's answers may be five seconds behind what was written; then none has to wait for what
        is being written, 0.2 s in Milvus 2.3.

    Raises:
      UsageError: no such address, nothing there, in use, out of reach, or something else.
    """

    def __init__(self, address: str, *, create: bool = False, lagging: bool = False) -> None:
        self.address = address
        self._level = "Bounded" if lagging else "Strong"
        uri, self._name = parse(address)
        self.lite = "://" not in uri
        self._most = 8 * MOST if self.lite else MOST
        if self.lite and not create and not Path(uri).is_dir():
            raise UsageError(f"{address} does not exist: python -m hypjax.embed --out {address} makes it")
        client = client_class()
        self._uri, token = uri, os.environ.get("MILVUS_TOKEN", "")
        with self._answering("cannot be opened"):
            self._client = client(start_lite(address, Path(uri)) if self.lite else uri, token=token, timeout=TIMEOUT)
        self.coordinates, self.metric = 0, "IP"
        self.about = self._read_about()
        if self.about is None and not create:
            raise UsageError(f"{address} holds nothing yet: python -m hypjax.embed --out {address} fills it")
        if self.about is not None:
            self._prepare()

    def _read_about(self) -> dict[str, Any] | None:
        with self._answering():
            if not self._client.has_collection(self._name):
                return None
            properties = self._client.describe_collection(self._name).get("properties") or {}
        try:
            about = json.loads(properties[ABOUT])
            self.coordinates = int(about.pop("coordinates"))
            if about.pop("format") == FORMAT:
                return about
        except (KeyError, ValueError, AttributeError, TypeError):
            pass
        raise UsageError(f"{self.address} is a collection that hypjax.embed did not make; choose another name")

    def create(self, about: dict[str, Any], lifted: int, point: int) -> None:
        """Creates it, unless another process just did, and takes over what it says of itself.

        Args:
          about: how its rows are made.
          lifted: numbers of a lifted vector.
          point: numbers of a point.
        """
        self.coordinates = point
        kind = importlib.import_module("pymilvus").DataType
        schema = self._client.create_schema(auto_id=False, enable_dynamic_field=False)
        schema.add_field("path", kind.VARCHAR, is_primary=True, max_length=LONGEST)
        schema.add_field("lifted", kind.FLOAT_VECTOR, dim=lifted)
        schema.add_field("point", kind.ARRAY, element_type=kind.FLOAT, max_capacity=point)
        for name in ("uncertainty", "p_wrong"):
            schema.add_field(name, kind.FLOAT)
        schema.add_field("label", kind.VARCHAR, max_length=LONGEST)
        for name in ("size", "modified", "lot"):
            schema.add_field(name, kind.INT64)
        with self._answering():
            try:
                self._client.create_collection(
                    self._name, schema=schema, consistency_level="Strong", properties=self._said(about)
                )
            except self._errors():
                if not self._client.has_collection(self._name):
                    raise
        self.about = self._read_about()
        self._prepare()

    def _prepare(self) -> None:
        """Makes it searchable; a process that was killed may have left that out. Another index is left as it is."""
        with self._answering():
            if not self._client.list_indexes(self._name):
                index = self._client.prepare_index_params()
                index.add_index("lifted", index_type="FLAT", metric_type="IP")
                self._client.create_index(self._name, index)
            self._client.load_collection(self._name)
            self.metric = str(self._client.describe_index(self._name, "lifted")["metric_type"])

    def describe(self, about: dict[str, Any]) -> None:
        """Has it say how its rows were made."""
        with self._answering():
            self._client.alter_collection_properties(self._name, properties=self._said(about))
        self.about = about

    def _said(self, about: dict[str, Any]) -> dict[str, str]:
        return {ABOUT: json.dumps({"format": FORMAT, "coordinates": self.coordinates, **about})}

    def count(self, expression: str = "") -> int:
        """Rows, all or those that fulfill an expression."""
        if self.about is None:
            return 0
        with self._answering():
            found = self._client.query(
                self._name, filter=expression, output_fields=["count(*)"], consistency_level=self._level
            )
        return int(found[0]["count(*)"])

    def rows(self, expression: str, names: Sequence[str]) -> list[dict[str, Any]]:
        """Some columns of the rows that fulfill an expression, at most what comes at a time."""
        with self._answering():
            found = self._client.query(
                self._name,
                filter=expression,
                output_fields=list(names),
                limit=self._most,
                consistency_level=self._level,
            )
        return [dict(row) for row in found]

    def scan(self, names: Sequence[str], first: int = 0, last: int = LOTS) -> Iterator[dict[str, Any]]:
        """Some columns of all rows whose lots lie in [first, last), in pages of lots.

        No more than MOST rows come at a time, and to go on behind a path a path would have to be quoted right.
        """
        if self.about is None:
            return
        pages = max(1, self.count() * (last - first) // LOTS // (self._most // 2))
        bounds = [first + (last - first) * page // pages for page in range(pages + 1)]
        todo = [*itertools.pairwise(bounds)][::-1]
        while todo:
            low, high = todo.pop()
            found = self.rows(f"lot >= {low} and lot < {high}", names)
            if len(found) == self._most and high - low > 1:
                middle = (low + high) // 2
                todo += [(middle, high), (low, middle)]
            else:
                yield from found

    def search(self, lifted: np.ndarray, limit: int, expression: str = "") -> list[list[Candidate]]:
        """The rows whose lifted vectors have the greatest products with each query, or the smallest distances from it.

        Args:
          lifted: queries [n, .].
          limit: rows for each, MOST at most.
          expression: that they must fulfill.
        """
        with self._answering():
            found = self._client.search(
                self._name,
                data=lifted.tolist(),
                anns_field="lifted",
                filter=expression,
                limit=limit,
                output_fields=["path", "point", "uncertainty"],
                search_params={"metric_type": self.metric},
                consistency_level=self._level,
            )
        return [
            [
                Candidate(row["entity"]["path"], row["entity"]["point"], row["entity"]["uncertainty"], row["distance"])
                for row in of_query
            ]
            for of_query in found
        ]

    def upsert(self, rows: Sequence[dict[str, Any]]) -> None:
        """Puts rows in the place of those with the same paths."""
        width = max((len(row["lifted"]) + len(row["point"]) for row in rows), default=1)
        step = max(1, CHUNK // width)
        for start in range(0, len(rows), step):
            with self._answering():
                self._client.upsert(self._name, list(rows[start : start + step]))

    def delete(self, paths: Sequence[str]) -> None:
        """Removes rows."""
        for start in range(0, len(paths), NAMED):
            with self._answering():
                self._client.delete(self._name, filter=f"path in [{quoted_paths(paths[start : start + NAMED])}]")

    def close(self) -> None:
        """Lets go of it; a folder is then free for other processes."""
        self._client.close()
        if self.lite:
            stop_lite(self._uri)

    def _errors(self) -> type[Exception]:
        return importlib.import_module("pymilvus.exceptions").MilvusException

    @contextmanager
    def _answering(self, what: str = "cannot be read or written") -> Iterator[None]:
        """Turns what the database complains of into one line; a full disk is one, as for a file."""
        try:
            yield
        except self._errors() as error:
            said = " ".join(str(getattr(error, "message", "") or error).split())
            full = next((number for number in FULL if f"[Errno {number}]" in said or os.strerror(number) in said), None)
            if full is not None:
                raise OSError(full, os.strerror(full), self.address) from error
            raise UsageError(f"{self.address} {what}: {said[:200]}") from error
