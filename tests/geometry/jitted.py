"""The functions of a module, each compiled once instead of operation by operation."""

import types

import jax


def jitted(module):
    names = [name for name, f in vars(module).items() if callable(f) and not name.startswith("_")]
    return types.SimpleNamespace(**{name: jax.jit(getattr(module, name)) for name in names})
