"""Makes anew what `tests/encoders/references.json` keeps: features that timm, torchvision and transformers give.

    pip install -e ".[references]"
    python tools/build_encoder_references.py                     # narrow versions, for the suite
    python tools/build_encoder_references.py --full OUT [CASE…]  # whole ones, for tools/compare_encoders.py

A reference is the names and shapes of a checkpoint's tensors, and the features of two images. The tensors are drawn by
name and shape (`tests/encoders/drawn.py`), so that nothing else need be kept.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import timm
import torch
import torchvision
import transformers
from safetensors import safe_open
from safetensors.torch import save_file

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT / "tests" / "encoders"))
from drawn import drawn, images  # noqa: E402

Shapes = dict[str, list[int]]
Made = tuple[Shapes, Callable[[torch.Tensor], torch.Tensor]]
NARROW = {"width": 32, "depth": 2, "heads": 2, "patch": 4}


class Case(NamedTuple):
    """A reference to be made.

    Attributes:
      encoder: its name in hypjax.
      make: the reference, narrow or whole, as shapes of tensors and features of images [n, 3, h, w].
      narrow: sizes of hypjax's encoder in the narrow version.
      size: of the narrow version's images.
      by: the package that it is of.
    """

    encoder: str
    make: Callable[[bool], Made]
    narrow: dict[str, Any]
    size: int = 16
    by: str = "timm"


def shapes_of(model: torch.nn.Module) -> Shapes:
    """Names and shapes of a model's tensors."""
    return {name: list(value.shape) for name, value in model.state_dict().items()}


def tensors_of(shapes: Shapes) -> dict[str, torch.Tensor]:
    """The tensors of a checkpoint, drawn."""
    return {name: torch.from_numpy(np.asarray(drawn(name, shape))) for name, shape in shapes.items()}


def of_torch(model: torch.nn.Module, shapes: Shapes | None = None, **options: Any) -> Made:
    """A model of timm or torchvision, its tensors by its own names or by those that its filter takes."""
    if shapes is None:
        shapes = shapes_of(model)
        model.load_state_dict(tensors_of(shapes))
        return shapes, model.eval()
    with tempfile.TemporaryDirectory() as folder:
        if any("/" in name for name in shapes):
            np.savez(f"{folder}/w.npz", **{name: value.numpy() for name, value in tensors_of(shapes).items()})
            model.load_pretrained(f"{folder}/w.npz", **options)
        else:
            save_file(tensors_of(shapes), f"{folder}/w.safetensors")
            timm.models.load_checkpoint(model, f"{folder}/w.safetensors", strict=True)
    return shapes, model.eval()


def of_transformers(model: transformers.PreTrainedModel, features: Callable[[Any, torch.Tensor], torch.Tensor]) -> Made:
    """A model of transformers, its tensors by the names of the file that it writes."""
    with tempfile.TemporaryDirectory() as folder:
        model.save_pretrained(folder, max_shard_size="100GB")
        with safe_open(f"{folder}/model.safetensors", "pt") as file:
            shapes = {name: list(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118
        save_file(tensors_of(shapes), f"{folder}/model.safetensors", {"format": "pt"})
        loaded, told = type(model).from_pretrained(folder, output_loading_info=True)
    if any(told[kind] for kind in ("missing_keys", "unexpected_keys", "mismatched_keys")):
        raise ValueError(f"{type(model).__name__} does not take its own file: {told}")
    loaded.eval()
    return shapes, lambda x: features(loaded, x)


def vit(name: str, **narrow: Any) -> Callable[[bool], Made]:
    """A transformer of timm."""

    def make(small: bool, **more: Any) -> Made:
        sizes = {"embed_dim": 32, "depth": 2, "num_heads": 2, "patch_size": 4, "img_size": 16, **narrow}
        return of_torch(timm.create_model(name, **(sizes if small else more)))

    return make


def pooled(model: Any, x: torch.Tensor) -> torch.Tensor:
    """The pooled features of a model of transformers."""
    return model(x).pooler_output


def class_token(model: Any, x: torch.Tensor) -> torch.Tensor:
    """The normalized class token of a model of transformers."""
    return model(x).last_hidden_state[:, 0]


def dinov2(letter: str, width: int, depth: int, heads: int, registers: bool = False) -> Callable[[bool], Made]:
    """DINOv2 of transformers, whose positions are those of 518 pixels."""
    config, model = transformers.Dinov2Config, transformers.Dinov2Model
    if registers:
        config, model = transformers.Dinov2WithRegistersConfig, transformers.Dinov2WithRegistersModel

    def make(small: bool) -> Made:
        sizes: dict[str, Any] = {"hidden_size": width, "num_hidden_layers": depth, "num_attention_heads": heads}
        sizes |= {"image_size": 224, "patch_size": 14, "use_swiglu_ffn": letter == "g"}
        if small:
            sizes |= {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
            sizes |= {"image_size": 16, "patch_size": 4}
        return of_transformers(model(config(**sizes)), pooled)

    return make


CASES: dict[str, Case] = {
    "dinov2_vits14": Case("dinov2_vits14", dinov2("s", 384, 12, 6), NARROW, by="transformers"),
    "dinov2_vits14_reg": Case("dinov2_vits14_reg", dinov2("s", 384, 12, 6, True), NARROW, by="transformers"),
}


def reference(name: str, small: bool) -> dict[str, Any]:
    """A reference as it is kept."""
    case = CASES[name]
    shapes, features = case.make(small)
    size = case.size if small else 224
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
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--full", type=Path, help="a folder for whole ones")
    parser.add_argument("cases", nargs="*")
    chosen = parser.parse_args()
    for name in chosen.cases or CASES if chosen.full else ():
        chosen.full.mkdir(parents=True, exist_ok=True)
        (chosen.full / f"{name.replace('/', '_')}.json").write_text(json.dumps(reference(name, False)))
    if not chosen.full:
        kept = {name: reference(name, True) for name in CASES}
        lines = ",\n".join(f"{json.dumps(name)}: {json.dumps(value)}" for name, value in kept.items())
        (ROOT / "tests" / "encoders" / "references.json").write_text("{\n" + lines + "\n}\n")


if __name__ == "__main__":
    main()
