"""Features on random weights against those that timm, torchvision and transformers gave for the same weights.

`tools/build_encoder_references.py` makes the kept ones anew.
"""

import functools
import json
from pathlib import Path

import jax
import numpy as np
import pytest

from hypjax import encoders
from tests.encoders.drawn import drawn, images

REFERENCES = json.loads((Path(__file__).parent / "references.json").read_text())


@functools.cache
def compiled(encoder):
    """One program for all dialects of a network."""
    return jax.jit(encoder.apply)


@pytest.mark.slow
@pytest.mark.parametrize("name", REFERENCES)
def test_features_are_the_references(name, tmp_path):
    kept = REFERENCES[name]
    np.savez(tmp_path / "w.npz", **{tensor: drawn(tensor, shape) for tensor, shape in kept["shapes"].items()})
    encoder = encoders.create(kept["encoder"], **kept["sizes"])
    variables = encoders.load_weights(tmp_path / "w.npz", encoder, image_size=kept["image_size"])
    features = compiled(encoder)(variables, images(kept["image_size"], kept["image_size"]))
    np.testing.assert_allclose(features, kept["features"], atol=1e-4)
