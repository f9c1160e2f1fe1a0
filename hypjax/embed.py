"""Embeds pictures or features: `python -m hypjax.embed --workdir DIR --images FOLDER --out FILE [--batch N]`.

Looks through all of the folder's subfolders and writes one .npz that NumPy alone reads: points, uncertainty and paths.
The same command goes on where it was stopped, and later takes in only what was added or changed since. What does not
decode is named and left out. Several processes, started as for training, embed a share each, where all see the folder
of FILE. `python -m hypjax.search` searches the file. FILE may also be a Milvus database:
`milvus:photos.db` in a folder of this machine, or `milvus:http://HOST:19530/COLLECTION`, which several processes fill
with a `--share 0/4` each. For a run with `data=features`, --images is a file of features, whose rows are embedded.

With --features it writes the encoder's features instead, as a file that `data=features` trains on, with the folders as
labels: of the encoder of --workdir, or of `--encoder NAME [--weights FILE]`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path

import numpy as np
from absl import flags

from hypjax.config import command_line
from hypjax.data.errors import UsageError
from hypjax.data.places import as_path
from hypjax.data.source import Source
from hypjax.data.unlabeled import Picture, find_pictures
from hypjax.run import Run, starting, status, trained
from hypjax.run.peers import ALONE, Peers
from hypjax.run.stopping import ending
from hypjax.stores import extracted, rows
from hypjax.stores.embeddings import Store
from hypjax.stores.filling import Filled, Filling, Made, fill, fill_share, require_place
from hypjax.stores.milvus_client import SCHEME
from hypjax.stores.milvus_store import WHOLE, MilvusStore, read_share


@ending("goes on")
def main(argv: Sequence[str]) -> None:
    """Reads the command line and embeds."""
    values = flags.FlagValues()
    flags.DEFINE_string("workdir", None, "the folder of a run", flag_values=values)
    flags.DEFINE_string(
        "images", None, "a folder of pictures, nested at will; or a file of features", flag_values=values
    )
    flags.DEFINE_string("out", None, "the file to write, such as photos.npz, or milvus:photos.db", flag_values=values)
    flags.DEFINE_string("share", "", "with milvus: which part of the pictures, 0/4 to 3/4", flag_values=values)
    flags.DEFINE_integer("batch", None, "images at a time; evaluation.batch of the run", flag_values=values)
    flags.DEFINE_boolean("features", False, "write the encoder's features, to train on", flag_values=values)
    flags.DEFINE_string("encoder", None, "with --features: an encoder in place of a run's", flag_values=values)
    flags.DEFINE_string("weights", None, "with --encoder: a checkpoint file, or hf:OWNER/NAME", flag_values=values)
    starting.define_flags(values)
    command_line.parse_flags(argv, values)
    if values.encoder and not values.features:
        raise UsageError("--encoder goes with --features; embeddings need a run: --workdir runs/hyp_uml")
    if values.encoder and values.workdir:
        raise UsageError("--encoder and --workdir both name an encoder; give one of them")
    needed = (("images", "photos"), ("out", "photos.npz"))
    for name, example in needed if values.encoder else (("workdir", "runs/hyp_uml"), *needed):
        if not values[name].value:
            raise UsageError(f"--{name} is missing: --{name} {example} (or another)")
    if values.weights and not values.encoder:
        raise UsageError("--weights goes with --encoder, which says what they are of")
    images, database = as_path(values.images), values.out.startswith(SCHEME)
    if values.share and not database:
        raise UsageError(
            "--share goes with --out milvus:http://HOST:19530/COLLECTION, which several processes may fill"
        )
    if values.features and database:
        raise UsageError(f"--features are written to a file to train on, such as photos.npz, not to {values.out}")
    among = starting.start(values, {"program": "embed", "features": values.features, "out": values.out})
    if among.count > 1 and (values.features or database):
        raise UsageError("several processes embed pictures into a file; give processes of a database a --share each")
    if not values.features:
        out = values.out if database else as_path(values.out)
        embed(as_path(values.workdir), images, out, batch=values.batch, share=values.share, among=among)
    elif values.encoder:
        extracted.by_name(values.encoder, values.weights, images, as_path(values.out), batch=values.batch)
    else:
        extracted.by_run(Run.open(values.workdir), images, as_path(values.out), batch=values.batch)


def embed(
    workdir: Path,
    images: Path,
    out: Path | str,
    *,
    batch: int | None = None,
    share: str = "",
    among: Peers = ALONE,
) -> Filled | None:
    """Embeds all pictures below a folder, or those that are missing; or the rows of a file of features.

    Args:
      workdir: of a run.
      images: the folder; for a run with `data=features` the file.
      out: the file; while it is made, shards lie in `OUT.partial/`. Or the address of a database, `milvus:…`.
      batch: images at a time; None for `evaluation.batch` of the run.
      share: of a database, see `hypjax.stores.milvus_store.read_share`; "" for the whole.
      among: the processes that embed a share of the pictures each, of which 0 puts the file together.

    Returns:
      What it holds; None for rows, which may be many, and on other processes than 0.

    Raises:
      UsageError: no run, or a file that is something else or was made by another model.
      DataError: no picture there, or none that decodes.
    """
    if not isinstance(out, str):
        require_place(out)
    run = Run.open(workdir, among=among)
    if run.takes_features:
        if isinstance(out, str):
            raise UsageError(f"rows of features are kept in a file, such as rows.npz, not in {out}")
        if among.count > 1:
            raise UsageError("rows of features are embedded by one process: --num_processes=1")
        rows.embed(run, images, out, batch=batch)
        return None
    own = read_share(share) if share else WHOLE
    pictures = [picture for picture in find_pictures(images) if own is WHOLE or picture in own]
    starting.require_alike(among, {"pictures": digest_of_pictures(pictures)})
    model = trained.load(run, batch=batch, images=max(1, len(pictures)))
    about = trained.describe(model, images)

    def points(source: Source) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
        for embedded, indices in model.embed(source):
            yield embedded.points, embedded.uncertainty, indices

    def filled(store: Filling[Made]) -> Made:
        by, side = f"the model of step {model.step} in {workdir}", model.shorter_side
        return fill(store, points, images, pictures, shorter_side=side, by=by, of="embeddings of {} coordinates")

    if isinstance(out, str):
        with closing(MilvusStore(out, about, own)) as database:
            return filled(database)
    if among.count > 1:
        store = Store(out, about, (among.index, among.count))
        fill_share(store, points, images, pictures, shorter_side=model.shorter_side, among=among)
    return filled(Store(out, about)) if among.chief else None


def digest_of_pictures(pictures: Sequence[Picture]) -> str:
    """Of their paths, sizes and times, by which processes know that they see the same folder."""
    made = hashlib.sha256()
    for picture in pictures:
        made.update(repr(picture).encode("utf-8", "surrogateescape"))
    return made.hexdigest()[:16]


if __name__ == "__main__":
    status.run(main)
