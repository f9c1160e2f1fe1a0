"""The head fitted anew, in closed form, to what the encoder has learned."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from hypjax.data.source import Source
from hypjax.encoders.discriminant import Scatter
from hypjax.encoders.head import Head, refit
from hypjax.training import sharding
from hypjax.training.embedding import Embedder, Reader
from hypjax.training.state import TrainState

SAMPLE = 1024  # features that are kept for the scale of the head


@dataclasses.dataclass(frozen=True)
class Refit:
    """Fits a model's head to the features that its encoder gives the training images.

    Attributes:
      embedder: from `create_embedder`.
      mesh: whose devices share the images.
      reader: a source to batches.
      source: the training images.
      head: the model's.
      shrinkage: see `discriminant_directions`.
    """

    embedder: Embedder
    mesh: Mesh
    reader: Reader
    source: Source
    head: Head
    shrinkage: float

    def __call__(self, variables: Mapping[str, Any]) -> dict[str, Any]:
        """The model's variables with its head fitted anew, the same on every process."""
        scatter, sample, seen = None, [], 0
        for batch in self.reader(self.source):
            read = {name: batch[name] for name in batch if name in ("image", "features")}
            on_devices: Any = self.embedder(variables, sharding.global_batch(read, self.mesh)).features
            features = sharding.own_rows(on_devices)[batch["valid"]]
            if scatter is None:
                scatter = Scatter(len(self.source.class_names), features.shape[1])
                shares = sharding.shares(len(self.source), len(batch["valid"]))
            rows = shares.own[seen : seen + len(features)]
            scatter.add(features, self.source.labels[rows])
            sample.append(features[rows < SAMPLE])
            seen += len(features)
        assert scatter is not None  # a source has images
        scatter.sum_up(shares.total)
        first = shares.of(np.arange(min(SAMPLE, len(self.source)))).gather(np.concatenate(sample))
        held = {name: value["head"] for name, value in variables.items() if "head" in value}
        fitted = refit(self.head, held, jnp.asarray(first), scatter, shrinkage=self.shrinkage)
        return {name: {**value, "head": fitted[name]} if name in fitted else value for name, value in variables.items()}

    def keep(self, state: TrainState) -> TrainState:
        """The state with the head that evaluation would use, for good."""
        params = self(state.evaluated())["params"]["head"]
        whole = sharding.replicate(params, self.mesh)
        fitted = {f"head/{name}": value for name, value in whole.items()}
        return state.replace(frozen={path: fitted.get(path, value) for path, value in state.frozen.items()})
