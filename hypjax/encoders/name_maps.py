"""What the tensors of vision transformers are called, one map for each family of checkpoints."""

from __future__ import annotations

import re

import numpy as np

from hypjax.encoders.dialects import GATED, QKV, QV, Dialect

_ATTENTION = r"attention\.attention\.([qkv])\w+\.(\w+)"


def _bias_of_keys_left_out(tensors: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """DINOv3's biases of query, key and value, of which the key's is masked, as those of query and value."""
    found = {}
    for name, value in tensors.items():
        if name.endswith("attn.qkv.bias") and value.ndim == 1 and len(value) % 3 == 0:
            q, _, v = np.split(value, 3)
            value = np.concatenate([q, v])
        found[name] = value
    return found


def _biases_of_zeros(tensors: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Biases of queries and values are 0 where they are missing: timm leaves them out then."""
    found = dict(tensors)
    for name, value in tensors.items():
        if (match := re.fullmatch(r"(blocks\.\d+\.attn)\.qkv\.weight", name)) and f"{match[1]}.q.bias" not in tensors:
            found[f"{match[1]}.qkv.bias"] = np.zeros(len(value) * 2 // 3, value.dtype)
    return found


def _batched(tensors: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Class token and positions get the leading axes of timm, and the pooling's three kernels come apart."""
    found = {}
    for name, value in tensors.items():
        if name == "cls_token" and value.ndim == 1:
            value = value[None, None]
        elif name == "pos_embed" and value.ndim == 2:
            value = value[None]
        match = re.fullmatch(r"attn_pool\.in_proj_(weight|bias)", name)
        if match and len(value) % 3 == 0:
            found[f"attn_pool.q.{match[1]}"] = value[: len(value) // 3]
            found[f"attn_pool.kv.{match[1]}"] = value[len(value) // 3 :]
        else:
            found[name] = value
    return found


def _projected(tensors: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The same with the projection as timm has it, [out, in]; its bias of zeros, which the authors' lacks, is left."""
    found = _batched(tensors)
    if "head" in found:
        found["head.weight"] = found.pop("head").T
    if "head.bias" in found and not found["head.bias"].any():
        del found["head.bias"]
    return found


def _ungated(tensors: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """A perceptron without a gate has one map alone, whatever it is called."""
    gated = any(".mlp.gate." in name for name in tensors)
    return tensors if gated else {name.replace(".mlp.value.", ".mlp.fc1."): value for name, value in tensors.items()}


_JAX = Dialect(
    "ViT by its authors' names",
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
    joins=QKV,
    transposed=True,
)
_BIG_VISION = Dialect(
    "SigLIP by its authors' names",
    sign="params/img/pos_embedding",
    names=(
        (r"params/img/pos_embedding", "pos_embed"),
        (r"params/img/embedding/(\w+)", r"patch_embed.proj.\1"),
        (r"params/img/Transformer/encoder_norm/(\w+)", r"norm.\1"),
        (r"params/img/Transformer/encoderblock_(\d+)/LayerNorm_0/(\w+)", r"blocks.\1.norm1.\2"),
        (r"params/img/Transformer/encoderblock_(\d+)/LayerNorm_1/(\w+)", r"blocks.\1.norm2.\2"),
        (
            r"params/img/Transformer/encoderblock_(\d+)/MultiHeadDotProductAttention_0/([qkv])\w+/(\w+)",
            r"blocks.\1.attn.\2.\3",
        ),
        (
            r"params/img/Transformer/encoderblock_(\d+)/MultiHeadDotProductAttention_0/out/(\w+)",
            r"blocks.\1.attn.proj.\2",
        ),
        (r"params/img/Transformer/encoderblock_(\d+)/MlpBlock_0/Dense_0/(\w+)", r"blocks.\1.mlp.fc1.\2"),
        (r"params/img/Transformer/encoderblock_(\d+)/MlpBlock_0/Dense_1/(\w+)", r"blocks.\1.mlp.fc2.\2"),
        (r"params/img/MAPHead_0/probe", "attn_pool.latent"),
        (r"params/img/MAPHead_0/LayerNorm_0/(\w+)", r"attn_pool.norm.\1"),
        (r"params/img/MAPHead_0/MultiHeadDotProductAttention_0/([qkv])\w+/(\w+)", r"attn_pool.\1.\2"),
        (r"params/img/MAPHead_0/MultiHeadDotProductAttention_0/out/(\w+)", r"attn_pool.proj.\1"),
        (r"params/img/MAPHead_0/MlpBlock_0/Dense_0/(\w+)", r"attn_pool.mlp.fc1.\1"),
        (r"params/img/MAPHead_0/MlpBlock_0/Dense_1/(\w+)", r"attn_pool.mlp.fc2.\1"),
    ),
    unused=(r"params/txt/.+", r"params/[tb]"),
    joins=(
        *QKV,
        *((f"attn_pool.kv.{kind}", (f"attn_pool.k.{kind}", f"attn_pool.v.{kind}")) for kind in ("weight", "bias")),
    ),
    transposed=True,
)
_TRANSFORMERS = Dialect(
    "ViT, DeiT or DINOv2 by the names of transformers",
    sign="embeddings.position_embeddings",
    wrappers=("vit.", "deit.", "dinov2.", "dinov2_with_registers."),
    names=(
        (r"embeddings\.cls_token", "cls_token"),
        (r"embeddings\.distillation_token", "dist_token"),
        (r"embeddings\.register_tokens", "reg_token"),
        (r"embeddings\.position_embeddings", "pos_embed"),
        (r"embeddings\.patch_embeddings\.projection\.(\w+)", r"patch_embed.proj.\1"),
        (r"layernorm\.(\w+)", r"norm.\1"),
        (r"encoder\.layer\.(\d+)\.(?:layernorm_before|norm1)\.(\w+)", r"blocks.\1.norm1.\2"),
        (r"encoder\.layer\.(\d+)\.(?:layernorm_after|norm2)\.(\w+)", r"blocks.\1.norm2.\2"),
        (rf"encoder\.layer\.(\d+)\.{_ATTENTION}", r"blocks.\1.attn.\2.\3"),
        (r"encoder\.layer\.(\d+)\.attention\.output\.dense\.(\w+)", r"blocks.\1.attn.proj.\2"),
        (r"encoder\.layer\.(\d+)\.layer_scale([12])\.lambda1", r"blocks.\1.ls\2.gamma"),
        (r"encoder\.layer\.(\d+)\.(?:intermediate\.dense|mlp\.fc1|mlp\.weights_in)\.(\w+)", r"blocks.\1.mlp.fc1.\2"),
        (r"encoder\.layer\.(\d+)\.(?:output\.dense|mlp\.fc2|mlp\.weights_out)\.(\w+)", r"blocks.\1.mlp.fc2.\2"),
        (r"(?:pooler|classifier|cls_classifier|distillation_classifier)\.(.+)", r"head.\1"),
    ),
    unused=(r"embeddings\.mask_token", r"decoder\..+"),
    joins=QKV,
)
_DINOV2 = Dialect(
    "a self-supervised ViT by its authors' names",
    sign="mask_token",
    names=(
        (r"register_tokens", "reg_token"),
        (r"blocks\.(\d+)\.mlp\.w12\.(\w+)", r"blocks.\1.mlp.fc1.\2"),
        (r"blocks\.(\d+)\.mlp\.w3\.(\w+)", r"blocks.\1.mlp.fc2.\2"),
    ),
    unused=(r"mask_token", r"decoder.*"),  # a masked autoencoder has them, too
)
_DINOV3 = Dialect(
    "DINOv3 by its authors' names",
    sign="storage_tokens",
    names=(
        (r"storage_tokens", "reg_token"),
        (r"blocks\.(\d+)\.mlp\.w1\.(\w+)", r"blocks.\1.mlp.gate.\2"),
        (r"blocks\.(\d+)\.mlp\.w2\.(\w+)", r"blocks.\1.mlp.value.\2"),
        (r"blocks\.(\d+)\.mlp\.w3\.(\w+)", r"blocks.\1.mlp.fc2.\2"),
    ),
    unused=(r"mask_token", r"rope_embed\.periods", r".*\.bias_mask", r"local_cls_norm\..+"),
    joins=GATED,
    finish=_bias_of_keys_left_out,
)
_DINOV3_TRANSFORMERS = Dialect(
    "DINOv3 by the names of transformers",
    sign="layer.0.attention.q_proj.weight",
    wrappers=("dinov3_vit.",),
    names=(
        (r"embeddings\.cls_token", "cls_token"),
        (r"embeddings\.register_tokens", "reg_token"),
        (r"embeddings\.patch_embeddings\.(\w+)", r"patch_embed.proj.\1"),
        (r"norm\.(\w+)", r"norm.\1"),
        (r"layer\.(\d+)\.norm([12])\.(\w+)", r"blocks.\1.norm\2.\3"),
        (r"layer\.(\d+)\.attention\.([qkv])_proj\.(\w+)", r"blocks.\1.attn.\2.\3"),
        (r"layer\.(\d+)\.attention\.o_proj\.(\w+)", r"blocks.\1.attn.proj.\2"),
        (r"layer\.(\d+)\.layer_scale([12])\.lambda1", r"blocks.\1.ls\2.gamma"),
        (r"layer\.(\d+)\.mlp\.gate_proj\.(\w+)", r"blocks.\1.mlp.gate.\2"),
        (r"layer\.(\d+)\.mlp\.up_proj\.(\w+)", r"blocks.\1.mlp.value.\2"),
        (r"layer\.(\d+)\.mlp\.down_proj\.(\w+)", r"blocks.\1.mlp.fc2.\2"),
    ),
    unused=(r"embeddings\.mask_token",),
    joins=(*QV, *GATED),
    finish=_ungated,
)
_DINOV3_TIMM = Dialect(
    "DINOv3 by timm's names",
    sign="blocks.0.gamma_1",
    names=(
        (r"blocks\.(\d+)\.gamma_([12])", r"blocks.\1.ls\2.gamma"),
        (r"blocks\.(\d+)\.attn\.([qv])_bias", r"blocks.\1.attn.\2.bias"),
        (r"blocks\.(\d+)\.mlp\.fc1_g\.(\w+)", r"blocks.\1.mlp.gate.\2"),
        (r"blocks\.(\d+)\.mlp\.fc1_x\.(\w+)", r"blocks.\1.mlp.value.\2"),
    ),
    joins=(QV[1], *GATED),
    finish=_biases_of_zeros,
)
_CLIP = Dialect(
    "CLIP by its authors' names",
    sign="visual.conv1.weight",
    names=(
        (r"visual\.class_embedding", "cls_token"),
        (r"visual\.positional_embedding", "pos_embed"),
        (r"visual\.conv1\.(\w+)", r"patch_embed.proj.\1"),
        (r"visual\.ln_pre\.(\w+)", r"norm_pre.\1"),
        (r"visual\.ln_post\.(\w+)", r"norm.\1"),
        (r"visual\.proj", "head"),
        (r"visual\.transformer\.resblocks\.(\d+)\.ln_([12])\.(\w+)", r"blocks.\1.norm\2.\3"),
        (r"visual\.transformer\.resblocks\.(\d+)\.attn\.in_proj_(\w+)", r"blocks.\1.attn.qkv.\2"),
        (r"visual\.transformer\.resblocks\.(\d+)\.attn\.out_proj\.(\w+)", r"blocks.\1.attn.proj.\2"),
        (r"visual\.transformer\.resblocks\.(\d+)\.mlp\.c_fc\.(\w+)", r"blocks.\1.mlp.fc1.\2"),
        (r"visual\.transformer\.resblocks\.(\d+)\.mlp\.c_proj\.(\w+)", r"blocks.\1.mlp.fc2.\2"),
    ),
    unused=(
        r"transformer\..+",
        r"(?:token_embedding|ln_final)\.\w+",
        r"positional_embedding|text_projection|logit_scale|input_resolution|context_length|vocab_size",
    ),
    finish=_projected,
)
_TOWER = (
    (r"vision_model\.embeddings\.class_embedding", "cls_token"),
    (r"vision_model\.embeddings\.position_embedding\.weight", "pos_embed"),
    (r"vision_model\.embeddings\.patch_embedding\.(\w+)", r"patch_embed.proj.\1"),
    (r"vision_model\.pre_layrnorm\.(\w+)", r"norm_pre.\1"),
    (r"vision_model\.post_layernorm\.(\w+)", r"norm.\1"),
    (r"vision_model\.encoder\.layers\.(\d+)\.layer_norm([12])\.(\w+)", r"blocks.\1.norm\2.\3"),
    (r"vision_model\.encoder\.layers\.(\d+)\.self_attn\.([qkv])_proj\.(\w+)", r"blocks.\1.attn.\2.\3"),
    (r"vision_model\.encoder\.layers\.(\d+)\.self_attn\.out_proj\.(\w+)", r"blocks.\1.attn.proj.\2"),
    (r"vision_model\.encoder\.layers\.(\d+)\.mlp\.fc([12])\.(\w+)", r"blocks.\1.mlp.fc\2.\3"),
)
_TEXT = (r"text_model\..+", r".*\.position_ids", r"text_projection\.weight", r"logit_scale|logit_bias")
_CLIP_TRANSFORMERS = Dialect(
    "CLIP by the names of transformers",
    sign="vision_model.embeddings.class_embedding",
    names=(*_TOWER, (r"visual_projection\.weight", "head.weight")),
    unused=_TEXT,
    joins=QKV,
    finish=_batched,
)
_CLIP_TIMM = Dialect("CLIP by timm's names", sign="norm_pre.weight", finish=_projected)
_SIGLIP_TRANSFORMERS = Dialect(
    "SigLIP by the names of transformers",
    sign="vision_model.head.probe",
    names=(
        *_TOWER,
        (r"vision_model\.head\.probe", "attn_pool.latent"),
        (r"vision_model\.head\.attention\.in_proj_(\w+)", r"attn_pool.in_proj_\1"),
        (r"vision_model\.head\.attention\.out_proj\.(\w+)", r"attn_pool.proj.\1"),
        (r"vision_model\.head\.layernorm\.(\w+)", r"attn_pool.norm.\1"),
        (r"vision_model\.head\.mlp\.fc([12])\.(\w+)", r"attn_pool.mlp.fc\1.\2"),
    ),
    unused=_TEXT,
    joins=QKV,
    finish=_batched,
)
_OPEN_CLIP = Dialect(
    "an image tower of timm in a model of OpenCLIP",
    sign="visual.trunk.pos_embed",
    names=((r"visual\.trunk\.(.+)", r"\1"),),
    unused=(r"text\..+", r"logit_scale|logit_bias"),
)
TRANSFORMERS = (
    _JAX,
    _BIG_VISION,
    _SIGLIP_TRANSFORMERS,
    _CLIP_TRANSFORMERS,
    _CLIP,
    _OPEN_CLIP,
    _DINOV3_TRANSFORMERS,
    _TRANSFORMERS,
    _DINOV3,
    _DINOV3_TIMM,
    _CLIP_TIMM,
    _DINOV2,
)
