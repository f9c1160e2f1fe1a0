"""Weights by name and shape, out of a seed: the same for whoever makes a reference and for the tests that use it."""

import math
import zlib

import numpy as np


def drawn(name, shape):
    """One tensor, of values that leave the activations of a deep network at their size."""
    shape = tuple(shape)
    if name.endswith("num_batches_tracked"):
        return np.zeros(shape, np.int64)
    generator = np.random.default_rng(zlib.crc32(name.encode()))
    values = generator.standard_normal(shape, np.float32)
    kind = name.replace("/", ".").rpartition(".")[2]
    if kind == "running_var":
        return 0.5 + np.abs(values)
    if kind in ("gamma", "lambda1", "layer_scale", "layer_scale_parameter", "gamma_1", "gamma_2"):
        return 0.2 + 0.05 * values
    if kind in ("weight", "scale") and len(shape) == 1:
        return 1 + 0.2 * values
    if kind == "kernel":  # as JAX has it, [..., in, out]
        return values / np.float32(math.sqrt(math.prod(shape[:-1])))
    if kind in ("weight", "in_proj_weight", "proj") and "position" not in name and len(shape) > 1:
        return values / np.float32(math.sqrt(math.prod(shape[1:])))
    return 0.2 * values


def images(height, width, count=2):
    """Normalized images, [count, height, width, 3]."""
    return np.random.default_rng(0).standard_normal((count, height, width, 3), np.float32)


def picture():
    """A picture of noise, [48, 24, 3], uint8."""
    return np.random.default_rng(0).integers(0, 256, (48, 24, 3), np.uint8)
