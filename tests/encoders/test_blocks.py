import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from hypjax import encoders

CASES = {
    "vit_ti8": {"width": 16, "depth": 2, "heads": 2, "patch": 4},
    "resnet50": {"stages": (2, 1), "width": 4},
    "efficientnet_lite0": {"stages": ((1, 3, 1, 1, 8), (2, 3, 2, 2, 8)), "stem": 8, "width": 16},
}
X = jnp.asarray(np.random.default_rng(0).normal(size=(4, 16, 16, 3)), jnp.float32)


def made(name, blocks):
    encoder = encoders.create(name, blocks=blocks, **CASES[name])

    def loss(params, others):
        features = encoder.apply({"params": params, **others}, X, train=True)
        return jnp.sum(jnp.sin(features)), features

    return encoder, jax.value_and_grad(loss, has_aux=True)


@functools.cache
def parts(name, random_variables):
    variables = random_variables(made(name, "unrolled")[0], X)
    return variables.pop("params"), variables


unrolled = functools.cache(lambda name: jax.jit(made(name, "unrolled")[1]))


@pytest.mark.parametrize(
    ("name", "blocks"),
    [
        ("vit_ti8", "scanned"),
        pytest.param("vit_ti8", "remade", marks=pytest.mark.slow),
        pytest.param("resnet50", "remade", marks=pytest.mark.slow),
        pytest.param("efficientnet_lite0", "remade", marks=pytest.mark.slow),
    ],
)
def test_however_compiled_parameters_features_and_gradients_are_the_same(name, blocks, random_variables):
    params, others = parts(name, random_variables)
    encoder, function = made(name, blocks)
    shapes = jax.eval_shape(encoder.init, jax.random.key(0), X)["params"]
    assert jax.tree.map(jnp.shape, params) == jax.tree.map(jnp.shape, shapes)
    expected, found = unrolled(name)(params, others), jax.jit(function)(params, others)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5), expected, found)


@pytest.mark.slow
@pytest.mark.parametrize("name", CASES)
def test_a_gradient_of_remade_blocks_keeps_what_is_between_them(name, random_variables):
    params, others = parts(name, random_variables)

    def kept(blocks):
        encoder = encoders.create(name, blocks=blocks, **CASES[name])

        def pull(params):
            return jax.vjp(lambda params: encoder.apply({"params": params, **others}, X, train=True), params)[1]

        return sum(leaf.size for leaf in jax.tree.leaves(jax.eval_shape(pull, params)))

    assert kept("remade") < 0.75 * kept("unrolled")


@pytest.mark.slow
def test_memory_of_a_gradient_falls_with_remade_blocks():
    deep = {**CASES["vit_ti8"], "depth": 4}
    params = jax.eval_shape(encoders.create("vit_ti8", **deep).init, jax.random.key(0), X)["params"]

    def temporaries(blocks):
        apply = encoders.create("vit_ti8", blocks=blocks, **deep).apply
        gradient = jax.grad(lambda params: apply({"params": params}, jnp.tile(X, (8, 1, 1, 1)), train=True).sum())
        return jax.jit(gradient).lower(params).compile().memory_analysis().temp_size_in_bytes

    assert temporaries("remade") < temporaries("unrolled") / 2


def test_blocks_that_differ_are_not_scanned():
    with pytest.raises(ValueError, match="blocks of resnet50 differ"):
        encoders.create("resnet50", blocks="scanned")
    with pytest.raises(ValueError, match="'rolled' are unknown; there are: unrolled, scanned, remade"):
        encoders.create("vit_s16", blocks="rolled")


@pytest.mark.slow
def test_kernels_kept_in_bfloat16_are_rounded_once():
    """Gains of LayerScale are folded into them, which must not round the product."""
    encoder = encoders.create("dinov2_vits14", width=16, depth=2, heads=2, patch=4)
    variables = jax.jit(encoder.init)(jax.random.key(0), X)
    draw = jax.random.normal(jax.random.key(1), (16,))
    place = lambda path, leaf: 1 + 0.1 * draw if "gamma" in jax.tree_util.keystr(path) else leaf  # noqa: E731
    variables = jax.tree_util.tree_map_with_path(place, variables)
    kept = jax.tree.map(lambda leaf: leaf.astype(jnp.bfloat16), variables)
    plain = jax.tree.map(lambda leaf: leaf.astype(jnp.float32), kept)
    apply = jax.jit(encoder.apply)
    np.testing.assert_allclose(apply(kept, X), apply(plain, X), rtol=1e-5, atol=1e-5)
