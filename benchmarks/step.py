"""A train step beside the same step in PyTorch, and the share of loss and optimizer in it, side by side in one run.

    pip install "hypjax[benchmarks,pretrained]"
    python benchmarks/step.py                   # --encoders vit_s16 for one of them alone

Both take the same bytes, weights, frozen layers, loss (hyp_metric's, written anew), gradient clipping and AdamW, and
the losses of the first two steps are compared. Turns alternate, and the ratio is that of the medians: above 1 says that
hypjax is faster. hypjax is compiled, as is anything in JAX; PyTorch runs eagerly, as the authors' code does, with its
fused attention and its fused AdamW, on as many threads as there are cores.
"""

import argparse
import functools
import runpy
import statistics
import tempfile
import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import torch
from ml_collections import ConfigDict
from pytorch_networks import saved
from torch import nn
from torch.nn import functional as F

from hypjax import encoders
from hypjax.config import assembly, initialization, optimization
from hypjax.config.command_line import packaged
from hypjax.config.counted import splits_of
from hypjax.encoders.model import ModelOutput
from hypjax.training import sharding
from hypjax.training.state import create_state, of_objective

CURVATURE, CLIP, TEMPERATURE = 0.1, 2.3, 0.2
METHODS = ("hyp_vit", "hyp_uml", "hier", "eps", "ghm")
# Classes of a batch, images of each, pixels; how often a turn comes.
SIZES = {"vit_s16": (9, 2, 224), "efficientnet_lite0": (48, 3, 64)}


def hyp_metric(features: torch.Tensor, head: nn.Linear, samples: int) -> torch.Tensor:
    """Hyp-ViT's loss: cross-entropies of the pairs of views, by distances in the Poincaré ball."""
    v = head(features)
    v = v * (CLIP / v.norm(dim=1, keepdim=True)).clamp(max=1)
    root = CURVATURE**0.5
    length = v.norm(dim=1, keepdim=True).clamp(min=1e-5)
    x = torch.tanh(root * length) * v / (root * length)
    views = x.view(-1, samples, x.shape[-1]).unbind(1)
    target, own = torch.arange(len(views[0])), 1e9 * torch.eye(len(views[0]))
    total = 0.0
    for one in range(samples):
        among = -distances(views[one], views[one]) / TEMPERATURE - own
        for other in range(samples):
            if other != one:
                logits = torch.cat([-distances(views[one], views[other]) / TEMPERATURE, among], 1)
                total = total + F.cross_entropy(logits, target)
    return total / (samples * (samples - 1))


def distances(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """All distances in the ball: 2/√c artanh(√c‖−x ⊕ y‖)."""
    c = CURVATURE
    xy, x2, y2 = -x @ y.T, (x * x).sum(1)[:, None], (y * y).sum(1)[None]
    a, b, below = 1 + 2 * c * xy + c * y2, 1 - c * x2, 1 + 2 * c * xy + c * c * x2 * y2
    square = (a * a * x2 + 2 * a * b * xy + b * b * y2) / below**2
    return 2 / c**0.5 * torch.atanh((c * square.clamp(min=1e-10)).sqrt().clamp(max=1 - 1e-5))


def settings(encoder: str, method: str = "hyp_vit") -> ConfigDict:
    """A method's, with the batch, and without what PyTorch's step has not."""
    words = "data=cub,encoder=vit_s16" if encoder == "vit_s16" else ""
    config = runpy.run_path(packaged(method))["get_config"](words)
    classes, samples, size = SIZES[encoder]
    config.batch.update(classes=classes, samples_per_class=samples)
    config.data.update(image_size=size, eval_image_size=size)
    config.optimizer.update(learning_rate=3e-5, schedule="constant", warmup=0.0, weight_decay=0.01, clip_norm=3.0)
    config.optimizer.update(head_multiplier=1.0, head_decay=0.0, ema=0.0)
    config.head.update(dim=128, kernel="trained", refit=False, init="orthogonal", dropout=0.0)
    return config


def batch_of(encoder: str) -> dict[str, np.ndarray]:
    """Pixels without meaning, and their labels."""
    classes, samples, size = SIZES[encoder]
    rng, images = np.random.default_rng(0), classes * samples
    return {
        "image": rng.integers(0, 256, (images, size, size, 3), np.uint8),
        "label": np.repeat(np.arange(classes, dtype=np.int32), samples),
        "index": np.arange(images, dtype=np.int32),
    }


def theirs(encoder: str, batch: dict[str, np.ndarray], head: np.ndarray, net: nn.Module) -> Callable[[], float]:
    """PyTorch's step, which gives its loss."""
    mean, std, *_ = (torch.tensor(part)[None, :, None, None] for part in encoders.preprocessing(encoder)[:2])
    linear = nn.Linear(*head.shape)
    with torch.no_grad():
        linear.weight.copy_(torch.tensor(head.T))
        linear.bias.zero_()
    trained = [p for p in (*net.parameters(), *linear.parameters()) if p.requires_grad]
    # As torch.optim.AdamW's default does, but for its decay, which biases and scales are spared here.
    groups = [{"params": [p for p in trained if (p.ndim > 1) == decayed]} for decayed in (True, False)]
    groups[1]["weight_decay"] = 0.0
    optimizer = torch.optim.AdamW(groups, lr=3e-5, weight_decay=0.01, fused=True)
    images, samples = torch.tensor(batch["image"].transpose(0, 3, 1, 2)), SIZES[encoder][1]

    def step() -> float:
        optimizer.zero_grad()
        loss = hyp_metric(net((images.float() / 255 - mean) / std), linear, samples)
        loss.backward()
        nn.utils.clip_grad_norm_(trained, 3.0)
        optimizer.step()
        return loss.item()

    return step


class Ours:
    """A run's step and what it is made of, as the trainer makes them."""

    def __init__(self, encoder: str, method: str, weights: str) -> None:
        self.config = settings(encoder, method)
        self.config.encoder.weights = weights
        self.setup = assembly.assemble(self.config, splits_of(self.config))
        self.mesh = sharding.data_mesh()
        self.variables = initialization.drawn_variables(self.config, self.setup)
        self.optimizer = optimization.create_optimizer(self.config)
        self.objective = optimization.create_objective(self.config, self.setup)
        self.state = create_state(
            self.variables,
            self.optimizer,
            objective=initialization.initial_objective(self.config, self.setup),
            frozen=self.config.encoder.frozen,
            failures=None if self.setup.model.doubt is None else jnp.zeros(len(self.setup.splits.train)),
        )
        self.batch = sharding.global_batch(batch_of(encoder), self.mesh)

    def step(self) -> Callable[[], float]:
        """The whole step, which gives its loss."""
        step, state = optimization.create_step(self.config, self.setup, self.mesh), self.state

        def take() -> float:
            nonlocal state
            state, figures = step(state, self.batch, seed=0)
            return float(jax.block_until_ready((state, figures))[1]["loss"])

        self.state = None  # it is given away
        return take

    def parts(self) -> dict[str, Callable[[], Any]]:
        """Encoder, loss and optimizer, each alone."""
        model, state, batch = self.setup.model, self.state, self.batch
        images = self.setup.preprocess(batch["image"])
        manifold = self.objective.space_at(of_objective(state.params)).manifold

        def encode(params: dict[str, jax.Array], images: jax.Array) -> jax.Array:
            return model.encoder.apply(of_encoder(state.variables(params)), images, train=True).sum()

        def lose(output: ModelOutput, params: dict[str, jax.Array]) -> jax.Array:
            prior = None if state.failures is None else state.failures[batch["index"]]
            key = jax.random.key(0)
            return self.objective(output, batch["label"], params=of_objective(params), key=key, prior=prior)[0]

        def optimize(gradients: dict[str, jax.Array], held: Any, params: dict[str, jax.Array]) -> Any:
            return self.optimizer.update(gradients, held, params, manifold=manifold)

        features = jnp.ones((len(batch["label"]), self.variables["params"]["head"]["kernel"].shape[0]))
        noise = 0.1 * jax.random.normal(jax.random.key(1), features.shape)
        output = model.apply(state.variables(), features + noise, method="project")
        inner = {name: value for name, value in state.params.items() if name.startswith("encoder/")}
        calls = {
            "encoder": (jax.jit(jax.grad(lambda inner, images: encode(state.params | inner, images))), inner, images),
            "loss": (jax.jit(jax.value_and_grad(lose, (0, 1))), output, state.params),
            "optimizer": (jax.jit(optimize), state.params, state.opt_state, state.params),
        }
        return {name: functools.partial(_done, *call) for name, call in calls.items()}


def of_encoder(variables: dict[str, Any]) -> dict[str, Any]:
    """The encoder's own among a model's variables."""
    return {name: value["encoder"] for name, value in variables.items() if "encoder" in value}


def _done(function: Callable[..., Any], *arguments: Any) -> None:
    jax.block_until_ready(function(*arguments))


def medians(turns: dict[str, Callable[[], Any]], rounds: int) -> dict[str, float]:
    """The median time of a call, in seconds, in alternating turns."""
    found: dict[str, list[float]] = {name: [] for name in turns}
    for _ in range(rounds):
        for name, call in turns.items():
            start = time.perf_counter()
            call()
            found[name].append(time.perf_counter() - start)
    return {name: statistics.median(times) for name, times in found.items()}


def beside(encoder: str, path: str, net: nn.Module, rounds: int) -> str:
    """A row of the first table."""
    ours = Ours(encoder, "hyp_vit", path)
    there = theirs(encoder, batch_of(encoder), np.asarray(ours.variables["params"]["head"]["kernel"]), net)
    here = ours.step()
    apart = max(abs(a / b - 1) for a, b in [(here(), there()) for _ in range(2)])
    times = medians({"here": here, "there": there}, rounds)
    classes, samples, size = SIZES[encoder]
    name = f"{encoder}, {classes * samples} images of {size} px"
    ratio = times["there"] / times["here"]
    return f"| {name} | {times['here']:.3f} s | {times['there']:.3f} s | {ratio:.2f}× | {apart:.0e} |"


def shares(encoder: str, path: str, rounds: int) -> list[str]:
    """The rows of the second, the encoder measured once beside all that stands on it."""
    turns: dict[str, Callable[[], Any]] = {}
    for method in METHODS:
        parts = Ours(encoder, method, path).parts()
        turns.setdefault("encoder", parts.pop("encoder"))
        turns |= {f"{method} {name}": call for name, call in parts.items()}
    for call in turns.values():
        call()  # compiles
    times = medians(turns, rounds)
    rows = []
    for method in METHODS:
        of = [times[f"{method} {name}"] for name in ("loss", "optimizer")]
        cells = [f"{1e3 * seconds:.1f} ms" for seconds in of]
        rows.append(f"| {encoder} | {method} | {' | '.join(cells)} | {sum(of) / times['encoder']:.1%} |")
    return [*rows, f"| {encoder} | all | {times['encoder']:.3f} s for the encoder | | |"]


def main() -> None:
    """Prints both tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--encoders", nargs="+", choices=SIZES, default=list(SIZES))
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--no-shares", dest="shares", action="store_false")
    options = parser.parse_args()
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        print("| step | hypjax | PyTorch | hypjax is faster | losses apart |\n|---|---|---|---|---|")
        for encoder in options.encoders:
            net, path = saved(encoder, folder)
            print(beside(encoder, path, net, options.rounds), flush=True)
            if options.shares:
                rows += shares(encoder, path, options.rounds)
    if rows:
        print("\n| encoder | method | loss | optimizer | both, of the encoder |\n|---|---|---|---|---|")
        print("\n".join(rows))


if __name__ == "__main__":
    main()
