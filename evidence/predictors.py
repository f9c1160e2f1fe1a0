"""Regressions that foretell failures of a retrieval from features alone, before any search [ours].

Each takes the features that it learns from [n, f], and gives what is fitted to targets [n]: a predictor of new ones.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import scipy.linalg

Predictor = Callable[[np.ndarray], np.ndarray]
DIRECTIONS, WHITENING, WIDTH, RIDGE, KERNEL_RIDGE = 256, 0.5, 0.7, 3000.0, 1.0
HIDDEN, DROPOUT, DECAY, STEPS, BATCH = 256, 0.5, 0.1, 400, 512
OPTIMIZER = optax.adamw(optax.warmup_cosine_decay_schedule(0.0, 1e-3, STEPS // 20, STEPS), weight_decay=DECAY)


def ridge(x: np.ndarray) -> Callable[[np.ndarray], Predictor]:
    """Ridge regression of standardized features; solved once for every target."""
    mean, std = x.mean(0), x.std(0) + 0.1 * x.std(0).mean()
    z = (x - mean) / std
    factor = scipy.linalg.cho_factor(z.T @ z + RIDGE * np.eye(z.shape[1]))

    def fit(t: np.ndarray) -> Predictor:
        weights = scipy.linalg.cho_solve(factor, z.T @ (t - t.mean()))
        return lambda new: (new - mean) / std @ weights

    return fit


def kernel_ridge(x: np.ndarray) -> Callable[[np.ndarray], Predictor]:
    """Kernel ridge regression by a Gaussian of the principal directions; solved once for every target."""
    mean = x.mean(0)
    _, scale, directions = np.linalg.svd(x - mean, full_matrices=False)
    onto = directions[:DIRECTIONS].T / scale[:DIRECTIONS] ** WHITENING
    z = (x - mean) @ onto
    spread = WIDTH * np.median(np.square(z).sum(1))

    def kernel(a: np.ndarray) -> np.ndarray:
        squares = np.square(a).sum(1)[:, None] + np.square(z).sum(1)[None] - 2 * a @ z.T
        return np.exp(-np.maximum(squares, 0) / spread)

    factor = scipy.linalg.cho_factor(kernel(z) + KERNEL_RIDGE * np.eye(len(z)))

    def fit(t: np.ndarray) -> Predictor:
        weights = scipy.linalg.cho_solve(factor, t - t.mean())
        return lambda new: kernel((new - mean) @ onto) @ weights

    return fit


class Network(nn.Module):
    """Two hidden layers on standardized features."""

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool = False) -> jax.Array:
        """Features [n, f] to scores [n]."""
        for _ in range(2):
            x = nn.Dropout(DROPOUT, deterministic=not train)(nn.gelu(nn.Dense(HIDDEN)(x)))
        return nn.Dense(1)(x)[:, 0]


def squared(score: jax.Array, t: jax.Array) -> jax.Array:
    """The mean squared error."""
    return jnp.mean(jnp.square(score - t))


def ranked(score: jax.Array, t: jax.Array) -> jax.Array:
    """Mean over pairs of log(1 + e^(s_j - s_i)), each by how much more certainly i fails than j: a smooth AUROC."""
    weight = jnp.maximum(t[:, None] - t[None], 0)
    return jnp.sum(weight * jax.nn.softplus(score[None] - score[:, None])) / jnp.sum(weight)


def network(x: np.ndarray, *, loss: Callable[[jax.Array, jax.Array], jax.Array] = squared) -> Callable[..., Predictor]:
    """Two hidden layers, trained by a loss of scores and targets [b]."""
    model, mean, std = Network(), x.mean(0), x.std(0) + 0.1 * x.std(0).mean()
    z = jnp.asarray((x - mean) / std, jnp.float32)

    def step(carry, key, t):
        params, state = carry
        rows = jax.random.randint(key, (BATCH,), 0, len(z))

        def value(params):
            return loss(model.apply(params, z[rows], train=True, rngs={"dropout": key}), t[rows])

        update, state = OPTIMIZER.update(jax.grad(value)(params), state, params)
        return (optax.apply_updates(params, update), state), None

    @jax.jit
    def trained(t):
        params = model.init(jax.random.key(0), z[:2])
        keys = jax.random.split(jax.random.key(1), STEPS)
        return jax.lax.scan(partial(step, t=t), (params, OPTIMIZER.init(params)), keys)[0][0]

    def fit(t: np.ndarray) -> Predictor:
        params = trained(jnp.asarray((t - t.mean()) / t.std(), jnp.float32))
        return lambda new: np.asarray(model.apply(params, jnp.asarray((new - mean) / std, jnp.float32)))

    return fit


REGRESSIONS = {
    "ridge": ridge,
    "network": network,
    "ranking network": partial(network, loss=ranked),
    "kernel ridge": kernel_ridge,
}
