"""One mesh axis, `data`, over all devices of all hosts; arrays are either split along it or whole on each device."""

from __future__ import annotations

import os

import jax
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from hypjax.data.errors import UsageError
from hypjax.retrieval import Shares

# A scheduler that starts several processes tells each of them how many there are.
_TASK_COUNTS = ("SLURM_NTASKS", "OMPI_COMM_WORLD_SIZE")


def initialize(coordinator: str | None, num_processes: int | None, process_id: int | None) -> None:
    """Joins this process to its peers, before anything else touches a device.

    Args:
      coordinator: `HOST:PORT` of process 0, or None to ask the launcher (TPU pod, SLURM, MPI), if any.
      num_processes: how many processes there are.
      process_id: which one this is, from 0.

    Raises:
      UsageError: only some of the three are given.
    """
    given = (coordinator is not None, num_processes is not None, process_id is not None)
    if any(given) and not all(given):
        raise UsageError("--coordinator, --num_processes and --process_id go together")
    if all(given):
        # Ignored where there are accelerators; without it CPU processes cannot talk to each other.
        jax.config.update("jax_cpu_collectives_implementation", "gloo")
        jax.distributed.initialize(coordinator, num_processes, process_id)
    elif _launched_by_scheduler():
        jax.distributed.initialize()


def _launched_by_scheduler() -> bool:
    hosts = os.environ.get("TPU_WORKER_HOSTNAMES", "")
    tasks = [os.environ.get(name, "1") for name in _TASK_COUNTS]
    return "," in hosts or any(task.isdigit() and int(task) > 1 for task in tasks)


def data_mesh(devices: list[jax.Device] | None = None) -> Mesh:
    """The mesh over all devices (of all hosts), its one axis named `data`."""
    devices = jax.devices() if devices is None else devices
    return jax.make_mesh((len(devices),), ("data",), axis_types=(AxisType.Auto,), devices=devices)


def replicated(mesh: Mesh) -> NamedSharding:
    """Whole on every device."""
    return NamedSharding(mesh, PartitionSpec())


def split(mesh: Mesh) -> NamedSharding:
    """The leading dimension shared out along `data`."""
    return NamedSharding(mesh, PartitionSpec("data"))


def global_batch(batch: dict[str, np.ndarray], mesh: Mesh) -> dict[str, jax.Array]:
    """Joins each process's slice of a batch to one array that spans the mesh.

    Args:
      batch: arrays [b / processes, ...], this process's contiguous slice.
      mesh: the data mesh.

    Returns:
      Arrays [b, ...], split along `data`.
    """
    return {
        name: jax.make_array_from_process_local_data(split(mesh), np.asarray(array)) for name, array in batch.items()
    }


def own_rows(array: jax.Array) -> np.ndarray:
    """The rows of an array, split along `data`, that lie on the devices of this process, in order."""
    parts = {shard.index[0].start or 0: shard.data for shard in array.addressable_shards}
    return np.concatenate([np.asarray(parts[start]) for start in sorted(parts)])


def allgather(own: np.ndarray) -> np.ndarray:
    """An array of each process, of equal shape and any type, to those of all of them [processes, ...]."""
    # As bytes: on its way JAX would make float32 of float64.
    sent = np.ascontiguousarray(own).reshape(-1).view(np.uint8)
    return np.asarray(multihost_utils.process_allgather(sent)).view(own.dtype).reshape(-1, *own.shape)


def shares(count: int, together: int) -> Shares:
    """Which process holds which of so many rows, that go through the processes in batches.

    Args:
      count: of rows.
      together: rows of a batch in one process.
    """
    processes = jax.process_count()
    if processes == 1:
        return Shares.whole(count)
    return Shares((np.arange(count) // together % processes).astype(np.int32), jax.process_index(), allgather)


def from_chief(value: np.ndarray) -> np.ndarray:
    """What process 0 found, on every process."""
    return value if jax.process_count() == 1 else np.asarray(multihost_utils.broadcast_one_to_all(value))


def shareable(batch: int, devices: int) -> int:
    """The size of a batch, rounded up to what so many devices can share.

    Examples:
      >>> shareable(128, 8), shareable(130, 8)
      (128, 136)
    """
    return -(-batch // devices) * devices


def require_divisible(batch: int, mesh: Mesh) -> None:
    """Checks that a batch can be shared out evenly.

    Raises:
      UsageError: it can't; says which sizes would do.
    """
    if batch % mesh.size:
        raise UsageError(
            f"a batch of {batch} images cannot be shared out over {mesh.size} devices; "
            f"make its size a multiple of {mesh.size}"
        )
