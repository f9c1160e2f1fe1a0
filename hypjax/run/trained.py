"""A trained model as those need it who embed pictures of their own: without the data that it was trained on."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from jax.sharding import Mesh
from ml_collections import ConfigDict

import hypjax
from hypjax.config import models, persistence
from hypjax.config.images import create_reader
from hypjax.config.settings import default_settings, holds_features
from hypjax.data.errors import UsageError
from hypjax.data.source import Source
from hypjax.run.checkpoint import SavedStates
from hypjax.run.metrics import as_json
from hypjax.training import sharding
from hypjax.training.embedding import Embedded, create_embedder
from hypjax.training.features import digest_of
from hypjax.training.space import Space
from hypjax.training.state import merge


class Trained(NamedTuple):
    """A model whose training is done, or far enough.

    Attributes:
      config: the settings it was trained with.
      step: of the checkpoint.
      space: where its embeddings live, a learned curvature put in.
      embed: a source to batches, in order: what the model makes of the images, and their indices [b] in the source.
      shorter_side: to which larger images are shrunk as they are read, in pixels; 0 for none.
      width: features of a row, for a model of features; None for one of images.
      fingerprint: a digest of weights and settings; embeddings of two models are not to be compared.
    """

    config: ConfigDict
    step: int
    space: Space
    embed: Callable[[Source], Iterator[tuple[Embedded, np.ndarray]]]
    shorter_side: int
    width: int | None
    fingerprint: str


def takes_features(workdir: Path) -> bool:
    """Whether a run was trained on features rather than images; not so where there is no run."""
    return (workdir / "config.json").exists() and holds_features(persistence.load_config(workdir))


def load(workdir: Path, *, batch: int | None = None, images: int | None = None) -> Trained:
    """Loads the newest checkpoint of a run.

    Args:
      workdir: of the run.
      batch: images at a time; None for `evaluation.batch` of the run.
      images: how many there will be, where that is known: a smaller batch does for fewer.

    Raises:
      UsageError: the folder holds no run or no whole checkpoint, or a batch that the devices can't share.
    """
    config = persistence.load_config(workdir)
    mesh = sharding.data_mesh()
    config.evaluation.batch = choose_batch(config.evaluation.batch if batch is None else batch, images, mesh.size)
    sharding.require_divisible(config.evaluation.batch, mesh)
    model, preprocess = models.create_model(config)
    space_at = models.create_space_at(config)
    variables, step = newest(workdir, mesh)
    embedder = create_embedder(model, space_at, preprocess, mesh)
    reader = create_reader(config)

    def embed(source: Source) -> Iterator[tuple[Embedded, np.ndarray]]:
        start = 0
        for read in reader(source):
            valid = read["valid"]
            images = sharding.global_batch({name: read[name] for name in read if name in ("image", "features")}, mesh)
            embedded = jax.tree.map(lambda rows, kept=valid: np.asarray(rows)[kept], embedder(variables, images))
            yield embedded, start + np.arange(valid.sum())
            start += int(valid.sum())

    return Trained(
        config,
        step,
        space_at(variables["objective"]),
        embed,
        config.data.shorter_side,
        variables["params"]["head"]["kernel"].shape[0] if holds_features(config) else None,
        fingerprint(config, variables),
    )


def newest(workdir: Path, mesh: Mesh) -> tuple[dict[str, Any], int]:
    """The variables of the newest whole checkpoint of a run, and its step; says which ones were passed over.

    Args:
      workdir: of the run.
      mesh: on every device of which the arrays are to lie.

    Raises:
      UsageError: there is none.
    """
    try:
        leaves, notices = SavedStates(workdir / "checkpoints").read(sharding.replicated(mesh))
    except FileNotFoundError as error:
        raise UsageError(f"{workdir} holds no trained model: {error}") from error
    for notice in notices:
        print(notice)
    return variables_of(leaves), int(leaves[".step"])


def describe(model: Trained, images: Path) -> dict[str, Any]:
    """What a file of a model's embeddings says of itself."""
    config, curvature = model.config, model.space.curvature
    return {
        "hypjax": hypjax.__version__,
        "model": model.fingerprint,
        "run": config.name,
        "step": model.step,
        "root": str(images.resolve()),
        "geometry": config.geometry,
        "distance": config.distance,
        "curvature": None if curvature is None else float(np.asarray(curvature)),
        "uncertainty": config.uncertainty,
    }


def choose_batch(batch: int, images: int | None, devices: int) -> int:
    """The size of a batch: as asked for, but no more than the images fill on all devices.

    Examples:
      >>> choose_batch(128, 5, 2), choose_batch(128, None, 2)
      (6, 128)

    Raises:
      UsageError: it is not positive.
    """
    if batch < 1:
        raise UsageError(f"--batch must be at least 1, not {batch}")
    return batch if images is None else min(batch, -(-images // devices) * devices)


def variables_of(leaves: Mapping[str, Any]) -> dict[str, Any]:
    """The variables that a model is evaluated with, from the leaves of its train state.

    Args:
      leaves: by their path, from `SavedStates.read`; averaged weights take the place of the last ones.

    Examples:
      >>> leaves = {".params['head/b']": 1, ".average['head/b']": 2, ".collections['stats']['head']['mean']": 3}
      >>> variables_of(leaves)
      {'params': {'head': {'b': 2}}, 'objective': {}, 'stats': {'head': {'mean': 3}}}
    """
    flat: dict[str, dict[str, Any]] = {"params": {}, "average": {}, "frozen": {}}
    collections: dict[str, Any] = {}
    for path, leaf in leaves.items():
        field, keys = path.removeprefix(".").partition("[")[0], re.findall(r"\['([^']*)'\]", path)
        if field in flat:
            flat[field][keys[0]] = leaf
        elif field == "collections":
            node = collections
            for key in keys[:-1]:
                node = node.setdefault(key, {})
            node[keys[-1]] = leaf
    return merge({**flat["params"], **flat["average"]}, flat["frozen"], collections)


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
