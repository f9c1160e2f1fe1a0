"""Networks of timm whose checkpoints are by their authors' names, which timm itself brings to its own."""

from __future__ import annotations

import math
from typing import Any

import timm
import torch
from encoder_references import (
    TIMM_NARROW,
    Made,
    Make,
    Shapes,
    before_classifier,
    by_names_of_authors,
    first_token,
    shapes_of,
    tensors_of,
    whole,
)


def renamed(shapes: Shapes, *pairs: tuple[str, str]) -> Shapes:
    """Shapes with parts of their names replaced, one pair after another."""
    found = {}
    for name, shape in shapes.items():
        for old, new in pairs:
            name = name.replace(old, new)
        found[name] = shape
    return found


def dinov2_of_authors(small: bool) -> Made:
    """DINOv2 by its authors' names, at another size than published: 16 of 20 pixels, or 224 of 518."""
    sizes = {**TIMM_NARROW, "img_size": 16} if small else {"img_size": 224}
    model = timm.create_model("vit_small_patch14_dinov2", **sizes)
    published, side = (5, 4) if small else (37, 16)
    shapes = shapes_of(model.state_dict())
    width = shapes["cls_token"][-1]
    shapes |= {"mask_token": [1, width], "pos_embed": [1, 1 + published**2, width]}
    tensors = tensors_of(shapes)
    # As the authors' code calls PyTorch: by a scale, with 0.1 added to the number of patches.
    grid = tensors["pos_embed"][:, 1:].reshape(1, published, published, -1).permute(0, 3, 1, 2)
    scale = (side + 0.1) / math.sqrt(published**2)
    grid = torch.nn.functional.interpolate(grid, scale_factor=(scale, scale), mode="bicubic")
    rest = grid.permute(0, 2, 3, 1).reshape(1, side**2, -1)
    tensors["pos_embed"] = torch.cat([tensors["pos_embed"][:, :1], rest], dim=1)
    del tensors["mask_token"]
    model.load_state_dict(tensors)
    model.eval()
    return shapes, lambda x: first_token(model, x)


def dinov2_giant_of_authors(small: bool) -> Made:
    """DINOv2's giant with registers by its authors' names."""
    model = timm.create_model("vit_giant_patch14_reg4_dinov2", **(TIMM_NARROW if small else {"img_size": 224}))
    shapes = renamed(
        shapes_of(model.state_dict()), ("reg_token", "register_tokens"), ("mlp.fc1", "mlp.w12"), ("mlp.fc2", "mlp.w3")
    )
    width, patches = shapes["cls_token"][-1], shapes["pos_embed"][1]
    shapes |= {"mask_token": [1, width], "pos_embed": [1, 1 + patches, width]}
    return by_names_of_authors(model, shapes, first_token)


def dinov3_of_authors(name: str) -> Make:
    """DINOv3 by its authors' names."""

    def make(small: bool) -> Made:
        model = timm.create_model(name, **(TIMM_NARROW if small else {"img_size": 224}))
        pairs = (("reg_token", "storage_tokens"), ("gamma_", "ls"), ("fc1_g", "w1"), ("fc1_x", "w2"))
        shapes = renamed(shapes_of(model.state_dict()), *pairs)
        if "blocks.0.mlp.w1.weight" in shapes:
            shapes = renamed(shapes, ("mlp.fc2", "mlp.w3"))
        width = shapes["cls_token"][-1]
        shapes = {f"{n}.gamma" if n.endswith(("ls1", "ls2")) else n: shape for n, shape in shapes.items()}
        shapes = {n.replace("q_bias", "qkv.bias"): shape for n, shape in shapes.items() if "v_bias" not in n}
        for place in [n for n in shapes if n.endswith("attn.qkv.bias")]:
            shapes[place] = [3 * width]
            shapes[place + "_mask"] = [3 * width]
        shapes |= {"mask_token": [1, width], "rope_embed.periods": [4]}
        return by_names_of_authors(model, shapes, first_token)

    return make


def clip_of_authors(name: str) -> Make:
    """CLIP by its authors' names, with some of a text tower."""

    def make(small: bool) -> Made:
        sizes = {**TIMM_NARROW, "num_classes": 24} if small else {"img_size": 224}
        model = timm.create_model(name, **sizes)
        pairs = [("blocks.", "transformer.resblocks."), ("attn.qkv.", "attn.in_proj_"), ("attn.proj", "attn.out_proj")]
        pairs += [("mlp.fc1", "mlp.c_fc"), ("mlp.fc2", "mlp.c_proj"), (".norm1", ".ln_1"), (".norm2", ".ln_2")]
        pairs += [("norm_pre", "ln_pre"), ("norm.", "ln_post."), ("patch_embed.proj", "conv1")]
        pairs += [("cls_token", "class_embedding"), ("pos_embed", "positional_embedding")]
        shapes = {f"visual.{n}": s for n, s in renamed(shapes_of(model.state_dict()), *pairs).items()}
        shapes["visual.proj"] = shapes.pop("visual.head.weight")[::-1]
        del shapes["visual.head.bias"]
        for place in ("visual.class_embedding", "visual.positional_embedding"):
            shapes[place] = [n for n in shapes[place] if n > 1]
        shapes |= {"transformer.resblocks.0.ln_1.weight": [8], "token_embedding.weight": [9, 8], "logit_scale": []}
        shapes |= {"positional_embedding": [5, 8], "text_projection": [8, 8], "ln_final.bias": [8]}
        return by_names_of_authors(model, shapes, whole)

    return make


def convnext_of_authors(size: str, narrow: dict[str, Any]) -> Make:
    """ConvNeXt by its authors' names."""

    def make(small: bool) -> Made:
        model = timm.create_model(f"convnext_{size}", **(narrow if small else {}))
        shapes = renamed(shapes_of(model.state_dict()), ("head.norm.", "norm."), ("head.fc.", "head."))
        shapes = renamed(shapes, (".blocks.", "."), ("conv_dw", "dwconv"), ("mlp.fc", "pwconv"))
        shapes = renamed(shapes, ("stem.", "downsample_layers.0."))
        for stage in (1, 2, 3):
            shapes = renamed(shapes, (f"stages.{stage}.downsample.", f"downsample_layers.{stage}."))
        return by_names_of_authors(model, shapes, before_classifier)

    return make


def vit_of_authors(name: str, big_vision: bool = False, **same: Any) -> Make:
    """A transformer of timm by the names of JAX: those of ViT's authors, or SigLIP's with some of a text tower."""

    def make(small: bool) -> Made:
        model = timm.create_model(name, **(TIMM_NARROW if small else {"img_size": 224}), **same)
        width, heads = model.embed_dim, model.blocks[0].attn.num_heads
        hidden, patch = model.blocks[0].mlp.fc1.out_features, model.patch_embed.patch_size[0]
        prefix, attention = ("params/img/", "MultiHeadDotProductAttention_0") if big_vision else ("", "")
        shapes = {f"{prefix}embedding/kernel": [patch, patch, 3, width], f"{prefix}embedding/bias": [width]}

        def norm(place: str) -> None:
            shapes.update({f"{place}/scale": [width], f"{place}/bias": [width]})

        def attend(place: str) -> None:
            for part in ("query", "key", "value"):
                shapes[f"{place}/{part}/kernel"] = [width, heads, width // heads]
                shapes[f"{place}/{part}/bias"] = [heads, width // heads]
            shapes.update({f"{place}/out/kernel": [heads, width // heads, width], f"{place}/out/bias": [width]})

        def perceive(place: str) -> None:
            for index, (into, out) in enumerate(((width, hidden), (hidden, width))):
                shapes.update({f"{place}/Dense_{index}/kernel": [into, out], f"{place}/Dense_{index}/bias": [out]})

        positions = model.pos_embed.shape[1]
        if big_vision:
            shapes |= {"params/img/pos_embedding": [1, positions, width], "params/img/MAPHead_0/probe": [1, 1, width]}
            shapes |= {"params/t": [1], "params/b": [1], "params/txt/Embed_0/embedding": [9, 8]}
            attend("params/img/MAPHead_0/MultiHeadDotProductAttention_0")
            norm("params/img/MAPHead_0/LayerNorm_0")
            perceive("params/img/MAPHead_0/MlpBlock_0")
        else:
            shapes |= {"Transformer/posembed_input/pos_embedding": [1, positions, width], "cls": [1, 1, width]}
            shapes |= {"head/kernel": [width, 1000], "head/bias": [1000]}
        units = ("LayerNorm_0", attention or "MultiHeadDotProductAttention_1")
        units += ("LayerNorm_1", "MlpBlock_0") if big_vision else ("LayerNorm_2", "MlpBlock_3")
        for index in range(len(model.blocks)):
            for unit, write in zip(units, (norm, attend, norm, perceive), strict=True):
                write(f"{prefix}Transformer/encoderblock_{index}/{unit}")
        norm(f"{prefix}Transformer/encoder_norm")
        return by_names_of_authors(model, shapes, whole if big_vision else first_token)

    return make
