"""What the tests of all losses share: points, distances in JAX and in NumPy, and gradients by finite differences."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from hypjax import geometry


@pytest.fixture
def float64():
    with jax.enable_x64(True):
        yield


def smooth(x, y):
    """A distance that is cheap to compile and has no kink where two points coincide."""
    return jnp.log1p(jnp.square(x[:, None] - y[None]).sum(-1)) / 0.3


def smooth_oracle(x, y):
    return np.log1p(np.sum((x[:, None] - y[None]) ** 2, axis=2)) / 0.3


def hyperbolic_oracle(x, y, c=0.7):
    gap_x, gap_y = (1 - c * np.sum(z**2, axis=1) for z in (x, y))
    ratio = c * np.sum((x[:, None] - y[None]) ** 2, axis=2) / (gap_x[:, None] * gap_y[None])
    return 2 / np.sqrt(c) * np.arcsinh(np.sqrt(ratio))


@pytest.fixture(scope="session")
def hyperbolic():
    """The Poincaré ball's distance, bound to a curvature, and the same in NumPy."""
    return jax.jit(geometry.Poincare(0.7).pairwise_dist), hyperbolic_oracle


@pytest.fixture
def distance():
    return smooth


@pytest.fixture
def oracle_distance():
    return smooth_oracle


@pytest.fixture
def points():
    """Makes n points of the ball of curvature −0.7, in NumPy float64."""

    def make(n, d=3, seed=0):
        v = np.random.default_rng(seed).normal(size=(n, d))
        norm = np.linalg.norm(v, axis=1, keepdims=True)
        return v / norm * np.tanh(0.4 * norm) / np.sqrt(0.7)

    return make


@pytest.fixture
def numeric_gradient():
    """Central differences of a NumPy function, an entry at a time."""

    def gradient(function, x, step=1e-5):
        x = np.array(x, np.float64)
        out = np.zeros_like(x)
        for index in np.ndindex(x.shape):
            shift = np.zeros_like(x)
            shift[index] = step
            out[index] = (function(x + shift) - function(x - shift)) / (2 * step)
        return out

    return gradient


@pytest.fixture
def uneven():
    """Weights [n, m] of both sides that are neither 0/1 nor symmetric, nor heed who is whose classmate."""

    def weights(n, m):
        grid = np.arange(n * m).reshape(n, m)
        return (grid % 3) / 2, (grid % 5) / 4

    return weights
