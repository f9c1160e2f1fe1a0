"""Approximate search beside the exact one and beside plain FAISS: speed, recall and memory.

    pip install "hypjax[search]"                                 # faiss-cpu
    python benchmarks/approximate.py --work DIR                  # one million × 128, half an hour, most of it HNSW
    python benchmarks/approximate.py --work DIR --m 100000       # a minute
    python benchmarks/approximate.py --vectors                   # what FAISS should compare

Points are made by `embeddings` in `benchmarks/search.py`: in the ball of curvature −0.1, classes of five, a random
direction for each and noise 0.8 times as long, radii drawn evenly. Some of them ask for the ten nearest but themselves.
The points lie in DIR and are mapped from there. Each index is made in a process of its own, which keeps it in DIR, and
searched in another. What is resident is told after the searches, and how much of it is no page of a file, which the
system could take back. Plain FAISS is the same index with the same effort, but for the exact distances at the end.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import faiss
import numpy as np
from search import embeddings

from hypjax.data.mapped import map_npy
from hypjax.geometry import Poincare
from hypjax.retrieval import ApproximateIndex, Index
from hypjax.retrieval.approximate import KINDS
from hypjax.retrieval.lift import flatten, lift

K, SPACE = 10, Poincare(0.1)
RADII = ((0.1, 0.5, 2.3), (1.0, 0.5, 2.3), (1.0, 2.0, 4.0), (1.0, 0.5, 5.5))  # c, lengths of tangent vectors


def memory() -> dict[str, int]:
    """MB that are resident, the part of them that is no page of a file, and the most there were."""
    lines = dict(line.split(":") for line in Path("/proc/self/status").read_text().splitlines())
    return {name: int(lines[name].split()[0]) * 1024 // 10**6 for name in ("VmRSS", "RssAnon", "VmHWM")}


def asked(work: Path, count: int) -> tuple[Any, np.ndarray]:
    """The gallery, mapped, and the rows of it that ask."""
    points = map_npy(work / "points.npy")
    return points, np.sort(np.random.default_rng(1).choice(len(points), count, replace=False))


def timed(search: Callable[[np.ndarray, np.ndarray], np.ndarray], points: Any, own: np.ndarray) -> dict[str, Any]:
    """Rows that are found, queries a second of all at once, the best of five, and milliseconds of one alone."""
    queries = points[own]
    found, seconds, alone = search(queries, own), [], []
    for _ in range(5):
        start = time.perf_counter()
        search(queries, own)
        seconds.append(time.perf_counter() - start)
    for i in range(50):
        start = time.perf_counter()
        search(queries[i : i + 1], own[i : i + 1])
        alone.append(time.perf_counter() - start)
    return {"found": found, "a_second": len(own) / min(seconds), "alone": 1000 * float(np.median(alone))}


def step(work: Path, name: str, count: int) -> dict[str, Any]:
    """What one process does."""
    points, own = asked(work, count)
    verb, kind = name.split()
    if verb == "exact":
        start = time.perf_counter()
        exact = Index(points[:], SPACE)
        told = {"build": time.perf_counter() - start}
        told |= timed(lambda queries, own: exact.search(queries, K, exclude=own).indices, points, own) | memory()
        np.save(work / "truth.npy", told.pop("found"))
        return told
    if verb == "make":
        start = time.perf_counter()
        index = ApproximateIndex(points, SPACE, kind=kind)
        seconds = time.perf_counter() - start
        with (work / f"index.{kind}").open("wb") as file:
            index.save(file)
        processor = time.process_time()  # of all threads, whatever else the machine did
        return {
            "build": seconds,
            "processor": processor,
            "effort": index.effort,
            "width": index.width,
            "told": index.recall,
        } | memory()
    with (work / f"index.{kind}").open("rb") as file:
        index = ApproximateIndex.load(file, points, SPACE)

    def plain(queries: np.ndarray, own: np.ndarray) -> np.ndarray:
        rows = index._faiss.search(index._vectors(queries), K + 1)[1]
        return np.take_along_axis(rows, np.argsort(rows == own[:, None], axis=1, kind="stable"), axis=1)[:, :K]

    def measured(queries: np.ndarray, own: np.ndarray) -> np.ndarray:
        return index.search(queries, K, exclude=own).indices

    told = timed(plain if verb == "plain" else measured, points, own) | memory()
    pairs = zip(told.pop("found"), np.load(work / "truth.npy"), strict=True)
    return told | {"recall": np.mean([len(np.intersect1d(a, b)) / K for a, b in pairs])}


def table(args: argparse.Namespace) -> None:
    """Makes, searches and prints what there is to say."""
    args.work.mkdir(parents=True, exist_ok=True)
    np.save(args.work / "points.npy", embeddings(args.m, args.d, max(1, args.m // 5), SPACE)[0])

    def run(name: str) -> dict[str, Any]:
        words = [sys.executable, __file__, "--work", str(args.work), "--n", str(args.n), "--step", name]
        passive = os.environ | {"OMP_WAIT_POLICY": "PASSIVE"}  # as `hypjax serve` has it: no thread waits by spinning
        return json.loads(subprocess.run(words, check=True, stdout=subprocess.PIPE, text=True, env=passive).stdout)

    def line(name: str, told: dict[str, Any], build: str, recall: float) -> None:
        speed = f"{told['a_second']:,.0f} | {told['alone']:.2f} ms | {recall:.3f}"
        print(f"| {name} | {build} | {speed} | {told['VmRSS']:,} MB | {told['RssAnon']:,} MB |", flush=True)

    print(f"{args.m:,} × {args.d}, {args.n:,} queries, k = {K}\n")
    print("| | made in | queries a second | one query | recall@10 | resident | of it no file |\n" + 7 * "|---" + "|")
    exact = run("exact -")
    line("exact `Index`", exact, f"{exact['build']:.0f} s", 1.0)
    notes = []
    for kind in KINDS:
        made = run(f"make {kind}")
        line(f"`{kind}`", told := run(f"search {kind}"), f"{made['build']:.0f} s", told["recall"])
        line("… plain FAISS", told := run(f"plain {kind}"), "", told["recall"])
        notes.append(
            f"{kind}: effort {made['effort']}, {made['width']} candidates a neighbor, recall {made['told']:.3f} when "
            f"it was made; that took {made['processor']:.0f} s of processors and {made['VmHWM']:,} MB at most"
        )
    print("\n" + "\n".join(notes))


def vectors() -> None:
    """The share of the ten nearest among a hundred that FAISS proposes, exactly or by a graph, for several vectors."""
    print("| vectors | search | " + " | ".join(f"c = {c}, ‖v‖ {low}–{high}" for c, low, high in RADII) + " |")
    print((2 + len(RADII)) * "|---" + "|")
    columns: dict[tuple[str, str], list[float]] = {}
    for c, low, high in RADII:
        space = Poincare(c)
        points = radii(embeddings(50_000, 64, 10_000, SPACE)[0], space, low, high)
        own = np.arange(300)
        truth = Index(points, space).search(points[own], K, exclude=own).indices
        scale, stretch, _ = flatten(points, space)
        ball = scale[:, None] * points
        length = np.linalg.norm(ball, axis=1, keepdims=True)
        sheet = lift(points, space)
        flipped = sheet * np.where(np.arange(sheet.shape[1]) == 0, -1, 1)
        compared = {
            "halfway": (ball / (1 + 1 / np.sqrt(stretch))[:, None],) * 2,
            "ball": (ball, ball),
            "tangent": (2 * np.arctanh(length) * ball / length,) * 2,
            "lifted, L2": (sheet, sheet),
            "lifted, inner product": (flipped, sheet),
        }
        for name, (asking, items) in compared.items():
            metric = faiss.METRIC_INNER_PRODUCT if "inner" in name else faiss.METRIC_L2
            for made, search in ((faiss.IndexFlat, "all"), (faiss.IndexHNSWFlat, "HNSW")):
                index = made(items.shape[1], *([32] if search == "HNSW" else []), metric)
                index.add(items.astype(np.float32))
                if search == "HNSW":
                    index.hnsw.efSearch = 256
                rows = index.search(asking[own].astype(np.float32), 100)[1]
                shares = [len(np.intersect1d(a, b)) / K for a, b in zip(rows, truth, strict=True)]
                columns.setdefault((name, search), []).append(float(np.mean(shares)))
    for (name, search), shares in columns.items():
        print(f"| {name} | {search} | " + " | ".join(f"{share:.3f}" for share in shares) + " |")


def radii(points: np.ndarray, space: Poincare, low: float, high: float) -> np.ndarray:
    """Points in the directions of these, at radii that are drawn anew."""
    lengths = np.random.default_rng(2).uniform(low, high, (len(points), 1))
    return np.asarray(
        space.embed((points * lengths / np.linalg.norm(points, axis=1, keepdims=True)).astype(np.float32))
    )


def main() -> None:
    """Reads the command line, and makes a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, help="a folder for points and indices")
    parser.add_argument("--m", type=int, default=1_000_000, help="points of the gallery")
    parser.add_argument("--n", type=int, default=1000, help="queries")
    parser.add_argument("--d", type=int, default=128)
    parser.add_argument("--vectors", action="store_true", help="compare what FAISS might be given")
    parser.add_argument("--step", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.vectors:
        vectors()
    elif args.step:
        told = step(args.work, args.step, args.n)
        print(json.dumps(told))
    elif args.work is None:
        parser.error("--work names a folder for points and indices")
    else:
        table(args)


if __name__ == "__main__":
    main()
