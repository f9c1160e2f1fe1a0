"""Compares whole encoders with references that `tools/build_encoder_references.py --full OUT` made.

python tools/compare_encoders.py OUT   # one line a reference: encoder, parameters, source, largest difference
"""

from __future__ import annotations

import json
import sys
import tempfile
import zipfile
from pathlib import Path

import jax
import numpy as np

from hypjax import encoders
from hypjax.encoders.vit import VisionTransformer

sys.path.insert(0, str(Path(__file__).parent.parent / "tests" / "encoders"))
from drawn import drawn, images


def compare(kept: dict) -> tuple[int, float, float]:
    """An encoder's parameters, the largest difference of a feature, and the largest feature."""
    size = kept["image_size"]
    encoder = encoders.create(kept["encoder"])
    if isinstance(encoder, VisionTransformer):
        encoder = encoder.clone(blocks="scanned")  # compiled in less time
    with tempfile.TemporaryDirectory() as folder:
        with zipfile.ZipFile(f"{folder}/w.npz", "w") as archive:
            for name, shape in kept["shapes"].items():  # one after another, as together they are large
                with archive.open(f"{name}.npy", "w", force_zip64=True) as file:
                    np.lib.format.write_array(file, drawn(name, shape))
        variables = encoders.load_weights(f"{folder}/w.npz", encoder, image_size=size)
    expected = np.array(kept["features"])
    features = np.asarray(jax.jit(encoder.apply)(variables, images(size, size)))
    count = sum(leaf.size for leaf in jax.tree.leaves(variables["params"]))
    return count, float(np.abs(features - expected).max()), float(np.abs(expected).max())


def main() -> None:
    """Prints a line for each reference that has none yet."""
    folder = Path(sys.argv[1])
    for path in sorted(folder.glob("*.json")):
        done = path.with_suffix(".compared")
        if done.exists():
            continue
        kept = json.loads(path.read_text())
        count, difference, largest = compare(kept)
        line = f"{path.stem} | {kept['encoder']} | {count} | {kept['by']} | {difference:.1e} | {largest:.1f}"
        done.write_text(line + "\n")
        print(line, flush=True)


if __name__ == "__main__":
    main()
