import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax.traverse_util import flatten_dict, unflatten_dict

from hypjax import encoders
from tests.encoders.drawn import images
from tests.encoders.test_references import compiled

CASES = {
    "dinov3_vits16": {"width": 16, "depth": 2, "heads": 2, "patch": 8},
    "siglip_vit_b16": {"width": 16, "depth": 1, "heads": 2, "patch": 4},
    "convnext_tiny": {"depths": (1, 1), "widths": (8, 12)},
    "resnet50": {"stages": (1, 1), "width": 4},
}
X = jnp.asarray(images(16, 16))
RANK, ALPHA = 2, 6.0


def adapted(name, random_variables, blocks="unrolled"):
    """An encoder with adapters, its variables, and those of the encoder alone."""
    encoder = encoders.create(name, lora_rank=RANK, lora_alpha=ALPHA, blocks=blocks, **CASES[name])
    variables = random_variables(encoder, X)
    base = {place: leaf for place, leaf in flatten_dict(variables).items() if "lora" not in place[-1]}
    return encoder, variables, unflatten_dict(base)


def block_diagonal(b, parts):
    """B of query, key and value, which have adapters of their own, as one."""
    full = np.zeros((parts * RANK, b.shape[1]), np.float32)
    share = b.shape[1] // parts
    for part in range(parts):
        columns = slice(part * share, (part + 1) * share)
        full[part * RANK : (part + 1) * RANK, columns] = b[:, columns]
    return full


@pytest.mark.slow
@pytest.mark.parametrize("name", CASES)
def test_adapted_features_are_those_of_the_adapted_kernels(name, random_variables):
    encoder, variables, base = adapted(name, random_variables)
    known, found = flatten_dict(base), flatten_dict(variables)
    adapters = [place[:-1] for place in found if place[-1] == "lora_a"]
    assert adapters
    for place in adapters:
        a, b, kernel = (np.asarray(found[(*place, leaf)]) for leaf in ("lora_a", "lora_b", "kernel"))
        product = a @ block_diagonal(b, a.shape[1] // RANK) * ALPHA / RANK
        known[(*place, "kernel")] = kernel + product.reshape(kernel.shape)
    merged = flatten_dict(encoders.lora.merged(variables, encoders.lora.Lora(RANK, ALPHA)))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6), merged, known)
    plain = encoders.create(name, **CASES[name])
    expected = compiled(plain)(unflatten_dict(known), X)
    np.testing.assert_allclose(compiled(encoder)(variables, X), expected, atol=2e-5 * float(abs(expected).max()))


@pytest.mark.slow
def test_the_first_features_are_those_of_the_weights(tmp_path, random_variables):
    name = "siglip_vit_b16"
    encoder, variables, base = adapted(name, random_variables)
    module = encoders.weights._PUBLISHED[type(encoder)]
    tensors = {}
    for place, leaf in flatten_dict(base).items():
        value = np.asarray(leaf)
        tensors[module.name(place[1:])] = np.moveaxis(value, (-1, -2), (0, 1)) if place[-1] == "kernel" else value
    np.savez(tmp_path / "w.npz", **tensors)
    loaded = encoders.load_weights(tmp_path / "w.npz", encoder, image_size=16)
    assert jax.tree.map(jnp.shape, loaded) == jax.tree.map(jnp.shape, variables)
    flat = flatten_dict(loaded)
    assert all(not leaf.any() for place, leaf in flat.items() if place[-1] == "lora_b")
    assert all(leaf.any() for place, leaf in flat.items() if place[-1] == "lora_a")
    plain = encoders.create(name, **CASES[name])
    np.testing.assert_array_equal(compiled(encoder)(loaded, X), compiled(plain)(base, X))


@pytest.mark.slow
def test_blocks_however_compiled_are_adapted_alike_and_have_no_gradient_but_the_adapters(random_variables):
    def made(blocks):
        encoder, variables, _ = adapted("dinov3_vits16", random_variables, blocks)
        flat = flatten_dict(variables)
        trained = {place: leaf for place, leaf in flat.items() if "lora" in place[-1]}

        def loss(trained, flat):
            return jnp.sum(jnp.sin(encoder.apply(unflatten_dict({**flat, **trained}), X)))

        return jax.jit(jax.value_and_grad(loss)).lower(trained, flat), (trained, flat)

    lowered, arguments = made("unrolled")
    expected = lowered.compile()(*arguments)
    remade = made("remade")[0].compile()
    found = remade(*arguments)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5), expected, found)
    # The gradient of the perceptron's kernel would be a product of its shape.
    assert re.search(r"= f32\[16,64\]\S* parameter\(", remade.as_text())
    assert not re.search(r"= f32\[16,64\]\S* dot\(", remade.as_text())


def test_settings_out_of_range_are_refused():
    with pytest.raises(ValueError, match=r"need lora_rank >= 0 and lora_alpha > 0, not -1 and 16\.0"):
        encoders.create("vit_s16", lora_rank=-1)
