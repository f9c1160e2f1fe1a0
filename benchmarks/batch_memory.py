"""Memory of the gradient of each pair loss over a global batch: the compiled program's own figures, nothing is run.

    python benchmarks/batch_memory.py                          # 8 pretended CPU devices
    python benchmarks/batch_memory.py --topology v5e:16x16     # a pod, compiled for by libtpu

Points [b, 128] of the ball are shared out over the devices; each loss is made in blocks of rows (`losses.in_blocks`),
as the trainer makes it where all pairs at once are too many. A column says how many MiB of main memory one device
needs besides its share of the points and of their gradient; what a TPU keeps in fast memory beside a core is not in it.
"""

import argparse
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from functools import partial

import jax
import jax.numpy as jnp

from hypjax import geometry, losses, mining
from hypjax.run.rehearsal import compiling, places
from hypjax.training import sharding

DEVICES = 8  # of CPU
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


def mib(loss: str, miner: str, batch: int, topology: str) -> float:
    """Temporaries of one device, in MiB: what the program takes beside its arguments and results."""
    mesh = places.topology_mesh(topology) if topology else places.claim_devices(DEVICES)
    rows = sharding.split(mesh)
    points = jax.ShapeDtypeStruct((batch, DIM), jnp.float32, sharding=rows)
    labels = jax.ShapeDtypeStruct((batch,), jnp.int32, sharding=rows)
    of_points = gradient(loss, miner, max(1, BLOCK // batch))

    def on_mesh(points: jax.Array, labels: jax.Array) -> jax.Array:
        with jax.sharding.use_abstract_mesh(mesh.abstract_mesh):  # as the trainer's step has it
            return of_points(points, labels)

    made = compiling.compiled(jax.jit(on_mesh, out_shardings=rows).lower(points, labels), ahead=bool(topology))
    assert made.buffers is not None
    return (made.buffers - (2 * DIM + 1) * 4 * batch // mesh.size) / 2**20


def row(loss: str, miner: str, batches: list[int], topology: str) -> Iterator[float]:
    """A row of the table, each figure by a process of its own: a compiler for TPUs can't be stopped otherwise."""
    for batch in batches:
        cell = [loss, miner, str(batch), topology]
        ended = subprocess.run(
            [sys.executable, __file__, "--cell", *cell], stdout=subprocess.PIPE, text=True, check=True
        )
        yield float(ended.stdout.split()[-1])


def main() -> None:
    """Prints a row for each loss and miner."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--topology", default="", help="of libtpu, for instance v5e:16x16; default: 8 CPU devices")
    parser.add_argument("--batches", default="1024,16384,65536")
    parser.add_argument("--losses", default=",".join(LOSSES))
    parser.add_argument("--miners", default="all,easy")
    parser.add_argument("--cell", nargs=argparse.REMAINDER, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.cell:
        loss, miner, batch, topology = options.cell
        print(mib(loss, miner, int(batch), topology), flush=True)
        os._exit(0)  # the compiler goes on to machine code
    batches = [int(b) for b in options.batches.split(",")]
    where = options.topology or f"{DEVICES} CPU devices"
    print(f"MiB of temporaries on each device of {where}, points [b, {DIM}]")
    print(f"{'loss':24}{'miner':10}" + "".join(f"b = {b:<12,}" for b in batches))
    for loss in options.losses.split(","):
        for miner in options.miners.split(","):
            print(f"{loss:24}{miner:10}", end="", flush=True)
            for found in row(loss, miner, batches, options.topology):
                print(f"{found:<16.1f}", end="", flush=True)
            print()


if __name__ == "__main__":
    main()
