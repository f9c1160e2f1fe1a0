"""Every method compiled for slices of TPUs that are not here: the tables of docs/topologies.md.

Run it with libtpu installed (`pip install 'hypjax[tpu]'`):

    python benchmarks/topologies.py                # what each step takes, laid out by the compiler
    python benchmarks/topologies.py --cycles       # its machine code too, for the rows of the second table

Each cell is a process of its own. What it found is kept in `--rows`, so that the same command goes on where it was
stopped; a row of another version of JAX or libtpu is made anew. Delete that file where the step itself has changed.
The page is written after every cell.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import os
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from hypjax.config import command_line
from hypjax.run.rehearsal.chips import Times
from hypjax.run.rehearsal.collectives import FORBIDDEN
from hypjax.run.rehearsal.measuring import Memory

ROOT = Path(__file__).parents[1]
METHODS = {
    "Hyp-UML": "hyp_uml",
    "uncertainty margin": "hyp_uml:loss=uncertainty_margin",
    "Hyp-ViT": "hyp_vit",
    "HIER": "hier",
    "EPS": "eps",
    "GHM": "ghm",
    "known tree": "tree",
}
ENCODERS = {"vit_s16": "ViT-S/16", "resnet50": "ResNet-50"}
SLICES = {"v5e:2x2": 4, "v5e:4x4": 16, "v5e:16x16": 256, "v4:2x2x4": 16, "v6e:4x4": 16}
EACH, SAMPLES = 64, 4  # images of a chip, and of a class
HEADER = """# Slices of TPUs

What a step of each method takes on slices of TPUs, compiled for them without having one: `python
benchmarks/topologies.py` makes this page. Each chip has {each} images of 224 pixels, {samples} of a class, so that the
batch grows with the slice (16,384 images on 256 chips); data are those of SOP, by their counts; encoders compute in
bfloat16. Everything else is as [`dry`](many_devices.md#before-you-book-machines) finds it in a config. Nothing has
been run: no TPU was at hand.

The encoder is nearly all of a step: a loss, HIER's regularizer included, adds 1.4 ms to a part at the most. Main memory
is what a step waits for, and the network is busy for a sixth of it at the most, on 256 chips as on 4, so that more
chips take a larger batch in about the same time. A chip has room for several times as many images.

- **Memory** of a chip is state (parameters, averages, moments) + batch + temporaries, in GiB, without machine code. A
  v5e has 16, of which 15.75 are left to a program, v4 and v6e have 32.
- **At its peak** is how long a step takes by each part of the chip alone, in ms: products by the matrix unit, bytes by
  main memory, bytes by the network. The longest is the least that a step takes.
- **Sent** is what each chip sends in a step, in MiB. No image and no activation is among it; the images of one chip
  alone have 9 MiB.
- **Laid out in** is processor time in seconds, from Python's start until the compiler had laid out memory.
"""
_LAID_OUT = ["slice", "encoder", "method", "memory", "at its peak: matrix, memory, network", "limit", "sent: gradients"]
_LAID_OUT += ["embeddings", "labels and terms", "images, activations", "laid out in"]
_CYCLES = ["slice", "encoder", "method", "ms by cycles", "images/s, all chips", "of the matrix unit's peak", "limit"]
_CYCLES += ["machine code, MiB", "processor, s"]
LAID_OUT = f"| {' | '.join(_LAID_OUT)} |\n|{'---|' * len(_LAID_OUT)}"
COUNTED_HEADER = """The compiler leaves the cycles of most instructions beside its machine code. By these (copies that
run beside and the network have none) a step takes longer than any part at its peak: the vector unit and layouts have
their share.

"""
COUNTED_HEADER += f"| {' | '.join(_CYCLES)} |\n|{'---|' * len(_CYCLES)}"
COUNTED = [("Hyp-ViT", encoder, place) for place in SLICES for encoder in ENCODERS]


def cells(*, cycles: bool) -> Iterator[tuple[str, str, str]]:
    """Method, encoder and slice of each row; first one method everywhere and all methods in one place."""
    if cycles:
        yield from COUNTED
        return
    every = [(method, encoder, place) for encoder in ENCODERS for place in SLICES for method in METHODS]
    yield from sorted(every, key=lambda cell: (cell[0] != "Hyp-ViT", cell[2] != "v5e:4x4"))


def command(method: str, encoder: str, place: str, *, cycles: bool) -> list[str]:
    """What a user would type for a cell."""
    name, _, words = METHODS[method].partition(":")
    chosen = [words, "data=sop", f"encoder={encoder}", "encoder.dtype=bfloat16", f"dry.topology={place}"]
    chosen += [f"batch.classes={EACH * SLICES[place] // SAMPLES}", f"batch.samples_per_class={SAMPLES}"]
    chosen += ["dry.cycles=true"] * cycles
    return ["--config", f"{ROOT}/configs/{name}.py:{','.join(filter(None, chosen))}"]


def measured(words: list[str]) -> dict[str, Any]:
    """Compiles one cell in this process."""
    from absl import flags

    from hypjax.run import rehearsal

    values = flags.FlagValues()
    command_line.define_config(values)
    command_line.parse_flags(["", *words], values)
    try:
        found = rehearsal.measure(values.config, rehearsal.topology_mesh(values.config.dry.topology))
    except rehearsal.TooLarge as error:
        return {"refused": str(error)}
    assert found.times is not None
    sent: dict[str, float] = {}
    for transfer in found.transfers:
        sent[transfer.carries] = sent.get(transfer.carries, 0) + transfer.sent
    return {
        "images": found.images,
        "memory": found.memory._asdict(),
        "operations": found.operations,
        "times": found.times._asdict(),
        "limit": found.times.limit,
        "sent": sent,
        "processor": time.process_time(),
    }


def versions() -> str:
    """Whose rows these are."""
    found = {name: importlib.metadata.version(name) for name in ("jax", "libtpu")}
    return ", ".join(f"{name} {version}" for name, version in found.items())


def kept(path: Path) -> dict[str, dict[str, Any]]:
    """Rows made earlier, by what they are of."""
    lines = path.read_text().splitlines() if path.exists() else []
    return {row["cell"]: row for row in map(json.loads, lines)}


def page(rows: dict[str, dict[str, Any]]) -> str:
    """The page, of what there is of both tables."""
    laid_out = [(cell, rows[row]) for cell in cells(cycles=False) if (row := ", ".join(cell)) in rows]
    counted = [(cell, rows[row]) for cell in cells(cycles=True) if (row := ", ".join((*cell, "cycles"))) in rows]
    lines = [HEADER.format(each=EACH, samples=SAMPLES), LAID_OUT]
    lines += [" | ".join(("", *_named(cell), *_laid_out(row), "")).strip() for cell, row in laid_out]
    if counted:
        lines += ["", COUNTED_HEADER]
        lines += [" | ".join(("", *_named(cell), *_counted(row), "")).strip() for cell, row in counted]
    missing = sum(1 for _ in cells(cycles=False)) - len(laid_out)
    if missing:
        lines += ["", f"{missing} cells have not been compiled yet; the same command goes on with them."]
    made = sorted({row["versions"] for _, row in (*laid_out, *counted)})
    return "\n".join([*lines, "", f"Compiled with {'; '.join(made)}.", ""])


def _named(cell: tuple[str, str, str]) -> tuple[str, str, str]:
    method, encoder, place = cell
    return place, ENCODERS[encoder], method


def _laid_out(row: dict[str, Any]) -> list[str]:
    if "refused" in row:
        return [row["refused"], *[""] * 7]
    memory, sent = Memory(**row["memory"]), Counter(row["sent"])
    wrong = sum(sent.pop(name, 0) for name in FORBIDDEN)
    gradients, embeddings = sent.pop("gradients", 0), sent.pop("embeddings", 0)
    times = Times(**row["times"])
    return [
        f"{memory.total / 2**30:.2f} = {memory.state / 2**30:.2f} + {memory.batch / 2**30:.2f} + "
        f"{(memory.temporaries or 0) / 2**30:.2f}",
        f"{1e3 * times.matrix:.1f}, {1e3 * times.memory:.1f}, {1e3 * times.network:.1f}",
        times.limit,
        *(f"{size / 2**20:.1f}" for size in (gradients, embeddings, sum(sent.values()), wrong)),
        f"{row['processor']:.0f}",
    ]


def _counted(row: dict[str, Any]) -> list[str]:
    times, memory = Times(**row["times"]), Memory(**row["memory"])
    share = times.matrix / times.estimate
    rate = f"{row['images'] / times.estimate:,.0f}"
    counted = f"{1e3 * times.counted:.1f}" if times.counted else "clock unknown"
    return [counted, rate, f"{share:.0%}", times.limit, f"{memory.program / 2**20:.0f}", f"{row['processor']:.0f}"]


def main() -> None:
    """Makes what is missing, one cell after the other."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cycles", action="store_true", help="wait for machine code, a minute or more a cell")
    parser.add_argument("--rows", type=Path, default=Path("runs/topologies.jsonl"), help="what was found so far")
    parser.add_argument("--page", type=Path, default=ROOT / "docs/topologies.md")
    parser.add_argument("--cell", nargs=argparse.REMAINDER, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.cell:
        print(json.dumps(measured(options.cell)), flush=True)
        os._exit(0)  # the compiler goes on to machine code
    options.rows.parent.mkdir(parents=True, exist_ok=True)
    rows, now = kept(options.rows), versions()
    # What an earlier process compiled would be there at once.
    environment = os.environ | {"JAX_ENABLE_COMPILATION_CACHE": "false", "JAX_PLATFORMS": "cpu"}
    for method, encoder, place in cells(cycles=options.cycles):
        cell = f"{method}, {encoder}, {place}" + ", cycles" * options.cycles
        if rows.get(cell, {}).get("versions") == now:
            continue
        words = command(method, encoder, place, cycles=options.cycles)
        ended = subprocess.run(
            [sys.executable, __file__, "--cell", *words],
            env=environment,
            stdout=subprocess.PIPE,
            text=True,
            check=False,
        )
        if ended.returncode:
            print(f"{cell}: failed with status {ended.returncode}", file=sys.stderr, flush=True)
            continue
        rows[cell] = {"cell": cell, "versions": now} | json.loads(ended.stdout.splitlines()[-1])
        with options.rows.open("a") as file:
            file.write(json.dumps(rows[cell]) + "\n")
        print(f"{cell}: {rows[cell].get('processor', 0):.0f} s of processor time", flush=True)
        options.page.write_text(page(rows))


if __name__ == "__main__":
    main()
