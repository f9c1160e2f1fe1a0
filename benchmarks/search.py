"""Exact search beside FAISS, on the same arrays in one run.

    pip install "hypjax[search]"                # faiss-cpu
    python benchmarks/search.py --m 60502 --n 2048 --d 128

Clustered points of the ball search each other. FAISS takes the largest inner products of the lifted points in float32,
and that is all it does; hypjax returns the order of exact distances and the distances themselves: by an `Index` that is
kept, by `knn` as evaluation calls it, which lifts the gallery first, and of one query at a time, as a server does.
Plain is the matrix product and its maximum, without which nothing can do. Turns alternate, round by round, and the
table gives the best of each, which other programs on the machine disturb least.
"""

import argparse
import resource
import time
from collections.abc import Callable

import faiss
import jax
import jax.numpy as jnp
import numpy as np

from hypjax.geometry import Poincare
from hypjax.retrieval import Index, knn, lift_gallery, lift_queries


def embeddings(m: int, d: int, classes: int, space: Poincare, *, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Points of the ball and their classes: a direction for each, noise 0.8 times as long, radii 0.5 to 2.3."""
    rng = np.random.default_rng(seed)
    labels = np.concatenate([np.arange(classes), rng.integers(0, classes, m - classes)])
    x = rng.normal(size=(classes, d)).astype(np.float32)[labels] + 0.8 * rng.normal(size=(m, d)).astype(np.float32)
    x *= rng.uniform(0.5, 2.3, (m, 1)).astype(np.float32) / np.linalg.norm(x, axis=1, keepdims=True)
    return np.asarray(space.embed(jnp.asarray(x))), labels


def race(contestants: dict[str, Callable[[], object]], rounds: int) -> dict[str, float]:
    """The best time of each in seconds, after one turn that does not count."""
    best = dict.fromkeys(contestants, np.inf)
    for turn in range(rounds + 1):
        for name, run in contestants.items():
            start = time.perf_counter()
            run()
            if turn:
                best[name] = min(best[name], time.perf_counter() - start)
    return best


def main() -> None:
    """Races and prints a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--m", type=int, default=60502, help="points of the gallery")
    parser.add_argument("--n", type=int, default=2048, help="queries")
    parser.add_argument("--d", type=int, default=128)
    parser.add_argument("--rounds", type=int, default=10)
    args = parser.parse_args()
    space = Poincare(0.1)
    points, _ = embeddings(args.m, args.d, max(1, args.m // 5), space)
    queries, own = points[: args.n], np.arange(args.n)
    lifted, asking = lift_gallery(points, space), lift_queries(queries, space)
    flat = faiss.IndexFlatIP(lifted.shape[1])
    flat.add(lifted)
    index = Index(points, space)
    plain = jax.jit(lambda x, y: jnp.max(x @ y.T, axis=1))

    def maximum() -> None:
        for start in range(0, args.n, 128):
            plain(asking[start : start + 128], lifted).block_until_ready()

    print(f"{args.n:,} queries, {args.m:,} × {args.d} points; seconds, and times FAISS\n")
    print("| | " + " | ".join(("k = 10", "k = 1000", "one query, k = 10, ms")) + " |\n|---|---|---|---|")
    columns = []
    for k in (10, 1000):
        columns.append(
            race(
                {
                    "FAISS flat inner product": lambda k=k: flat.search(asking, k),
                    "`Index`": lambda k=k: index.search(queries, k, exclude=own),
                    "`knn`": lambda k=k: knn(queries, points, k=k, distance=space.pairwise_dist, exclude=own),
                    "plain": maximum,
                },
                args.rounds,
            )
        )
    single = race(
        {
            "FAISS flat inner product": lambda: flat.search(asking[:1], 10),
            "`Index`": lambda: index.search(queries[:1], 10, exclude=own[:1]),
        },
        10 * args.rounds,
    )
    columns.append({name: 1000 * seconds for name, seconds in single.items()})
    for name in columns[0]:
        cells = [
            f"{column[name]:.3g} ({column[name] / next(iter(column.values())):.2f}×)" if name in column else "–"
            for column in columns
        ]
        print(f"| {name} | " + " | ".join(cells) + " |")
    print(f"\npeak of memory: {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20:.2f} GiB")


if __name__ == "__main__":
    main()
