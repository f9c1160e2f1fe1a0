"""A server under load, hostile requests and slow connections: `python benchmarks/serving.py --workdir runs/hyp_uml`.

The run is one on pictures, such as the README's first command leaves. Its index is made here: 100,000 points of the
run's space in 1,000 clusters. Clients, server and all run on this machine.
"""

from __future__ import annotations

import argparse
import asyncio
import io
import os
import re
import resource
import subprocess
import sys
import tempfile
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # see hypjax/__init__.py

import numpy as np
from PIL import Image
from serving_clients import Load, ask, form, hostile, load, slow

from hypjax import geometry
from hypjax.data.emoji import Emoji
from hypjax.data.unlabeled import Picture
from hypjax.run import Run, trained
from hypjax.stores import calibrations, embeddings
from hypjax.stores.embeddings import Embeddings


def make_index(workdir: Path, out: Path, count: int, clusters: int, *, calibrated: bool) -> None:
    """Writes an index of points in clusters: of tangent vectors, centers are N(0, 1/d) and points N(center, 1/4d).

    Args:
      workdir: of the run whose space it is.
      out: where it goes.
      count: points.
      clusters: how many of them lie around one center each, as classes do.
      calibrated: whether it is calibrated too.
    """
    model = trained.load(Run.open(workdir))
    about = trained.describe(model, out.parent)
    rng, d = np.random.default_rng(0), model.config.head.dim
    centers = rng.normal(0, d**-0.5, (clusters, d))
    cluster = np.arange(count) % clusters
    tangent = (centers[cluster] + rng.normal(0, 0.5 * d**-0.5, (count, d))).astype(np.float32)
    points = np.asarray(geometry.named(about["geometry"], about["curvature"]).embed(tangent))
    pictures = [Picture(f"class {label:05d}/{row:07d}.jpg", 1, 1) for row, label in enumerate(cluster.tolist())]
    uncertainty = rng.uniform(0.1, 0.9, count).astype(np.float32)
    held = Embeddings(points, uncertainty, pictures, [], about)
    embeddings.write(out, held)
    if calibrated:
        from hypjax.calibrate import folders

        made = calibrations.make(out, held, folders(out, [picture.path for picture in pictures]))
        calibrations.write(calibrations.place(out), made)


def queries(side: int, count: int = 64) -> list[bytes]:
    """Forms with JPEG files of drawings, square, of so many pixels a side."""
    emoji, made = Emoji("test"), []
    for row in np.linspace(0, len(emoji) - 1, count).astype(int):
        file = io.BytesIO()
        Image.fromarray(emoji.image(int(row))).resize((side, side)).save(file, "JPEG", quality=90)
        made.append(form(file.getvalue(), k=10))
    return made


def memory(port: int) -> float:
    """Of the server, in MB."""
    text = ask(port, "GET", "/metrics", None, {})[1].decode()
    found = re.search(r"^process_resident_memory_bytes (\S+)$", text, re.MULTILINE)
    return float(found[1]) / 1e6 if found else float("nan")


def row_of(clients: int, met: Load, port: int) -> str:
    """A line of the table."""
    p50, p90, p99 = (1e3 * met.seconds[int(share * (len(met.seconds) - 1))] for share in (0.5, 0.9, 0.99))
    errors = sum(count for status, count in met.statuses.items() if status != 200)
    rate = met.statuses[200] / met.lasted
    return f"| {clients} | {p50:.0f} | {p90:.0f} | {p99:.0f} | {rate:.0f} | {errors} | {memory(port):.0f} |"


def measure(port: int, arguments: argparse.Namespace) -> None:
    """Asks the server and prints the tables."""
    bodies = queries(arguments.side)
    load_before = os.getloadavg()[0]
    print(f"\nload average {load_before:.1f} before; memory of the server: {memory(port):.0f} MB\n")
    print("| clients | median ms | p90 ms | p99 ms | answers/s | errors | memory MB |\n|---|---|---|---|---|---|---|")
    for clients in arguments.clients:
        print(row_of(clients, load(port, bodies, clients, arguments.seconds), port), flush=True)
    print("\n| hostile request | status | answer |\n|---|---|---|")
    for name, status, line in hostile(port):
        print(f"| {name} | {status} | {line} |", flush=True)
    closed, told, took = asyncio.run(slow(port, arguments.slow, 30, bodies[0]))
    words = ", ".join(f"{count} × {what}" for what, count in sorted(told.items()))
    print(
        f"\n{arguments.slow:,} connections of a byte a second: {words}; the last closed after {closed[-1]:.1f} s; "
        f"a search took {1e3 * np.median(took):.0f} ms meanwhile, {1e3 * max(took):.0f} ms at most"
    )
    status, _ = ask(port, "POST", "/search", bodies[0])
    print(f"a search after all that: {status}; memory of the server: {memory(port):.0f} MB")


def main() -> None:
    """Makes the index, starts the server, and measures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--workdir", type=Path, required=True)
    parser.add_argument("--points", type=int, default=100_000)
    parser.add_argument("--clusters", type=int, default=1_000)
    parser.add_argument("--calibrated", action="store_true", help="calibrate the index first")
    parser.add_argument("--seconds", type=float, default=60.0, help="for each number of clients")
    parser.add_argument("--clients", type=int, nargs="+", default=[1, 8, 50])
    parser.add_argument("--side", type=int, default=512, help="pixels of an uploaded picture")
    parser.add_argument("--slow", type=int, default=1_000, help="connections that send a byte a second")
    arguments = parser.parse_args()
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 4096) if hard > 0 else 4096, hard))
    with tempfile.TemporaryDirectory() as folder:
        index = Path(folder) / "index.npz"
        make_index(arguments.workdir, index, arguments.points, arguments.clusters, calibrated=arguments.calibrated)
        words = ["--workdir", arguments.workdir, "--index", index, "--port=0"]
        command = [sys.executable, "-m", "hypjax.serve", *map(str, words)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
            try:
                told = server.stdout.readline() if server.stdout else ""
                print(told.strip())
                found = re.search(r"http://127\.0\.0\.1:(\d+)/", told)
                if found:
                    measure(int(found[1]), arguments)
            finally:
                server.terminate()


if __name__ == "__main__":
    main()
