"""Makes anew what `tests/encoders/references.json` keeps: features that timm, torchvision and transformers give.

    pip install -e ".[references]"
    python tools/build_encoder_references.py                     # narrow versions, for the suite
    python tools/build_encoder_references.py --full OUT [CASE…]  # whole ones, for `tools/compare_encoders.py`

A reference is the names and shapes of a checkpoint's tensors, and the features of two images. The tensors are drawn by
name and shape (`tests/encoders/drawn.py`), so that nothing else need be kept.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import json
from pathlib import Path
from typing import Any, NamedTuple

import encoder_references as of
import encoder_references_of_authors as authors
import torch
from drawn import images

ROOT = Path(__file__).parent.parent
VIT = {"width": 32, "depth": 2, "heads": 2, "patch": 4}
CONVNEXT = {"depths": (1, 1, 2, 1), "widths": (8, 12, 16, 24)}
RESNET = {"stages": (1, 2, 1, 1), "width": 8}


class Case(NamedTuple):
    """A reference to be made.

    Attributes:
      encoder: its name in hypjax.
      make: the reference, narrow or whole.
      by: the package that it is of.
      narrow: sizes of hypjax's encoder in the narrow version; None where there is none.
      size: of the narrow version's images, pixels.
      whole_size: of the whole one's.
    """

    encoder: str
    make: of.Make
    by: str = "timm"
    narrow: dict[str, Any] | None = None
    size: int = 16
    whole_size: int = 224


def _vits() -> dict[str, Case]:
    """ViT, DeiT, DINO and masked autoencoders, which are one network."""
    names = {"vit_ti16": "vit_tiny_patch16_224", "vit_s16": "vit_small_patch16_224", "vit_b8": "vit_base_patch8_224"}
    names |= {"vit_b32": "vit_base_patch32_224", "vit_l16": "vit_large_patch16_224", "vit_h14": "vit_huge_patch14_224"}
    names |= {"deit_s16": "deit_small_patch16_224", "deit_s16_distilled": "deit_small_distilled_patch16_224"}
    names |= {"deit_b16": "deit_base_patch16_224", "dino_vits16": "vit_small_patch16_224.dino"}
    names |= {"dino_vits8": "vit_small_patch8_224.dino", "dino_vitb16": "vit_base_patch16_224.dino"}
    names |= {"dino_vitb8": "vit_base_patch8_224.dino", "mae_vit_b16": "vit_base_patch16_224.mae"}
    names |= {"mae_vit_l16": "vit_large_patch16_224.mae"}
    cases = {f"{name}/timm": Case(name, of.timm_vit(timm)) for name, timm in names.items()}
    cases["deit_s16_distilled/timm"] = cases["deit_s16_distilled/timm"]._replace(narrow=VIT)
    sizes = {"hidden_size": 768, "num_hidden_layers": 12, "num_attention_heads": 12, "intermediate_size": 3072}
    return cases | {
        "vit_b16/timm": Case("vit_b16", of.timm_vit("vit_base_patch16_224"), narrow=VIT),
        "vit_b16/authors": Case("vit_b16", authors.vit_of_authors("vit_base_patch16_224"), narrow=VIT),
        "vit_b16/transformers": Case(
            "vit_b16",
            of.transformers_vit("ViTConfig", "ViTForImageClassification", _vit_token, sizes),
            "transformers",
            VIT,
        ),
    }


def _vit_token(model: Any, x: torch.Tensor) -> torch.Tensor:
    return model.vit(x).last_hidden_state[:, 0]


def _dinov2() -> dict[str, Case]:
    cases = {}
    for letter, size in (("s", "small"), ("b", "base"), ("l", "large"), ("g", "giant")):
        for ours, timm in (("", ""), ("_reg", "_reg4")):
            name = f"dinov2_vit{letter}14{ours}"
            whole = of.timm_vit(f"vit_{size}_patch14{timm}_dinov2")
            cases[f"{name}/timm"] = Case(name, whole, narrow=VIT if letter == "s" else None)
    sizes = {"hidden_size": 384, "num_hidden_layers": 12, "num_attention_heads": 6, "image_size": 224}
    same = {"config": "Dinov2Config", "model": "Dinov2Model", "features": of.pooled, "whole_sizes": sizes}
    reg = {"config": "Dinov2WithRegistersConfig", "model": "Dinov2WithRegistersModel"}
    return cases | {
        "dinov2_vits14/authors": Case("dinov2_vits14", authors.dinov2_of_authors, narrow=VIT),
        "dinov2_vitg14_reg/authors": Case(
            "dinov2_vitg14_reg", authors.dinov2_giant_of_authors, narrow={**VIT, "hidden": GIANT_HIDDEN}
        ),
        "dinov2_vits14/transformers": Case("dinov2_vits14", of.transformers_vit(**same, patch_size=14), "transformers"),
        "dinov2_vits14_reg/transformers": Case(
            "dinov2_vits14_reg", of.transformers_vit(**{**same, **reg}), "transformers", VIT
        ),
        # Published for 5 × 5 patches and used on 4 × 4.
        "dinov2_vits14/transformers, resampled": Case(
            "dinov2_vits14",
            of.resampled(of.transformers_vit(**same), 20),
            "transformers",
            {**VIT, "resampling": "bicubic"},
        ),
        "dinov2_vits14_reg/transformers, resampled": Case(
            "dinov2_vits14_reg", of.resampled(of.transformers_vit(**{**same, **reg}), 20), "transformers", VIT
        ),
        "dinov2_vitg14/transformers": Case(
            "dinov2_vitg14",
            of.transformers_vit(**{**same, "whole_sizes": {}}, use_swiglu_ffn=True),
            "transformers",
            {**VIT, "hidden": 88},
        ),
    }


GIANT_HIDDEN = 4 * 32 * 2 // 3


def _dinov3() -> dict[str, Case]:
    sizes = {"s16": "small", "s16plus": "small_plus", "b16": "base", "l16": "large", "h16plus": "huge_plus"}
    cases = {}
    for ours, timm in sizes.items():
        narrow = VIT if ours in ("s16", "s16plus") else None
        make = of.timm_vit(f"vit_{timm}_patch16_dinov3")
        cases[f"dinov3_vit{ours}/timm"] = Case(f"dinov3_vit{ours}", make, narrow=narrow)
    mean = of.timm_vit("vit_small_patch16_dinov3", of.before_classifier, global_pool="avg")
    cases["dinov3_vits16/timm, mean"] = Case("dinov3_vits16", mean, narrow={**VIT, "pool": "mean"})
    whole = {"hidden_size": 384, "num_hidden_layers": 12, "num_attention_heads": 6, "intermediate_size": 1536}
    same = {"config": "DINOv3ViTConfig", "model": "DINOv3ViTModel", "features": of.pooled, "whole_sizes": whole}
    return cases | {
        "dinov3_vits16/authors": Case(
            "dinov3_vits16", authors.dinov3_of_authors("vit_small_patch16_dinov3_qkvb"), narrow=VIT
        ),
        "dinov3_vits16plus/authors": Case(
            "dinov3_vits16plus", authors.dinov3_of_authors("vit_small_plus_patch16_dinov3_qkvb"), narrow=VIT
        ),
        "dinov3_vits16/transformers": Case(
            "dinov3_vits16", of.transformers_vit(**same, num_register_tokens=4), "transformers", VIT
        ),
        "dinov3_vits16plus/transformers": Case(
            "dinov3_vits16plus",
            of.transformers_vit(**same, num_register_tokens=4, use_gated_mlp=True, hidden_act="silu"),
            "transformers",
            VIT,
        ),
    }


def _with_text() -> dict[str, Case]:
    """CLIP and SigLIP."""
    clip, cases = {**VIT, "projection": 24}, {}
    for ours, timm in (("b32", "base_patch32"), ("b16", "base_patch16"), ("l14", "large_patch14")):
        name, arch = f"clip_vit_{ours}", f"vit_{timm}_clip_quickgelu_224.openai"
        narrow = clip if ours == "b16" else None
        cases[f"{name}/authors"] = Case(name, authors.clip_of_authors(arch), narrow=narrow)
    b16 = {"hidden_size": 768, "num_hidden_layers": 12, "num_attention_heads": 12, "intermediate_size": 3072}
    b16 |= {"patch_size": 16, "image_size": 224}
    return cases | {
        "clip_vit_b16/timm": Case("clip_vit_b16", of.clip("vit_base_patch16_clip_quickgelu_224.openai"), narrow=clip),
        "clip_vit_b16/transformers": Case(
            "clip_vit_b16", of.two_towers("CLIP", b16, "pooler_output"), "transformers", clip
        ),
        "siglip_vit_b16/timm": Case("siglip_vit_b16", _siglip("base_patch16_siglip_224"), narrow=VIT),
        "siglip_vit_b16/authors": Case(
            "siglip_vit_b16",
            authors.vit_of_authors("vit_base_patch16_siglip_224", big_vision=True, act_layer="gelu_tanh"),
            narrow=VIT,
        ),
        "siglip_vit_b16/transformers": Case(
            "siglip_vit_b16", of.two_towers("Siglip", b16, "pooler_output"), "transformers", VIT
        ),
        "siglip_vit_l16/timm": Case("siglip_vit_l16", _siglip("large_patch16_siglip_256", 256), whole_size=256),
        "siglip_vit_so400m14/timm": Case("siglip_vit_so400m14", _siglip("so400m_patch14_siglip_224")),
    }


def _siglip(name: str, size: int = 224) -> of.Make:
    # The authors' GELU is the one by tanh, which timm takes for the largest alone.
    return of.timm_vit(f"vit_{name}", of.whole, size, act_layer="gelu_tanh")


def _convolutional() -> dict[str, Case]:
    depths, widths = CONVNEXT["depths"], CONVNEXT["widths"]
    narrow = {"depths": depths, "dims": widths}
    config = {"depths": list(depths), "hidden_sizes": list(widths)}
    cases = {}
    for size in ("tiny", "small", "base", "large"):
        name = f"convnext_{size}"
        chosen = CONVNEXT if size == "tiny" else None
        cases[f"{name}/authors"] = Case(name, authors.convnext_of_authors(size, narrow), narrow=chosen, size=36)
        cases[f"dinov3_{name}/timm"] = Case(f"dinov3_{name}", of.convnext(f"{name}.dinov3_lvd1689m", narrow))
    for layers in (18, 34, 50, 101, 152):
        name = f"resnet{layers}"
        cases[f"{name}/torchvision"] = Case(name, of.torchvision_resnet(name), "torchvision")
    cases["convnext_tiny/timm"] = Case("convnext_tiny", of.convnext("convnext_tiny", narrow), narrow=CONVNEXT, size=36)
    cases["convnext_tiny/torchvision"] = Case(
        "convnext_tiny", of.torchvision_convnext(depths, widths), "torchvision", CONVNEXT, 36
    )
    cases["convnext_tiny/transformers"] = Case(
        "convnext_tiny",
        of.convolutional_transformers("ConvNextConfig", "ConvNextForImageClassification", "convnext", config),
        "transformers",
        CONVNEXT,
        36,
    )
    cases["dinov3_convnext_tiny/transformers"] = Case(
        "dinov3_convnext_tiny",
        of.convolutional_transformers("DINOv3ConvNextConfig", "DINOv3ConvNextModel", "", config),
        "transformers",
        CONVNEXT,
        36,
    )
    resnet = {"depths": [1, 2, 1, 1], "embedding_size": 8, "hidden_sizes": [32, 64, 128, 256]}
    basic = {"layer_type": "basic", "hidden_sizes": [8, 16, 32, 64]}
    wholes = {
        "resnet18": {"layer_type": "basic", "depths": [2, 2, 2, 2], "hidden_sizes": [64, 128, 256, 512]},
        "resnet101": {"depths": [3, 4, 23, 3]},
    }
    for name, whole in wholes.items():
        config = resnet | (basic if "layer_type" in whole else {})
        make = of.convolutional_transformers("ResNetConfig", "ResNetForImageClassification", "resnet", config, whole)
        cases[f"{name}/transformers"] = Case(name, make, "transformers", RESNET, 40)
    return cases


CASES = {**_vits(), **_dinov2(), **_dinov3(), **_with_text(), **_convolutional()}


def reference(name: str, small: bool) -> dict[str, Any]:
    """A reference as it is kept."""
    case = CASES[name]
    shapes, features = case.make(small)
    size = case.size if small else case.whole_size
    with torch.no_grad():
        found = features(torch.from_numpy(images(size, size)).permute(0, 3, 1, 2)).numpy()
    return {
        "encoder": case.encoder,
        "sizes": case.narrow if small else {},
        "by": f"{case.by} {importlib.metadata.version(case.by)}",
        "image_size": size,
        "shapes": shapes,
        "features": [[float(f"{value:.7g}") for value in row] for row in found.astype(float)],
    }


def main() -> None:
    """Writes the references asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--full", type=Path, help="a folder for whole ones")
    parser.add_argument("cases", nargs="*")
    chosen = parser.parse_args()
    if chosen.full:
        chosen.full.mkdir(parents=True, exist_ok=True)
        for name in chosen.cases or CASES:
            (chosen.full / f"{name.replace('/', '.')}.json").write_text(json.dumps(reference(name, False)))
        return
    kept = {name: reference(name, True) for name, case in CASES.items() if case.narrow is not None}
    lines = ",\n".join(f"{json.dumps(name)}: {json.dumps(value)}" for name, value in kept.items())
    (ROOT / "tests" / "encoders" / "references.json").write_text("{\n" + lines + "\n}\n")


if __name__ == "__main__":
    main()
