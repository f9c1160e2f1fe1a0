"""Value and gradient of each loss that hypjax shares with pytorch-metric-learning, side by side in one run.

    pip install "hypjax[benchmarks]"            # torch and pytorch-metric-learning
    python benchmarks/losses.py --b 256 --d 128

Both get the same float32 embeddings, four images of a class, and the same proxies, and compute the loss and its
gradient by the embeddings, distances included: Euclidean ones for the hinges, cosines for the others. Turns of at
least 0.2 seconds alternate, round by round, and the table gives the best of each, which other programs on the machine
disturb least; a ratio below 1 says that hypjax is faster. hypjax is compiled, as is anything in JAX; PyTorch runs
eagerly, as that library is used. Its ProxyNCA has the positive in the denominator, hence another value.
"""

import argparse
import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import torch
from pytorch_metric_learning import distances as torch_distances
from pytorch_metric_learning import losses as torch_losses

from hypjax import geometry, losses
from hypjax.geometry import sphere

FLAT = geometry.Euclidean()


def cosines(x: jax.Array, y: jax.Array) -> jax.Array:
    """All cosines."""
    return 1 - sphere.pairwise_cosine_distance(x, y)


def ours(labels: jax.Array, proxies: jax.Array, centers: jax.Array) -> dict[str, Callable[[jax.Array], jax.Array]]:
    """Each loss as a function of the embeddings."""
    pairs = losses.pairs(labels)
    to_proxies = losses.pairs(labels, jnp.arange(len(proxies)))

    def to_centers(x: jax.Array) -> jax.Array:
        return cosines(x, centers.reshape(-1, centers.shape[-1])).reshape(len(x), *centers.shape[:2])

    terms: dict[str, Callable[[jax.Array], losses.Terms]] = {
        "contrastive": lambda x: losses.contrastive(FLAT.pairwise_dist(x, x), pairs),
        "triplet": lambda x: losses.triplet(FLAT.pairwise_dist(x, x), pairs, margin=0.2),
        "margin": lambda x: losses.margin(FLAT.pairwise_dist(x, x), pairs, margin=0.2, beta=1.2),
        "multi_similarity": lambda x: losses.multi_similarity(cosines(x, x), pairs),
        "nt_xent": lambda x: losses.nt_xent(-cosines(x, x), pairs, temperature=0.1),
        "supcon": lambda x: losses.supcon(-cosines(x, x), pairs, temperature=0.1),
        "proxy_anchor": lambda x: losses.proxy_anchor(cosines(x, proxies), to_proxies),
        "proxy_nca": lambda x: losses.proxy_nca(cosines(x, proxies), to_proxies),
        "soft_triple": lambda x: losses.soft_triple(to_centers(x), to_proxies),
    }
    return {name: lambda x, term=term: losses.mean(term(x)) for name, term in terms.items()}


def theirs(proxies: np.ndarray, centers: np.ndarray) -> dict[str, torch.nn.Module]:
    """The same losses there."""
    flat: dict[str, Any] = {"distance": torch_distances.LpDistance(normalize_embeddings=False)}
    classes, count, d = centers.shape
    made = {
        "contrastive": torch_losses.ContrastiveLoss(**flat),
        "triplet": torch_losses.TripletMarginLoss(margin=0.2, **flat),
        "margin": torch_losses.MarginLoss(margin=0.2, beta=1.2, **flat),
        "multi_similarity": torch_losses.MultiSimilarityLoss(alpha=2, beta=50, base=0.5),
        "nt_xent": torch_losses.NTXentLoss(temperature=0.1),
        "supcon": torch_losses.SupConLoss(temperature=0.1),
        "proxy_anchor": torch_losses.ProxyAnchorLoss(classes, d, margin=0.1, alpha=32),
        "proxy_nca": torch_losses.ProxyNCALoss(classes, d, softmax_scale=1),
        "soft_triple": torch_losses.SoftTripleLoss(classes, d, centers_per_class=count, la=20, gamma=0.1, margin=0.01),
    }
    with torch.no_grad():
        for name in ("proxy_anchor", "proxy_nca"):
            made[name].proxies.copy_(torch.tensor(proxies))
        made["soft_triple"].fc.copy_(torch.tensor(centers.reshape(-1, d)).T)
    return made


def best(turns: dict[str, Callable[[], Any]], rounds: int) -> dict[str, float]:
    """The best time of a call, in ms, in alternating turns of 0.2 seconds."""
    found = dict.fromkeys(turns, float("inf"))
    for _ in range(rounds):
        for name, call in turns.items():
            until = time.perf_counter() + 0.2
            while (start := time.perf_counter()) < until:
                call()
                found[name] = min(found[name], 1e3 * (time.perf_counter() - start))
    return found


def main() -> None:
    """Prints a row for each loss."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--b", type=int, default=256)
    parser.add_argument("--d", type=int, default=128)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    rng = np.random.default_rng(0)
    classes = options.b // 4
    x = rng.normal(size=(options.b, options.d)).astype(np.float32) / options.d**0.5
    labels = np.repeat(np.arange(classes), 4)
    proxies = rng.normal(size=(classes, options.d)).astype(np.float32)
    centers = rng.normal(size=(classes, 2, options.d)).astype(np.float32)
    peers = theirs(proxies, centers)
    print(f"| loss, b = {options.b}, d = {options.d} | hypjax ms | pytorch-metric-learning ms | ratio | values apart |")
    print("|---|---|---|---|---|")
    for name, loss in ours(jnp.array(labels), jnp.array(proxies), jnp.array(centers)).items():
        compiled, points = jax.jit(jax.value_and_grad(loss)), jnp.array(x)
        leaf, known = torch.tensor(x, requires_grad=True), torch.tensor(labels)

        def there(peer: torch.nn.Module = peers[name], leaf: torch.Tensor = leaf, known: torch.Tensor = known) -> float:
            value = peer(leaf, known)
            torch.autograd.grad(value, leaf)
            return value.item()

        def here(compiled: Callable = compiled, points: jax.Array = points) -> float:
            return float(jax.block_until_ready(compiled(points))[0])

        apart = abs(here() - there()) / abs(there())
        times = best({"here": here, "there": there}, options.rounds)
        row = f"{times['here']:.2f} | {times['there']:.2f} | {times['here'] / times['there']:.2f} | {apart:.0e}"
        print(f"| {name} | {row} |", flush=True)


if __name__ == "__main__":
    main()
