"""Rows of a file of features through a trained head: embedding them all, and asking with some of them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from hypjax.data.errors import UsageError
from hypjax.data.features import Features
from hypjax.data.source import subset
from hypjax.retrieval import Rows
from hypjax.run import Run, trained
from hypjax.show.progress import Progress
from hypjax.stores.embeddings import FORMAT, archive, read_about


def open_rows(model: trained.Trained, path: Path) -> Features:
    """A file of features, its labels unread, for a model of features.

    Raises:
      UsageError: the model takes another number of features.
      DataError: the file is missing or damaged.
    """
    source = Features(path, labeled=False, copies=Path(model.config.features.dir))
    if source.width != model.width:
        raise UsageError(f"{path} has {source.width} features a row; the model was trained on {model.width}")
    return source


def state_of(path: Path) -> dict[str, Any]:
    """What tells a file from the same one after it was changed."""
    status = path.stat()
    return {"root": str(path.resolve()), "size": status.st_size, "modified": status.st_mtime_ns}


def embed(run: Run, path: Path, out: Path, *, batch: int | None = None) -> None:
    """Embeds every row of a file of features, in its order; neither file is ever whole in memory.

    Args:
      run: with `data=features`.
      path: of the features.
      out: the file to write, `hypjax.stores.embeddings`; its `paths` are the names of the rows, else their numbers.
        Unlike one of pictures it is made in one go, which takes seconds.
      batch: rows at a time; None for `evaluation.batch` of the run.

    Raises:
      UsageError: no run, or `out` was made by another model or of other features.
      DataError: the features are missing or damaged.
    """
    model = trained.load(run, batch=batch)
    source = open_rows(model, path)
    about = {**trained.describe(model, path), **state_of(path), "rows": True}
    if out.exists():
        held = read_about(out)
        if any(held.get(name) != about[name] for name in ("model", "root")):
            raise UsageError(f"{out} holds embeddings of another model or of other data; choose another --out")
        if {name: held.get(name) for name in about} == about:
            print(f"{out} is up to date: {len(source):,} rows of {path}")
            return
    print(f"{len(source):,} rows in {path}; the model of step {model.step} in {run.workdir}", flush=True)
    uncertainty, progress = np.zeros(len(source), np.float32), Progress(of="rows")

    def points(rows: slice) -> np.ndarray:
        indices = np.arange(len(source))[rows]
        parts = [embedded for embedded, _ in model.embed(subset(source, indices))]
        uncertainty[indices] = np.concatenate([part.uncertainty for part in parts])
        progress.show(int(indices[-1]) + 1, len(source))
        return np.concatenate([part.points for part in parts])

    with archive(out) as put:
        put("points", Rows(len(source), points))
        put("uncertainty", uncertainty)
        put("paths", source.names())
        put("sizes", np.zeros(len(source), np.int64))
        put("modified", np.full(len(source), about["modified"]))
        put("about", np.array(json.dumps({"format": FORMAT, **about, "skipped": []})))
    progress.close()
    print(f"{out}: {len(source):,} embeddings")


def chosen_rows(words: str, count: int) -> np.ndarray:
    """The rows that are meant by `3`, `10:20` or several of them with commas; all by nothing.

    >>> chosen_rows("7,2:4", 10).tolist(), chosen_rows("", 3).tolist()
    ([7, 2, 3], [0, 1, 2])

    Args:
      words: the choice.
      count: how many rows there are.

    Raises:
      UsageError: a word is none, or there are not so many rows.
    """
    everyone = range(count)
    chosen: list[int] = []
    for word in words.split(",") if words else [":"]:
        first, colon, last = word.partition(":")
        try:
            start, stop = int(first or 0), int(last or count) if colon else int(first) + 1
        except ValueError:
            raise UsageError(f"--rows={words}: {word!r} is no row; give numbers such as 3 or 10:20") from None
        if not 0 <= start < stop <= count:
            raise UsageError(f"--rows={words}: {word!r} chooses none of the rows 0 to {count - 1}")
        chosen.extend(everyone[start:stop])
    return np.array(chosen)
