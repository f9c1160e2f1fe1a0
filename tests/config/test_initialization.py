import jax
import numpy as np
import pytest
from flax.traverse_util import flatten_dict

from hypjax.config import assembly, initialization
from hypjax.config.images import create_reader
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
