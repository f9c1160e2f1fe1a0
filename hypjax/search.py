"""Searches embedded pictures or features: `python -m hypjax.search --workdir DIR --index FILE --query IMAGE [--k 10]`.

FILE is what `python -m hypjax.embed` wrote, be it a database, `milvus:photos.db`. --query may be given several times,
and may be a folder; one of the indexed files does not find itself. The nearest images are printed with distance and
uncertainty; `--out gallery.html` shows them too, in one page that needs no network. `--where 'uncertainty < 0.4 and
path like "2024/%"'` searches among such images alone. Where `python -m hypjax.calibrate` has calibrated the index, each
query says how likely its first answer is wrong, and `--risk 0.1` gives only such answers of which at most a tenth is
wrong.

For a run with `data=features`, --query is a file of features and --rows chooses among its rows; `--out found.npz` keeps
what they found as arrays.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
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
from hypjax.retrieval.approximate import KINDS
from hypjax.run import Run, status, trained
from hypjax.run.stopping import ending
from hypjax.show import pages
from hypjax.stores import answers, beside, calibrations, embeddings, rows
from hypjax.stores.calibrations import Calibrated, Word
from hypjax.stores.gallery import FileGallery, open_gallery
from hypjax.stores.hits import Gallery, Hit
from hypjax.stores.milvus_client import SCHEME


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


@ending()
def main(argv: Sequence[str]) -> None:
    """Reads the command line and searches."""
    values = flags.FlagValues()
    flags.DEFINE_string("workdir", None, "the folder of the run that the index was made with", flag_values=values)
    flags.DEFINE_string("index", None, "a file of embeddings or milvus:…, from hypjax.embed", flag_values=values)
    flags.DEFINE_multi_string("query", [], "an image or a folder of images; repeatable", flag_values=values)
    flags.DEFINE_integer("k", 10, "neighbors of each query", flag_values=values)
    flags.DEFINE_float("risk", None, "the largest share of wrong answers among those given", flag_values=values)
    flags.DEFINE_string("where", "", "what to search among: uncertainty < 0.4 and path like 'a/%'", flag_values=values)
    flags.DEFINE_enum("approximate", None, KINDS, "search a file faster, and miss some", flag_values=values)
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
    gallery = open_gallery(values.index, approximate=values.approximate or "")
    asking = list_queries(values.query)
    model = trained.load(run, images=len(asking))
    take_space(model, gallery, values)
    root = Path(values.images or gallery.about["root"])
    queries = embed_queries(model, asking)
    itself = [below(Path(path), root) for path in queries.paths]
    calibrated = calibrations.of_search(gallery, values.index, where=values.where, risk=values.risk)
    most = values.k if calibrated is None else max(values.k, calibrations.NEIGHBORS)
    found = gallery.nearest(queries.points, most, leave_out=itself, where=values.where)
    words = say(gallery, calibrated, queries.uncertainty, lambda: as_arrays(found), values)
    found = [hits[: values.k] for hits in found]
    show_tables(queries.paths, queries.uncertainty, found, words, gallery)
    if values.out:
        write_gallery(Path(values.out), gallery, queries, found, root, values.index)
        print(f"{values.out} is written")
        shown = next((hits[0].path for hits in found if hits), "")
        if not (root / shown).is_file():
            print(f"its pictures are no longer in {root}; --images=FOLDER says where they are now")


def take_space(model: trained.Trained, gallery: Gallery, values: flags.FlagValues) -> None:
    """Gives the index the space of the model, which must have made it, so that its distance is known.

    Raises:
      UsageError: another one did.
    """
    answers.require_maker(gallery.about, model.fingerprint, index=values.index, workdir=values.workdir, step=model.step)
    if isinstance(gallery, FileGallery):
        gallery.space = model.space
        if gallery.approximate:
            print(beside.told(gallery.approximate), end="\n\n")


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
    if values.index.startswith(SCHEME):
        raise UsageError(f"rows of features are searched in a file, such as rows.npz, not in {values.index}")
    gallery = FileGallery(Path(values.index), approximate=values.approximate or "")
    take_space(model, gallery, values)
    parts = [embedded for embedded, _ in model.embed(subset(source, asking))]
    points, uncertainty = (
        np.concatenate([getattr(part, name) for part in parts]) for name in ("points", "uncertainty")
    )
    same = all(gallery.about.get(name) == value for name, value in rows.state_of(path).items())
    exclude = asking if same else np.full(len(asking), -1)
    calibrated = calibrations.of_search(gallery, values.index, where=values.where, risk=values.risk)
    most = values.k if calibrated is None else max(values.k, calibrations.NEIGHBORS)
    found, distances = gallery.search(points, exclude, most, values.where)
    words = say(gallery, calibrated, uncertainty, lambda: (found, distances), values)
    found, distances = found[:, : values.k], distances[:, : values.k]
    if not values.out:
        titles = [f"{path} row {row} ({source.name(row)})" for row in asking.tolist()]
        show_tables(titles, uncertainty, gallery.hits(found, distances), words, gallery)
        return
    with embeddings.archive(Path(values.out)) as put:
        put("rows", asking)
        put("neighbors", found)
        put("distances", distances)
        put("uncertainty", uncertainty)
        if words:
            put("p_wrong", np.array([word.probability for word in words]))
            put("unlike", np.array([word.unlike for word in words]))
        if values.risk is not None and words:
            put("given", np.array([word.given for word in words]))
            put("enough", np.array([word.enough for word in words]))
            put("higher", np.array([word.higher for word in words], np.str_))
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


def say(
    gallery: Gallery,
    calibrated: Calibrated | None,
    uncertainty: np.ndarray,
    found: Callable[[], tuple[np.ndarray, np.ndarray]],
    values: flags.FlagValues,
) -> Sequence[Word]:
    """What can be said of the first answer to each query, as far as a calibration allows; prints what it promises.

    Args:
      gallery: that was searched.
      calibrated: it; None where it is not.
      uncertainty: of the queries [n].
      found: gives rows [n, k] and distances to them [n, k] of a file.
      values: of the command line: `index`, `risk`, `where`.

    Returns:
      n words, or none.
    """
    if calibrated is not None:
        indices, distances = found()
        if indices.shape[1] > 1:
            if values.risk is not None:
                print(calibrations.promise(calibrated, values.risk), end="\n\n")
            return calibrations.judge(calibrated, uncertainty, indices, distances, values.risk)
    words = [] if values.where or values.approximate else calibrations.before_search(gallery.about, uncertainty)
    if words:
        print(calibrations.hint(gallery.about, values.index), end="\n\n")
    return words


def as_arrays(found: Sequence[Sequence[Hit]]) -> tuple[np.ndarray, np.ndarray]:
    """Rows and distances [n, k] of hits."""
    return np.array([[hit.row for hit in hits] for hits in found]), np.array([[h.distance for h in f] for f in found])


def below(path: Path, root: Path) -> str:
    """The path of a file below a folder; "" where it is elsewhere."""
    path, root = path.resolve(), root.resolve()
    return path.relative_to(root).as_posix() if path.is_relative_to(root) else ""


def show_tables(
    titles: Sequence[Path | str],
    uncertainty: np.ndarray,
    found: Sequence[Sequence[Hit]],
    words: Sequence[Word],
    gallery: Gallery,
) -> None:
    """Prints what each query found."""
    kind, size = "row" if gallery.about.get("rows") else "image", len(gallery)
    for i, (title, hits) in enumerate(zip(titles, found, strict=True)):
        said, more = f"uncertainty {uncertainty[i]:.3f}", []
        if words:
            chance, *more = calibrations.told(words[i], size)
            said += f", {chance}"
        lines = [f"{title}  ({said})", *(f"      {line}" for line in more)]
        lines.append(f"{'':>4}  {'distance':>9}  {'uncertainty':>11}  {kind}")
        for rank, hit in enumerate(hits):
            lines.append(f"{rank + 1:>4}  {hit.distance:>9.4f}  {hit.uncertainty:>11.3f}  {hit.path}")
        print(files.printable("\n".join(lines)), end="\n\n")


def write_gallery(
    out: Path,
    gallery: Gallery,
    queries: Queries,
    found: Sequence[Sequence[Hit]],
    root: Path,
    name: str,
) -> None:
    """Shows the queries and what they found in one HTML page."""
    searches = [
        pages.Found(
            below(Path(path), root) or Path(path).name,
            float(queries.uncertainty[i]),
            partial(pixels, Path(path)),
            [hit.path for hit in found[i]],
            [hit.distance for hit in found[i]],
            [hit.uncertainty for hit in found[i]],
            [partial(pixels, root / hit.path) for hit in found[i]],
        )
        for i, path in enumerate(queries.paths)
    ]
    about = gallery.about
    curved = f", c = {about['curvature']:g}" if about.get("curvature") is not None else ""
    caption = (
        f"{len(gallery):,} images of {Path(about['root']).name} ({Path(name).name}), embedded by {about['run']} "
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
