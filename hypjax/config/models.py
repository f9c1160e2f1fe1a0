"""Settings to the model: encoder, head, doubt, and the space that its embeddings live in."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from ml_collections import ConfigDict

from hypjax import encoders
from hypjax.config.settings import holds_features
from hypjax.data.errors import UsageError, as_usage
from hypjax.encoders.head import Head
from hypjax.encoders.model import RADII, EmbeddingModel
from hypjax.encoders.vit import VisionTransformer
from hypjax.geometry import divided
from hypjax.geometry.names import factors
from hypjax.training import objective as objectives
from hypjax.training.space import Space, create_space
from hypjax.training.step import normalize


def create_model(config: ConfigDict) -> tuple[EmbeddingModel, Callable[[jax.Array], jax.Array]]:
    """The model, and what brings bytes to its encoder's units; no data is looked at.

    Raises:
      UsageError: an unknown name or size, or settings out of range.
    """
    head = config.head
    with as_usage():
        encoder, preprocess = (None, _as_is) if holds_features(config) else create_encoder(config)
        model = EmbeddingModel(
            encoder,
            Head(
                dim=head.dim,
                normalize=head.normalize,
                kernel_init=head.init,
                kernel=head.kernel,
                rank=head.rank,
                dropout=head.dropout,
                clip=head.clip,
                clip_radius=head.clip_radius,
                start_radius=head.start_radius,
                shares=head_shares(config),
            ),
            doubt=create_doubt(config),
            doubt_gradient=head.doubt_gradient,
            radius_range=tuple(share * head.clip_radius for share in head.radius_range)
            if head.radius == "learned"
            else None,
        )
    return model, preprocess


def head_shares(config: ConfigDict) -> tuple[int, ...]:
    """The dimensions of each of several spaces; empty for one.

    Raises:
      ValueError: an unknown geometry, or dimensions that do not add up to those of the head.
    """
    parts = factors(divided(config.geometry, config.head.dim))
    return tuple(part.dimensions for part in parts if part.dimensions)


def create_encoder(config: ConfigDict) -> tuple[nn.Module, Callable[[jax.Array], jax.Array]]:
    """The encoder, and what brings bytes to its units.

    Raises:
      UsageError: an unknown name or size, or settings out of range.
    """
    with as_usage():
        mean, std, *_ = expected(config)
        if config.encoder.lora_rank and config.features.cached:
            raise UsageError("encoder.lora_rank adapts an encoder, and `frozen` keeps its features; leave one out")
        encoder = encoders.create(
            config.encoder.name,
            dtype=choose_dtype(config.encoder.dtype),
            train_batch_norm=config.encoder.train_batch_norm,
            blocks=config.encoder.blocks,
            lora_rank=config.encoder.lora_rank,
            lora_alpha=config.encoder.lora_alpha,
            **config.encoder.sizes,
        )
        sizes = config.data.image_size, config.data.eval_image_size
        learned = isinstance(encoder, VisionTransformer) and encoder.positions == "learned"
        if learned and sizes[0] != sizes[1]:
            raise UsageError(
                f"{config.encoder.name} has positions for one size of image: data.image_size {sizes[0]} and "
                f"data.eval_image_size {sizes[1]} must be the same"
            )
    return encoder, partial(normalize, mean=jnp.asarray(mean), std=jnp.asarray(std))


def expected(config: ConfigDict) -> encoders.Preprocessing:
    """What the encoder's weights expect of an image: as its published ones do, but for what the settings say.

    Raises:
      ValueError: an unknown name.
    """
    told = {name: value for name, value in config.encoder.preprocessing.items() if value}
    return encoders.preprocessing(config.encoder.name)._replace(**told)


def _as_is(images: jax.Array) -> jax.Array:
    raise TypeError("a model of features takes no images")


def create_space_at(config: ConfigDict) -> Callable[[objectives.Params], Space]:
    """Where the embeddings live, given what the objective learns: its curvature, where that is learned.

    Raises:
      UsageError: an unknown name, or a curvature out of range.
    """

    def at(c: Any) -> Space:
        return create_space(
            divided(config.geometry, config.head.dim),
            c=c,
            distance=config.distance,
            uncertainty=config.uncertainty,
            clip_radius=config.head.clip_radius,
            hybrid=config.hybrid,
        )

    with as_usage():
        fixed = at(config.curvature)  # made once: a search compiled for it stays compiled
    if not config.learn_curvature:
        return lambda params: fixed
    low, high = config.curvature_range
    if fixed.curvature is None:
        raise UsageError(f"learn_curvature makes no sense with geometry {config.geometry!r}, which has none")
    if not 0 < low < config.curvature < high:
        raise UsageError(f"need 0 < curvature_range[0] < curvature < curvature_range[1], not {(low, high)}")
    return objectives.learned_space(at, low, high)


def create_doubt(config: ConfigDict) -> Head | None:
    """The model's learned uncertainty, where the radius or the uncertainty asks for one.

    Raises:
      UsageError: an unknown kind of radius, or a range that is none.
    """
    head = config.head
    if head.radius not in RADII:
        raise UsageError(f"head.radius {head.radius!r} is unknown; there are: {', '.join(RADII)}")
    low, high = head.radius_range
    if not 0 < low < high <= 1:
        raise UsageError(f"head.radius_range must be two shares with 0 < low < high <= 1, not {(low, high)}")
    if head.radius != "learned" and config.uncertainty != "learned":
        return None
    return Head(dim=1, normalize="standardize", clip="none", dropout=head.doubt_dropout)


def choose_dtype(name: str, setting: str = "encoder.dtype") -> Any:
    """A type of the encoder's by name.

    Raises:
      ValueError: neither float32 nor bfloat16.
    """
    if name not in ("float32", "bfloat16"):
        raise ValueError(f"{setting} {name!r} is unknown; there are: float32, bfloat16")
    return jnp.dtype(name)
