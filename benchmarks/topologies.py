"""Every method compiled for slices of TPUs that are not here: the tables of docs/topologies.md.

Run it with libtpu installed (`pip install 'hypjax[tpu]'`):

    python benchmarks/topologies.py                # what each step takes, laid out by the compiler
    python benchmarks/topologies.py --cycles       # its machine code too, for the methods and slices of the second table

Each cell is a process of its own. What it found is kept in `--rows`, so that the same command goes on where it was
stopped; a row of other versions of JAX, libtpu or hypjax's sources is made anew. The page is written after every cell.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib.metadata
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from hypjax.config import command_line

ROOT = Path(__file__).parents[1]
METHODS = {
    "Hyp-UML": "hyp_uml",
    "uncertainty margin": "hyp_uml:loss=uncertainty_margin",
    "Hyp-ViT": "hyp_vit",
    "HIER": "hier",
    "EPS": "eps",
    "GHM": "ghm",
}
ENCODERS = {"vit_s16": "ViT-S/16", "resnet50": "ResNet-50"}
SLICES = {"v5e:2x2": 4, "v5e:4x4": 16, "v5e:16x16": 256, "v4:2x2x4": 16, "v6e:4x4": 16}
EACH, SAMPLES = 64, 4  # images of a chip, and of a class
COUNTED = [("Hyp-ViT", encoder, place) for place in SLICES for encoder in ENCODERS]


def cells(*, cycles: bool) -> Iterator[tuple[str, str, str]]:
    """Method, encoder and slice of each row, the most telling first."""
    if cycles:
        yield from COUNTED
        return
    for place in ("v5e:4x4", "v5e:16x16", "v5e:2x2", "v6e:4x4", "v4:2x2x4"):
        for encoder in ENCODERS:
            yield from ((method, encoder, place) for method in METHODS)


def command(method: str, encoder: str, place: str, *, cycles: bool) -> list[str]:
    """What a user would type for a cell."""
    name, _, words = METHODS[method].partition(":")
    chosen = [words, "data=sop", f"encoder={encoder}", "encoder.dtype=bfloat16", f"dry.topology={place}"]
    chosen += [f"batch.classes={EACH * SLICES[place] // SAMPLES}", f"batch.samples_per_class={SAMPLES}"]
    chosen += ["dry.cycles=true"] * cycles
    return ["--config", f"{ROOT}/configs/{name}.py:{','.join(filter(None, chosen))}"]


def measured(words: list[str]) -> dict[str, object]:
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
        "seconds": found.seconds,
    }


def versions() -> str:
    """Of all that a row depends on."""
    sources = sorted([*ROOT.glob("hypjax/**/*.py"), *ROOT.glob("configs/*.py")])
    digest = hashlib.sha256(b"".join(source.read_bytes() for source in sources)).hexdigest()[:8]
    return f"jax {importlib.metadata.version('jax')}, libtpu {importlib.metadata.version('libtpu')}, sources {digest}"


def kept(path: Path) -> dict[str, dict[str, object]]:
    """Rows made earlier, by what they are of."""
    lines = path.read_text().splitlines() if path.exists() else []
    return {row["cell"]: row for row in map(json.loads, lines)}


def page(rows: dict[str, dict[str, object]]) -> str:
    """The page of both tables."""
    return "TODO"


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
            [sys.executable, __file__, "--cell", *words], env=environment, stdout=subprocess.PIPE, text=True, check=False
        )
        if ended.returncode:
            print(f"{cell}: failed with status {ended.returncode}", file=sys.stderr, flush=True)
            continue
        rows[cell] = {"cell": cell, "versions": now} | json.loads(ended.stdout.splitlines()[-1])
        with options.rows.open("a") as file:
            file.write(json.dumps(rows[cell]) + "\n")
        print(f"{cell}: {rows[cell].get('seconds', 0):.0f} s", flush=True)
        options.page.write_text(page(rows))


if __name__ == "__main__":
    main()
