"""Names and layouts of tensors in other checkpoints, brought to those that an encoder's module knows.

The same weights are published several times over: by timm, by their authors and by Hugging Face's transformers, in
PyTorch's layout, or as `.npz` in JAX's, with parts together in one and apart in the other.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import NamedTuple

import numpy as np

Tensors = Mapping[str, np.ndarray]


class Dialect(NamedTuple):
    """How a family of checkpoints names what timm names otherwise.

    Attributes:
        label: What the family is, as words for a message.
        sign: A tensor that every checkpoint of the family has, and none of those tried after it.
        names: Patterns of whole names, to timm's; query, key and value come to `attn.q`, `attn.k`, `attn.v`, gate and
            value of a perceptron to `mlp.gate`, `mlp.value`.
        wrappers: What may stand before every name.
        unused: Patterns of whole names that no image's features depend on: a text tower, what training alone needs.
        joins: Ends of names, each with those of the parts that it is made of, one after another.
        transposed: Whether kernels are […, in, out], heads apart, instead of [out, in, …].
        finish: Whatever else is to be done with the tensors.
    """

    label: str
    sign: str
    names: tuple[tuple[str, str], ...] = ()
    wrappers: tuple[str, ...] = ()
    unused: tuple[str, ...] = ()
    joins: tuple[tuple[str, tuple[str, ...]], ...] = ()
    transposed: bool = False
    finish: Callable[[dict[str, np.ndarray]], dict[str, np.ndarray]] = dict


QKV = tuple((f"attn.qkv.{kind}", tuple(f"attn.{part}.{kind}" for part in "qkv")) for kind in ("weight", "bias"))
# Where keys have no bias, that of queries and values alone.
QV = (QKV[0], ("attn.qkv.bias", ("attn.q.bias", "attn.v.bias")))
GATED = tuple(
    (f"mlp.fc1.{kind}", tuple(f"mlp.{part}.{kind}" for part in ("gate", "value"))) for kind in ("weight", "bias")
)


def spoken(tensors: Tensors, dialects: tuple[Dialect, ...]) -> tuple[Dialect, str] | None:
    """The dialect that a checkpoint is in, the first whose sign it has, and what stands before its names."""
    for dialect in dialects:
        for wrapper in ("", *dialect.wrappers):
            if wrapper + dialect.sign in tensors:
                return dialect, wrapper
    return None


def translate(tensors: Tensors, dialects: tuple[Dialect, ...]) -> dict[str, np.ndarray]:
    """Tensors under timm's names and in PyTorch's layout; names that the dialect does not have stay as they are."""
    found = spoken(tensors, dialects)
    if found is None:
        return dict(tensors)
    dialect, wrapper = found
    bare = {name.removeprefix(wrapper): value for name, value in tensors.items()}
    translated = {}
    for name, value in bare.items():
        if not any(re.fullmatch(pattern, name) for pattern in dialect.unused):
            name, value = _translated(name, value, dialect)
            translated[name] = value
    return _joined(dialect.finish(translated), dialect.joins)


def _translated(name: str, value: np.ndarray, dialect: Dialect) -> tuple[str, np.ndarray]:
    for pattern, timm in dialect.names:
        if match := re.fullmatch(pattern, name):
            name = match.expand(timm)
            break
    stem, _, kind = name.rpartition(".")
    if stem and dialect.transposed and kind in ("kernel", "scale", "bias"):
        value = _torch_layout(stem, kind, value)
        name = f"{stem}.{'bias' if kind == 'bias' else 'weight'}"
    return name, value


def _torch_layout(stem: str, kind: str, value: np.ndarray) -> np.ndarray:
    """[…, in, out] to [out, in, …], with the heads of an attention joined."""
    if stem.endswith((".q", ".k", ".v")) and value.ndim > 1:  # [in, heads, d] and [heads, d]
        value = value.reshape(len(value), -1) if kind == "kernel" else value.reshape(-1)
    elif stem.endswith((".attn.proj", "attn_pool.proj")) and value.ndim > 1:  # [heads, d, out]
        value = value.reshape(-1, value.shape[-1])
    if kind != "kernel" or value.ndim < 2:
        return value
    return np.transpose(value, (value.ndim - 1, value.ndim - 2, *range(value.ndim - 2)))


def _joined(tensors: dict[str, np.ndarray], joins: tuple[tuple[str, tuple[str, ...]], ...]) -> dict[str, np.ndarray]:
    """Parts as the one tensor that timm has; incomplete ones stay apart."""
    joined = dict(tensors)
    for whole, parts in joins:
        for name in tensors:
            if not name.endswith(parts[0]):
                continue
            stem = name.removesuffix(parts[0])
            pieces = [stem + part for part in parts]
            if all(piece in joined for piece in pieces) and len({joined[piece].shape for piece in pieces}) == 1:
                joined[stem + whole] = np.concatenate([joined.pop(piece) for piece in pieces])
    return joined
