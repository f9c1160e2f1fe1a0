"""A batch that the encoder sees in slices trains as it does whole, in less memory; so does one that keeps less."""

import functools
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from configs.hyp_uml import get_config
from hypjax import losses
from hypjax.config import assembly, initialization, optimization
from hypjax.data.errors import UsageError
from hypjax.data.split import Splits
from hypjax.training import sharding
from hypjax.training.state import create_state
from tests.data.toy import Toy

SIZES = {"width": 16, "depth": 2, "heads": 2}
SHALLOW = SIZES | {"depth": 1}  # where it is not the encoder that is looked at
# With all that looks at the whole batch, at a temperature that makes little of rounding, and with a loss that is quick
# to compile.
WHOLE = "loss=uncertainty_contrastive,geometry=lorentz,miner=easy_positive+semihard_negative,memory.size=16"
WHOLE += ",loss.temperature=1.0"
PROXIES = "loss=proxy_anchor,geometry=euclidean,head.radius=norm,data.image_size=48,data.eval_image_size=48"


def assembled(words, **encoder):
    """The settings and the parts of a tiny transformer that takes 16 images."""
    config = get_config(f"encoder=vit_ti8,quick,batch.classes=4,batch.samples_per_class=4,{words}")
    config.encoder.update({"sizes": SHALLOW if words.startswith(WHOLE) else SIZES, "frozen": ()} | encoder)
    config.head.dim = 8
    part = Toy((4, 4, 4, 4))
    return config, assembly.assemble(config, Splits(part, part, part))


@functools.cache
def variables(words):
    return jax.device_get(initialization.drawn_variables(*assembled(words)))


def job(words, slices=1, devices=1, **encoder):
    """A step of it, a state to start from and a batch."""
    config, setup = assembled(f"{words},batch.slices={slices}", **encoder)
    mesh = sharding.data_mesh(jax.devices()[:devices])
    step, objective = optimization.create_step(config, setup, mesh), optimization.create_objective(config, setup)
    memory = losses.create_cross_batch_memory(16, 9, jnp.float32) if objective.memory_size else None
    state = create_state(
        variables(words),
        optimization.create_optimizer(config),
        objective=initialization.initial_objective(config, setup),
        average=config.optimizer.ema > 0,
        failures=jnp.zeros(16) if setup.model.doubt is not None else None,
        memory=memory,
    )
    size = config.data.image_size
    images = np.random.default_rng(0).integers(0, 256, (16, size, size, 3), np.uint8)
    order = np.arange(16, dtype=np.int32)
    batch = {"image": images, "label": order // 4, "index": order, "level": np.linspace(0, 1, 16, dtype=np.float32)}
    return step, jax.device_put(state, sharding.replicated(mesh)), sharding.global_batch(batch, mesh)


@functools.cache
def trained(words, slices, devices, blocks):
    """Losses and parameters of three steps, and the bytes that one takes for what it computes on the way."""
    step, state, batch = job(words, slices, devices, blocks=blocks)
    compiled, found = step.lower(state, batch, seed=0).compile(), []
    for _ in range(3):
        state, metrics = compiled(state, batch, seed=0)
        found.append([float(metrics["loss"]), float(metrics["grad_norm"])])
    # The loss does not depend on a bias of all keys: Adam makes steps of what is left of its gradient by rounding.
    params = {path: np.asarray(value) for path, value in state.params.items() if not path.endswith("qkv/bias")}
    return found, params, compiled.memory_analysis().temp_size_in_bytes


def whole(words):
    return trained(words, 1, 1, "unrolled")


def assert_trains_alike(found, expected):
    np.testing.assert_allclose(found[0], expected[0], rtol=1e-5)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6), found[1], expected[1])


@pytest.mark.slow
@pytest.mark.parametrize(("words", "slices", "devices"), [(WHOLE, 2, 4), (PROXIES, 4, 1)])
def test_slices_change_no_figure(words, slices, devices):
    """Dropout, memory and failures are of the whole batch, however the encoder saw it; so are they on four devices."""
    assert_trains_alike(trained(words, slices, devices, "unrolled"), whole(words))


@pytest.mark.slow
def test_in_slices_less_is_kept():
    assert trained(PROXIES, 4, 1, "unrolled")[2] < 0.45 * whole(PROXIES)[2]


@pytest.mark.slow
def test_nor_do_blocks_that_are_scanned():
    """In slices too; that however they are compiled gradients are the same is a test of the encoders."""
    assert_trains_alike(trained(PROXIES, 4, 1, "scanned"), whole(PROXIES))


@pytest.mark.parametrize(
    ("words", "slices", "message"),
    [
        ("", 3, "16 images of each device can.t be cut into 3 .*batch.slices=2 can"),
        ("", 0, "must be at least 1, not 0"),
        ("frozen", 2, "no encoder is run"),
        ("encoder=resnet18,encoder.train_batch_norm=true", 2, "takes its statistics over the whole batch"),
    ],
)
def test_slices_that_would_change_something_are_refused(words, slices, message):
    with pytest.raises(UsageError, match=message):
        job(words, slices, sizes={"width": 4, "stages": (1, 1)} if "resnet" in words else {})


@pytest.mark.slow
def test_half_precision_computes_products_and_keeps_no_weights():
    step, state, batch = job(PROXIES, dtype="bfloat16")
    # For an accelerator: a CPU has attention of its own, and computes in half precision only to be slower.
    traced = step.trace(state, batch, seed=0)
    lowered = traced.lower(lowering_platforms=("tpu",)).as_text()
    products = [line for line in lowered.splitlines() if "dot_general" in line]
    given = r": \(tensor<\S+xbf16>, tensor<\S+xbf16>\)|lhs_precision_type = bf16, rhs_precision_type = bf16"
    half = [line for line in products if re.search(given, line)]
    # Two blocks of six products, forward and twice as many back, at least; of the patches, no gradient of the images.
    assert len(half) >= 2 * 6 * 3 + 2
    assert all("HIGHEST" in line for line in products if line not in half)
    after, _ = traced.out_info
    assert {leaf.dtype for leaf in jax.tree.leaves(after) if jnp.issubdtype(leaf.dtype, jnp.floating)} == {
        jnp.dtype("float32")
    }
