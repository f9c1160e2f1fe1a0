"""Features of a folder of images by an encoder, in a file that `data=features` trains on and that can be gone on with.

`features` [n, f] lie in it as they are, `names` are the images' paths, `labels` and super-labels their folders, as
`data=folder` takes them; `files` [n, 2] are sizes and times, by which a later run knows what was changed.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any

import jax
import numpy as np

import hypjax
from hypjax.config import initialization, models
from hypjax.config.encoder_choice import adapt_to_encoder, choose_encoder
from hypjax.config.images import create_reader, create_view
from hypjax.config.settings import default_settings
from hypjax.config.words import adapt_to_photographs
from hypjax.data.errors import UsageError
from hypjax.data.folder import read_folders
from hypjax.data.mapped import DAMAGE
from hypjax.data.source import Source
from hypjax.data.split import SPLITS
from hypjax.data.unlabeled import Picture, find_pictures
from hypjax.run import Run, trained
from hypjax.stores.embeddings import Embeddings, Store, archive, whole_rows
from hypjax.stores.filling import Embed, fill, require_place
from hypjax.training import sharding
from hypjax.training.features import digest_of

FORMAT = "hypjax features 1"


def by_name(name: str, weights: str | None, images: Path, out: Path, *, batch: int | None = None) -> None:
    """Writes the features that an encoder gives, at the size its weights were made for.

    Args:
      name: of the encoder.
      weights: a checkpoint file or `hf:OWNER/NAME`; None for those that a package carries.
      images: the folder.
      out: the file to write.
      batch: images at a time; None for the default of `evaluation.batch`.

    Raises:
      UsageError: an unknown encoder, no weights, or a file that is something else.
      DataError: no picture there, or none that decodes.
    """
    require_place(out)
    config = default_settings()
    config.data.name, config.encoder.weights = "folder", weights or "packaged"
    choose_encoder(config, name)
    adapt_to_photographs(config)
    adapt_to_encoder(config)
    encoder, preprocess = models.create_encoder(config)
    if not config.encoder.weights:
        raise UsageError(f"no package carries weights of {name}; --weights FILE or hf:OWNER/NAME says which to take")
    pictures, mesh = find_pictures(images), sharding.data_mesh()
    config.evaluation.batch = trained.choose_batch(batch or config.evaluation.batch, len(pictures), mesh.size)
    variables = initialization.encoder_variables(config, encoder)
    encode = jax.jit(
        lambda values, batch: encoder.apply(values, preprocess(batch), train=False),
        out_shardings=sharding.replicated(mesh),
    )
    reader = create_reader(config, mesh)

    def embed(source: Source) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
        start = 0
        for read in reader(source):
            seen, valid = sharding.global_batch({"image": read["image"]}, mesh)["image"], read["valid"]
            yield _as_points(np.asarray(encode(variables, seen))[valid], start)
            start += int(valid.sum())

    words = f"{digest_of(variables)}|{encoder!r}|{create_view(config)!r}|{config.data.shorter_side}"
    _write(
        out,
        embed,
        images,
        pictures,
        shorter_side=config.data.shorter_side,
        encoder=name,
        step=0,
        fingerprint=hashlib.sha256(words.encode()).hexdigest()[:32],
        by=f"the encoder {name} with {config.encoder.weights} weights, {config.data.eval_image_size} pixels",
    )


def by_run(run: Run, images: Path, out: Path, *, batch: int | None = None) -> None:
    """Writes the features that the encoder of a run gives.

    Args:
      run: opened.
      images: the folder.
      out: the file to write.
      batch: images at a time; None for `evaluation.batch` of the run.

    Raises:
      UsageError: no run, one without an encoder, or a file that is something else.
      DataError: no picture there, or none that decodes.
    """
    require_place(out)
    if run.takes_features:
        raise UsageError(f"{run.workdir} was trained on features and has no encoder; name one: --encoder NAME")
    pictures = find_pictures(images)
    model = trained.load(run, batch=batch, images=len(pictures))

    def embed(source: Source) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
        for embedded, indices in model.embed(source):
            yield _as_points(np.asarray(embedded.features), int(indices[0]))

    _write(
        out,
        embed,
        images,
        pictures,
        shorter_side=model.shorter_side,
        encoder=model.config.encoder.name,
        step=model.step,
        fingerprint=model.fingerprint,
        by=f"the encoder of step {model.step} in {run.workdir}",
    )


def _as_points(features: np.ndarray, start: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    return features.astype(np.float32), np.zeros(len(features), np.float32), start + np.arange(len(features))


def _write(
    out: Path,
    embed: Embed,
    images: Path,
    pictures: list[Picture],
    *,
    shorter_side: int,
    encoder: str,
    step: int,
    fingerprint: str,
    by: str,
) -> None:
    about = {
        "hypjax": hypjax.__version__,
        "model": fingerprint,
        "run": encoder,
        "step": step,
        "root": str(images.resolve()),
        **dict.fromkeys(("geometry", "distance", "curvature")),  # of embeddings, which shards are kept as
    }
    whole = fill(
        FeatureStore(out, about), embed, images, pictures, shorter_side=shorter_side, by=by, of="rows of {} features"
    )
    if not _labeled(whole.pictures):
        print(f"{out} has no labels, since not every image lies in a folder: it can be embedded, not trained on")


class FeatureStore(Store):
    """A file of features in the making; see `hypjax.stores.embeddings.Store`."""

    def _write(self, path: Path, embeddings: Embeddings) -> None:
        write(path, embeddings)

    def _read(self, path: Path) -> Embeddings:
        return read(path)


def write(path: Path, features: Embeddings) -> None:
    """Writes a file of features, labeled by folder where every picture lies in one.

    Args:
      path: where it goes.
      features: of pictures, as `points`; their uncertainty is not kept.
    """
    pictures = features.pictures
    skipped = [[*picture, reason] for picture, reason in features.skipped]
    with archive(path) as put:
        put("features", features.points)
        if _labeled(pictures):
            folders = [PurePosixPath(picture.path).parent.parts for picture in pictures]
            found = read_folders(Path(features.about["root"]), folders)
            put("labels", np.array(found.class_names)[found.labels])
            for name, values in found.levels:
                put(name, np.array(values)[found.labels])
            if found.parts is not None:
                put("split", np.array(SPLITS)[found.parts])
        put("names", np.array([picture.path for picture in pictures], np.str_))
        put("files", np.array([picture[1:] for picture in pictures], np.int64).reshape(-1, 2))
        put("about", np.array(json.dumps({"format": FORMAT, **features.about, "skipped": skipped})))


def read(path: Path) -> Embeddings:
    """Reads a file that `write` wrote; its features stay on the disk.

    Raises:
      UsageError: it is damaged, or something else.
    """
    try:
        with path.open("rb") as opened, np.load(opened, allow_pickle=False) as file:
            about: dict[str, Any] = json.loads(str(file["about"]))
            if about.pop("format", "") != FORMAT:
                raise ValueError(f"it does not say that it is {FORMAT!r}")
            pictures = [
                Picture(name, *state)
                for name, state in zip(file["names"].tolist(), file["files"].tolist(), strict=True)
            ]
        skipped = [(Picture(*picture), reason) for *picture, reason in about.pop("skipped")]
        points = whole_rows(path, "features") if pictures else np.zeros((0, 0), np.float32)
        return Embeddings(points, np.zeros(len(pictures), np.float32), pictures, skipped, about)
    except (*DAMAGE, AttributeError, TypeError) as error:
        reason = " ".join(str(error).split())[:120] or type(error).__name__
        raise UsageError(
            f"{path} is no whole file of features from hypjax.embed ({reason}); choose another --out"
        ) from error


def _labeled(pictures: Any) -> bool:
    return bool(pictures) and all("/" in picture.path for picture in pictures)
