"""Compiling quickly, for what is compiled only to be run once or twice."""

import contextlib
from unittest import mock

import jax

# JAX 0.9 can still emit fused loops the older way, which takes half the time; 0.12 cannot.
OLDER_EMITTER = jax.__version_info__ < (0, 10)
FLAGS = "--xla_cpu_use_fusion_emitters=false" if OLDER_EMITTER else ""
"""For a whole process, in `XLA_FLAGS`; beside `JAX_DISABLE_MOST_OPTIMIZATIONS`."""


@contextlib.contextmanager
def quickly():
    """Within it, this process compiles without most optimizations."""
    before = jax.config.values["jax_disable_most_optimizations"]
    jax.config.update("jax_disable_most_optimizations", True)
    try:
        with _older_emitter() if OLDER_EMITTER else contextlib.nullcontext():
            yield
    finally:
        jax.config.update("jax_disable_most_optimizations", before)


def _older_emitter():
    # Flags hold for a whole process, and options for one `jit`: for a part of a process there is no public way.
    from jax._src import compiler

    options_of = compiler.get_compile_options

    def get_compile_options(*args, env_options_overrides=None, **options):
        overrides = {"xla_cpu_use_fusion_emitters": False, **(env_options_overrides or {})}
        return options_of(*args, env_options_overrides=overrides, **options)

    return mock.patch.object(compiler, "get_compile_options", get_compile_options)
