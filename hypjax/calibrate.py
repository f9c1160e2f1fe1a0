"""Says how far a search can be relied on: `python -m hypjax.calibrate --index FILE [--labels LISTING] [--workdir DIR]`.

FILE is what `python -m hypjax.embed` wrote. Each of its images asks for the others; whether the first answer is of its
own class teaches how likely an answer is wrong and which answers may be given so that at most a chosen share is wrong.
It is kept in FILE's folder as `NAME.calibration.npz`, and `python -m hypjax.search --risk 0.1` uses it.

The class of an image is its folder, or what a listing with the columns `path` and `label` says. Classes that the model
was trained on are found too easily: with the --workdir of its run they do not ask.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path, PurePosixPath

from absl import flags

from hypjax.config import assembly, command_line
from hypjax.data.errors import DataError, UsageError
from hypjax.data.listing import read_columns
from hypjax.run import Run, status
from hypjax.stores import calibrations, embeddings

RISKS = (0.05, 0.1, 0.2)  # that are told of


def main(argv: Sequence[str]) -> None:
    """Reads the command line and calibrates."""
    values = flags.FlagValues()
    flags.DEFINE_string("index", None, "a file of embeddings, from hypjax.embed", flag_values=values)
    flags.DEFINE_string("labels", None, "a listing of path and label; else folders are classes", flag_values=values)
    flags.DEFINE_string("workdir", None, "the run, whose training classes are to be left out", flag_values=values)
    command_line.parse_flags(argv, values)
    if values.index is None:
        raise UsageError("--index is missing: --index photos.npz (or another)")
    run = Run.open(values.workdir) if values.workdir else None
    calibrate(Path(values.index), Path(values.labels) if values.labels else None, run)


def calibrate(index: Path, labels: Path | None = None, run: Run | None = None) -> calibrations.Calibrated:
    """Calibrates an index, keeps the calibration beside it and prints what it promises.

    Args:
      index: a file of embeddings.
      labels: a listing with the columns `path`, as in the index, and `label`; None takes folders for classes.
      run: whose training classes do not ask; they are known by their names.

    Raises:
      UsageError: no index, or nothing that can be calibrated on.
      DataError: the listing is damaged, or lacks an image.
    """
    held = embeddings.read(index)
    paths = [picture.path for picture in held.pictures]
    names = listed(labels, paths) if labels else folders(paths)
    known = set(assembly.assemble(run.config).splits.train.class_names) if run else set()
    made = calibrations.make(index, held, names, without=known)
    out = calibrations.place(index)
    calibrations.write(out, made)
    print(f"{out}: {calibrations.about_of(made.about)}")
    if run:
        print(f"  {len(known & set(names))} classes of the index do not ask, since the model was trained on them")
    else:
        print("  if it holds classes that the model was trained on, say --workdir: they are found too easily")
    for risk in RISKS:
        guarantee = made.calibration.guarantee(risk)
        told = (
            "no threshold is proven" if guarantee is None else f"{guarantee.coverage:.1%} of the queries are answered"
        )
        print(f"  at most {risk:.0%} of the answers wrong: {told}")
    return made


def folders(paths: Sequence[str]) -> list[str]:
    """The folder of each image.

    Raises:
      UsageError: all lie in one.
    """
    found = [PurePosixPath(path).parent.as_posix() for path in paths]
    if len(set(found)) < 2:
        raise UsageError(
            "all images lie in one folder, so that no class is known; --labels LISTING says which they are"
        )
    return found


def listed(listing: Path, paths: Sequence[str]) -> list[str]:
    """The label of each image.

    Raises:
      DataError: the listing is damaged, or lacks an image.
    """
    columns = read_columns(listing, "path", "label")
    label_of = dict(zip(columns["path"].tolist(), columns["label"].tolist(), strict=True))
    if lacking := [path for path in paths if path not in label_of]:
        raise DataError(f"{listing} has no label for {len(lacking)} of {len(paths)} images, such as {lacking[0]}")
    return [label_of[path] for path in paths]


if __name__ == "__main__":
    status.run(main)
