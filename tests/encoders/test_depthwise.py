from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from hypjax.encoders.depthwise import depthwise_conv, lax_depthwise_conv

CASES = [
    # height, width, kernel size, stride, padding
    (6, 5, 3, 2, ((0, 1), (1, 1))),
    (19, 3, 5, 2, ((2, 2), (1, 2))),  # ten rows: two bands
    (1, 3, 3, 1, ((1, 1), (1, 1))),
]


def case(height, width, size, dtype=jnp.float32):
    generator = np.random.default_rng(height + size)
    x = jnp.asarray(generator.normal(size=(3, height, width, 4)), dtype)
    return x, jnp.asarray(generator.normal(size=(size, size, 1, 4)), dtype)


@pytest.mark.slow
@pytest.mark.parametrize(("height", "width", "size", "stride", "padding"), CASES)
def test_shifted_copies_equal_xlas_convolution_in_every_derivative(height, width, size, stride, padding):
    x, kernel = case(height, width, size)
    tangents = jax.tree.map(jnp.cos, (x, kernel))

    @partial(jax.jit, static_argnums=0)
    def value_and_derivatives(form):
        def curved(x, k):
            return jnp.sum(jnp.sin(form(x, k, stride=stride, padding=padding)))

        y, tangent = jax.jvp(curved, (x, kernel), tangents)
        reverse = jax.grad(curved, (0, 1))
        each = jax.vmap(reverse, (0, None))(x[:, None], kernel)  # per-image gradients
        return y, tangent, each, jax.jvp(reverse, (x, kernel), tangents)

    ours, expected = value_and_derivatives(depthwise_conv), value_and_derivatives(lax_depthwise_conv)
    jax.tree.map(partial(np.testing.assert_allclose, atol=1e-4, rtol=1e-4), ours, expected)


def test_a_gradient_keeps_the_images_and_no_shifted_copies():
    x, kernel = case(8, 8, 3)
    _, pull = jax.vjp(lambda x, k: depthwise_conv(x, k, padding=((1, 1), (1, 1))), x, kernel)
    kept = sum(leaf.nbytes for leaf in jax.tree.leaves(pull))
    assert kept <= 2 * x.nbytes + 2 * kernel.nbytes


@pytest.mark.parametrize(("platform", "form"), [("cpu", False), ("tpu", True)])
def test_the_form_is_that_of_the_platform_it_is_lowered_for(platform, form):
    x, kernel = case(6, 6, 3)
    gradient = jax.jit(jax.grad(lambda k: depthwise_conv(x, k, padding=((1, 1), (1, 1))).sum()))
    text = gradient.trace(kernel).lower(lowering_platforms=(platform,)).as_text()
    assert ("stablehlo.convolution" in text) == form


def test_against_loops():
    x, kernel = case(4, 5, 3)
    y = np.asarray(depthwise_conv(x, kernel, stride=2, padding=((1, 1), (1, 1))))
    kernel = np.asarray(kernel)
    padded = np.pad(np.asarray(x, np.float64), ((0, 0), (1, 1), (1, 1), (0, 0)))
    for b, i, j, f in np.ndindex(*y.shape):
        window = padded[b, 2 * i : 2 * i + 3, 2 * j : 2 * j + 3, f]
        assert y[b, i, j, f] == pytest.approx((window * kernel[:, :, 0, f]).sum(), abs=1e-5)


@pytest.mark.slow
def test_bfloat16_keeps_its_dtype_and_its_gradients():
    x, kernel = case(6, 6, 3, jnp.bfloat16)

    def loss(x, k):
        return depthwise_conv(x, k, padding=((1, 1), (1, 1))).astype(jnp.float32).sum()

    gx, gk = jax.jit(jax.grad(loss, (0, 1)))(x, kernel)
    assert (gx.dtype, gk.dtype) == (jnp.bfloat16, jnp.bfloat16)
    exact = jax.jit(jax.grad(loss, 1))(x.astype(jnp.float32), kernel.astype(jnp.float32))
    np.testing.assert_allclose(gk.astype(jnp.float32), exact, rtol=0.02, atol=0.2)
