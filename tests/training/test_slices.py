"""A batch that the encoder sees in slices trains as it does whole, in less memory; so does one that keeps less."""

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

METHODS = (
    "loss=uncertainty_contrastive",
    "loss=pairwise_cross_entropy,regularizer=hier,distance=hybrid,head.radius=norm",
    "loss=margin,miner=easy_positive+semihard_negative,memory.size=16",
    "loss=proxy_anchor,geometry=lorentz",
)


def job(words, devices=1, **encoder):
    """A step of a tiny transformer, a state to start from and a batch of 16 images."""
    config = get_config(f"encoder=vit_ti8,quick,batch.classes=4,batch.samples_per_class=4,{words}")
    config.encoder.update({"sizes": {"width": 16, "depth": 2, "heads": 2}, "frozen": ()} | encoder)
    config.head.dim = 8
    config.hier.update(neighbors=4, proxies=16, triplets=4)
    part = Toy((4, 4, 4, 4))
    setup, mesh = assembly.assemble(config, Splits(part, part, part)), sharding.data_mesh(jax.devices()[:devices])
    step, objective = optimization.create_step(config, setup, mesh), optimization.create_objective(config, setup)
    memory = losses.create_cross_batch_memory(16, 8, jnp.float32) if objective.memory_size else None
    state = create_state(
        initialization.drawn_variables(config, setup),
        optimization.create_optimizer(config),
        objective=initialization.initial_objective(config, setup),
        average=config.optimizer.ema > 0,
        failures=jnp.zeros(16) if setup.model.doubt else None,
        memory=memory,
    )
    size = config.data.image_size
    images = np.random.default_rng(0).integers(0, 256, (16, size, size, 3), np.uint8)
    order = np.arange(16, dtype=np.int32)
    batch = {"image": images, "label": order // 4, "index": order, "level": np.linspace(0, 1, 16, dtype=np.float32)}
    return step, jax.device_put(state, sharding.replicated(mesh)), sharding.global_batch(batch, mesh)


def trained(words, devices=1, **encoder):
    """Parameters and losses of three steps."""
    step, state, batch = job(words, devices, **encoder)
    found = []
    for _ in range(3):
        state, metrics = step(state, batch, seed=0)
        found.append([float(metrics["loss"]), float(metrics["grad_norm"])])
    # The loss does not depend on a bias of all keys: Adam makes steps of what is left of its gradient by rounding.
    return found, {path: np.asarray(value) for path, value in state.params.items() if not path.endswith("qkv/bias")}


@pytest.mark.slow
@pytest.mark.parametrize("words", METHODS)
def test_slices_change_no_figure(words):
    """Dropout, memory and failures are of the whole batch, however the encoder saw it; so are they on four devices."""
    expected, params = trained(words)
    for slices, devices in ((4, 1), (2, 4)):
        found, sliced = trained(f"{words},batch.slices={slices}", devices)
        np.testing.assert_allclose(found, expected, rtol=1e-5)
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6), sliced, params)


def temporaries(words, **encoder):
    step, state, batch = job(f"data.image_size=48,data.eval_image_size=48,{words}", **encoder)
    return step.lower(state, batch, seed=0).compile().memory_analysis().temp_size_in_bytes


@pytest.mark.slow
def test_in_slices_less_is_kept():
    sizes = {"width": 32, "depth": 4, "heads": 2}
    whole, sliced = ([*job(words, sizes=sizes)] for words in ("", "batch.slices=4"))
    taken = [
        step.lower(state, batch, seed=0).compile().memory_analysis().temp_size_in_bytes
        for step, state, batch in (whole, sliced)
    ]
    assert taken[1] < 0.45 * taken[0]


@pytest.mark.slow
@pytest.mark.parametrize("blocks", ["scanned", "remade"])
def test_nor_does_how_blocks_are_compiled(blocks):
    expected, params = trained(METHODS[0])
    found, again = trained(METHODS[0], blocks=blocks)
    np.testing.assert_allclose(found, expected, rtol=1e-5)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6), again, params)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("batch.slices=3", "16 images of each device can.t be cut into 3 .*batch.slices=2 can"),
        ("batch.slices=0", "must be at least 1, not 0"),
        ("batch.slices=2,frozen", "no encoder is run"),
        ("batch.slices=2,encoder=resnet18,encoder.train_batch_norm=true", "takes its statistics over the whole batch"),
    ],
)
def test_slices_that_would_change_something_are_refused(words, message):
    with pytest.raises(UsageError, match=message):
        job(words, sizes={"width": 4, "stages": (1, 1)} if "resnet" in words else {})


@pytest.mark.slow
def test_half_precision_computes_products_and_keeps_no_weights():
    step, state, batch = job("loss=pairwise_cross_entropy,head.radius=norm", dtype="bfloat16")
    # For an accelerator: a CPU has attention of its own, and computes in half precision only to be slower.
    lowered = step.trace(state, batch, seed=0).lower(lowering_platforms=("tpu",)).as_text()
    products = [line for line in lowered.splitlines() if "dot_general" in line]
    given = r": \(tensor<\S+xbf16>, tensor<\S+xbf16>\)|lhs_precision_type = bf16, rhs_precision_type = bf16"
    half = [line for line in products if re.search(given, line)]
    # Two blocks of six products, forward and twice as many back, at least; of the patches, no gradient of the images.
    assert len(half) >= 2 * 6 * 3 + 2
    assert all("HIGHEST" in line for line in products if line not in half)
    after, _ = jax.eval_shape(lambda *given: step(*given, seed=0), state, batch)
    assert {leaf.dtype for leaf in jax.tree.leaves(after) if jnp.issubdtype(leaf.dtype, jnp.floating)} == {
        jnp.dtype("float32")
    }
