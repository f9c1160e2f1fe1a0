import json
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).parents[2]
for package in ("timm", "transformers"):  # of the extra `references`
    pytest.importorskip(package)


@pytest.mark.parametrize("name", ["dinov2_vits14/authors", "dinov3_vits16plus/transformers", "clip_vit_b16/authors"])
def test_the_kept_features_are_made_anew(name, monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "tools")
    import build_encoder_references

    kept = json.loads((ROOT / "tests" / "encoders" / "references.json").read_text())[name]
    made = build_encoder_references.reference(name, True)
    np.testing.assert_allclose(made["features"], kept["features"], atol=1e-5)
    assert made["shapes"] == kept["shapes"]


def test_the_kept_pixels_are_made_anew(monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "tools")
    import build_pixel_references

    kept = json.loads((ROOT / "tests" / "encoders" / "pixels.json").read_text())
    assert set(kept) == set(build_pixel_references.TOLD)
    for kind in kept:
        np.testing.assert_allclose(build_pixel_references.reference(kind)["pixels"], kept[kind]["pixels"], atol=1)
