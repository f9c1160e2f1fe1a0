"""Scores a trained model: `python -m hypjax.evaluate --workdir DIR [--split test|validation]`.

Writes `results.json` (for the test classes) and the pictures into the workdir, and prints the figures.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
from absl import flags
from jax.sharding import Mesh
from ml_collections import ConfigDict

from hypjax import assembly, cli
from hypjax.data.pipeline import evaluation_batches
from hypjax.data.source import Source, subset
from hypjax.data.split import query_gallery
from hypjax.data.transforms import DEGRADATIONS
from hypjax.errors import UsageError
from hypjax.geometry import sphere
from hypjax.retrieval import Retrieved, retrieval_figures
from hypjax.training import sharding
from hypjax.training.checkpoint import Checkpoints
from hypjax.training.evaluation import Embedded, Response, create_embedder, embed_all, radius_figures
from hypjax.training.metrics import as_json, read_metrics

LEVELS = (0.0, 0.25, 0.5, 0.75, 1.0)
SPLITS = ("test", "validation")


class Evaluator:
    """Everything there is to ask of a model, compiled once and asked at intervals.

    Args:
      config: the settings.
      parts: from `assembly.assemble`.
      mesh: whose devices share the images.
    """

    def __init__(self, config: ConfigDict, parts: assembly.Parts, mesh: Mesh):
        self._config = config
        self._parts = parts
        self._mesh = mesh
        self._embedder = create_embedder(parts.model, parts.space, parts.preprocess, mesh)
        self._resize = assembly.create_resize(config, evaluation=True)

    def validation_figures(self, variables: Mapping[str, Any]) -> dict[str, float]:
        """Figures on the validation classes, their names starting with `validation/`."""
        source = self._parts.splits.validation
        if len(source) == 0:
            return {}
        embedded = self._embed(variables, source)
        figures, _ = self._score(source, embedded)
        responses = self._responses(variables, source, embedded, self._config.evaluation.degraded_queries)
        for kind, response in responses.items():
            figures |= response.figures(kind)
        return {f"validation/{name}": value for name, value in figures.items()}
