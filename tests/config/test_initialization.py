import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax.traverse_util import flatten_dict

from hypjax.config import assembly, initialization
from hypjax.config.images import create_reader
from hypjax.config.settings import default_settings
from hypjax.config.words import apply_arguments
from hypjax.data.errors import UsageError
from hypjax.data.source import Subset
from hypjax.run import Run
from hypjax.training import sharding
from tests.pictures import untrained_run


@pytest.fixture
def begin(tmp_path):
    """Makes the state of step 0 of a tiny run; counts how often each training image is looked at."""

    def make(start=None, **changes):
        config = Run.open(untrained_run()[0]).config
        config.features.dir = str(tmp_path / "features")
        config.update(changes)
        setup, mesh = assembly.assemble(config), sharding.data_mesh(jax.devices()[:1])
        seen, said = [], []

        def image(self, index):
            seen.append(self.name(index))
            return self._source.image(int(self.indices[index]))

        evaluator = assembly.create_evaluator(config, setup, mesh, create_reader(config, mesh))
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(Subset, "image", image)
            state = initialization.initial_state(config, setup, evaluator, start, say=said.append)
        return state, seen, said, setup

    return make


@pytest.mark.slow
def test_each_training_image_is_looked_at_once_and_by_the_next_run_not_at_all(begin):
    state, seen, _, setup = begin()
    names = [setup.splits.train.name(index) for index in range(len(setup.splits.train))]
    assert set(seen) == set(names)
    assert len(seen) < 2 * len(names)  # what fills the last batch is looked at, too
    again, seen, _, _ = begin()
    assert not seen
    jax.tree.map(np.testing.assert_array_equal, again, state)
    _, seen, _, _ = begin(data={"eval_image_size": 24, "image_size": 24})  # another view is another set of features
    assert seen


@pytest.mark.slow
def test_what_was_kept_and_damaged_is_made_again(begin, tmp_path):
    state, _, _, _ = begin()
    (file,) = (tmp_path / "features").iterdir()
    file.write_bytes(file.read_bytes()[:100])
    again, seen, _, _ = begin()
    assert seen
    jax.tree.map(np.testing.assert_array_equal, again, state)


@pytest.mark.slow
def test_another_run_is_started_from_where_it_fits(begin):
    start, _ = Run.open(untrained_run()[0]).restore(sharding.data_mesh(jax.devices()[:1]))
    start = jax.tree.map(lambda leaf: leaf + 1, start)
    state, seen, said, _ = begin(start)
    assert (bool(seen), said) == (True, [])  # its encoder sees otherwise
    held = {**state.params, **state.frozen}
    for path, value in flatten_dict(start["params"]["encoder"], sep="/").items():
        np.testing.assert_array_equal(held[f"encoder/{path}"], value)
    np.testing.assert_array_equal(held["head/kernel"], start["params"]["head"]["kernel"])
    state, _, said, _ = begin(start, head={"dim": 4})
    assert "  params/head/kernel is (16, 8) there and (16, 4) here: not taken" in said
    assert {**state.params, **state.frozen}["head/kernel"].shape == (16, 4)


@pytest.fixture(scope="module")
def adapted():
    """Settings of an encoder with adapters over weights in bfloat16, and what is made of them."""
    words = "encoder=dinov2_vits14,encoder.lora_rank=2,encoder.frozen_dtype=bfloat16,data.image_size=28"
    config = default_settings()
    config.encoder.sizes.update({"width": 16, "depth": 2, "heads": 2})
    config = apply_arguments(config, words + ",data.eval_image_size=28")
    return config, assembly.assemble(config)


@pytest.mark.slow
def test_adapters_are_trained_in_place_of_the_weights(adapted):
    state = initialization.abstract_state(*adapted)
    names = {path.rpartition("/")[2] for path in state.params if path.startswith("encoder/")}
    assert names == {"lora_a", "lora_b"}
    assert {leaf.dtype for leaf in state.params.values()} == {jnp.dtype("float32")}
    base = {path: leaf.dtype for path, leaf in state.frozen.items() if path.startswith("encoder/")}
    assert "encoder/block_1/qkv/kernel" in base
    assert "encoder/pos_embed" in base
    assert set(base.values()) == {jnp.dtype("bfloat16")}
    # Two moments of each trained value and nothing of the weights.
    held = sum(leaf.size for leaf in jax.tree.leaves(state.opt_state))
    assert held < 2.2 * sum(leaf.size for leaf in state.params.values())


def test_another_runs_weights_are_taken_in_the_type_that_they_are_kept_in(adapted):
    config, setup = adapted
    shapes = initialization.abstract_encoder(config, setup)[1]["params"]
    variables = {"params": {"encoder": jax.tree.map(lambda leaf: np.zeros(leaf.shape, leaf.dtype), shapes)}}
    flat = flatten_dict(variables, sep="/")
    theirs = {path: np.full(leaf.shape, 1 / 3, np.float32) for path, leaf in flat.items() if "lora" not in path}
    taken, misfits = initialization.taken_over(variables, initialization.unflatten_dict(theirs, sep="/"))
    assert {line.rpartition("/")[2] for line in misfits} == {f"lora_{n} is not there: it starts anew" for n in "ab"}
    kernel = taken["params"]["encoder"]["block_0"]["qkv"]["kernel"]
    assert kernel.dtype == jnp.bfloat16
    np.testing.assert_array_equal(kernel, np.float32(1 / 3).astype(jnp.bfloat16))


@pytest.mark.slow
@pytest.mark.parametrize("words", ["encoder.lora_rank=0", "encoder.lora_rank=3", "encoder.lora_alpha=8"])
def test_another_runs_adapters_come_merged_where_this_run_has_none_or_others(adapted, words):
    """Those of the same settings stay as they are."""
    theirs, setup = adapted
    _, shapes = initialization.abstract_encoder(theirs, setup)
    draw = np.random.default_rng(0)
    encoder = jax.tree.map(lambda leaf: draw.normal(size=leaf.shape).astype(leaf.dtype), shapes["params"])
    start = {"params": {"encoder": encoder}, "objective": {}}
    assert initialization.without_other_adapters(theirs, theirs, start) == start
    ours = apply_arguments(theirs.copy_and_resolve_references(), words)
    taken = initialization.without_other_adapters(ours, theirs, start)
    assert not [path for path in flatten_dict(taken, sep="/") if "lora" in path]
    assert taken["objective"] == {}
    map_of = encoder["block_0"]["fc_2"]
    expected = map_of["kernel"].astype(np.float32) + map_of["lora_a"] @ map_of["lora_b"] * (16 / 2)
    found = taken["params"]["encoder"]["block_0"]["fc_2"]
    np.testing.assert_allclose(found["kernel"], expected, rtol=1e-5, atol=1e-5)
    np.testing.assert_array_equal(found["bias"], map_of["bias"])


def test_adapters_make_no_sense_on_features_that_are_kept(adapted):
    with pytest.raises(UsageError, match="leave one out"):
        assembly.assemble(apply_arguments(default_settings(), "frozen,encoder=vit_ti8,encoder.lora_rank=2"))
