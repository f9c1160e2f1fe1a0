import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from hypjax.encoders import tokens


def draw(*shape, seed=0):
    return jnp.asarray(np.random.default_rng(seed + len(shape)).normal(size=shape), jnp.float32)


X, Q = draw(3, 5, 8), draw(3, 2, 2, 4)
K, V = draw(3, 5, 2, 4, seed=1), draw(3, 5, 2, 4, seed=2)


def norm(x, scale, bias):
    return nn.LayerNorm(epsilon=1e-6).apply({"params": {"scale": scale, "bias": bias}}, x)


CASES = {
    "dense": (tokens.dense, lambda x, k, b: jnp.einsum("bnf,fg->bng", x, k) + b[None, None], (X, draw(8, 6), draw(6))),
    "gelu": (tokens.gelu, lambda x: nn.gelu(x, approximate=False), (3 * X,)),
    "gelu_tanh": (tokens.gelu_tanh, lambda x: nn.gelu(x, approximate=True), (2 * X,)),
    "quick_gelu": (tokens.quick_gelu, lambda x: x * nn.sigmoid(1.702 * x), (2 * X,)),
    "swiglu": (tokens.swiglu, lambda x: nn.silu(x[..., :4]) * x[..., 4:], (X,)),
    "layer_norm": (lambda *p: tokens.layer_norm(*p, 1e-6), norm, (X, draw(8), draw(8, seed=1))),
    "attend": (tokens.attend, jax.nn.dot_product_attention, (Q, K, V)),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", CASES)
def test_values_and_gradients_are_those_of_the_library(name):
    ours, theirs, arguments = CASES[name]

    def value_and_gradient(function):
        weigh = jnp.cos(jnp.arange(ours(*arguments).size)).reshape(ours(*arguments).shape)
        return jax.jit(jax.value_and_grad(lambda a: jnp.sum(weigh * function(*a))))(arguments)

    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=2e-6),
        value_and_gradient(ours),
        value_and_gradient(theirs),
    )


@pytest.mark.slow
@pytest.mark.parametrize("name", CASES)
def test_half_precision_stays_so(name):
    ours, _, arguments = CASES[name]
    half = jax.tree.map(lambda a: a.astype(jnp.bfloat16), arguments)

    @jax.jit
    def value_and_gradient(half):
        y, pull = jax.vjp(ours, *half)
        return y, pull(y)

    y, gradient = value_and_gradient(half)
    assert {g.dtype for g in (y, *gradient)} == {jnp.dtype(jnp.bfloat16)}
    np.testing.assert_allclose(y.astype(jnp.float32), jax.jit(ours)(*arguments), atol=0.1)
