"""How long a folder or a listing of ten million pictures takes to open, and in how much memory.

    python benchmarks/many_files.py --work DIR [--rows 10000000] [--classes 100000]

Makes `DIR/photos`, a folder for each class, unless it is there: its pictures are one JPEG file of 64 x 48 pixels under
many names (hard links, so that ten million take no more than their names), and `DIR/photos.csv`, which lists them. Each
form is opened in a process of its own, by what `train` calls: the classes are divided, the digests taken by which a run
knows its data again, and the first batch of 180 pictures is decoded. Headers of a sample are looked at as it opens.
What was written just now the system holds in memory; on a cold disk names take longer.
"""

from __future__ import annotations

import argparse
import io
import itertools
import os
import resource
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

FORMS = ("photos", "photos.csv")


def make(work: Path, rows: int, classes: int) -> None:
    """Makes the folder and its listing."""
    from PIL import Image

    picture = io.BytesIO()
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (48, 64, 3), np.uint8)).save(picture, "jpeg")
    work.mkdir(parents=True, exist_ok=True)
    with (work / "photos.csv").open("w") as listing:
        listing.write("path,label,family\n")
        for label in range(classes):
            family, name = f"family {label % 100:02}", f"class {label:06}"
            folder = work / "photos" / family / name
            folder.mkdir(parents=True)
            first = folder / f"{name} 000000.jpg"
            first.write_bytes(picture.getvalue())
            for number in range(label, rows, classes):
                path = folder / f"{name} {number // classes:06}.jpg"
                if number != label:
                    os.link(first, path)
                listing.write(f"photos/{family}/{name}/{path.name},{name},{family}\n")


def opened(path: Path) -> None:
    """Opens it and says what each part took."""
    from hypjax.data import catalog
    from hypjax.data.pipeline import train_batches
    from hypjax.data.sampling import ClassBalanced
    from hypjax.data.source import digest
    from hypjax.data.transforms import TrainTransform

    began = [time.perf_counter()]
    splits = catalog.load("folder", directory=str(path))
    began.append(time.perf_counter())
    for part in splits:
        digest(part)
    began.append(time.perf_counter())
    sampler = ClassBalanced(splits.train.labels, classes_per_batch=60, samples_per_class=3, seed=0)
    batches = train_batches(splits.train, sampler, TrainTransform(64), seed=0)
    batch = next(batches)
    began.append(time.perf_counter())
    batches.close()
    spans = " | ".join(f"{later - earlier:.1f}" for earlier, later in itertools.pairwise(began))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    images = sum(map(len, splits))
    print(f"| {path.name} | {images:,} | {spans} | {began[-1] - began[0]:.1f} | {peak:.2f} |")
    assert len(batch["image"]) == 180


def main() -> None:
    """Makes what is to be opened, opens it and prints a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--rows", type=int, default=10_000_000)
    parser.add_argument("--classes", type=int, default=100_000)
    parser.add_argument("--open", choices=FORMS, help="open this form alone, which is there")
    chosen = parser.parse_args()
    if chosen.open:
        opened(chosen.work / chosen.open)
        return
    if not (chosen.work / "photos").exists():
        make(chosen.work, chosen.rows, chosen.classes)
    print("| form | pictures | opened, s | digests, s | first batch, s | all, s | peak, GiB |")
    print("|---|---|---|---|---|---|---|")
    for form in FORMS:
        sys.stdout.flush()
        subprocess.run([sys.executable, __file__, "--work", chosen.work, "--open", form], check=True)


if __name__ == "__main__":
    main()
