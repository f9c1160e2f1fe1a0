"""Every test and doctest runs on eight fake CPU devices, with shapes and types checked."""

import atexit
import os
import shutil
import tempfile

os.environ.setdefault("JAX_PLATFORMS", "cpu")
os.environ["XLA_FLAGS"] = os.environ.get("XLA_FLAGS", "") + " --xla_force_host_platform_device_count=8"
os.environ.setdefault("MPLBACKEND", "agg")
# The workers, and the programs that the tests start, share what they compile; each session starts with nothing.
if "JAX_COMPILATION_CACHE_DIR" not in os.environ:
    os.environ["JAX_COMPILATION_CACHE_DIR"] = tempfile.mkdtemp(prefix="hypjax-compiled-")
    os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0.03"
    os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"  # older versions print an alarm for every program that they read back
    atexit.register(shutil.rmtree, os.environ["JAX_COMPILATION_CACHE_DIR"], ignore_errors=True)

import jax
import jaxtyping

from tests import compiling

jax.config.update("jax_numpy_rank_promotion", "raise")

# Not `hypjax.training`: JAX rebuilds its containers with placeholders for leaves, which no type would admit.
CHECKED = [
    "hypjax.geometry",
    "hypjax.losses",
    "hypjax.mining",
    "hypjax.retrieval",
    "hypjax.encoders",
    "hypjax.data",
    "hypjax.show.plots",
]
jaxtyping.install_import_hook(CHECKED, "beartype.beartype")


LONGEST = ("test_programs", "test_configs", "test_compare", "test_notebooks")


def pytest_collection_modifyitems(items):
    """Whole programs come first: a worker that met one of them last would leave the other idle."""
    items.sort(key=lambda item: item.path.stem not in LONGEST)


def pytest_configure(config):
    """The quick lane spends half its time in XLA's compiler and goes without optimization.

    The whole suite has it, but where `quickly_compiled` is asked for (tests/conftest.py).
    """
    if config.option.markexpr == "not slow":
        os.environ["XLA_FLAGS"] += f" --xla_backend_optimization_level=0 {compiling.FLAGS}"
