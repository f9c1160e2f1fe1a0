"""What a transformer does to tokens [b, n, f]: the same numbers everywhere, with gradients in forms that are fast.

Each has a rule for its gradient, which keeps the function's arguments alone. XLA's own are slow on CPU: it transposes
tokens before it multiplies them for a kernel's gradient, and passes over all weights of an attention once for each
step of the softmax.
"""

import math
from collections.abc import Callable
from functools import partial

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

_f32 = partial(jnp.einsum, preferred_element_type=jnp.float32)


@jax.custom_vjp
def dense(x: Float[Array, "b n f"], kernel: Float[Array, "f g"], bias: Float[Array, " g"]) -> Float[Array, "b n g"]:
    """A linear map of each token: x @ kernel + bias."""
    return x @ kernel + bias[None, None]


def _dense_gradient(kept: tuple[Array, Array], g: Array) -> tuple[Array, ...]:
    x, kernel = kept
    return (g @ kernel.T, *lax.platform_dependent(x, g, cpu=_by_rows, default=_by_tokens))


def _by_tokens(x: Array, g: Array) -> tuple[Array, Array]:
    """Gradients of kernel and bias."""
    return jnp.einsum("bnf,bng->fg", x, g), g.sum(axis=(0, 1))


def _by_rows(x: Array, g: Array) -> tuple[Array, Array]:
    """The same of tokens as rows of one matrix: with a single dimension to sum over nothing is copied before."""
    rows, cotangents = x.reshape(-1, x.shape[-1]), g.reshape(-1, g.shape[-1])
    mesh = jax.sharding.get_abstract_mesh()
    if not mesh.empty and mesh.size > 1:  # all that a product gives would cross the network
        return rows.T @ cotangents, cotangents.sum(axis=0)
    # A product of matrices sums at full speed; one by a vector XLA would make part of slower loops.
    ones = jnp.ones((8, len(rows)), g.dtype)
    return rows.T @ cotangents, (ones @ cotangents).mean(axis=0)


dense.defvjp(lambda x, kernel, bias: (dense(x, kernel, bias), (x, kernel)), _dense_gradient)


@jax.custom_vjp
def gelu(x: Float[Array, "*n"]) -> Float[Array, "*n"]:
    """The exact GELU x Φ(x), with the normal distribution's own Φ."""
    wide = x.astype(jnp.float32)
    return (wide * _normal_cdf(wide)).astype(x.dtype)


def _normal_cdf(x: Array) -> Array:
    return 0.5 * (1 + lax.erf(x * math.sqrt(0.5)))


def _gelu_gradient(x: Array, g: Array) -> tuple[Array]:
    wide = x.astype(jnp.float32)
    slope = _normal_cdf(wide) + wide * jnp.exp(-0.5 * wide**2) / math.sqrt(2 * math.pi)
    return ((g * slope).astype(x.dtype),)


gelu.defvjp(lambda x: (gelu(x), x), _gelu_gradient)


def _of_its_argument(function: Callable[[Array], Array]) -> Callable[[Array], Array]:
    """The function with a gradient that keeps the argument alone and makes anew what is inside, in float32."""

    def wide(x: Array) -> Array:
        return function(x.astype(jnp.float32)).astype(x.dtype)

    ruled = jax.custom_vjp(wide)
    ruled.defvjp(lambda x: (wide(x), x), lambda x, g: jax.vjp(wide, x)[1](g))
    return ruled


def _gelu_tanh(x: Array) -> Array:
    return 0.5 * x * (1 + jnp.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))


def _swiglu(x: Array) -> Array:
    gate, value = jnp.split(x, 2, axis=-1)
    return gate * lax.logistic(gate) * value


gelu_tanh = _of_its_argument(_gelu_tanh)  # GELU with tanh in place of Φ: x/2 (1 + tanh(√(2/π) (x + 0.044715 x³)))
quick_gelu = _of_its_argument(lambda x: x * lax.logistic(1.702 * x))  # x σ(1.702 x)
swiglu = _of_its_argument(_swiglu)  # [gate | value] → gate σ(gate) · value: [*n, 2f] → [*n, f]


@partial(jax.custom_vjp, nondiff_argnums=(3,))
def layer_norm(
    x: Float[Array, "*n f"], scale: Float[Array, " f"], bias: Float[Array, " f"], epsilon: float
) -> Float[Array, "*n f"]:
    """Each token brought to mean 0 and variance 1 over its features, in float32: scale (x − μ)/√(σ² + ε) + bias."""
    unit, _ = _standardized(x, epsilon)
    return (unit * _beside(unit, scale) + _beside(unit, bias)).astype(x.dtype)


def _standardized(x: Array, epsilon: float) -> tuple[Array, Array]:
    x = x.astype(jnp.float32)
    centered = x - x.mean(axis=-1, keepdims=True)
    gain = lax.rsqrt(jnp.square(centered).mean(axis=-1, keepdims=True) + epsilon)
    return centered * gain, gain


def _beside(x: Array, features: Array) -> Array:
    return features.reshape((1,) * (x.ndim - 1) + features.shape)


def _layer_norm_gradient(epsilon: float, kept: tuple[Array, Array], g: Array) -> tuple[Array, ...]:
    x, scale = kept
    unit, gain = _standardized(x, epsilon)
    g = g.astype(jnp.float32)
    of_unit = g * _beside(g, scale)
    along = of_unit.mean(axis=-1, keepdims=True) + unit * (unit * of_unit).mean(axis=-1, keepdims=True)
    of_features = [each.sum(axis=tuple(range(x.ndim - 1))).astype(scale.dtype) for each in (g * unit, g)]
    return (gain * (of_unit - along)).astype(x.dtype), *of_features


layer_norm.defvjp(
    lambda x, scale, bias, epsilon: (layer_norm(x, scale, bias, epsilon), (x, scale)), _layer_norm_gradient
)


@jax.custom_vjp
def attend(
    q: Float[Array, "b n h d"], k: Float[Array, "b m h d"], v: Float[Array, "b m h d"]
) -> Float[Array, "b n h d"]:
    """Attention, softmax(q·k / √d) v for each head, with logits in float32."""
    return lax.platform_dependent(q, k, v, cpu=_attend_by_heads, default=jax.nn.dot_product_attention)


def _attend_gradient(kept: tuple[Array, Array, Array], g: Array) -> tuple[Array, ...]:
    def theirs(q: Array, k: Array, v: Array, g: Array) -> tuple[Array, ...]:
        return jax.vjp(jax.nn.dot_product_attention, q, k, v)[1](g)

    return lax.platform_dependent(*kept, g, cpu=_by_heads, default=theirs)


attend.defvjp(lambda q, k, v: (attend(q, k, v), (q, k, v)), _attend_gradient)


def _attend_by_heads(q: Array, k: Array, v: Array) -> Array:
    weights, share = _weights(_heads_first(q), _heads_first(k))
    return _heads_last(share * _f32("bhnm,bhmd->bhnd", weights.astype(v.dtype), _heads_first(v)), q)


def _weights(q: Array, k: Array) -> tuple[Array, Array]:
    """Weights before they are divided by their sum, and its inverse: outputs are fewer to be divided."""
    logits = _f32("bhnd,bhmd->bhnm", q * q.shape[-1] ** -0.5, k)
    weights = jnp.exp(logits - logits.max(axis=-1, keepdims=True))
    return weights, 1 / weights.sum(axis=-1, keepdims=True)


def _by_heads(q: Array, k: Array, v: Array, g: Array) -> tuple[Array, ...]:
    like = q
    q, k, v, g = map(_heads_first, (q, k, v, g))
    weights, share = _weights(q, k)
    g = share * g
    # The mean over a token's weights that the softmax takes off is one over its outputs, which are fewer.
    out = share * _f32("bhnm,bhmd->bhnd", weights.astype(v.dtype), v)
    of_logits = weights * (_f32("bhnd,bhmd->bhnm", g, v) - (g * out).sum(axis=-1, keepdims=True))
    of_logits *= q.shape[-1] ** -0.5
    made = (
        _f32("bhnm,bhmd->bhnd", of_logits, k),
        _f32("bhnm,bhnd->bhmd", of_logits, q),
        _f32("bhnm,bhnd->bhmd", weights, g),
    )
    return tuple(_heads_last(each, like) for each in made)


def _heads_first(x: Array) -> Array:
    return jnp.swapaxes(x, 1, 2)


def _heads_last(x: Array, like: Array) -> Array:
    return jnp.swapaxes(x, 1, 2).astype(like.dtype)
