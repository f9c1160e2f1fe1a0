"""Memory of the gradient of each pair loss over a global batch: the compiled program's own figures, nothing is run.

    python benchmarks/batch_memory.py                          # 8 pretended CPU devices
    python benchmarks/batch_memory.py --topology v5e:16x16     # a pod, compiled for by libtpu

Points [b, 128] of the ball are shared out over the devices; each loss is made in blocks of rows (`losses.in_blocks`),
as the trainer makes it. A column says how many MiB one device needs besides the points it is given; `whole` is the
loss without blocks.
"""

import argparse
import os
from collections.abc import Callable
from functools import partial

os.environ["XLA_FLAGS"] = os.environ.get("XLA_FLAGS", "") + " --xla_force_host_platform_device_count=8"

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from hypjax import geometry, losses, mining

SPACE, DIM, BLOCK = geometry.Poincare(c=0.1), 128, 2**25
LOSSES: dict[str, Callable[..., losses.Terms]] = {
    "pairwise_cross_entropy": partial(losses.pairwise_cross_entropy, temperature=0.1),
    "nt_xent": partial(losses.nt_xent, temperature=0.1),
    "supcon": partial(losses.supcon, temperature=0.1),
    "contrastive": losses.contrastive,
    "triplet": losses.triplet,
    "margin": losses.margin,
    "multi_similarity": lambda distances, pairs: losses.multi_similarity(jnp.exp(-distances), pairs),
}
MINERS: dict[str, Callable[..., losses.Pairs]] = {
    "all": lambda distances, pairs: pairs,
    "easy": mining.easy_positive,
    "semi-hard": mining.semihard_negative,
}


def gradient(loss: str, miner: str, size: int) -> Callable[..., jax.Array]:
    """The gradient of a loss by its points, in blocks of `size` anchors."""

    def value(points: jax.Array, labels: jax.Array) -> jax.Array:
        ids = jnp.arange(len(labels))

        def terms(rows: tuple[jax.Array, ...]) -> losses.Terms:
            anchors, own, own_ids = rows
            distances = SPACE.pairwise_dist(anchors, points)
            pairs = losses.pairs(own, labels, ids=own_ids, reference_ids=ids)
            return LOSSES[loss](distances, MINERS[miner](distances, pairs))

        return losses.mean(losses.in_blocks(terms, (points, labels, ids), size=size))

    return jax.grad(value)


def mib(loss: str, miner: str, batch: int, mesh: Mesh, size: int) -> float:
    """Temporaries of one device, in MiB."""
    rows = NamedSharding(mesh, PartitionSpec("data"))
    points = jax.ShapeDtypeStruct((batch, DIM), jnp.float32, sharding=rows)
    labels = jax.ShapeDtypeStruct((batch,), jnp.int32, sharding=rows)
    compiled = jax.jit(gradient(loss, miner, size), out_shardings=rows).lower(points, labels).compile()
    return compiled.memory_analysis().temp_size_in_bytes / 2**20


def main() -> None:
    """Prints a row for each loss and miner."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--topology", default="", help="of libtpu, for instance v5e:16x16; default: 8 CPU devices")
    parser.add_argument("--batches", default="1024,4096,16384,65536")
    parser.add_argument("--losses", default=",".join(LOSSES))
    parser.add_argument("--miners", default="all,easy")
    options = parser.parse_args()
    devices = jax.devices()
    if options.topology:
        from jax.experimental import topologies

        described = topologies.get_topology_desc(platform="tpu", topology_name=options.topology)
        devices = list(np.ravel(described.devices))
    mesh = Mesh(np.array(devices), ("data",), axis_types=(AxisType.Auto,))
    batches = [int(b) for b in options.batches.split(",")]
    print(f"MiB of temporaries on each of {len(devices)} devices, points [b, {DIM}]")
    print(f"{'loss':24}{'miner':10}" + "".join(f"b = {b:<12,}" for b in batches) + f"whole, b = {batches[0]:,}")
    for loss in options.losses.split(","):
        for miner in options.miners.split(","):
            blocks = [mib(loss, miner, b, mesh, max(1, BLOCK // b)) for b in batches]
            whole = mib(loss, miner, batches[0], mesh, batches[0])
            print(f"{loss:24}{miner:10}" + "".join(f"{m:<16.1f}" for m in blocks) + f"{whole:.1f}", flush=True)


if __name__ == "__main__":
    main()
