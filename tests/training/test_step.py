import functools
from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from hypjax.encoders.head import Head
from hypjax.encoders.model import EmbeddingModel
from hypjax.training import sharding
from hypjax.training.objective import create_objective
from hypjax.training.optimizer import create_optimizer
from hypjax.training.space import create_space
from hypjax.training.state import create_state
from hypjax.training.step import normalize, train_step

CLASSES, SAMPLES = 4, 4
SETTINGS = {"temperature": 0.2, "strength": 1.0, "center": 0.5, "margin": 0.2, "beta": 1.2}


class Tiny(nn.Module):
    """An encoder of one convolution with a BatchNorm that learns."""

    @nn.compact
    def __call__(self, images, train=False):
        x = nn.Conv(8, (3, 3), strides=2)(images)
        x = nn.BatchNorm(use_running_average=not train)(x)
        return jnp.mean(nn.relu(x), axis=(1, 2))


def batch(seed=0):
    generator = np.random.default_rng(seed)
    means = generator.integers(0, 255, (CLASSES, 1, 1, 1, 3))
    images = np.clip(means + generator.normal(0, 20, (CLASSES, SAMPLES, 8, 8, 3)), 0, 255).astype(np.uint8)
    labels = np.repeat(np.arange(CLASSES, dtype=np.int32), SAMPLES)
    return {"image": images.reshape(-1, 8, 8, 3), "label": labels}


@functools.cache
def variables():
    model = EmbeddingModel(Tiny(), Head(dim=4, normalize="none"))
    return jax.device_get(jax.jit(model.init)(jax.random.key(0), jnp.zeros((1, 8, 8, 3))))


@functools.cache
def compiled(devices, frozen):
    """A fresh state and the step, compiled once for each kind of training."""
    mesh = sharding.data_mesh(jax.devices()[:devices])
    model = EmbeddingModel(Tiny(), Head(dim=4, normalize="none", dropout=0.1))
    space = create_space("poincare", c=0.1, distance="geodesic", uncertainty="radius", clip_radius=2.3)
    objective = create_objective(
        lambda params: space, "uncertainty_contrastive", samples_per_class=SAMPLES, settings=SETTINGS
    )
    optimizer = create_optimizer(optax.constant_schedule(1e-2), head_multiplier=1.0, weight_decay=0.01, clip_norm=3.0)

    def start():
        state = create_state(variables(), optimizer, average=True, frozen=frozen)
        return jax.device_put(state, sharding.replicated(mesh))

    preprocess = partial(normalize, mean=jnp.full(3, 0.5), std=jnp.full(3, 0.5))
    function = partial(
        train_step,
        model=model,
        objective=objective,
        optimizer=optimizer,
        preprocess=preprocess,
        seed=0,
        decay=0.9,
    )
    return start, jax.jit(function, donate_argnums=0), sharding.global_batch(batch(), mesh)


def run(steps, *, devices=1, frozen=()):
    start, step, data = compiled(devices, frozen)
    state, history = start(), []
    for _ in range(steps):
        state, metrics = step(state, data)
        history.append({name: float(value) for name, value in metrics.items()})
    return state, history


@pytest.mark.slow
def test_golden_step():
    """The first three losses of a fixed run; update them only when a change of numbers is meant, and say why."""
    _, history = run(3)
    np.testing.assert_allclose([row["loss"] for row in history], GOLDEN, rtol=1e-4)


GOLDEN = [2.10994, 0.62203, 0.21474]


@pytest.mark.slow
def test_the_loss_is_that_of_the_global_batch_on_any_number_of_devices():
    one, eight = run(4)[1], run(4, devices=8)[1]
    for a, b in zip(one, eight, strict=True):
        np.testing.assert_allclose([a["loss"], a["grad_norm"]], [b["loss"], b["grad_norm"]], rtol=1e-3)


@pytest.mark.slow
def test_the_same_seed_gives_the_same_state_to_the_bit():
    first, second = run(3)[0], run(3)[0]
    jax.tree.map(np.testing.assert_array_equal, first, second)


@pytest.mark.slow
def test_a_tiny_batch_is_learned_by_heart():
    _, history = run(150)
    assert history[-1]["loss"] < 0.2 * history[0]["loss"]


@pytest.mark.slow
def test_statistics_of_batch_norm_move_and_frozen_parameters_do_not():
    state, _ = run(2, frozen=("encoder/Conv_0",))
    start = variables()["params"]
    assert "encoder/Conv_0/kernel" in state.frozen
    np.testing.assert_array_equal(state.frozen["encoder/Conv_0/kernel"], start["encoder"]["Conv_0"]["kernel"])
    assert np.abs(state.collections["batch_stats"]["encoder"]["BatchNorm_0"]["mean"]).max() > 0
    assert np.abs(state.params["head/kernel"] - start["head"]["kernel"]).max() > 0


@pytest.mark.slow
def test_the_average_lags_behind_the_weights():
    state, _ = run(5)
    differences = jax.tree.map(lambda a, b: np.asarray(a) - np.asarray(b), state.params, state.average)
    lag, length = jax.jit(lambda *trees: [optax.global_norm(tree) for tree in trees])(differences, state.params)
    assert 0 < lag < length
    assert state.evaluated()["params"]["head"]["kernel"] is state.average["head/kernel"]


def test_freezing_nothing_real_or_everything_is_refused():
    optimizer = optax.sgd(0.1)
    variables = {"params": {"a": {"kernel": jnp.ones(2)}}}
    with pytest.raises(ValueError, match="matches no parameter"):
        create_state(variables, optimizer, frozen=("b",))
    with pytest.raises(ValueError, match="nothing to train"):
        create_state(variables, optimizer, frozen=("a",))
