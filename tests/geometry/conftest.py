"""Points to test on, and both precisions."""

import jax
import numpy as np
import pytest


@pytest.fixture(params=[pytest.param("float32", marks=pytest.mark.slow), "float64"])
def dtype(request):
    """The dtype of the points; float64, where identities hold to nine digits, with JAX's 64-bit mode on."""
    with jax.enable_x64(request.param == "float64"):
        yield request.param


@pytest.fixture(params=[0, 1])
def seed(request):
    return request.param


@pytest.fixture(params=[0.1, 1.0, 2.5])
def c(request):
    return request.param


@pytest.fixture
def ball_points():
    """Points of the ball with distances to the origin spread evenly up to `reach`, in units of 1/√c."""

    def make(seed, n, d, *, c, dtype="float32", reach=4.0):
        rng = np.random.default_rng(seed)
        directions = rng.normal(size=(n, d))
        directions /= np.linalg.norm(directions, axis=1, keepdims=True)
        radii = np.tanh(rng.uniform(0, reach, size=(n, 1)) / 2) / np.sqrt(c)
        return jax.numpy.asarray((radii * directions).astype(dtype))

    return make


@pytest.fixture
def tolerance(dtype):
    return {"rtol": 3e-4, "atol": 3e-4} if dtype == "float32" else {"rtol": 1e-9, "atol": 1e-9}
