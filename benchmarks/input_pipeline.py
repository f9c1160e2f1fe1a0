"""Does the input keep up? Photographs a second that the loader makes of the cores it has, beside what they can decode.

    python benchmarks/input_pipeline.py                     # photographs by cores, emoji, and the steps that eat them
    python benchmarks/input_pipeline.py --no-steps          # the input alone, in minutes
    python benchmarks/input_pipeline.py --cores=1,8,64      # these numbers; by default powers of 2 and all

The input is the real one: `hypjax.data.pipeline.train_batches` over image files and over the packaged emoji, decoded,
cropped and augmented as the recipes say. Photographs are made for the occasion, JPEG files of 500 × 375 pixels and
about 100 kB, smooth and rough like real ones; each is decoded anew every time, as with a data set that does not fit
into memory. Emoji are taken from memory, where training keeps them.

Contestants for the photographs, each in processes that are held to so many cores: plain processes, one a core, that
decode and crop one image after the other and give it to nobody; the loader with a worker a core; the loader's threads;
Grain's own processes (`mp_prefetch`, of chunks of 12 images); PyTorch's DataLoader with the same function where it is
installed. They take turns, round by round, and the best round counts. Besides, processor time of all their processes
for each image, which other programs on the machine disturb less.

The steps are the trainer's, compiled for the devices that are there, on a batch that is there already. *Cores to keep
it busy* are the step's images a second over those of a core. What an H100 or a v5e would take is an estimate: the
operations that XLA counts in the step, over a share of the chip's published peak that is assumed to be reached.
"""

from __future__ import annotations

import argparse
import os
import platform
import tempfile
import time
from importlib import metadata
from pathlib import Path
from typing import NamedTuple

import numpy as np
from input_loaders import HEIGHT, WIDTH, contestants, make_photographs, turn

from hypjax.data.emoji import Emoji

PEAKS = {"H100": 989e12, "v5e": 197e12}  # bfloat16 operations a second, dense, as sold
REACHED = 0.4  # share of these that a step of ViT-S is assumed to reach


class Step(NamedTuple):
    """A train step to be kept busy.

    Attributes:
      name: for the table.
      eats: the input that it takes.
      arguments: behind a config's colon.
      classes: of its batch, three images of each.
    """

    name: str
    eats: str
    arguments: str
    classes: int


STEPS = (
    Step("EfficientNet-Lite0, last blocks trained", "emoji, 64 px", "", 48),
    Step("ViT-S/16", "photographs, 224 px", "encoder=vit_s16,data.image_size=224,data.eval_image_size=224", 4),
)


def measure(
    folder: Path, counts: list[int], *, repeats: int, seconds: float
) -> tuple[dict[int, dict[str, dict[str, float]]], float]:
    """By number of cores and contestant, the most images a second and the least processor time; and emoji a second."""
    names = [name for name in contestants(folder, 1) if name != "emoji"]
    best = {cores: {name: {"rate": 0.0, "milliseconds": np.inf} for name in names} for cores in counts}
    emoji = 0.0
    for _ in range(repeats):
        emoji = max(emoji, turn("emoji", 1, folder, seconds=seconds)["rate"])
        for cores in counts:
            for name in names:
                found, held = turn(name, cores, folder, seconds=seconds), best[cores][name]
                held["rate"] = max(held["rate"], found["rate"])
                held["milliseconds"] = min(held["milliseconds"], found["milliseconds"])
    return best, emoji


def table_of_cores(best: dict[int, dict[str, dict[str, float]]]) -> list[str]:
    """The Markdown table of photographs by cores: images a second, in parentheses processor milliseconds of each.

    Examples:
      >>> held = {"rate": 100.0, "milliseconds": 10.0}
      >>> print(*table_of_cores({1: {"bare": held, "loader": {"rate": 95.0, "milliseconds": 10.4}}}), sep=chr(10))
      | cores | bare | loader | loader : bare |
      |---|---|---|---|
      | 1 | 100 (10.0) | 95 (10.4) | 0.95 (0.96) |
    """
    names = list(next(iter(best.values())))
    lines = [f"| cores | {' | '.join(names)} | loader : bare |", "|---" * (len(names) + 2) + "|"]
    for cores, found in best.items():
        cells = [f"{found[name]['rate']:,.0f} ({found[name]['milliseconds']:.1f})" for name in names]
        rate = found["loader"]["rate"] / found["bare"]["rate"]
        time_ = found["bare"]["milliseconds"] / found["loader"]["milliseconds"]
        lines.append(f"| {cores} | {' | '.join(cells)} | {rate:.2f} ({time_:.2f}) |")
    return lines


def measure_step(step: Step, *, repeats: int) -> tuple[float, float]:
    """Images a second that the compiled train step takes on the devices that are there, and operations of each."""
    import jax
    import jax.numpy as jnp

    from hypjax.config import assembly, initialization, optimization
    from hypjax.config.settings import default_settings
    from hypjax.config.words import apply_arguments
    from hypjax.data.split import Splits
    from hypjax.training import sharding

    config = apply_arguments(default_settings(), step.arguments or None)
    emoji = Emoji("train")
    setup = assembly.assemble(config, Splits(emoji, emoji, emoji))
    mesh = sharding.data_mesh()
    images, size = 3 * step.classes, config.data.image_size
    rng = np.random.default_rng(0)
    labels = np.repeat(np.arange(step.classes, dtype=np.int32), 3)
    batch = {
        "image": rng.integers(0, 256, (images, size, size, 3), np.uint8),
        "label": labels,
        "index": labels,
        "level": np.zeros(images, np.float32),
        "valid": np.ones(images, bool),
    }
    # Numbers of any kind will do: small random ones neither vanish nor overflow on their way through the network.
    state = jax.tree.map(
        lambda leaf: (
            jnp.asarray(rng.normal(0, 0.05, leaf.shape) ** 2, leaf.dtype)
            if jnp.issubdtype(leaf.dtype, jnp.floating)
            else jnp.zeros(leaf.shape, leaf.dtype)
        ),
        initialization.abstract_state(config, setup),
    )
    state = jax.device_put(state, sharding.replicated(mesh))
    function, shared = optimization.create_step(config, setup, mesh), sharding.global_batch(batch, mesh)
    operations = function.lower(state, shared, seed=0).cost_analysis()["flops"] / images
    best = np.inf
    for number in range(repeats + 1):
        start = time.perf_counter()
        state, metrics = function(state, shared, seed=0)
        jax.block_until_ready((state, metrics))
        if number:  # the first one compiles
            best = min(best, time.perf_counter() - start)
    return images / best, operations


def table(rates: dict[str, float], consumed: dict[str, tuple[str, float]]) -> list[str]:
    """The Markdown table: what a core makes of each input, and how many a step, or 1,000 images a second, would need.

    Args:
      rates: images for each second of a core, by input.
      consumed: by step its input and the images a second that it takes.

    Examples:
      >>> print(*table({"jpeg": 200.0}, {"net": ("jpeg", 50.0)}), sep=chr(10))
      | input | images/s of a core | step | takes images/s | cores to keep it busy | cores for 1,000 images/s |
      |---|---|---|---|---|---|
      | jpeg | 200 | net | 50 | 0.25 | 5.0 |
    """
    heads = (
        "input",
        "images/s of a core",
        "step",
        "takes images/s",
        "cores to keep it busy",
        "cores for 1,000 images/s",
    )
    lines = [f"| {' | '.join(heads)} |", "|---" * len(heads) + "|"]
    for name, rate in rates.items():
        eaters = [(step, taken) for step, (eats, taken) in consumed.items() if eats == name]
        for step, taken in eaters or [("–", np.nan)]:
            cells = ("–", "–") if np.isnan(taken) else (f"{taken:.3g}", f"{taken / rate:.2g}")
            lines.append(f"| {name} | {rate:,.0f} | {step} | {cells[0]} | {cells[1]} | {1000 / rate:.1f} |")
    return lines


def machine() -> str:
    """One line on what this was measured with, and how busy it was with other things."""
    import jax

    load_average = f", load average {os.getloadavg()[0]:.1f} at the start" if hasattr(os, "getloadavg") else ""
    versions = [f"{name} {metadata.version(name)}" for name in ("jax", "pillow", "grain")]
    devices = f"{len(jax.devices())} {jax.devices()[0].device_kind} device(s), {os.cpu_count()} CPU cores"
    return f"{devices}, {platform.system()} {platform.machine()}, Python {platform.python_version()}, " + (
        ", ".join(versions) + load_average
    )


def counts_of(words: str) -> list[int]:
    """Numbers of cores: as given, or 1, 2, 4, … and all that there are."""
    most = len(os.sched_getaffinity(0))
    return sorted(
        {int(word) for word in words.split(",")} if words else {most, *(2**i for i in range(most.bit_length()))}
    )


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=5, help="rounds; the best counts")
    parser.add_argument("--seconds", type=float, default=4.0, help="of a round of a contestant")
    parser.add_argument("--cores", default="", help="numbers of cores, with commas between")
    parser.add_argument("--no-steps", action="store_true", help="measure the input alone")
    arguments = parser.parse_args()
    described = machine()
    with tempfile.TemporaryDirectory() as folder:
        size = make_photographs(Path(folder))
        counts = counts_of(arguments.cores)
        best, emoji = measure(Path(folder), counts, repeats=arguments.repeats, seconds=arguments.seconds)
    print(f"{described}.\nPhotographs: {WIDTH} × {HEIGHT} pixels, {size / 1000:.0f} kB. Best of {arguments.repeats}.\n")
    print("\n".join(table_of_cores(best)), flush=True)
    if arguments.no_steps:
        return
    steps = {step.name: (step.eats, *measure_step(step, repeats=arguments.repeats)) for step in STEPS}
    a_core = best[counts[0]]["loader"]["rate"] / counts[0]
    rates = {"photographs, 224 px": a_core, "emoji, 64 px": emoji}
    print("\n" + "\n".join(table(rates, {name: (eats, taken) for name, (eats, taken, _) in steps.items()})))
    operations = steps["ViT-S/16"][2]
    for chip, peak in PEAKS.items():
        needed = REACHED * peak / operations
        print(
            f"{chip}, estimated: {operations / 1e9:.1f} GFLOP an image at {REACHED:.0%} of {peak / 1e12:.0f} TFLOP/s "
            f"are {needed:,.0f} photographs/s, which take {needed / a_core:.0f} cores"
        )


if __name__ == "__main__":
    main()
