from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from hypjax.encoders.convolution import ConvNorm


def make(**settings):
    layer = ConvNorm(6, **settings)
    generator = np.random.default_rng(0)
    x = jnp.asarray(generator.normal(size=(5, 6, 6, 6)) + 1, jnp.float32)
    shapes = jax.eval_shape(layer.init, jax.random.key(0), x)
    values = jax.tree.map(lambda s: jnp.asarray(generator.uniform(0.2, 1.5, s.shape), s.dtype), shapes)
    return layer, x, values


def reference(layer, variables, x, mean, var):
    """Flax's own convolution, then the formula."""
    padding = layer.padding if isinstance(layer.padding, str) else [(layer.padding, layer.padding)] * 2
    groups = x.shape[-1] if layer.depthwise else 1
    size, stride = (layer.size, layer.size), (layer.stride, layer.stride)
    conv = nn.Conv(6, size, stride, padding, feature_group_count=groups, use_bias=False)
    params = variables["params"]
    y = conv.apply({"params": {"kernel": params["kernel"]}}, x)
    mean, var = (y.mean((0, 1, 2)), y.var((0, 1, 2))) if mean is None else (mean, var)
    gain = params["scale"] / jnp.sqrt(var + layer.epsilon)
    return (y - mean[None, None, None]) * gain[None, None, None] + params["bias"][None, None, None]


SETTINGS = [
    {},
    {"size": 3, "padding": 1},
    {"size": 1, "stride": 2, "padding": 0},
    {"size": 3, "stride": 2},
    {"size": 3, "depthwise": True, "epsilon": 1e-3},
]


@pytest.mark.slow
@pytest.mark.parametrize("settings", SETTINGS)
def test_folded_statistics_equal_the_formula_with_gradients(settings):
    layer, x, variables = make(**settings)
    stats = variables["batch_stats"]

    def ours(params):
        return layer.apply({**variables, "params": params}, x)

    def formula(params):
        return reference(layer, {"params": params}, x, stats["mean"], stats["var"])

    @partial(jax.jit, static_argnums=0)
    def value_and_gradient(function):
        y, pull = jax.vjp(function, variables["params"])
        return y, pull(jnp.cos(y))[0]

    (y, gradient), (expected, expected_gradient) = map(value_and_gradient, (ours, formula))
    np.testing.assert_allclose(y, expected, rtol=1e-4, atol=1e-4)
    close = partial(np.testing.assert_allclose, rtol=1e-3, atol=2e-3)
    jax.tree.map(close, gradient, expected_gradient)


@pytest.mark.slow
@pytest.mark.parametrize("settings", SETTINGS[2::2])
def test_training_uses_the_batch_and_moves_the_statistics(settings):
    layer, x, variables = make(train_batch_norm=True, momentum=0.75, **settings)
    y, updated = layer.apply(variables, x, train=True, mutable=["batch_stats"])
    np.testing.assert_allclose(y, reference(layer, variables, x, None, None), rtol=1e-3, atol=1e-3)
    raw = layer.clone(train_batch_norm=False).apply(
        {
            "params": {**variables["params"], "scale": jnp.ones(6), "bias": jnp.zeros(6)},
            "batch_stats": {"mean": jnp.zeros(6), "var": jnp.ones(6) - layer.epsilon},
        },
        x,
    )
    expected = 0.75 * variables["batch_stats"]["mean"] + 0.25 * raw.mean((0, 1, 2))
    np.testing.assert_allclose(updated["batch_stats"]["mean"], expected, rtol=1e-4)
    expected = 0.75 * variables["batch_stats"]["var"] + 0.25 * raw.var((0, 1, 2))
    np.testing.assert_allclose(updated["batch_stats"]["var"], expected, rtol=1e-3)


def test_frozen_statistics_stay_while_training():
    layer, x, variables = make()
    y, updated = layer.apply(variables, x, train=True, mutable=["batch_stats"])
    np.testing.assert_array_equal(y, layer.apply(variables, x))
    jax.tree.map(np.testing.assert_array_equal, updated["batch_stats"], variables["batch_stats"])
