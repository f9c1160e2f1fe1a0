"""What a model makes of whole sources: features, points and uncertainties, batch by batch."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh
from jaxtyping import Float

from hypjax.geometry import Product
from hypjax.retrieval import Rows, Shares
from hypjax.training import sharding
from hypjax.training.space import Space
from hypjax.training.state import Params
from hypjax.training.step import apply_model


class Embedded(NamedTuple):
    """What the model makes of n images, as host arrays.

    Attributes:
      features: the encoder's features [n, features]; those of a source that has no images stay where they are.
      points: points of the geometry [n, .].
      tangent: tangent vectors at the origin [n, d].
      radius: their lengths; of a product, of the share of its `radial` component [n].
      uncertainty: in [0, 1] [n].
    """

    features: Float[np.ndarray, "n features"] | Rows
    points: Float[np.ndarray, "n d"]
    tangent: Float[np.ndarray, "n d"]
    radius: Float[np.ndarray, " n"]
    uncertainty: Float[np.ndarray, " n"]


Embedder = Callable[[Mapping[str, Any], dict[str, jax.Array]], Embedded]
Reader = Callable[..., Iterable[dict[str, np.ndarray]]]
"""``(source, degradation=None, level=0.0)`` to batches: `image` or `features`, and `valid` bool [b].

Each is this process's slice of the global batch."""


def create_embedder(
    model: nn.Module, space_at: Callable[[Params], Space], preprocess: Callable[[jax.Array], jax.Array], mesh: Mesh
) -> Embedder:
    """Compiles the model for evaluation.

    Args:
      model: maps images to `ModelOutput`.
      space_at: the objective's own parameters to where the embeddings live.
      preprocess: bytes to the encoder's units.
      mesh: whose devices share the images of a batch.

    Returns:
      A function of the model's variables and a batch, `image` uint8 [b, h, w, 3] or `features` [b, features], its
      results shared out as the batch is; `sharding.own_rows` gives those of this process.
    """

    def embed(variables: Mapping[str, Any], batch: dict[str, jax.Array]) -> Any:
        output: Any = apply_model(model, variables, batch, preprocess, train=False)
        space = space_at(variables.get("objective", {}))
        # Of the vector that the uncertainty is read from, where several spaces have one each.
        manifold, tangent = space.manifold, output.tangent
        tangent = manifold.split_tangent(tangent)[manifold.radial_index] if isinstance(manifold, Product) else tangent
        radius = jnp.linalg.norm(tangent, axis=-1)
        points, uncertainty = space.manifold.embed(output.tangent), space.uncertainty(output)
        fields: Any = (output.features, points, output.tangent, radius, uncertainty)  # on the device still
        return Embedded(*fields)

    return jax.jit(embed, out_shardings=sharding.split(mesh))


def embed_all(
    embedder: Embedder,
    variables: Mapping[str, Any],
    batches: Iterable[dict[str, np.ndarray]],
    mesh: Mesh,
    count: int,
    *,
    features: Callable[[Any], np.ndarray] | None = None,
) -> tuple[Embedded, Shares]:
    """Embeds every image of `batches`, in order.

    Args:
      embedder: from `create_embedder`.
      variables: the model's.
      batches: from a `Reader`.
      mesh: the data mesh.
      count: of images in all processes.
      features: reads the features of images, where they can be read again and need no second copy.

    Returns:
      The embeddings of the images that this process has seen, which it keeps; and which process has which.
    """
    kept = [name for name in Embedded._fields if name != "features" or features is None]
    chunks: dict[str, list[np.ndarray]] = {name: [] for name in kept}

    def keep(embedded: Embedded, valid: np.ndarray) -> None:
        for name in kept:
            chunks[name].append(sharding.own_rows(getattr(embedded, name))[valid])

    pending, together = None, 1
    for batch in batches:
        seen = {name: batch[name] for name in batch if name in ("image", "features")}
        together = len(batch["valid"])
        on_its_way = embedder(variables, sharding.global_batch(seen, mesh)), batch["valid"]
        if pending is not None:  # fetched while the next batch is computed, so that no device holds all of them
            keep(*pending)
        pending = on_its_way
    if pending is not None:
        keep(*pending)
    shares = sharding.shares(count, together)
    own: dict[str, Any] = {name: _joined(chunks.pop(name)) for name in kept}  # one by one: no more is there twice
    if features is not None:
        rows = shares.own
        read = features if shares.allgather is None else lambda some: features(rows[some])
        own["features"] = Rows(len(rows), read)
    return Embedded(**own), shares


def _joined(chunks: list[np.ndarray]) -> np.ndarray:
    whole = np.concatenate(chunks)
    chunks.clear()
    return whole
