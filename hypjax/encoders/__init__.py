"""Encoders by name, their published weights, and the head that leads into a geometry."""

import inspect
from typing import Any

import flax.linen as nn
import jax.numpy as jnp
from jax.typing import DTypeLike

from hypjax.encoders import lora
from hypjax.encoders.abstract import abstract
from hypjax.encoders.head import Head, calibrate
from hypjax.encoders.hub import PREFIX as HUB
from hypjax.encoders.registry import Preprocessing, canonical, row_of, setting, settings_in_name
from hypjax.encoders.repository import Chosen, choose
from hypjax.encoders.vit import VisionTransformer
from hypjax.encoders.weights import MissingWeightsError, load_weights, packaged_weights

BLOCKS = ("unrolled", "scanned", "remade")


def create(
    name: str,
    *,
    dtype: DTypeLike = jnp.float32,
    train_batch_norm: bool = False,
    blocks: str = "unrolled",
    lora_rank: int = 0,
    lora_alpha: float = 16.0,
    **sizes: Any,
) -> nn.Module:
    """An encoder by its name: a Flax module that maps normalized [n, h, w, 3] to float32 [n, features].

    Args:
        name: Of `hypjax.encoders.registry.ENCODERS`, such as `vit_s16`, `dinov2_vits14`, `clip_vit_b16`, `resnet50`,
            `convnext_tiny`, `efficientnet_lite0`, or `vit_ti8`, a small one for CPU (6 blocks of width 192, patches of
            8); or what timm or a repository of transformers call it.
        dtype: Of the computation inside, float32 or bfloat16; parameters and features stay float32.
        train_batch_norm: Let batch normalization follow the training images, instead of keeping the statistics it was
            loaded with. Encoders without any are not concerned.
        blocks: How they are compiled, with the same parameters and features: `unrolled`; `scanned`, one program for
            all of a transformer's; `remade`, which keeps less in memory for a gradient and computes more.
        lora_rank: Of low-rank adapters of the kernels, see `hypjax.encoders.lora`; 0 for none.
        lora_alpha: By which, over the rank, their product is multiplied.
        **sizes: Override the encoder's own: `stages`, `stem`, `width` of EfficientNet-Lite; `stages`, `width` of
            ResNets; `depths`, `widths` of ConvNeXts; `patch`, `width`, `depth`, `heads` and more of transformers.

    Raises:
        ValueError: For an unknown name or size; the message lists those that exist. For `scanned` blocks that differ.

    Example:
        >>> create("vit_ti8", depth=4).depth
        4
        >>> create("nope")  # doctest: +ELLIPSIS
        Traceback (most recent call last):
        ValueError: no encoder 'nope'; there are efficientnet_lite0, resnet18, resnet50, vit_s16, deit_s16, ...
    """
    row = row_of(name)
    fields = inspect.signature(row.module).parameters
    known = [field for field in fields if field not in _NO_SIZES]
    if unknown := [size for size in sizes if size not in known]:
        raise ValueError(f"{name} has no size {', '.join(unknown)}; it has {', '.join(known)}")
    if blocks not in BLOCKS:
        raise ValueError(f"blocks {blocks!r} are unknown; there are: {', '.join(BLOCKS)}")
    if blocks == "scanned" and row.module is not VisionTransformer:
        raise ValueError(f"the blocks of {name} differ and cannot be scanned; leave them unrolled, or remade")
    sizes = {size: _hashable(value) for size, value in sizes.items()}
    chosen = {**row.sizes, **sizes, "lora": lora.checked(lora_rank, lora_alpha)}
    if "train_batch_norm" in fields:
        chosen["train_batch_norm"] = train_batch_norm
    return row.module(dtype=dtype, blocks=blocks, **chosen)


def _hashable(value: Any) -> Any:
    """Settings that come out of JSON have lists for tuples."""
    return tuple(map(_hashable, value)) if isinstance(value, list | tuple) else value


_NO_SIZES = ("dtype", "blocks", "train_batch_norm", "bottleneck", "distilled", "lora", "parent", "name")


def preprocessing(name: str) -> Preprocessing:
    """What the published weights of an encoder expect of an image: normalization, size and crop.

    Raises:
        ValueError: For an unknown name.

    Example:
        >>> preprocessing("siglip_vit_b16")[2:]
        (224, 224, 'squash', 'bicubic')
    """
    return row_of(name).preprocessing
