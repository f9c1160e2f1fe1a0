"""Searches embedded pictures or features: `python -m hypjax.search --workdir DIR --index FILE --query IMAGE [--k 10]`.

FILE is what `python -m hypjax.embed` wrote. --query may be given several times, and may be a folder; one of the indexed
files does not find itself. The nearest images are printed with distance and uncertainty; `--out gallery.html` shows
them too, in one page that needs no network. Where `python -m hypjax.calibrate` has calibrated the index, each query
says how likely its first answer is wrong, and `--risk 0.1` gives only such answers of which at most a tenth is wrong.

For a run with `data=features`, --query is a file of features and --rows chooses among its rows; `--out found.npz` keeps
what they found as arrays.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
from absl import flags

from hypjax.config import command_line
from hypjax.data import files
from hypjax.data.decode import decode
from hypjax.data.errors import DataError, UsageError
from hypjax.data.source import subset
from hypjax.data.unlabeled import Files, find_pictures
from hypjax.run import Run, status, trained
from hypjax.show import pages
from hypjax.stores import calibrations, embeddings, rows
from hypjax.stores.calibrations import Word
from hypjax.stores.embeddings import Embeddings
from hypjax.stores.gallery import searcher


class Queries(NamedTuple):
    """Images that ask.

    Attributes:
      paths: of n files.
      points: of the geometry [n, .].
      uncertainty: in [0, 1] [n].
    """

    paths: Sequence[Path | str]
    points: np.ndarray
    uncertainty: np.ndarray


class Answers(NamedTuple):
    """What n queries found.

    Attributes:
      rows: of the index, nearest first [n, k].
      distances: to them [n, k].
      words: on the first of each, n where the index is calibrated, else none.
    """

    rows: np.ndarray
    distances: np.ndarray
    words: Sequence[Word]


def main(argv: Sequence[str]) -> None:
    """Reads the command line and searches."""
    values = flags.FlagValues()
    flags.DEFINE_string("workdir", None, "the folder of the run that the index was made with", flag_values=values)
    flags.DEFINE_string("index", None, "a file of embeddings, from hypjax.embed", flag_values=values)
    flags.DEFINE_multi_string("query", [], "an image or a folder of images; repeatable", flag_values=values)
    flags.DEFINE_integer("k", 10, "neighbors of each query", flag_values=values)
    flags.DEFINE_float("risk", None, "the largest share of wrong answers among those given", flag_values=values)
    flags.DEFINE_string("rows", "", "which rows of a file of features ask: 3 or 0:10; all", flag_values=values)
    flags.DEFINE_string("out", None, "an HTML gallery to write; for features an .npz", flag_values=values)
    flags.DEFINE_string("images", None, "where the indexed images are now, if they were moved", flag_values=values)
    command_line.parse_flags(argv, values)
    for name, example in (("workdir", "runs/hyp_uml"), ("index", "photos.npz"), ("query", "cat.jpg")):
        if not values[name].value:
            raise UsageError(f"--{name} is missing: --{name} {example} (or another)")
    if values.k < 1:
        raise UsageError(f"--k must be at least 1, not {values.k}")
    if values.risk is not None and not 0 < values.risk < 1:
        raise UsageError(f"--risk must lie in (0, 1), not {values.risk}")
    run = Run.open(values.workdir)
    if run.takes_features:
        search_rows(run, values)
        return
    if values.rows:
        raise UsageError("--rows chooses among rows of features; this run takes pictures")
    index = embeddings.read(Path(values.index))
    root = Path(values.images or index.about["root"])
    asking = list_queries(values.query)
    model = trained.load(run, images=len(asking))
    require_same(model, index, values)
    queries = embed_queries(model, asking)
    row_of = {path: row for row, (path, _, _) in enumerate(index.pictures)}
    itself = np.array([row_of.get(below(Path(path), root), -1) for path in queries.paths])
    found = ask(model, index, queries.points, queries.uncertainty, itself, values)
    for i, path in enumerate(queries.paths):
        print(files.printable(table(path, i, index, queries.uncertainty[i], found)), end="\n\n")
    if values.out:
        write_gallery(Path(values.out), index, queries, found, root, values.index)
        print(f"{values.out} is written")
        if not (root / index.pictures[int(found.rows[0, 0])].path).is_file():
            print(f"its pictures are no longer in {root}; --images=FOLDER says where they are now")


def require_same(model: trained.Trained, index: Embeddings, values: flags.FlagValues) -> None:
    """Checks that the model made the index.

    Raises:
      UsageError: another one did.
    """
    if index.about.get("model") != model.fingerprint:
        raise UsageError(
            f"{values.index} was made by another model ({index.about.get('run')}, step {index.about.get('step')}) than "
            f"{values.workdir} (step {model.step}) holds; make it anew with hypjax.embed, or give its --workdir"
        )


def search_rows(run: Run, values: flags.FlagValues) -> None:
    """Searches with rows of a file of features; one that is in the index does not find itself.

    Raises:
      UsageError: more than one file, no such rows, a gallery asked for, or an index made by another model.
      DataError: the file is missing or damaged.
    """
    if len(values.query) > 1:
        raise UsageError("--query takes one file of features; --rows chooses among its rows")
    if values.out and not values.out.lower().endswith(".npz"):
        raise UsageError(f"--out={values.out}: features have no pictures to show; --out found.npz keeps what was found")
    path = Path(values.query[0])
    model = trained.load(run)
    source = rows.open_rows(model, path)
    asking = rows.chosen_rows(values.rows, len(source))
    index = embeddings.read(Path(values.index))
    require_same(model, index, values)
    parts = [embedded for embedded, _ in model.embed(subset(source, asking))]
    points, uncertainty = (
        np.concatenate([getattr(part, name) for part in parts]) for name in ("points", "uncertainty")
    )
    same = all(index.about.get(name) == value for name, value in rows.state_of(path).items())
    found = ask(model, index, points, uncertainty, asking if same else np.full(len(asking), -1), values)
    if not values.out:
        for i, row in enumerate(asking.tolist()):
            title = f"{path} row {row} ({source.name(row)})"
            print(files.printable(table(title, i, index, uncertainty[i], found)), end="\n\n")
        return
    with embeddings.archive(Path(values.out)) as put:
        put("rows", asking)
        put("neighbors", found.rows)
        put("distances", found.distances)
        put("uncertainty", uncertainty)
        if found.words:
            put("p_wrong", np.array([word.probability for word in found.words]))
            put("unlike", np.array([word.unlike for word in found.words]))
        if values.risk is not None and found.words:
            put("given", np.array([word.given for word in found.words]))
            put("enough", np.array([word.enough for word in found.words]))
            put("higher", np.array([word.higher for word in found.words], np.str_))
    print(f"{values.out}: rows, neighbors, distances and uncertainty of {len(asking):,} queries")


def list_queries(given: Sequence[str]) -> list[Path]:
    """The files that are meant by files and folders.

    Raises:
      DataError: one is not there, or a folder without images.
    """
    if missing := next((word for word in given if not Path(word).exists()), None):
        raise DataError(f"{missing} does not exist; give an image or a folder of images")
    return [
        Path(word) if Path(word).is_file() else Path(word) / picture.path
        for word in given
        for picture in find_pictures(Path(word))
    ]


def embed_queries(model: trained.Trained, paths: Sequence[Path]) -> Queries:
    """Embeds the queries.

    Raises:
      DataError: one does not decode; names it.
    """
    source = Files(paths, shorter_side=model.shorter_side)
    parts = [embedded for embedded, _ in model.embed(source)]
    if source.reasons:
        raise DataError(source.reasons[min(source.reasons)])
    points, uncertainty = (
        np.concatenate([getattr(part, name) for part in parts]) for name in ("points", "uncertainty")
    )
    return Queries(list(paths), points, uncertainty)


def ask(
    model: trained.Trained,
    index: Embeddings,
    points: np.ndarray,
    uncertainty: np.ndarray,
    exclude: np.ndarray,
    values: flags.FlagValues,
) -> Answers:
    """Searches, and says of each first answer what a calibration allows to say.

    Args:
      model: that made the index.
      index: what is searched.
      points: that ask [n, .].
      uncertainty: of theirs [n].
      exclude: row that each must not find, −1 for none [n].
      values: of the command line: `index`, `k`, `risk`.

    Raises:
      UsageError: a risk without a calibration, or one that is of another index.
    """
    calibrated = calibrations.read(Path(values.index))
    if calibrated is None and values.risk is not None:
        raise UsageError(
            f"--risk needs to know how often {values.index} answers wrongly: first "
            f"python -m hypjax.calibrate --index {values.index}"
        )
    k = values.k
    found, distances = searcher(index, model.space)(points, exclude, max(k, calibrations.NEIGHBORS))
    if calibrated is None or found.shape[1] < 2:
        words = calibrations.before_search(index.about, uncertainty)
        if words:
            print(calibrations.hint(index.about, values.index), end="\n\n")
        return Answers(found[:, :k], distances[:, :k], words)
    if values.risk is not None:
        print(calibrations.promise(calibrated, values.risk), end="\n\n")
    words = calibrations.judge(calibrated, uncertainty, found, distances, values.risk)
    return Answers(found[:, :k], distances[:, :k], words)


def below(path: Path, root: Path) -> str:
    """The path of a file below a folder; "" where it is elsewhere."""
    path, root = path.resolve(), root.resolve()
    return path.relative_to(root).as_posix() if path.is_relative_to(root) else ""


def table(title: Path | str, query: int, index: Embeddings, uncertainty: float, found: Answers) -> str:
    """What one query found, as lines for the console."""
    kind = "row" if index.about.get("rows") else "image"
    said, more = f"uncertainty {uncertainty:.3f}", []
    if found.words:
        chance, *more = calibrations.told(found.words[query], len(index.points))
        said += f", {chance}"
    lines = [f"{title}  ({said})", *(f"      {line}" for line in more)]
    lines.append(f"{'':>4}  {'distance':>9}  {'uncertainty':>11}  {kind}")
    for rank, (row, distance) in enumerate(
        zip(found.rows[query].tolist(), found.distances[query].tolist(), strict=True)
    ):
        lines.append(f"{rank + 1:>4}  {distance:>9.4f}  {index.uncertainty[row]:>11.3f}  {index.pictures[row].path}")
    return "\n".join(lines)


def write_gallery(
    out: Path,
    index: Embeddings,
    queries: Queries,
    found: Answers,
    root: Path,
    name: str,
) -> None:
    """Shows the queries and what they found in one HTML page."""
    searches = [
        pages.Found(
            below(Path(path), root) or Path(path).name,
            float(queries.uncertainty[i]),
            partial(pixels, Path(path)),
            [index.pictures[row].path for row in found.rows[i]],
            found.distances[i].tolist(),
            index.uncertainty[found.rows[i]].tolist(),
            [partial(pixels, root / index.pictures[row].path) for row in found.rows[i]],
        )
        for i, path in enumerate(queries.paths)
    ]
    about = index.about
    curved = f", c = {about['curvature']:g}" if about.get("curvature") is not None else ""
    caption = (
        f"{len(index.points):,} images of {Path(about['root']).name} ({Path(name).name}), embedded by {about['run']} "
        f"at step {about['step']}; {about['distance']} distance, {about['geometry']}{curved}"
    )
    count = "1 query" if len(searches) == 1 else f"{len(searches)} queries"
    pages.gallery(out, searches, title=f"Nearest images of {count}", caption=caption)


def pixels(path: Path) -> np.ndarray | None:
    """The image in a file, or None where it is gone or damaged."""
    try:
        return decode(path, name=str(path), shorter_side=pages.SIDE)
    except DataError:
        return None


if __name__ == "__main__":
    status.run(main)
