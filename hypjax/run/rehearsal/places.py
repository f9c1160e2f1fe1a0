"""Devices to compile for: those that are there, pretended ones, or a TPU slice that is far away."""

from __future__ import annotations

import contextlib
import importlib.util
import os

import jax
from jax.experimental import topologies
from jax.sharding import Mesh

from hypjax.data.errors import UsageError
from hypjax.training import sharding

# Two cores of these work as one device, as they do where they are booked.
_MEGACORE = ("v4", "v5p")


def claim_devices(count: int) -> Mesh:
    """A mesh of so many devices: of those that are there, or else of as many CPU devices as are asked for.

    Args:
      count: how many; 0 for all there are.

    Raises:
      UsageError: a negative number, or JAX has started already with fewer devices.
    """
    if count < 0:
        raise UsageError(f"dry.devices must not be negative, but is {count}")
    if count:
        with contextlib.suppress(RuntimeError):  # too late, and perhaps needless: there may be as many
            jax.config.update("jax_num_cpu_devices", count)
    devices = jax.devices()
    if count > len(devices):
        devices = jax.devices("cpu")
    if count > len(devices):
        raise UsageError(f"JAX has started with {len(devices)} devices, which is too late to ask for {count}")
    return sharding.data_mesh(devices[: count or None])


def topology_mesh(name: str) -> Mesh:
    """A mesh of the chips of a TPU slice, which can be compiled for and no more.

    Args:
      name: of generation and shape, such as v5e:4x4 or v4:2x2x4.

    Raises:
      UsageError: libtpu is not installed, or knows no such slice.
    """
    if importlib.util.find_spec("libtpu") is None:
        raise UsageError(f"dry.topology={name} is compiled for by libtpu: pip install 'hypjax[tpu]'")
    # No chip is here: nobody is asked for one, over the network or in this machine.
    for variable, value in {
        "TPU_SKIP_MDS_QUERY": "1",
        "TPU_ACCELERATOR_TYPE": "v5litepod-4",
        "TPU_WORKER_HOSTNAMES": "localhost",
        "TPU_WORKER_ID": "0",
        "TPU_MIN_LOG_LEVEL": "3",
        "ALLOW_MULTIPLE_LIBTPU_LOAD": "1",  # several may compile at a time
    }.items():
        os.environ.setdefault(variable, value)
    jax.config.update("jax_platforms", "cpu")
    options = {"chip_config_name": "megacore"} if name.partition(":")[0] in _MEGACORE else {}
    try:
        found = topologies.get_topology_desc(platform="tpu", topology_name=name, **options)
    except Exception as error:  # of a type of its own in each release
        told = str(error).splitlines()[0].partition(": ")[2]
        raise UsageError(
            f"dry.topology={name} is no slice that libtpu knows, such as v5e:4x4 or v4:2x2x4: {told}"
        ) from None
    return sharding.data_mesh(list(found.devices))
