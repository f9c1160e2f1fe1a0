"""Makes anew what `tests/encoders/pixels.json` keeps: what image processors of transformers make of a picture.

    pip install -e ".[references]"
    python tools/build_pixel_references.py

A reference is what a repository says of itself in `config.json` and `preprocessor_config.json`, in as few words as may
be, so that what a processor does unasked shows, and the pixels that come out of the picture in
`tests/encoders/drawn.py`. Its center lies on a whole pixel of what it is brought to: transformers cuts out along whole
ones.
"""

from __future__ import annotations

import importlib.metadata
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import transformers
from PIL import Image

sys.path.insert(0, str(Path(__file__).parent.parent / "tests" / "encoders"))
from drawn import picture

KEPT = Path(__file__).parent.parent / "tests" / "encoders" / "pixels.json"
VIT = {"patch_size": 4}
SQUARE = {"size": {"height": 12, "width": 12}}
CUT_OUT = {"size": 16, "crop_size": 12, "do_center_crop": True}
# By the kind of processor: what the model says, what the processor is told.
TOLD: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "ViTImageProcessor": ({"model_type": "vit", **VIT}, {"size": 12}),
    "DeiTImageProcessor": ({"model_type": "deit", **VIT}, CUT_OUT),
    "BitImageProcessor": ({"model_type": "dinov2", **VIT}, {**CUT_OUT, "size": {"shortest_edge": 16}}),
    "DINOv3ViTImageProcessor": ({"model_type": "dinov3_vit", **VIT}, SQUARE),
    "CLIPImageProcessor": ({"model_type": "clip", "vision_config": VIT}, CUT_OUT),
    "SiglipImageProcessor": ({"model_type": "siglip", "vision_config": VIT}, SQUARE),
    "ConvNextImageProcessor": ({"model_type": "convnext"}, {"size": 14, "crop_pct": 0.875}),
}


def reference(kind: str) -> dict[str, Any]:
    """A reference as it is kept."""
    model, told = TOLD[kind]
    processor = getattr(transformers, kind)(**told, do_normalize=False, do_rescale=True)
    made = processor(images=Image.fromarray(picture()), return_tensors="np")["pixel_values"][0]
    return {
        "by": f"transformers {importlib.metadata.version('transformers')}",
        "config": model,
        "preprocessor": {"image_processor_type": kind, **told},
        "pixels": np.rint(255 * np.moveaxis(made, 0, -1)).astype(int).tolist(),
    }


def main() -> None:
    """Writes the references."""
    lines = ",\n".join(f"{json.dumps(kind)}: {json.dumps(reference(kind))}" for kind in TOLD)
    KEPT.write_text("{\n" + lines + "\n}\n")


if __name__ == "__main__":
    main()
