"""How large a database of images is, and how long embedding them should take: the tables of docs/database.md.

Run it with:

    python benchmarks/cluster_size.py

The first table is arithmetic. The second is an estimate, since no accelerator was at hand: operations of an image, as
XLA counts them, against what a chip is sold to do, at the share of it that such an encoder is taken to reach; and what
the host's cores decode, at the rate of one core in docs/many_devices.md. The lesser of both is expected.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import jax
import jax.numpy as jnp

from hypjax import encoders

FLOAT32, FLOAT16 = 4, 2  # bytes of a number
GRAPH = 136  # bytes of an image's links in HNSW with M = 16: 32 of 4 bytes, and a sixteenth of that above
COLUMNS = 112  # bytes: a path of 64, a label of 16, uncertainty, chance, size, time and lot
NODE, USABLE = 64e9, 0.7  # bytes of memory, and the share that data may take
CANDIDATES = 4 * (10 + 32)  # points that are read for ten answers under an approximate index
DECODED = 377  # JPEG photographs of 500 × 375 pixels that a core decodes in a second: benchmarks/input_pipeline.py


class Host(NamedTuple):
    """A machine to embed with.

    Attributes:
      name: of it.
      operations: that its chips do in a second, dense, bfloat16, as sold.
      cores: that decode, not threads, as clouds rent it.
    """

    name: str
    operations: float
    cores: int


class Encoder(NamedTuple):
    """An encoder.

    Attributes:
      name: of it.
      side: pixels.
      reached: the share of a chip's operations that it is taken to reach; small where kernels are depthwise.
    """

    name: str
    side: int
    reached: float


HOSTS = (Host("8 × H100", 8 * 989e12, 104), Host("v5e-8", 8 * 197e12, 112))
ENCODERS = (Encoder("efficientnet_lite0", 160, 0.05), Encoder("vit_s16", 224, 0.3))


def nodes(images: int, dims: int, width: int) -> int:
    """Nodes whose memory holds lifted vectors with numbers of so many bytes, and the graph of HNSW."""
    return max(1, -(-images * ((dims + 1) * width + GRAPH) // int(NODE * USABLE)))


def sizes() -> Iterator[str]:
    """The table of sizes, a line at a time."""
    yield (
        "| images | dimensions | lifted vectors, float32 | float16 | HNSW's graph | points, on disk | columns "
        "| nodes, float32 | float16 |"
    )
    yield "|" + "---|" * 9
    for images in (10**6, 10**8, 10**9):
        for dims in (64, 128, 256, 512):
            cells = (
                f"10{'⁶⁸⁹'[(10**6, 10**8, 10**9).index(images)]}",
                str(dims),
                *map(bytes_of, (images * (dims + 1) * FLOAT32, images * (dims + 1) * FLOAT16, images * GRAPH)),
                *map(bytes_of, (images * dims * FLOAT32, images * COLUMNS)),
                *(f"{nodes(images, dims, width):,}" for width in (FLOAT32, FLOAT16)),
            )
            yield f"| {' | '.join(cells)} |"


def bytes_of(count: float) -> str:
    """Bytes in MB, GB or TB, in three figures.

    >>> bytes_of(516e9), bytes_of(2.06e12), bytes_of(4.0)
    ('516 GB', '2.06 TB', '4e-06 MB')
    """
    for unit, size in (("TB", 1e12), ("GB", 1e9)):
        if count >= size:
            return f"{count / size:.3g} {unit}"
    return f"{count / 1e6:.3g} MB"


def operations(encoder: Encoder) -> float:
    """Floating-point operations of an image's features, as XLA counts them; to multiply and to add are two."""
    model = encoders.create(encoder.name)
    image = jax.ShapeDtypeStruct((1, encoder.side, encoder.side, 3), jnp.float32)
    variables = jax.eval_shape(lambda key, x: model.init(key, x, train=False), jax.random.key(0), image)
    lowered = jax.jit(lambda values, x: model.apply(values, x, train=False)).lower(variables, image)
    return float(lowered.cost_analysis()["flops"])


def rates() -> Iterator[str]:
    """The table of rates, a line at a time."""
    yield (
        "| host | encoder | operations of an image | reached | computes, images/s | decodes | expected | 10⁸ images "
        "| 10⁹ |"
    )
    yield "|" + "---|" * 9
    for host in HOSTS:
        for encoder in ENCODERS:
            each = operations(encoder)
            computed, decoded = host.operations * encoder.reached / each, float(host.cores * DECODED)
            expected = min(computed, decoded)
            hours = [f"{images / expected / 3600:.1f} h" for images in (10**8, 10**9)]
            cells = (
                host.name,
                f"{encoder.name}, {encoder.side} px",
                f"{each / 1e9:.2g} G",
                f"{encoder.reached:.0%}",
                *(f"{round(rate, -3):,.0f}" for rate in (computed, decoded, expected)),
                *hours,
            )
            yield f"| {' | '.join(cells)} |"


def main() -> None:
    """Prints both tables."""
    print(*sizes(), sep="\n", end="\n\n")
    print(f"ten answers read {CANDIDATES} points: {bytes_of(CANDIDATES * 128 * FLOAT32)} of 128 dimensions", end="\n\n")
    print(*rates(), sep="\n")


if __name__ == "__main__":
    main()
