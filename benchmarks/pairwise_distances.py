"""All-pairs hyperbolic distances: hypjax beside geoopt (PyTorch) and hyperbolix (JAX), in one run.

    pip install "hypjax[benchmarks]"            # geoopt and torch
    pip install hyperbolix                      # needs Python 3.12 or newer
    python benchmarks/pairwise_distances.py --n 1024 --d 128

Every contestant gets the same float32 points of the Poincaré ball (c = 1, distances to the origin up to 4, each
point with a neighbor 0.1 away) and computes

    forward    the n × n matrix of distances
    gradient   value and gradient of the mean over rows of logsumexp(−d/0.2), diagonal left out

in turns of at least 0.2 seconds, round by round; the table gives the best time, which other programs on the
machine disturb least. Memory is how far the resident set of a fresh process rises at its peak while it computes
the gradient once, after compiling (Linux's VmHWM, reset just before); the second figure is the temporary memory
that XLA itself states for the compiled program. The error is the largest relative one against float64 on the same
points, over pairs at least 0.09 apart. Ratios are to the first row.
"""

import argparse
import os
import platform
import subprocess
import sys
import time
from collections.abc import Callable
from importlib import metadata, util
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

TEMPERATURE = 0.2


class Contestant(NamedTuple):
    """Two functions without arguments that return when their result is there, and XLA's own memory figure."""

    distances: Callable[[], Any]
    gradient: Callable[[], Any]
    temporaries: int | None


def make_points(n: int, d: int) -> np.ndarray:
    """Float32 points of the ball, the second half 0.1 away from the first."""
    rng = np.random.default_rng(0)
    direction = rng.normal(size=(n - n // 2, d))
    direction /= np.linalg.norm(direction, axis=1, keepdims=True)
    radius = rng.uniform(0.5, 4, size=(len(direction), 1))
    points = np.concatenate([np.tanh(radius / 2) * direction, np.tanh(radius / 2 - 0.05) * direction])
    return points[:n].astype(np.float32)


def true_distances(points: np.ndarray) -> np.ndarray:
    """The distances of the same points in float64."""
    x = points.astype(np.float64)
    gap = 1 - np.sum(x * x, axis=1)
    squares = np.stack([np.sum((x - row) ** 2, axis=1) for row in x])
    return 2 * np.arcsinh(np.sqrt(squares / (gap[:, None] * gap[None, :])))


def with_jax(points: np.ndarray, pairwise: Callable) -> Contestant:
    """A contestant from a JAX function of one set of points."""
    import jax
    import jax.numpy as jnp

    def loss(x):
        logits = jnp.where(jnp.eye(len(x), dtype=bool), -jnp.inf, -pairwise(x) / TEMPERATURE)
        return jnp.mean(jax.nn.logsumexp(logits, axis=1))

    x = jnp.asarray(points)
    forward = jax.jit(pairwise).lower(x).compile()
    gradient = jax.jit(jax.value_and_grad(loss)).lower(x).compile()
    return Contestant(
        lambda: jax.block_until_ready(forward(x)),
        lambda: jax.block_until_ready(gradient(x)),
        gradient.memory_analysis().temp_size_in_bytes,
    )


def hypjax_poincare(points: np.ndarray) -> Contestant:
    """This package, in the ball."""
    from hypjax.geometry import poincare

    return with_jax(points, lambda x: poincare.pairwise_dist(x, x, c=1.0))


def hypjax_lorentz(points: np.ndarray) -> Contestant:
    """This package, in the Lorentz model, the lift included."""
    from hypjax.geometry import lorentz

    def pairwise(x):
        lifted = lorentz.from_poincare(x, c=1.0)
        return lorentz.pairwise_dist(lifted, lifted, c=1.0)

    return with_jax(points, pairwise)


def one_matmul(points: np.ndarray) -> Contestant:
    """Euclidean distances by ‖x‖² + ‖y‖² − 2⟨x, y⟩: the cheapest there is, for comparison."""
    import jax.numpy as jnp
    from jax import lax

    def pairwise(x):
        squares = jnp.sum(x * x, axis=1)
        products = jnp.matmul(x, x.T, precision=lax.Precision.HIGHEST)
        s = squares[:, None] + squares[None, :] - 2 * products
        return jnp.where(s > 0, jnp.sqrt(jnp.where(s > 0, s, 1)), 0)

    return with_jax(points, pairwise)


def hyperbolix_poincare(points: np.ndarray) -> Contestant:
    """Hyperbolix, in the ball, by its own function for all pairs."""
    from hyperbolix.manifolds import Poincare
    from hyperbolix.utils.helpers import compute_pairwise_distances

    return with_jax(points, lambda x: compute_pairwise_distances(x, Poincare(), 1.0))


def geoopt_poincare(points: np.ndarray) -> Contestant:
    """Geoopt, in the ball; it has no function for all pairs, so `dist` is broadcast as its users do."""
    import geoopt
    import torch

    ball = geoopt.PoincareBall(c=1.0)
    x = torch.tensor(points)
    diagonal = torch.eye(len(x), dtype=torch.bool)

    def distances():
        with torch.no_grad():
            return ball.dist(x[:, None, :], x[None, :, :])

    def gradient():
        leaf = x.clone().requires_grad_()
        logits = -ball.dist(leaf[:, None, :], leaf[None, :, :]) / TEMPERATURE
        loss = torch.logsumexp(logits.masked_fill(diagonal, -torch.inf), dim=1).mean()
        loss.backward()
        return loss.detach(), leaf.grad

    return Contestant(distances, gradient, None)


CONTESTANTS = {
    "hypjax, Poincaré": ("hypjax", hypjax_poincare),
    "hypjax, Lorentz": ("hypjax", hypjax_lorentz),
    "geoopt, Poincaré": ("geoopt", geoopt_poincare),
    "hyperbolix, Poincaré": ("hyperbolix", hyperbolix_poincare),
    "Euclidean, one matmul": ("jax", one_matmul),
}


def peak_growth(contestant: Contestant) -> int | None:
    """Bytes by which the resident set rises at its peak during one gradient; None where Linux's figures lack."""
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return None

    def resident(key: str) -> int:
        lines = Path("/proc/self/status").read_text().splitlines()
        return 1024 * int(next(line for line in lines if line.startswith(key)).split()[1])

    before = resident("VmRSS")
    contestant.gradient()
    return resident("VmHWM") - before


def memory_in_fresh_process(name: str, n: int, d: int) -> int | None:
    """`peak_growth` of a contestant in a process of its own."""
    command = [sys.executable, __file__, "--n", str(n), "--d", str(d), "--memory-of", name]
    printed = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
    return int(printed[-1]) if printed[-1].isdigit() else None


def best_times(contestants: dict[str, Contestant], repeats: int) -> dict[str, list[float]]:
    """Seconds for forward and gradient, the best of several rounds in which all take turns."""
    times = {name: [np.inf, np.inf] for name in contestants}
    for _ in range(repeats):
        for name, contestant in contestants.items():
            for part, function in enumerate((contestant.distances, contestant.gradient)):
                turn_ends = time.perf_counter() + 0.2
                while True:
                    start = time.perf_counter()
                    function()
                    times[name][part] = min(times[name][part], time.perf_counter() - start)
                    if time.perf_counter() > turn_ends:
                        break
    return times


def machine() -> str:
    """One line on what this was measured with."""
    packages = ("jax", "torch", "geoopt", "hyperbolix")
    versions = [f"{name} {metadata.version(name)}" for name in packages if util.find_spec(name)]
    system = f"{os.cpu_count()} CPU cores, {platform.system()} {platform.machine()}"
    return ", ".join([system, f"Python {platform.python_version()}", *versions])


def largest_error(distances: np.ndarray, expected: np.ndarray) -> float:
    """The largest relative error over pairs that lie apart."""
    apart = expected >= 0.09
    return float(np.max(np.abs(distances[apart] / expected[apart] - 1)))


def table(points: np.ndarray, repeats: int) -> list[str]:
    """The Markdown table, a row a contestant, ratios against the first one."""
    n, d = points.shape
    missing = {package for package, _ in CONTESTANTS.values() if util.find_spec(package) is None}
    for package in sorted(missing):
        print(f"{package} is not installed and left out: pip install {package}")
    contestants = {name: make(points) for name, (package, make) in CONTESTANTS.items() if package not in missing}
    memory = {name: memory_in_fresh_process(name, n, d) for name in contestants}
    times = best_times(contestants, repeats)
    expected = true_distances(points)
    first = next(iter(contestants))
    lines = [
        "| | forward | gradient | memory | XLA temporaries | largest error |",
        "|---|---|---|---|---|---|",
    ]

    def cell(value: float | None, base: float | None, unit: str) -> str:
        if value is None:
            return "–"
        ratio = "" if base is None or value == base else f" ({value / base:.3g}×)"
        return f"{value:.0f} {unit}{ratio}" if value >= 100 else f"{value:.3g} {unit}{ratio}"

    def megabytes(size: int | None) -> float | None:
        return None if size is None else size / 1e6

    for name, contestant in contestants.items():
        cells = [cell(1e3 * times[name][part], 1e3 * times[first][part], "ms") for part in (0, 1)]
        cells.append(cell(megabytes(memory[name]), megabytes(memory[first]), "MB"))
        cells.append(cell(megabytes(contestant.temporaries), None, "MB"))
        hyperbolic = not name.startswith("Euclidean")
        error = largest_error(np.asarray(contestant.distances()), expected) if hyperbolic else None
        cells.append("–" if error is None else f"{error:.0e}")
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return lines


def main() -> None:
    """Print the table, or with --memory-of one contestant's memory in bytes."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--n", type=int, default=1024, help="points")
    parser.add_argument("--d", type=int, default=128, help="dimensions")
    parser.add_argument("--repeats", type=int, default=5, help="rounds")
    parser.add_argument("--memory-of", choices=CONTESTANTS, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    points = make_points(arguments.n, arguments.d)
    if arguments.memory_of:
        print(peak_growth(CONTESTANTS[arguments.memory_of][1](points)))
        return
    print(f"All pairs of n = {arguments.n} points in d = {arguments.d} dimensions, float32. {machine()}.\n")
    print("\n".join(table(points, arguments.repeats)))


if __name__ == "__main__":
    main()
