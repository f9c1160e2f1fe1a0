"""Every test and doctest runs on eight fake CPU devices, with shapes and types checked."""

import os

os.environ.setdefault("JAX_PLATFORMS", "cpu")
os.environ["XLA_FLAGS"] = os.environ.get("XLA_FLAGS", "") + " --xla_force_host_platform_device_count=8"
os.environ.setdefault("MPLBACKEND", "agg")

import jax
import jaxtyping

jax.config.update("jax_numpy_rank_promotion", "raise")

jaxtyping.install_import_hook("hypjax", "beartype.beartype")
