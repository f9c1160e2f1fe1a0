"""What loads photographs, each contestant's round in processes of its own; `input_pipeline.py` has them take turns."""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from importlib import util
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from hypjax.data.emoji import Emoji
from hypjax.data.folder import ImageFolder
from hypjax.data.transforms import DRAWINGS, PHOTOGRAPHS, TrainTransform
from hypjax.data.workers import Processes, Threads, Workers

WIDTH, HEIGHT, QUALITY = 500, 375, 88
CLASSES, IMAGES = 16, 6  # photographs: classes, and images of each


BATCH, CHUNK = 48, 12  # images of a batch, and of what Grain's processes load at a time


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


def bare(folder: Path) -> Iterator[int]:
    """Decodes and crops image after image; yields how many it made."""
    source, transform = ImageFolder(folder), TrainTransform(224, **PHOTOGRAPHS)
    while True:
        for index in range(len(source)):
            transform(source.image(index), np.random.default_rng(index))
            yield 1


def loaded(source: Any, transform: TrainTransform, workers: Workers, *, images: int = BATCH) -> Iterator[int]:
    """Takes training batches; yields how many images each has."""
    from hypjax.data.pipeline import train_batches
    from hypjax.data.sampling import ClassBalanced

    sampler = ClassBalanced(source.labels, classes_per_batch=images // 3, samples_per_class=3, seed=0)
    for batch in train_batches(source, sampler, transform, seed=0, workers=workers):
        yield len(batch["image"])


class Chunks:
    """Photographs as Grain's processes and PyTorch's load them, a few or one at a time."""

    def __init__(self, folder: Path, count: int) -> None:
        self.source, self.transform, self.count = ImageFolder(folder), TrainTransform(224, **PHOTOGRAPHS), count

    def __len__(self) -> int:
        return 10**9

    def __call__(self, number: int) -> np.ndarray:
        """Some views."""
        indices = [(number * self.count + i) % len(self.source) for i in range(self.count)]
        return np.stack([self.transform(self.source.image(i), np.random.default_rng(i)) for i in indices])

    def __getitem__(self, number: int) -> np.ndarray:
        """One view."""
        return self(number)[0]


def grain_processes(folder: Path, cores: int) -> Iterator[int]:
    """Batches by Grain's own processes."""
    from absl import flags
    from grain.multiprocessing import MultiprocessingOptions

    from hypjax.data.pipeline import grain

    flags.FLAGS(sys.argv[:1])
    chunks = grain.MapDataset.range(10**9).map(Chunks(folder, CHUNK))
    options = grain.ReadOptions(num_threads=0, prefetch_buffer_size=0)
    processes = MultiprocessingOptions(num_workers=cores, per_worker_buffer_size=4)
    batches = chunks.to_iter_dataset(options).mp_prefetch(processes).batch(BATCH // CHUNK, batch_fn=np.concatenate)
    return map(len, batches)


def torch_loader(folder: Path, cores: int) -> Iterator[int]:
    """Batches by PyTorch's DataLoader."""
    from torch.utils.data import DataLoader

    return map(len, DataLoader(Chunks(folder, 1), batch_size=BATCH, num_workers=cores, prefetch_factor=4))


def contestants(folder: Path, cores: int) -> dict[str, Callable[[], Iterator[int]]]:
    """The contestants by name."""
    view, drawing = TrainTransform(224, **PHOTOGRAPHS), TrainTransform(64, **DRAWINGS)
    found = {
        "bare": lambda: bare(folder),
        "loader": lambda: loaded(ImageFolder(folder), view, Processes(cores, cache_bytes=0)),
        "its threads": lambda: loaded(ImageFolder(folder), view, Threads(cores, cache_bytes=0)),
        "Grain's processes": lambda: grain_processes(folder, cores),
        "emoji": lambda: loaded(Emoji("train"), drawing, Threads(), images=144),
    }
    if util.find_spec("torch"):
        found["PyTorch's DataLoader"] = lambda: torch_loader(folder, cores)
    return found


def processor_seconds() -> float:
    """Of this process and its children so far."""
    total = time.process_time()
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = path.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[1]) == os.getpid():
            total += (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    return total


def timed(made: Iterator[int], *, seconds: float, warm: int, start: float) -> dict[str, float]:
    """Images a second and processor time of each, once `warm` are made and the clock shows `start`."""
    done = 0
    while done < warm:
        done += next(made)
    time.sleep(max(0.0, start - time.time()))
    if start:  # what was made ahead in the meantime does not count
        warm = 0
    begun, used, done = time.perf_counter(), processor_seconds(), 0
    while time.perf_counter() < begun + seconds:
        done += next(made)
    taken = time.perf_counter() - begun
    return {"rate": done / taken, "milliseconds": 1000 * (processor_seconds() - used) / done}


def turn(name: str, cores: int, folder: Path, *, seconds: float) -> dict[str, float]:
    """A contestant's round, in a process of its own that has so many cores; as many processes where it is bare."""
    start = time.time() + 5 if name == "bare" else 0.0
    command = [sys.executable, __file__, name, str(cores), str(folder), str(seconds), str(start)]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path), "OMP_NUM_THREADS": "1"}
    running = [
        subprocess.Popen(command, stdout=subprocess.PIPE, env=environment, text=True)
        for _ in range(cores if name == "bare" else 1)
    ]
    rounds = [json.loads(process.communicate()[0]) for process in running]
    return {"rate": sum(r["rate"] for r in rounds), "milliseconds": float(np.mean([r["milliseconds"] for r in rounds]))}


def take_turn() -> None:
    """What the process of a round does."""
    parser = argparse.ArgumentParser()
    for name, kind in (("name", str), ("cores", int), ("folder", Path), ("seconds", float), ("start", float)):
        parser.add_argument(name, type=kind)
    given = parser.parse_args()
    os.setpgrp()
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: given.cores])
    made = contestants(given.folder, given.cores)[given.name]()
    warm = {"bare": 8, "emoji": 2 * 3232}.get(given.name, BATCH * (3 + given.cores))
    print(json.dumps(timed(made, seconds=given.seconds, warm=warm, start=given.start)), flush=True)
    os.killpg(os.getpid(), signal.SIGKILL)  # whatever a contestant has to put away


if __name__ == "__main__":
    take_turn()
