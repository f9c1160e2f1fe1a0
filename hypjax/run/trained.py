"""A trained model as those need it who embed pictures of their own: without the data that it was trained on."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from ml_collections import ConfigDict

import hypjax
from hypjax.config import models, persistence
from hypjax.config.images import create_reader, create_view
from hypjax.config.settings import default_settings, holds_features
from hypjax.data.errors import UsageError
from hypjax.data.source import Source
from hypjax.geometry import name_of
from hypjax.run.metrics import as_json
from hypjax.run.run import Run
from hypjax.training import sharding
from hypjax.training.embedding import Embedded, create_embedder
from hypjax.training.features import digest_of
from hypjax.training.space import Space


class Trained(NamedTuple):
    """A model whose training is done, or far enough.

    Attributes:
      config: the settings it was trained with.
      step: of the checkpoint.
      space: where its embeddings live, a learned curvature put in.
      embed: a source to batches, in order: what the model makes of the images, and their indices [b] in the source.
      embed_batch: what it makes of `image` uint8 [b, side, side, 3] or `features` [b, width]; b is a multiple of the
        devices, and each b is compiled once.
      view: an image uint8 [h, w, 3] to what the model sees of it [side, side, 3].
      shorter_side: to which larger images are shrunk as they are read, in pixels; 0 for none.
      width: features of a row, for a model of features; None for one of images.
      fingerprint: a digest of weights and settings; embeddings of two models are not to be compared.
      calibration: how far its answers can be relied on, as the workdir keeps it; None where that is not known.
    """

    config: ConfigDict
    step: int
    space: Space
    embed: Callable[[Source], Iterator[tuple[Embedded, np.ndarray]]]
    embed_batch: Callable[[dict[str, np.ndarray]], Embedded]
    view: Callable[[np.ndarray], np.ndarray]
    shorter_side: int
    width: int | None
    fingerprint: str
    calibration: dict[str, Any] | None


def load(run: Run, *, batch: int | None = None, images: int | None = None) -> Trained:
    """Loads the state of a run that its settings name, the last or the best, onto the devices of this process.

    Args:
      run: opened.
      batch: images at a time; None for `evaluation.batch` of the run.
      images: how many there will be, where that is known: a smaller batch does for fewer.

    Raises:
      UsageError: the run has no whole checkpoint, or a batch that is not positive.
    """
    config = run.config.copy_and_resolve_references()
    mesh = sharding.data_mesh(jax.local_devices())
    config.evaluation.batch = choose_batch(config.evaluation.batch if batch is None else batch, images, mesh.size)
    model, preprocess = models.create_model(config)
    space_at = models.create_space_at(config)
    variables, step = run.restore(mesh)
    embedder = create_embedder(model, space_at, preprocess, mesh)
    reader, see = create_reader(config, mesh), create_view(config)

    def embed_batch(batch: dict[str, np.ndarray]) -> Embedded:
        return jax.tree.map(sharding.own_rows, embedder(variables, sharding.global_batch(batch, mesh)))

    def view(image: np.ndarray) -> np.ndarray:
        return see(image, np.random.default_rng(0))

    def embed(source: Source) -> Iterator[tuple[Embedded, np.ndarray]]:
        start = 0
        for read in reader(source):
            valid = read["valid"]
            embedded = embed_batch({name: read[name] for name in read if name in ("image", "features")})
            yield jax.tree.map(lambda rows, kept=valid: rows[kept], embedded), start + np.arange(valid.sum())
            start += int(valid.sum())

    return Trained(
        config,
        step,
        space_at(variables["objective"]),
        embed,
        embed_batch,
        view,
        config.data.shorter_side,
        variables["params"]["head"]["kernel"].shape[0] if holds_features(config) else None,
        fingerprint(config, variables),
        held if (held := run.calibration) and held.get("step") == step else None,
    )


def describe(model: Trained, images: Path) -> dict[str, Any]:
    """What a file of a model's embeddings says of itself."""
    config, curvature = model.config, model.space.curvature
    return {
        "hypjax": hypjax.__version__,
        "model": model.fingerprint,
        "run": config.name,
        "step": model.step,
        "root": str(images.resolve()),
        "geometry": name_of(model.space.manifold),
        "distance": config.distance,
        "curvature": None if curvature is None else float(np.asarray(curvature)),
        "uncertainty": config.uncertainty,
        **({"p_wrong": chance(model.calibration)} if model.calibration else {}),
    }


def chance(calibration: Mapping[str, Any]) -> dict[str, Any]:
    """From u to the chance that the first answer will be wrong, and the gallery that it was learned in."""
    return {"of_u": calibration["made"]["before"], "size": calibration["size"], "classes": calibration["classes"]}


def choose_batch(batch: int, images: int | None, devices: int) -> int:
    """The size of a batch: as asked for, but no more than the images fill, rounded up to what the devices can share.

    Examples:
      >>> choose_batch(128, 5, 2), choose_batch(127, None, 2)
      (6, 128)

    Raises:
      UsageError: it is not positive.
    """
    if batch < 1:
        raise UsageError(f"--batch must be at least 1, not {batch}")
    return sharding.shareable(batch if images is None else min(batch, images), devices)


def fingerprint(config: ConfigDict, variables: Mapping[str, Any]) -> str:
    """A digest of all that an embedding depends on beside its image.

    Args:
      config: of the run; where it logs and how many images it takes at a time don't matter.
      variables: of the model.
    """
    # Settings at their defaults are left out, so that one that is new tomorrow leaves today's digests alone.
    changed = persistence.differences(as_json(default_settings().to_dict()), as_json(config.to_dict()))
    telling = [line for line in changed if not line.startswith(("log.", "evaluation.batch:"))]
    words = json.dumps(telling) + digest_of(variables)
    return hashlib.sha256(words.encode()).hexdigest()[:32]
