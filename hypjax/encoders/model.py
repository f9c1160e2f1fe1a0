"""An encoder and its head as one model: images in, tangent vectors at the origin out."""

from __future__ import annotations

from typing import Any, NamedTuple

import flax.linen as nn
import jax
from jaxtyping import Array, Float

from hypjax.encoders.head import Head, calibrate


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
      encoder: maps [n, h, w, 3] to [n, features].
      head: maps features to tangent vectors.
      learned_uncertainty: adds a logistic unit on the features.
    """

    encoder: nn.Module
    head: Head
    learned_uncertainty: bool = False

    def setup(self) -> None:
        """Declares the logistic unit where there is one."""
        if self.learned_uncertainty:
            self.doubt = nn.Dense(1)

    def __call__(self, images: Float[Array, "n h w 3"], train: bool = False) -> ModelOutput:
        """Maps normalized images to features, tangent vectors and learned uncertainty."""
        return self.project(self.encoder(images, train=train), train)

    def project(self, features: Float[Array, "n features"], train: bool = False) -> ModelOutput:
        """Maps the encoder's features to all that is built on them."""
        tangent = self.head(features, train=train)
        doubt = jax.nn.sigmoid(self.doubt(features)[:, 0]) if self.learned_uncertainty else None
        return ModelOutput(features, tangent, doubt)


def calibrate_head(
    model: EmbeddingModel, variables: dict[str, Any], features: Float[Array, "n features"]
) -> dict[str, Any]:
    """Fits the head's statistics and start radius to a sample of the encoder's features.

    Args:
      model: the model.
      variables: its variables, the encoder's weights in place.
      features: a sample of the encoder's output on training images.

    Returns:
      The variables with the head's part replaced.
    """
    held = {name: value["head"] for name, value in variables.items() if "head" in value}
    fitted = calibrate(model.head, held, features)
    return {
        name: {**value, "head": fitted[name]} if name in fitted else value
        for name, value in {**{name: {} for name in fitted}, **variables}.items()
    }
