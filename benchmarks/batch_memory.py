"""Memory of the gradient of each pair loss over a global batch: the compiled program's own figures, nothing is run.

    python benchmarks/batch_memory.py                          # 8 pretended CPU devices
    python benchmarks/batch_memory.py --topology v5e:16x16     # a pod, compiled for by libtpu

Tangent vectors [b, 128] are shared out over the devices and become points of the ball, which the trainer's objective
compares, all pairs at once or in blocks of rows where that is too much. A column says how many MiB of main memory one
device needs besides its share of the vectors and of their gradient; what a TPU keeps in the fast memory beside a core
is not in it.
"""

import argparse
import os
import subprocess
import sys
from collections.abc import Callable, Iterator

import jax
import jax.numpy as jnp

from hypjax.config.settings import default_settings
from hypjax.encoders.model import ModelOutput
from hypjax.run.rehearsal import compiling, places
from hypjax.training import sharding
from hypjax.training.objective import create_objective
from hypjax.training.space import create_space

DEVICES = 8  # of CPU
DIM = 128
SPACE = create_space("poincare", c=0.1, distance="geodesic", uncertainty="radius", clip_radius=2.3)
LOSSES = "pairwise_cross_entropy,nt_xent,supcon,contrastive,triplet,margin,multi_similarity"


def gradient(loss: str, miner: str) -> Callable[..., jax.Array]:
    """The gradient of the trainer's objective by its tangent vectors."""
    objective = create_objective(
        lambda params: SPACE, loss, miner=miner, samples_per_class=4, settings=default_settings().loss.to_dict()
    )
    return jax.grad(lambda tangent, labels: objective(ModelOutput(tangent, tangent, None), labels)[0])


def mib(loss: str, miner: str, batch: int, topology: str) -> float:
    """Temporaries of one device, in MiB: what the program takes beside its arguments and results."""
    mesh = places.topology_mesh(topology) if topology else places.claim_devices(DEVICES)
    rows = sharding.split(mesh)
    tangent = jax.ShapeDtypeStruct((batch, DIM), jnp.float32, sharding=rows)
    labels = jax.ShapeDtypeStruct((batch,), jnp.int32, sharding=rows)
    by_tangent = gradient(loss, miner)

    def on_mesh(tangent: jax.Array, labels: jax.Array) -> jax.Array:
        with jax.sharding.use_abstract_mesh(mesh.abstract_mesh):  # as the trainer's step has it
            return by_tangent(tangent, labels)

    made = compiling.compiled(jax.jit(on_mesh, out_shardings=rows).lower(tangent, labels), ahead=bool(topology))
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
    parser.add_argument("--losses", default=LOSSES)
    parser.add_argument("--miners", default="all,easy_positive")
    parser.add_argument("--cell", nargs=argparse.REMAINDER, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.cell:
        loss, miner, batch, topology = options.cell
        print(mib(loss, miner, int(batch), topology), flush=True)
        os._exit(0)  # the compiler goes on to machine code
    batches = [int(b) for b in options.batches.split(",")]
    where = options.topology or f"{DEVICES} CPU devices"
    print(f"MiB of temporaries on each device of {where}, vectors [b, {DIM}]")
    print(f"{'loss':24}{'miner':16}" + "".join(f"b = {b:<12,}" for b in batches))
    for loss in options.losses.split(","):
        for miner in options.miners.split(","):
            print(f"{loss:24}{miner:16}", end="", flush=True)
            for found in row(loss, miner, batches, options.topology):
                print(f"{found:<16.1f}", end="", flush=True)
            print()


if __name__ == "__main__":
    main()
