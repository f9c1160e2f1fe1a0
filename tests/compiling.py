"""Compiling quickly, for what is compiled only to be run once or twice, and fully, for what is about the program."""

import functools

import jax

# JAX 0.9 can still emit fused loops the older way, which takes half the time; 0.12 cannot.
OLDER_EMITTER = jax.__version_info__ < (0, 10)
QUICK = {
    "xla_backend_optimization_level": 0,
    "xla_llvm_disable_expensive_passes": True,
    "xla_cpu_parallel_codegen_split_count": 1,
} | ({"xla_cpu_use_fusion_emitters": False} if OLDER_EMITTER else {})
FLAGS = " ".join(f"--{name}={str(value).lower()}" for name, value in QUICK.items())
"""For a whole process, in `XLA_FLAGS`."""

fully = functools.partial(
    jax.jit,
    compiler_options={
        "xla_backend_optimization_level": 3,
        "xla_llvm_disable_expensive_passes": False,
        "xla_cpu_parallel_codegen_split_count": 32,
    }
    | ({"xla_cpu_use_fusion_emitters": True} if OLDER_EMITTER else {}),
)
"""`jax.jit` as users have it, in a process that has those flags; memory, planned before, is the same either way."""
