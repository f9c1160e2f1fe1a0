"""Low-rank adapters: a frozen kernel W that is tuned as W + (alpha / rank) · A · B, with A and B alone trained.

Source: Hu et al., LoRA: Low-Rank Adaptation of Large Language Models, ICLR 2022.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from flax.traverse_util import flatten_dict, unflatten_dict
from jaxtyping import Array, Float

# Paths of an encoder's parameters that are no adapter's.
BASE = r"encoder/(?!.*/lora_[ab]$)"
_NAMES = ("lora_a", "lora_b")
# A starts as in the authors' code, uniform in ±1/√(features in), and B at 0: the first features are those of W.
_start = nn.initializers.variance_scaling(1 / 3, "fan_in", "uniform")


class Lora(NamedTuple):
    """How kernels are adapted.

    Attributes:
        rank: Columns of A and rows of B; 0 for no adapters.
        alpha: The product A · B is multiplied by alpha / rank.
    """

    rank: int = 0
    alpha: float = 16.0

    @property
    def scale(self) -> float:
        """What the product A · B is multiplied by."""
        return self.alpha / self.rank


def checked(rank: int, alpha: float) -> Lora:
    """The adapters' settings.

    Raises:
        ValueError: If the rank is negative or alpha is not positive.
    """
    if rank < 0 or not alpha > 0:
        raise ValueError(f"need lora_rank >= 0 and lora_alpha > 0, not {rank} and {alpha}")
    return Lora(rank, alpha) if rank else Lora()


def factors(
    module: nn.Module, lora: Lora, into: int, out: int, parts: int = 1
) -> tuple[Float[Array, "f r"], Float[Array, "r g"]]:
    """A module's parameters A and B, B already multiplied by alpha / rank.

    Args:
        module: That has the kernel.
        lora: Its settings, with a rank above 0.
        into: Rows of the kernel.
        out: Columns of the kernel.
        parts: Equal shares of the columns, each with adapters of its own: query, key and value.

    Returns:
        A [into, parts · rank], and B [parts · rank, out], which is block diagonal over the parts.
    """
    a = module.param("lora_a", _start, (into, parts * lora.rank))
    b = module.param("lora_b", nn.initializers.zeros, (lora.rank, out))
    return a, _of_each(b, parts) * lora.scale


def _of_each(b: Float[Array, "r g"], parts: int) -> Float[Array, "pr g"]:
    """B, block diagonal over equal shares of its columns."""
    if parts == 1:
        return b
    shares = b.reshape(len(b), parts, -1)
    return jnp.einsum("pq,rqg->prqg", jnp.eye(parts, dtype=b.dtype), shares).reshape(parts * len(b), -1)


@partial(jax.jit, static_argnames="lora")
def merged(variables: Mapping[str, Any], lora: Lora) -> dict[str, Any]:
    """Variables of the encoder without adapters that gives the same features: W + (alpha / rank) · A · B is its kernel.

    Args:
        variables: With adapters; of an encoder, or of a model that has one.
        lora: The settings that they were trained with.

    Returns:
        The variables without adapters; a kernel that had some is float32, also where W was kept in fewer bytes.
    """
    flat = flatten_dict(dict(variables))
    plain = {place: leaf for place, leaf in flat.items() if not is_adapter(place)}
    for place in (place[:-1] for place in flat if place[-1] == "lora_a"):
        a, b, kernel = (flat[(*place, name)] for name in (*_NAMES, "kernel"))
        product = a @ _of_each(b, a.shape[1] // lora.rank) * lora.scale
        plain[(*place, "kernel")] = kernel + product.reshape(kernel.shape)
    return unflatten_dict(plain)


def is_adapter(place: tuple[str, ...]) -> bool:
    """Whether a parameter is an adapter's, by its place among the variables."""
    return place[-1] in _NAMES


def with_adapters(variables: Mapping[str, Any], expected: Mapping[str, Any], key: jax.Array) -> dict[str, Any]:
    """An encoder's variables with adapters drawn for it: A at random, B at 0.

    Args:
        variables: Without adapters, as published weights are.
        expected: Shapes of all variables of the adapted encoder.
        key: Of the random numbers.
    """
    drawn = flatten_dict(dict(variables))
    for index, (place, leaf) in enumerate(sorted(flatten_dict(dict(expected)).items())):
        if is_adapter(place):
            start = _start if place[-1] == "lora_a" else nn.initializers.zeros
            drawn[place] = start(jax.random.fold_in(key, index), leaf.shape, jnp.float32)
    return unflatten_dict(drawn)
