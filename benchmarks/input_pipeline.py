"""Does the input keep up? Images decoded and augmented for each second of a core, beside what the train step consumes.

    python benchmarks/input_pipeline.py                     # photographs and emoji, and the steps that eat them
    python benchmarks/input_pipeline.py --no-steps          # the input alone, in seconds

The input is the real one: `hypjax.data.pipeline.train_batches` over image files and over the packaged emoji, decoded,
cropped and augmented as the recipes say. Photographs are made for the occasion, JPEG files of 500 × 375 pixels and
about 100 kB, smooth and rough like real ones; each is decoded anew every time, as with a data set that does not fit
into memory. Emoji are taken from memory, where training keeps them. The steps are the trainer's, compiled for the
devices that are there, on a batch that is there already; they do not depend on what the pixels show.

All contestants take turns, round by round, and the best round counts. Input is measured in seconds of processor time
over all threads, so that other programs on the machine disturb it little. *Cores to keep it busy* are the step's images
a second over those of a core. On a CPU the step takes the same cores; the last column says how many cores an
accelerator would need that takes 1,000 images a second.
"""

import argparse
import os
import platform
import tempfile
import time
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from hypjax.data.emoji import Emoji
from hypjax.data.folder import ImageFolder
from hypjax.data.pipeline import train_batches
from hypjax.data.sampling import ClassBalanced
from hypjax.data.source import Source
from hypjax.data.transforms import DRAWINGS, PHOTOGRAPHS, TrainTransform

WIDTH, HEIGHT, QUALITY = 500, 375, 88
CLASSES, IMAGES = 16, 6  # photographs: classes, and images of each


class Input(NamedTuple):
    """A kind of images and how training sees them.

    Attributes:
      source: where they are.
      transform: what makes a view of one.
      cache_bytes: of decoded images that are kept.
      batch: images of one.
    """

    source: Source
    transform: TrainTransform
    cache_bytes: int
    batch: int


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


def photograph(rng: np.random.Generator) -> Image.Image:
    """An image whose amplitudes fall as 1/f like a photograph's, with correlated channels and a little noise."""
    fy, fx = np.fft.fftfreq(HEIGHT)[:, None], np.fft.rfftfreq(WIDTH)[None]
    amplitude = 1 / np.maximum(np.hypot(fy, fx), 1 / WIDTH) ** 1.1
    layers = []
    for _ in range(4):
        phase = np.exp(2j * np.pi * rng.random(amplitude.shape))
        layer = np.fft.irfft2(amplitude * phase, (HEIGHT, WIDTH))
        layers.append(layer / layer.std())
    channels = np.stack([layers[0] + 0.35 * layer for layer in layers[1:]], axis=-1)
    pixels = 120 + 48 * channels + rng.normal(0, 4, channels.shape)
    return Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8))


def make_photographs(root: Path, *, classes: int = CLASSES, images: int = IMAGES) -> float:
    """Writes JPEG files into class folders, the same ones every time.

    Returns:
      The mean size of a file in bytes.
    """
    rng = np.random.default_rng(0)
    sizes = []
    for label in range(classes):
        folder = root / f"class {label:02d}"
        folder.mkdir()
        for index in range(images):
            path = folder / f"{index}.jpg"
            photograph(rng).save(path, quality=QUALITY)
            sizes.append(path.stat().st_size)
    return float(np.mean(sizes))


def load(given: Input, *, threads: int) -> Iterator[dict[str, np.ndarray]]:
    """Training batches of an input, without end."""
    classes = given.batch // 3
    sampler = ClassBalanced(given.source.labels, classes_per_batch=classes, samples_per_class=3, seed=0)
    return train_batches(given.source, sampler, given.transform, seed=0, threads=threads, cache_bytes=given.cache_bytes)


def processor_seconds(waiting: Iterator[dict[str, np.ndarray]], *, batches: int, ahead: int) -> float:
    """Processor time of this process, over all its threads, for each image of some batches.

    Args:
      waiting: training batches, some of them loaded ahead.
      batches: to be timed.
      ahead: batches that may be there already; as many are taken before the clock starts, so that they don't count.
    """
    for _ in range(ahead):
        next(waiting)
    start = time.process_time()
    images = sum(len(next(waiting)["image"]) for _ in range(batches))
    seconds = (time.process_time() - start) / images
    settle()
    return seconds


def settle() -> None:
    """Waits until nothing is loaded ahead any more, so that the next contestant has the processor for itself."""
    before = -1.0
    while time.process_time() - before > 0.002:
        before = time.process_time()
        time.sleep(0.1)


def inputs(photographs: Path) -> dict[str, Input]:
    """The contestants by name."""
    folder, emoji = ImageFolder(photographs), Emoji("train")
    return {
        "photographs, 224 px": Input(folder, TrainTransform(224, **PHOTOGRAPHS), 0, 48),
        "emoji, 64 px": Input(emoji, TrainTransform(64, **DRAWINGS), 2**30, 144),
    }


def measure_inputs(given: dict[str, Input], *, repeats: int, batches: int, threads: int) -> dict[str, float]:
    """Images for each second of a core, the best of several rounds in which all take turns."""
    best = dict.fromkeys(given, np.inf)
    waiting = {name: load(one, threads=threads) for name, one in given.items()}
    for name, one in given.items():
        # What fits into memory is there after the first epochs.
        for _ in range(2 * len(one.source) // one.batch if one.cache_bytes else 1):
            next(waiting[name])
    settle()
    for _ in range(repeats):
        for name in given:
            seconds = processor_seconds(waiting[name], batches=batches, ahead=threads + 2)
            best[name] = min(best[name], seconds)
    return {name: 1 / seconds for name, seconds in best.items()}


def measure_step(step: Step, *, repeats: int) -> float:
    """Images a second that the compiled train step takes on the devices that are there."""
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
    best = np.inf
    for turn in range(repeats + 1):
        start = time.perf_counter()
        state, metrics = function(state, shared, seed=0)
        jax.block_until_ready((state, metrics))
        if turn:  # the first one compiles
            best = min(best, time.perf_counter() - start)
    return images / best


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


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=5, help="rounds; the best counts")
    parser.add_argument("--batches", type=int, default=6, help="batches of a round")
    parser.add_argument("--threads", type=int, default=2, help="that load")
    parser.add_argument("--no-steps", action="store_true", help="measure the input alone")
    arguments = parser.parse_args()
    described = machine()
    with tempfile.TemporaryDirectory() as folder:
        size = make_photographs(Path(folder))
        contestants = inputs(Path(folder))
        rates = measure_inputs(
            contestants, repeats=arguments.repeats, batches=arguments.batches, threads=arguments.threads
        )
    steps = () if arguments.no_steps else STEPS
    consumed = {step.name: (step.eats, measure_step(step, repeats=arguments.repeats)) for step in steps}
    print(f"{described}.\nPhotographs: {WIDTH} × {HEIGHT} pixels, {size / 1000:.0f} kB. Best of {arguments.repeats}.\n")
    print("\n".join(table(rates, consumed)))


if __name__ == "__main__":
    main()
