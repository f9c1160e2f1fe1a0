"""Every test and doctest runs on eight fake CPU devices, with shapes and types checked."""

import atexit
import gc
import os
import shutil
import tempfile

os.environ.setdefault("JAX_PLATFORMS", "cpu")
os.environ.setdefault("MPLBACKEND", "agg")
# Workers share few cores. Threads of one that wait for each other spin on a core that another works on: small products
# of matrices took ten times as long.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
os.environ.setdefault("OMP_NUM_THREADS", "1")
# Programs that the tests start find hypjax's bytecode, though their environment may want none: half a second of each.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
# The workers, and the programs that the tests start, share what they compile; each session starts with nothing.
if "JAX_COMPILATION_CACHE_DIR" not in os.environ:
    os.environ["JAX_COMPILATION_CACHE_DIR"] = tempfile.mkdtemp(prefix="hypjax-compiled-")
    os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0.03"
    os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"  # older versions print an alarm for every program that they read back
    atexit.register(shutil.rmtree, os.environ["JAX_COMPILATION_CACHE_DIR"], ignore_errors=True)

import hypothesis
import jax
import jaxtyping

from tests import compiling

# Drawn examples are the same in every run: who changes nothing meets no new ones.
hypothesis.settings.register_profile("seeded", derandomize=True)
hypothesis.settings.load_profile("seeded")

# Importing JAX reads no flags yet. Eight devices share few cores: on a busy machine one of them waits for long.
os.environ["XLA_FLAGS"] = " ".join(
    [
        os.environ.get("XLA_FLAGS", ""),
        "--xla_force_host_platform_device_count=8",
        "--xla_cpu_collective_call_terminate_timeout_seconds=600",
        compiling.FLAGS,
    ]
)
jax.config.update("jax_numpy_rank_promotion", "raise")
# What only tracing and compiling cost: places for tracebacks, keeping what no other process asks for, and looking for
# garbage among the many small objects.
jax.config.update("jax_traceback_in_locations_limit", 0)
jax.config.update("jax_persistent_cache_min_compile_time_secs", 1.0)
gc.set_threshold(50_000, 10, 10)

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


LONGEST = ("test_programs", "test_resuming", "test_bad_input", "test_configs", "test_compare", "test_notebooks")


def pytest_sessionfinish():
    """Looks for garbage once; pytest would look five times more, among millions of objects."""
    gc.collect()
    gc.freeze()


def pytest_collection_modifyitems(items):
    """Whole programs come first: a worker that met one of them last would leave the other idle."""
    items.sort(key=lambda item: item.path.stem not in LONGEST)
