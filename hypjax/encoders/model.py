"""An encoder and its head as one model: images in, tangent vectors at the origin out."""

from __future__ import annotations

from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from hypjax.encoders.head import Head, calibrate
from hypjax.geometry import sphere

RADII = ("norm", "learned")


class ModelOutput(NamedTuple):
    """What the model says of each image.

    Attributes:
      features: the encoder's pooled features [n, features], which no geometry has touched.
      tangent: the head's clipped tangent vectors at the origin [n, d].
      doubt: a learned uncertainty in (0, 1) [n], or None where the model has none.
    """

    features: Float[Array, "n features"]
    tangent: Float[Array, "n d"]
    doubt: Float[Array, " n"] | None


class EmbeddingModel(nn.Module):
    """Images to `ModelOutput`.

    Attributes:
      encoder: maps [n, h, w, 3] to [n, features]; None for a model of features alone, used by its `project`.
      head: maps features to tangent vectors.
      doubt: maps features to one number, whose logistic is the doubt; None for a model without.
      doubt_gradient: share of the doubt's gradient that reaches the encoder. At 0 the doubt reads features that learn
        to be blind to damage; at 1 it may learn by heart which images fail.
      radius_range: with a doubt q, makes its certainty the radius, low + (high − low)(1 − q), in units of the
        length itself; None leaves the radius to the head's own norm. [ours]
    """

    encoder: nn.Module | None
    head: Head
    doubt: Head | None = None
    doubt_gradient: float = 1.0
    radius_range: tuple[float, float] | None = None

    def __call__(self, images: Float[Array, "n h w 3"], train: bool = False) -> ModelOutput:
        """Maps normalized images to features, tangent vectors and doubt."""
        if self.encoder is None:
            raise ValueError("a model without an encoder takes features: model.apply(..., method='project')")
        return self.project(self.encoder(images, train=train), train)

    def project(self, features: Float[Array, "n features"], train: bool = False) -> ModelOutput:
        """Maps the encoder's features to all that is built on them."""
        tangent = self.head(features, train=train)
        if self.doubt is None:
            return ModelOutput(features, tangent, None)
        read = jax.lax.stop_gradient(features)
        read = read + self.doubt_gradient * (features - read)
        doubt = jax.nn.sigmoid(self.doubt(read, train=train)[:, 0])
        if self.radius_range is not None:
            low, high = self.radius_range
            # The radius answers to the doubt's own loss; pairs would only ever push it outward.
            radius = jax.lax.stop_gradient(low + (high - low) * (1 - doubt))
            directions = [sphere.project(part) for part in self.head.blocks(tangent)]
            tangent = jnp.concatenate(directions, axis=1) * radius[:, None]
        return ModelOutput(features, tangent, doubt)


def calibrate_head(
    model: EmbeddingModel, variables: dict[str, Any], features: Float[Array, "n features"]
) -> dict[str, Any]:
    """Fits the heads' statistics and start radius to a sample of the encoder's features.

    Args:
      model: the model.
      variables: its variables, the encoder's weights in place.
      features: a sample of the encoder's output on training images.

    Returns:
      The variables with the heads' parts replaced; every doubt is 1/2.
    """
    variables = _calibrated("head", model.head, variables, features)
    if model.doubt is None:
        return variables
    variables = _calibrated("doubt", model.doubt, variables, features)
    undecided = jax.tree.map(jnp.zeros_like, variables["params"]["doubt"])
    return {**variables, "params": {**variables["params"], "doubt": undecided}}


def _calibrated(name: str, head: Head, variables: dict[str, Any], features: Array) -> dict[str, Any]:
    held = {collection: value[name] for collection, value in variables.items() if name in value}
    fitted = jax.jit(calibrate, static_argnums=0)(head, held, features)
    return {
        collection: {**value, name: fitted[collection]} if collection in fitted else value
        for collection, value in variables.items()
    }
