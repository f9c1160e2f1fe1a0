"""One mesh axis, `data`, over all devices of all hosts; arrays are either split along it or whole on each device."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from hypjax.data.errors import UsageError
from hypjax.retrieval import Shares

_BLOCK = 2**25  # bytes that are sent at a time


def data_mesh(devices: list[jax.Device] | None = None) -> Mesh:
    """The mesh over all devices (of all hosts), its one axis named `data`."""
    devices = jax.devices() if devices is None else devices
    return jax.make_mesh((len(devices),), ("data",), axis_types=(AxisType.Auto,), devices=devices)


def place_among(mesh: Mesh) -> tuple[int, int]:
    """Which of the processes that have devices in a mesh this is, from 0, and how many they are."""
    processes = sorted({device.process_index for device in mesh.devices.flat})
    return processes.index(jax.process_index()), len(processes)


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
    # As bytes: on its way JAX would make float32 of float64. Of few sizes, each of which is compiled.
    octets: np.ndarray = np.ascontiguousarray(own).reshape(-1).view(np.uint8)
    sent = np.zeros(max(64, 1 << (len(octets) - 1).bit_length()), np.uint8)
    sent[: len(octets)] = octets
    received = np.asarray(multihost_utils.process_allgather(sent))[:, : len(octets)]
    return np.ascontiguousarray(received).view(own.dtype).reshape(len(received), *own.shape)


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


def put(tree: Any, where: NamedSharding) -> Any:
    """Host arrays that are the same on every process, laid whole onto devices; that they are is not looked at."""
    return jax.tree.map(lambda leaf: jax.make_array_from_process_local_data(where, np.asarray(leaf)), tree)


def replicate(tree: Any, mesh: Mesh) -> Any:
    """A tree of arrays as process 0 has it, bit by bit, whole on every device.

    Args:
      tree: of the same structure on every process, its arrays whole on each.
      mesh: whose devices.
    """
    if jax.process_count() == 1:
        return jax.device_put(tree, replicated(mesh))
    leaves, structure = jax.tree.flatten(tree)
    told = from_chief({f"{place:09d}": np.asarray(leaf) for place, leaf in enumerate(leaves)})
    return put(jax.tree.unflatten(structure, [told[place] for place in sorted(told)]), replicated(mesh))


def meet(mesh: Mesh) -> None:
    """Has all devices talk to each other, and processes, while all wait for it: who comes late later may be missed."""
    from_chief({})
    word = np.zeros(len(mesh.local_devices), np.int32)
    words = jax.make_array_from_process_local_data(split(mesh), word)
    jax.block_until_ready(jax.jit(lambda all_of_them: all_of_them, out_shardings=replicated(mesh))(words))


def from_chief(arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Arrays by name as process 0 has them, bit by bit, on every process.

    Args:
      arrays: of process 0; those of the others are not looked at.
    """
    words = json.dumps([(name, array.dtype.name, array.shape) for name, array in arrays.items()]).encode()
    octets: Any = [np.ascontiguousarray(array).reshape(-1).view(np.uint8) for array in arrays.values()]
    stream = np.concatenate([np.frombuffer(words, np.uint8), *octets])
    sizes = np.array([len(words), *divmod(len(stream), 2**30)], np.int32)
    head, *parts = multihost_utils.broadcast_one_to_all(sizes).tolist()
    size = parts[0] * 2**30 + parts[1]
    block = min(_BLOCK, max(4, 1 << (size - 1).bit_length()))  # of few sizes, each of which is compiled
    received = np.empty(-(-size // block) * block, np.uint8)
    for start in range(0, size, block):
        part = np.zeros(block, np.uint8)
        if jax.process_index() == 0:
            part[: len(stream[start : start + block])] = stream[start : start + block]
        # As integers, whose sum with zeros of the others is what they are.
        received[start : start + block] = np.asarray(multihost_utils.broadcast_one_to_all(part.view(np.int32))).view(
            np.uint8
        )
    whole, place = {}, head
    for name, dtype, shape in json.loads(received[:head].tobytes()):
        taken = math.prod(shape) * jnp.dtype(dtype).itemsize
        whole[name] = received[place : place + taken].copy().view(jnp.dtype(dtype)).reshape(shape)
        place += taken
    return whole


def shareable(batch: int, devices: int) -> int:
    """The size of a batch, rounded up to what so many devices can share.

    Examples:
      >>> shareable(128, 8), shareable(130, 8)
      (128, 136)
    """
    return -(-batch // devices) * devices


def shared(samples: int, devices: int, limit: int) -> list[int]:
    """Numbers of classes, at most `limit`, whose images so many devices share evenly.

    Examples:
      >>> shared(9, 8, 20)
      [8, 16]
    """
    return [n for n in range(1, limit + 1) if n * samples % devices == 0]


def require_shares(classes: int, samples: int, devices: int, *, limit: int) -> None:
    """Checks that a batch can be shared out evenly.

    Args:
      classes: of the batch.
      samples: images of each.
      devices: how many.
      limit: classes that there are.

    Raises:
      UsageError: it can't; names the nearest number of classes that would do.
    """
    if classes * samples % devices == 0:
        return
    nearest = min(shared(samples, devices, limit), key=lambda n: abs(n - classes), default=None)
    hint = "take fewer devices" if nearest is None else f"--config.batch.classes={nearest} makes it {nearest * samples}"
    raise UsageError(
        f"a batch of {classes * samples} images ({classes} classes of {samples}) cannot be shared out over {devices} "
        f"devices; {hint}"
    )
