"""What holds for every loss: the same numbers however it is run, and nothing imported but JAX."""

import subprocess
import sys
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType, NamedSharding, PartitionSpec

from hypjax import losses

LABELS = jnp.repeat(jnp.arange(8), 2)

LOSSES = {
    "pairwise_cross_entropy": lambda x, u, distance: losses.pairwise_cross_entropy(
        x, LABELS, distance=distance, temperature=0.2, samples_per_class=2
    ),
    "triplet": lambda x, u, distance: losses.triplet(x, LABELS, distance=distance),
    "margin": lambda x, u, distance: losses.margin(x, LABELS, distance=distance),
    "uncertainty_contrastive": lambda x, u, distance: losses.uncertainty_contrastive(
        x, LABELS, u, distance=distance, temperature=0.2, strength=1.0, samples_per_class=2
    ),
    "uncertainty_margin": lambda x, u, distance: losses.uncertainty_margin(
        x, LABELS, u, distance=distance, margin=0.2, strength=1.0, detach=False
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize(
    "name", ["pairwise_cross_entropy", "triplet", "margin", "uncertainty_contrastive", "uncertainty_margin"]
)
@pytest.mark.fully_compiled
def test_jit_vmap_and_eight_devices_change_nothing(name, hyperbolic, points):
    loss = partial(LOSSES[name], distance=hyperbolic[0])
    x = jnp.stack([jnp.array(points(16, d=4, seed=seed), jnp.float32) for seed in (0, 1)])
    u = jnp.array(np.random.default_rng(0).random((2, 16)), jnp.float32)
    with_gradient = jax.value_and_grad(loss, (0, 1))
    values, gradients = jax.jit(jax.vmap(with_gradient))(x, u)
    np.testing.assert_allclose(values[0], loss(x[0], u[0]), rtol=1e-5)

    mesh = jax.make_mesh((8,), ("data",), axis_types=(AxisType.Auto,))
    rows = NamedSharding(mesh, PartitionSpec("data"))
    for i in range(2):
        value, by_each = jax.jit(with_gradient)(*jax.device_put((x[i], u[i]), rows))
        np.testing.assert_allclose(value, values[i], rtol=1e-5)
        for sharded, alone in zip(by_each, gradients, strict=True):
            assert len(sharded.sharding.device_set) == 8
            np.testing.assert_allclose(sharded, alone[i], rtol=1e-4, atol=1e-6)
        assert np.abs(by_each[0]).max() > 0
        assert (np.abs(by_each[1]).max() > 0) == name.startswith("uncertainty")


@pytest.mark.slow
@pytest.mark.parametrize("form", ["contrastive", "triplet", "margin"])
def test_no_strength_is_exactly_the_plain_loss(form, hyperbolic, points):
    x, u = jnp.array(points(16, d=4), jnp.float32), jnp.linspace(0, 1, 16)
    arguments = {"distance": hyperbolic[0]}
    if form == "contrastive":
        arguments |= {"temperature": 0.2, "samples_per_class": 2}
        plain = losses.pairwise_cross_entropy(x, LABELS, **arguments)
        aware = losses.uncertainty_contrastive(x, LABELS, u, strength=0.0, **arguments)
    else:
        arguments |= {"margin": 0.2}
        plain = getattr(losses, form)(x, LABELS, **arguments)
        aware = losses.uncertainty_margin(x, LABELS, u, strength=0.0, form=form, **arguments)
    assert aware == plain
    assert plain > 0


def test_importing_takes_jax_alone():
    heavy = ["flax", "optax", "orbax", "grain", "tensorflow", "tensorflow_datasets", "matplotlib", "einops", "chex"]
    code = f"import sys, hypjax.losses; print([m for m in {heavy} if m in sys.modules])"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"


def test_the_package_exports_functions_not_its_files():
    for name in [*LOSSES, "radial_uncertainty", "distance_uncertainty"]:
        assert callable(getattr(losses, name)), name
