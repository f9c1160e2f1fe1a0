"""Embeds whole sources and asks what the embeddings, and their uncertainties, are worth."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh
from jaxtyping import Float

from hypjax.retrieval import auroc, spearman
from hypjax.training import sharding
from hypjax.training.objective import Space

SATURATED = 0.98  # of the clip radius: beyond it a radius says nothing any more


class Embedded(NamedTuple):
    """What the model makes of n images, as host arrays.

    Attributes:
      features: the encoder's features [n, features].
      points: points of the geometry [n, .].
      radius: lengths of the tangent vectors at the origin [n].
      uncertainty: in [0, 1] [n].
    """

    features: Float[np.ndarray, "n features"]
    points: Float[np.ndarray, "n d"]
    radius: Float[np.ndarray, " n"]
    uncertainty: Float[np.ndarray, " n"]


Embedder = Callable[[Mapping[str, Any], jax.Array], Embedded]


def create_embedder(
    model: nn.Module, space: Space, preprocess: Callable[[jax.Array], jax.Array], mesh: Mesh
) -> Embedder:
    """Compiles the model for evaluation.

    Args:
      model: maps images to `ModelOutput`.
      space: where its embeddings live.
      preprocess: bytes to the encoder's units.
      mesh: whose devices share the images of a batch.

    Returns:
      A function of the model's variables and images uint8 [b, h, w, 3], its results whole on every device.
    """

    def embed(variables: Mapping[str, Any], images: jax.Array) -> Embedded:
        output = model.apply(variables, preprocess(images), train=False)
        radius = jnp.linalg.norm(output.tangent, axis=-1)
        return Embedded(output.features, space.embed(output.tangent), radius, space.uncertainty(output))

    return jax.jit(embed, out_shardings=sharding.replicated(mesh))


def embed_all(
    embedder: Embedder, variables: Mapping[str, Any], batches: Iterable[dict[str, np.ndarray]], mesh: Mesh
) -> Embedded:
    """Embeds every image of `batches`, in order.

    Args:
      embedder: from `create_embedder`.
      variables: the model's.
      batches: `image` uint8 [b, h, w, 3] and `valid` bool [b], each this process's slice of the batch.
      mesh: the data mesh.

    Returns:
      The embeddings of the valid images, the same on every process.
    """
    parts = []
    replicate = jax.jit(lambda mask: mask, out_shardings=sharding.replicated(mesh))
    for batch in batches:
        together = sharding.global_batch({"image": batch["image"], "valid": batch["valid"]}, mesh)
        parts.append((embedder(variables, together["image"]), replicate(together["valid"])))
    masks = [np.asarray(mask) for _, mask in parts]
    return jax.tree.map(
        lambda *chunks: np.concatenate([np.asarray(c)[m] for c, m in zip(chunks, masks, strict=True)]),
        *[embedded for embedded, _ in parts],
    )


def radius_figures(embedded: Embedded, clip_radius: float) -> dict[str, float]:
    """Whether the radius carries information: its mean and spread, the saturated share, the spread of u.

    Args:
      embedded: of some images.
      clip_radius: the head's; a point within 2 % of it counts as saturated.
    """
    return {
        "radius_mean": float(embedded.radius.mean()),
        "radius_std": float(embedded.radius.std()),
        "saturated_share": float((embedded.radius >= SATURATED * clip_radius).mean()),
        "uncertainty_mean": float(embedded.uncertainty.mean()),
        "uncertainty_std": float(embedded.uncertainty.std()),
    }


class Response(NamedTuple):
    """How uncertainty answers to one kind of degradation.

    Attributes:
      levels: levels in [0, 1], ascending, 0 the clean image.
      uncertainty: [levels, n].
      wrong: whether the nearest clean neighbor is wrong [levels, n].
    """

    levels: tuple[float, ...]
    uncertainty: Float[np.ndarray, "levels n"]
    wrong: np.ndarray

    def figures(self, kind: str) -> dict[str, float]:
        """Rank correlation of u with the level, recall and AUROC over the degraded queries."""
        level_of_each = np.repeat(np.asarray(self.levels, np.float32), self.uncertainty.shape[1])
        degraded = np.asarray(self.levels) > 0
        return {
            f"{kind}_rank_correlation": float(spearman(level_of_each, self.uncertainty.ravel())),
            f"{kind}_recall@1": float(1 - self.wrong[degraded].mean()),
            f"{kind}_uncertainty_auroc": float(
                auroc(self.uncertainty[degraded].ravel(), self.wrong[degraded].ravel())
            ),
        }
