from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from hypjax import encoders
from hypjax.encoders.checkpoint_files import read_tensors

TINY = {"stages": ((1, 3, 1, 1, 8), (2, 3, 2, 2, 8)), "stem": 8, "width": 16}
CLASSIFIER = 1280 * 1000 + 1000


@pytest.fixture(scope="module")
def pretrained():
    encoder = encoders.create("efficientnet_lite0")
    path = encoders.packaged_weights("efficientnet_lite0")
    return encoder, encoders.load_weights(path, encoder, image_size=32), path


@pytest.mark.slow
def test_parameter_count_is_the_published_one(pretrained):
    _, variables, _ = pretrained
    total = sum(leaf.size for leaf in jax.tree.leaves(variables["params"]))
    assert total + CLASSIFIER == 4_652_008


def convolve(x, kernel, stride, *, depthwise=False):
    """[h, w, in] by [out, in, k, k] with TensorFlow's padding, in float64."""
    size = kernel.shape[-1]
    pads = []
    for extent in x.shape[:2]:
        total = max((-(-extent // stride) - 1) * stride + size - extent, 0)
        pads.append((total // 2, total - total // 2))
    windows = np.lib.stride_tricks.sliding_window_view(np.pad(x, (*pads, (0, 0))), (size, size), (0, 1))
    windows = windows[::stride, ::stride]
    if depthwise:
        return np.einsum("hwcij,cij->hwc", windows, kernel[:, 0])
    return np.einsum("hwcij,ocij->hwo", windows, kernel, optimize=True)


def published_forward(tensors, x):
    """Lite0 written a second time, straight from the published names."""
    tensors = {name: np.asarray(value, np.float64) for name, value in tensors.items()}

    def norm(x, name):
        gain = tensors[f"{name}.weight"] / np.sqrt(tensors[f"{name}.running_var"] + 1e-3)
        return (x - tensors[f"{name}.running_mean"]) * gain + tensors[f"{name}.bias"]

    def relu6(x):
        return np.clip(x, 0, 6)

    x = relu6(norm(convolve(x, tensors["_conv_stem.weight"], 2), "_bn0"))
    strides = {1: 2, 3: 2, 5: 2, 11: 2}
    for index in range(16):
        block, y = f"_blocks.{index}.", x
        if block + "_expand_conv.weight" in tensors:
            y = relu6(norm(convolve(y, tensors[block + "_expand_conv.weight"], 1), block + "_bn0"))
        kernel = tensors[block + "_depthwise_conv.weight"]
        y = relu6(norm(convolve(y, kernel, strides.get(index, 1), depthwise=True), block + "_bn1"))
        y = norm(convolve(y, tensors[block + "_project_conv.weight"], 1), block + "_bn2")
        x = x + y if x.shape == y.shape else y
    return relu6(norm(convolve(x, tensors["_conv_head.weight"], 1), "_bn1")).mean((0, 1))


@pytest.mark.slow
def test_real_weights_agree_with_an_independent_forward(pretrained):
    encoder, variables, path = pretrained
    rows, columns, channels = np.mgrid[:32, :32, :3]
    image = np.sin(rows / 3 + channels) + np.cos(columns / 5 - channels)
    ours = jax.jit(encoder.apply)(variables, jnp.asarray(image[None], jnp.float32))
    expected = published_forward(read_tensors(path), image)
    assert expected.std() > 0.1
    np.testing.assert_allclose(ours[0], expected, atol=1e-4)


@pytest.mark.slow
def test_bfloat16_inside_float32_out(random_variables):
    x = jnp.asarray(np.random.default_rng(0).normal(size=(2, 16, 16, 3)), jnp.float32)
    exact, half = (encoders.create("efficientnet_lite0", dtype=d, **TINY) for d in (jnp.float32, jnp.bfloat16))
    variables = random_variables(half, x)
    assert {leaf.dtype for leaf in jax.tree.leaves(variables)} == {jnp.dtype("float32")}
    y, z = jax.jit(exact.apply)(variables, x), jax.jit(half.apply)(variables, x)
    assert z.dtype == jnp.float32
    assert y.shape == z.shape == (2, 16)
    np.testing.assert_allclose(z, y, atol=0.05 * float(jnp.abs(y).max()))
    assert not np.array_equal(y, z)


@pytest.mark.slow
def test_statistics_move_only_when_asked(random_variables):
    x = jnp.asarray(np.random.default_rng(0).normal(1, 1, (4, 16, 16, 3)), jnp.float32)
    frozen = encoders.create("efficientnet_lite0", **TINY)
    moving = encoders.create("efficientnet_lite0", train_batch_norm=True, **TINY)
    variables = random_variables(frozen, x)
    kept, moved = (
        jax.jit(partial(encoder.apply, train=True, mutable=["batch_stats"]))(variables, x)[1]
        for encoder in (frozen, moving)
    )
    jax.tree.map(np.testing.assert_array_equal, kept["batch_stats"], variables["batch_stats"])
    same = jax.tree.map(np.array_equal, moved["batch_stats"], variables["batch_stats"])
    assert not any(jax.tree.leaves(same))


@pytest.mark.slow
def test_forward_mode_agrees_with_reverse_mode(random_variables):
    encoder = encoders.create("efficientnet_lite0", **TINY)
    x, direction = np.random.default_rng(0).normal(size=(2, 1, 16, 16, 3)).astype(np.float32)
    variables = random_variables(encoder, x)
    encode = jax.jit(lambda x: encoder.apply(variables, x))
    features, tangent = jax.jvp(encode, (x,), (direction,))
    (gradient,) = jax.vjp(encode, x)[1](features)
    assert jnp.vdot(features, tangent) == pytest.approx(float(jnp.vdot(gradient, direction)), rel=1e-3)
