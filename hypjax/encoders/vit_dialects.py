"""Names of vision transformers in other checkpoints, brought to those of timm.

The same weights are published three times over: by timm, DeiT and DINO, whose names `hypjax.encoders.vit` knows; as
`.npz` by the authors of ViT, in JAX's layout; and by Hugging Face's transformers, with query, key and value apart.
"""

import re
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

Tensors = Mapping[str, np.ndarray]


class _Dialect(NamedTuple):
    """How a family of checkpoints names what timm names otherwise.

    Attributes:
        sign: A tensor that every checkpoint of the family has and no other.
        wrappers: What may stand before every name.
        names: Patterns of whole names, to timm's; query, key and value come to `attn.q`, `attn.k`, `attn.v`.
        transposed: Whether kernels are […, in, out], heads apart, instead of [out, in, …].
    """

    sign: str
    wrappers: tuple[str, ...]
    names: tuple[tuple[str, str], ...]
    transposed: bool


_JAX = _Dialect(
    sign="Transformer/posembed_input/pos_embedding",
    wrappers=("opt/target/", "params/"),
    names=(
        (r"cls", "cls_token"),
        (r"Transformer/posembed_input/pos_embedding", "pos_embed"),
        (r"embedding/(\w+)", r"patch_embed.proj.\1"),
        (r"Transformer/encoder_norm/(\w+)", r"norm.\1"),
        (r"Transformer/encoderblock_(\d+)/LayerNorm_0/(\w+)", r"blocks.\1.norm1.\2"),
        (r"Transformer/encoderblock_(\d+)/LayerNorm_2/(\w+)", r"blocks.\1.norm2.\2"),
        (r"Transformer/encoderblock_(\d+)/MultiHeadDotProductAttention_1/([qkv])\w+/(\w+)", r"blocks.\1.attn.\2.\3"),
        (r"Transformer/encoderblock_(\d+)/MultiHeadDotProductAttention_1/out/(\w+)", r"blocks.\1.attn.proj.\2"),
        (r"Transformer/encoderblock_(\d+)/MlpBlock_3/Dense_0/(\w+)", r"blocks.\1.mlp.fc1.\2"),
        (r"Transformer/encoderblock_(\d+)/MlpBlock_3/Dense_1/(\w+)", r"blocks.\1.mlp.fc2.\2"),
        (r"(head|pre_logits)/(\w+)", r"\1.\2"),
    ),
    transposed=True,
)
_TRANSFORMERS = _Dialect(
    sign="embeddings.position_embeddings",
    wrappers=("vit.", "deit."),
    names=(
        (r"embeddings\.cls_token", "cls_token"),
        (r"embeddings\.distillation_token", "dist_token"),
        (r"embeddings\.position_embeddings", "pos_embed"),
        (r"embeddings\.patch_embeddings\.projection\.(\w+)", r"patch_embed.proj.\1"),
        (r"layernorm\.(\w+)", r"norm.\1"),
        (r"encoder\.layer\.(\d+)\.layernorm_before\.(\w+)", r"blocks.\1.norm1.\2"),
        (r"encoder\.layer\.(\d+)\.layernorm_after\.(\w+)", r"blocks.\1.norm2.\2"),
        (r"encoder\.layer\.(\d+)\.attention\.attention\.([qkv])\w+\.(\w+)", r"blocks.\1.attn.\2.\3"),
        (r"encoder\.layer\.(\d+)\.attention\.output\.dense\.(\w+)", r"blocks.\1.attn.proj.\2"),
        (r"encoder\.layer\.(\d+)\.intermediate\.dense\.(\w+)", r"blocks.\1.mlp.fc1.\2"),
        (r"encoder\.layer\.(\d+)\.output\.dense\.(\w+)", r"blocks.\1.mlp.fc2.\2"),
        (r"(?:pooler|classifier|cls_classifier|distillation_classifier)\.(.+)", r"head.\1"),
    ),
    transposed=False,
)


def to_timm(tensors: Tensors) -> dict[str, np.ndarray]:
    """Tensors of a vision transformer under timm's names and in PyTorch's layout.

    Args:
        tensors: By name, in any of the three dialects.

    Returns:
        The tensors; names that the dialect does not have stay as they are, for the caller to complain about.

    Example:
        >>> kernel = np.zeros((8, 2, 4))  # [width, heads, width / heads]
        >>> block = "Transformer/encoderblock_0/MultiHeadDotProductAttention_1"
        >>> tensors = {f"{block}/{part}/kernel": kernel for part in ("query", "key", "value")}
        >>> tensors["Transformer/posembed_input/pos_embedding"] = np.zeros((1, 5, 8))
        >>> {name: value.shape for name, value in to_timm(tensors).items()}
        {'pos_embed': (1, 5, 8), 'blocks.0.attn.qkv.weight': (24, 8)}
    """
    for dialect in (_JAX, _TRANSFORMERS):
        for wrapper in ("", *dialect.wrappers):
            if wrapper + dialect.sign in tensors:
                bare = {name.removeprefix(wrapper): value for name, value in tensors.items()}
                return _joined(_translated(bare, dialect))
    return dict(tensors)


def _translated(tensors: Tensors, dialect: _Dialect) -> dict[str, np.ndarray]:
    found = {}
    for name, value in tensors.items():
        for pattern, timm in dialect.names:
            if match := re.fullmatch(pattern, name):
                name = match.expand(timm)
                break
        stem, _, kind = name.rpartition(".")
        if stem and dialect.transposed:
            value = _torch_layout(stem, kind, value)
            name = f"{stem}.{'bias' if kind == 'bias' else 'weight'}"
        found[name] = value
    return found


def _torch_layout(stem: str, kind: str, value: np.ndarray) -> np.ndarray:
    """[…, in, out] to [out, in, …], with the heads of an attention joined."""
    if stem.endswith((".q", ".k", ".v")) and value.ndim > 1:  # [in, heads, d] and [heads, d]
        value = value.reshape(len(value), -1) if kind == "kernel" else value.reshape(-1)
    elif stem.endswith("attn.proj") and value.ndim > 1:  # [heads, d, out]
        value = value.reshape(-1, value.shape[-1])
    if kind != "kernel" or value.ndim < 2:
        return value
    return np.transpose(value, (value.ndim - 1, value.ndim - 2, *range(value.ndim - 2)))


def _joined(tensors: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Query, key and value of a block as the one tensor that timm has; an incomplete three stays apart."""
    joined = dict(tensors)
    for name in tensors:
        match = re.fullmatch(r"(blocks\.\d+\.attn)\.q\.(weight|bias)", name)
        if match is None:
            continue
        attention, kind = match.groups()
        parts = [f"{attention}.{part}.{kind}" for part in "qkv"]
        if all(part in tensors for part in parts) and len({tensors[part].shape for part in parts}) == 1:
            joined[f"{attention}.qkv.{kind}"] = np.concatenate([joined.pop(part) for part in parts])
    return joined
