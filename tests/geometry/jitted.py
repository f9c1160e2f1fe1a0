"""The functions of a module, each compiled once instead of operation by operation."""

import types

import jax
import numpy as np


def jitted(module):
    names = [name for name, f in vars(module).items() if callable(f) and not name.startswith("_")]
    return types.SimpleNamespace(**{name: jax.jit(getattr(module, name)) for name in names})


def agree(claims, *arguments, tolerance=1e-8):
    """That both of every two arrays which the function gives are close; all of them are one program."""
    for found, expected in jax.jit(claims)(*arguments):
        np.testing.assert_allclose(found, expected, rtol=tolerance, atol=tolerance)
