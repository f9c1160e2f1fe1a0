"""Says how far a search can be relied on: `python -m hypjax.calibrate --index FILE [--labels FILE] [--workdir DIR]`.

FILE is what `python -m hypjax.embed` wrote. Each of its images asks for the others; whether the first answer is of its
own class teaches how likely an answer is wrong and which answers may be given so that at most a chosen share is wrong.
It is kept in FILE's folder as `NAME.calibration.npz`, and `python -m hypjax.search --risk 0.1` uses it.

The class of an image is its folder, or what a listing with the columns `path` and `label` says, or, of embedded rows of
features, what their file says. Classes that the model was trained or chosen on are found too easily: with the --workdir
of its run they do not ask.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path, PurePosixPath

import numpy as np
from absl import flags

from hypjax.config import assembly, command_line
from hypjax.data.columns import Words
from hypjax.data.errors import DataError, UsageError
from hypjax.data.features import SUFFIXES, Features
from hypjax.data.folder import read_folders
from hypjax.data.labeling import Labeling, read_labeling
from hypjax.data.listing import read_columns
from hypjax.data.places import as_path
from hypjax.data.taxonomy import read_tree
from hypjax.retrieval.promises import RISKS
from hypjax.run import Run, status
from hypjax.run.stopping import ending
from hypjax.stores import calibrations, embeddings
from hypjax.stores.milvus_client import SCHEME


@ending()
def main(argv: Sequence[str]) -> None:
    """Reads the command line and calibrates."""
    values = flags.FlagValues()
    flags.DEFINE_string("index", None, "a file of embeddings, from hypjax.embed", flag_values=values)
    flags.DEFINE_string(
        "labels",
        None,
        "a listing of path and label, or the file of features that was embedded; else folders are classes",
        flag_values=values,
    )
    flags.DEFINE_string("workdir", None, "the run, whose training classes are to be left out", flag_values=values)
    command_line.parse_flags(argv, values)
    if values.index is None:
        raise UsageError("--index is missing: --index photos.npz (or another)")
    if values.index.startswith(SCHEME):
        raise UsageError(
            f"{values.index} is a database, which cannot be calibrated, since it may change; embed into a file, --out "
            "photos.npz, and calibrate that"
        )
    run = Run.open(values.workdir) if values.workdir else None
    calibrate(Path(values.index), Path(values.labels) if values.labels else None, run)


def calibrate(index: Path, labels: Path | None = None, run: Run | None = None) -> calibrations.Calibrated:
    """Calibrates an index, keeps the calibration beside it and prints what it promises.

    Args:
      index: a file of embeddings.
      labels: a listing with the columns `path`, as in the index, and `label`, others being the hierarchy above it; or
        the file of features whose rows were embedded; None takes folders for classes, and those that they lie in for
        the hierarchy.
      run: whose training and validation classes do not ask; they are known by their names.

    Raises:
      UsageError: no index, or nothing that can be calibrated on.
      DataError: the listing is damaged, or lacks an image.
    """
    held = embeddings.read(index)
    paths = [picture.path for picture in held.pictures]
    labeling = listed(labels, paths) if labels else folders(index, paths)
    if run and run.config.data.tree:
        labeling = in_its_tree(labeling, run)
    splits = assembly.assemble(run.config).splits if run else None
    known = {*splits.train.class_names, *splits.validation.class_names} if splits else set()
    made = calibrations.make(index, held, labeling, without=known)
    out = calibrations.place(index)
    calibrations.write(out, made)
    print(f"{out}: {calibrations.about_of(made.about)}")
    if run:
        print(f"  {left_out(len(known & set(labeling.class_names)))}")
    else:
        print("  if it holds classes that the model was trained on, say --workdir: they are found too easily")
    for risk in RISKS:
        guarantee = calibrations.guaranteed(made, risk)
        kind = " with a class or a group above it" if made.names else ""
        told = f"{guarantee.coverage:.1%} of the queries are answered{kind}" if guarantee else "no threshold is proven"
        print(f"  at most {risk:.0%} of the answers wrong: {told}")
    return made


def in_its_tree(labeling: Labeling, run: Run) -> Labeling:
    """A labeling with the hierarchy of the tree file that a run was trained with, where that knows all its classes."""
    try:
        found = read_tree(as_path(run.config.data.tree), labeling.class_names)
    except DataError as error:
        print(f"  no groups by the tree of the run: {error}")
        return labeling
    columns = zip(found.level_names, found.ancestor_names, found.ancestors.T, strict=True)
    return labeling._replace(levels=[(name, [names[i] for i in column]) for name, names, column in columns])


def left_out(count: int) -> str:
    """So many classes do not ask, in words."""
    if not count:
        return "no class of the index is one that the model was trained or chosen on"
    which, them = ("1 class of the index does", "it") if count == 1 else (f"{count} classes of the index do", "them")
    return f"{which} not ask, since the model was trained or chosen on {them}"


def folders(index: Path, paths: Sequence[str]) -> Labeling:
    """The folder of each image, and those above it.

    Raises:
      UsageError: one lies in none, or all lie in one.
    """
    found = [PurePosixPath(path).parent.parts for path in paths]
    if len(set(found)) < 2 or () in found:
        where = "outside of class folders" if () in found else "in one folder"
        raise UsageError(
            f"images lie {where}, so that no class is known; --labels FILE says which, a listing or the rows embedded"
        )
    return read_folders(index, found)


def listed(file: Path, paths: Sequence[str]) -> Labeling:
    """The label of each image, and those above it, by a listing or by the file of features that was embedded.

    Raises:
      UsageError: it is a folder.
      DataError: the file is damaged, or lacks an image, or its labels form no tree.
    """
    if file.is_dir():
        raise UsageError(
            f"{file} is a folder: without --labels an image's class is the folder that it was embedded from"
        )
    if file.suffix.lower() in SUFFIXES:
        source = Features(file)
        names, of_classes = source.names().tolist(), [("label", source.class_names), *source.levels]
        columns = {name: Words.of(np.array(values)[source.labels]) for name, values in of_classes}
    else:
        columns = read_columns(file, "path", "label")
        names = columns.pop("path")
        columns.pop("split", None)
    row_of = {name: row for row, name in enumerate(names)}
    if lacking := [path for path in paths if path not in row_of]:
        raise DataError(f"{file} has no label for {len(lacking)} of {len(paths)} images, such as {lacking[0]}")
    rows = np.array([row_of[path] for path in paths])
    return read_labeling(str(file), {name: words.take(rows) for name, words in columns.items()})


if __name__ == "__main__":
    status.run(main)
