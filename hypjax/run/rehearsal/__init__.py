"""A rehearsal: everything is built and compiled for a number of devices, nothing is read, trained or written.

`:dry` behind a config's colon prints what one wants to know before one books machines: parameters, memory of each
device, steps and images of an epoch, operations of a step, what crosses the network and how long a step takes at
least. `dry.topology` compiles for a slice of TPUs without having one. Of the benchmarks neither pictures nor weights
need be there: their published counts stand in for them.
"""

from __future__ import annotations

from jax.sharding import Mesh
from ml_collections import ConfigDict

from hypjax.data.errors import UsageError
from hypjax.run.rehearsal.fitting import smaller
from hypjax.run.rehearsal.measuring import Rehearsal, TooLarge, gib, measure
from hypjax.run.rehearsal.places import claim_devices, topology_mesh
from hypjax.run.rehearsal.telling import describe


def rehearse(config: ConfigDict) -> None:
    """Builds and compiles the job that settings describe, and prints what it takes.

    Raises:
      UsageError: settings that don't fit together, a batch that the devices can't share or whose step their memory
        doesn't hold, a topology that can't be compiled for.
      DataError: data that is missing, broken or too small, where it isn't one of the benchmarks.
    """
    if config.dry.topology and config.dry.devices:
        raise UsageError(f"dry.topology={config.dry.topology} says how many devices there are; leave dry.devices out")
    mesh = topology_mesh(config.dry.topology) if config.dry.topology else claim_devices(config.dry.devices)
    try:
        found = measure(config, mesh)
    except TooLarge as error:
        raise UsageError(f"{error}; {smaller(config, mesh, error)}") from None
    for line in describe(config, found):
        print(line)
