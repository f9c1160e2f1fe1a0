"""A whole evaluation from embeddings, beside those of other projects, on the same arrays, each in a process of its own.

    pip install "hypjax[benchmarks]"            # torch, pytorch-metric-learning and faiss-cpu
    python benchmarks/evaluation.py --m 60502 --classes 11316

Clustered points of the ball, as many as the test set of Stanford Online Products. hypjax computes recall to 1,000,
R-precision, MAP@R, NMI by k-means in the ball, and agreement with a hierarchy, by hyperbolic distances.
pytorch-metric-learning's AccuracyCalculator (FAISS under it) computes Recall@1, R-precision, MAP@R and NMI by Euclidean
ones. The evaluator of Hyp-ViT's authors has recall alone: the hyperbolic distances of all pairs, a row at a time, and a
partial sort; written anew in PyTorch with the same operations, and as it would take long, on the share of the queries
that the table names, its time multiplied.
"""

import argparse
import functools
import multiprocessing
import resource
import time
from collections.abc import Callable
from typing import Any

import numpy as np


def hypjax(points: np.ndarray, labels: np.ndarray) -> dict[str, float]:
    """All figures."""
    from hypjax.geometry import Poincare
    from hypjax.retrieval import retrieval_figures

    space, ks = Poincare(0.1), (1, 10, 100, 1000)
    ancestors = np.stack([np.arange(labels.max() + 1) // 12, np.arange(labels.max() + 1) // 144], axis=1)
    uncertainty = np.linalg.norm(points, axis=1)
    found = retrieval_figures(
        points,
        labels,
        distance=space.pairwise_dist,
        uncertainty=uncertainty,
        ancestors=ancestors,
        manifold=space,
        ks=[k for k in ks if k < len(points)],
    )
    return found.figures


def metric_learning(points: np.ndarray, labels: np.ndarray) -> dict[str, float]:
    """Its own figures."""
    import torch
    from pytorch_metric_learning.utils.accuracy_calculator import AccuracyCalculator

    names = ("precision_at_1", "r_precision", "mean_average_precision_at_r", "NMI")
    calculator = AccuracyCalculator(include=names, k="max_bin_count", device=torch.device("cpu"))
    return calculator.get_accuracy(torch.from_numpy(points), torch.from_numpy(labels))


def hyp_vit(points: np.ndarray, labels: np.ndarray, *, queries: int, c: float = 0.1, k: int = 1000) -> dict[str, float]:
    """Recall to k of the first queries, by Möbius additions a row at a time."""
    import torch

    x, classes = torch.from_numpy(points), torch.from_numpy(labels)
    square = (x * x).sum(-1)
    hits = 0
    for i in range(queries):
        inner = -(x @ x[i])
        top = (1 + 2 * c * inner + c * square)[:, None] * -x[i] + (1 - c * square[i]) * x
        below = 1 + 2 * c * inner + c * c * square[i] * square
        sum_norm = (top / below[:, None]).norm(dim=-1)
        distance = 2 / c**0.5 * torch.atanh((c**0.5 * sum_norm).clamp(max=1 - 1e-5))
        nearest = torch.topk(distance, min(k + 1, len(x)), largest=False)[1]
        hits += bool(classes[nearest[nearest != i][0]] == classes[i])
    return {"recall@1": hits / queries}


def measured(work: Callable[[np.ndarray, np.ndarray], dict[str, float]], file: str, sender: Any) -> None:
    """Runs one in this process and sends figures, seconds and its peak of memory in GiB."""
    with np.load(file) as held:
        points, labels = held["points"], held["labels"]
    start = time.perf_counter()
    figures = work(points, labels)
    seconds = time.perf_counter() - start
    sender.send((figures, seconds, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20))


def main() -> None:
    """Evaluates and prints a table."""
    import tempfile
    from pathlib import Path

    from search import embeddings

    from hypjax.geometry import Poincare

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--m", type=int, default=60502, help="images")
    parser.add_argument("--d", type=int, default=128)
    parser.add_argument("--classes", type=int, default=11316)
    parser.add_argument("--share", type=int, default=60, help="one of so many queries for the slowest")
    parser.add_argument("--only", default="", help="one of the names")
    args = parser.parse_args()
    points, labels = embeddings(args.m, args.d, args.classes, Poincare(0.1))
    queries = max(1, args.m // args.share)
    works = {
        "hypjax": (hypjax, 1.0),
        "pytorch-metric-learning": (metric_learning, 1.0),
        "Hyp-ViT's way": (functools.partial(hyp_vit, queries=queries), args.m / queries),
    }
    context = multiprocessing.get_context("spawn")
    print(f"{args.m:,} × {args.d} points of {args.classes:,} classes\n")
    print("| | seconds | peak GiB | figures |\n|---|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        file = str(Path(folder) / "arrays.npz")
        np.savez(file, points=points, labels=labels)
        for name, (work, times) in works.items():
            if args.only not in ("", name):
                continue
            receiver, sender = context.Pipe(duplex=False)
            process = context.Process(target=measured, args=(work, file, sender))
            process.start()
            sender.close()
            figures, seconds, peak = receiver.recv()
            process.join()
            told = ", ".join(f"{key} {value:.4f}" for key, value in figures.items())
            scaled = f" ({queries:,} queries, × {times:.0f})" if times > 1 else ""
            print(f"| {name} | {times * seconds:.0f}{scaled} | {peak:.2f} | {told} |", flush=True)


if __name__ == "__main__":
    main()
