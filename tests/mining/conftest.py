"""Batches for miners: distances full of ties, and labels with singletons, one class only or no positives."""

import numpy as np
import pytest

BATCHES = {
    "uneven classes": np.array([2, 0, 1, 0, 2, 2, 1, 0, 5]),
    "one class": np.zeros(9, int),
    "only singletons": np.arange(9),
    "one pair": np.array([0, 0, 1, 2, 3, 4, 5, 6, 7]),
}


@pytest.fixture(params=BATCHES)
def labels(request):
    return BATCHES[request.param]


@pytest.fixture
def distances():
    """Asymmetric and in steps of 0.25, so that many are equal and many lie exactly a margin apart."""
    return np.random.default_rng(0).integers(0, 12, size=(9, 9)).astype(np.float32) / 4
