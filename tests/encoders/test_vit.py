import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from hypjax import encoders
from hypjax.encoders.positions import resample_positions
from hypjax.encoders.vit import TransformerBlock

TINY = {"width": 8, "depth": 2, "heads": 2, "patch": 4}


@pytest.mark.slow
@pytest.mark.parametrize(("name", "parameters"), [("vit_s16", 21_665_664), ("deit_s16_distilled", 21_666_432)])
def test_sizes_are_the_published_ones(name, parameters):
    y, variables = jax.eval_shape(
        encoders.create(name).init_with_output, jax.random.key(0), jnp.zeros((2, 224, 224, 3))
    )
    assert sum(leaf.size for leaf in jax.tree.leaves(variables["params"])) == parameters
    assert (y.shape, y.dtype) == ((2, 384), jnp.float32)


def numpy_forward(p, image, *, patch, heads):
    """The transformer a second time, one token at a time, in float64."""
    p = jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), p)

    def norm(x, q):
        return (x - x.mean()) / np.sqrt(x.var() + 1e-6) * q["scale"] + q["bias"]

    def dense(x, q):
        return x @ q["kernel"] + q["bias"]

    tokens = [p["cls_token"][0, 0]]
    for i in range(0, image.shape[0], patch):
        for j in range(0, image.shape[1], patch):
            cut = image[i : i + patch, j : j + patch]
            tokens.append(np.einsum("pqc,pqcf->f", cut, p["patch_embed"]["kernel"]) + p["patch_embed"]["bias"])
    x = np.stack(tokens) + p["pos_embed"][0]
    width, d = x.shape[1], x.shape[1] // heads
    gelu = np.vectorize(lambda t: 0.5 * t * (1 + math.erf(t / math.sqrt(2))))
    for index in range(sum(name.startswith("block_") for name in p)):
        q = p[f"block_{index}"]
        mixed = np.stack([dense(norm(t, q["norm_1"]), q["qkv"]) for t in x])
        joined = np.zeros_like(x)
        for h in range(heads):
            query, key, value = (mixed[:, part * width + h * d : part * width + (h + 1) * d] for part in range(3))
            for n in range(len(x)):
                weights = np.exp(key @ query[n] / math.sqrt(d))
                joined[n, h * d : (h + 1) * d] = weights @ value / weights.sum()
        x = x + dense(joined, q["proj"])
        x = x + np.stack([dense(gelu(dense(norm(t, q["norm_2"]), q["fc_1"])), q["fc_2"]) for t in x])
    return norm(x[0], p["norm"])


@pytest.mark.slow
def test_a_small_one_agrees_with_an_independent_forward(random_variables):
    encoder = encoders.create("vit_ti8", **TINY)
    image = np.random.default_rng(0).normal(size=(8, 12, 3))
    x = jnp.asarray(image[None], jnp.float32)
    variables = random_variables(encoder, x)
    expected = numpy_forward(variables["params"], image, patch=4, heads=2)
    np.testing.assert_allclose(jax.jit(encoder.apply)(variables, x)[0], expected, atol=1e-4)


@pytest.mark.slow
def test_bfloat16_is_close(random_variables):
    x = jnp.asarray(np.random.default_rng(0).normal(size=(2, 8, 8, 3)), jnp.float32)
    exact, half = (encoders.create("vit_ti8", dtype=d, **TINY) for d in (jnp.float32, jnp.bfloat16))
    variables = random_variables(exact, x)
    y, z = jax.jit(exact.apply)(variables, x), jax.jit(half.apply)(variables, x)
    assert z.dtype == jnp.float32
    np.testing.assert_allclose(z, y, atol=0.1)
    assert not np.array_equal(y, z)


@pytest.mark.slow
def test_attention_tells_logits_apart_that_bfloat16_does_not():
    # Both tokens ask with (25, 1); the keys (16, ¾) and (16, 0) give 400.75 and 400, in bfloat16 one number.
    x = np.float32([[[1.0, 1.0, -1.0, -1.0], [1.0, -1.0, 1.0, -1.0]]])
    block = TransformerBlock(heads=1, dtype=jnp.bfloat16)
    shapes = jax.eval_shape(block.init, jax.random.key(0), x)["params"]
    params = jax.tree.map(lambda leaf: np.zeros(leaf.shape, np.float32), shapes)
    params["norm_1"]["scale"] += 1
    params["proj"]["kernel"] += np.eye(4)
    params["qkv"]["bias"][[0, 1, 4, 5]] = [25.0, 1.0, 16.0, 0.375]
    params["qkv"]["kernel"][1, [5, 8]] = [0.375, 1.0]  # values 1 and −1
    attended = (np.asarray(jax.jit(block.apply)({"params": params}, x)) - x)[0, :, 0]
    np.testing.assert_allclose(attended, math.tanh(0.75 / 4), atol=0.01)


def test_sizes_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match="cannot be cut into patches of 4"):
        encoders.create("vit_ti8", **TINY).init(jax.random.key(0), jnp.zeros((1, 10, 8, 3)))
    with pytest.raises(ValueError, match="width 8 is no multiple of heads 3"):
        encoders.create("vit_ti8", **{**TINY, "heads": 3}).init(jax.random.key(0), jnp.zeros((1, 8, 8, 3)))


def test_positions_are_resampled_smoothly():
    ramp = np.stack(np.meshgrid(np.arange(6.0), np.arange(6.0), indexing="ij"), -1).reshape(1, 36, 2)
    positions = np.concatenate([np.full((1, 1, 2), 9.0), ramp], 1).astype(np.float32)
    assert resample_positions(positions, tokens=1, grid=(6, 6)) is positions
    finer = resample_positions(positions, tokens=1, grid=(12, 6))
    assert finer.shape == (1, 73, 2)
    np.testing.assert_array_equal(finer[:, 0], 9)
    grid = finer[0, 1:].reshape(12, 6, 2)
    np.testing.assert_allclose(grid[4:8, 2, 0], np.arange(4, 8) / 2 - 0.25, atol=1e-4)  # half-pixel centers
    np.testing.assert_allclose(grid[5, :, 1], np.arange(6), atol=1e-4)
    with pytest.raises(ValueError, match="not a square"):
        resample_positions(positions, tokens=2, grid=(6, 6))
