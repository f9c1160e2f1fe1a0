import shutil

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from hypjax.training import sharding
from hypjax.training.checkpoint import Checkpoints
from hypjax.training.state import create_state


def state(value=0.0, step=0):
    variables = {
        "params": {"head": {"kernel": jnp.full((3, 2), value)}, "encoder": {"kernel": jnp.full(4, -value)}},
        "batch_stats": {"encoder": {"mean": jnp.full(2, value)}},
    }
    made = create_state(variables, optax.adam(0.1), frozen=("encoder",), average=True)
    return made.replace(step=jnp.int32(step))


def replicated(devices=1):
    return sharding.replicated(sharding.data_mesh(jax.devices()[:devices]))


def saved(path, steps, keep=2):
    with Checkpoints(path / "checkpoints", keep=keep) as checkpoints:
        for step in steps:
            checkpoints.save(state(float(step), step), {"next_index": step})
    return Checkpoints(path / "checkpoints", keep=keep)


@pytest.mark.parametrize("devices", [1, 8])
def test_state_and_position_come_back_on_any_number_of_devices(tmp_path, devices):
    with saved(tmp_path, [5]) as checkpoints:
        restored, position, notices = checkpoints.restore(state(), replicated(devices))
    jax.tree.map(np.testing.assert_array_equal, restored, state(5.0, 5))
    assert restored.params["head/kernel"].sharding.num_devices == devices
    assert (position, notices) == ({"next_index": 5}, [])


def test_only_the_newest_are_kept(tmp_path):
    with saved(tmp_path, [1, 2, 3, 4]) as checkpoints:
        assert checkpoints.steps == [3, 4]


def test_saving_a_step_twice_keeps_the_first(tmp_path):
    with saved(tmp_path, [2, 2]) as checkpoints:
        assert checkpoints.steps == [2]


def truncate(folder):
    files = [path for path in folder.rglob("*") if path.is_file() and path.stat().st_size > 0]
    assert files
    for path in files:
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def test_a_truncated_checkpoint_gives_way_to_the_last_whole_one(tmp_path):
    saved(tmp_path, [3, 6]).__exit__()
    truncate(tmp_path / "checkpoints" / "6" / "state")
    with Checkpoints(tmp_path / "checkpoints") as checkpoints:
        restored, position, notices = checkpoints.restore(state(), replicated())
        assert int(restored.step) == position["next_index"] == 3
        assert len(notices) == 1
        assert notices[0].startswith("checkpoint 6 is damaged and was set aside")
        checkpoints.save(state(6.0, 6), {"next_index": 6})
    with Checkpoints(tmp_path / "checkpoints") as checkpoints:
        assert float(checkpoints.restore(state(), replicated())[0].params["head/kernel"][0, 0]) == 6


def test_without_a_whole_checkpoint_it_says_so(tmp_path):
    saved(tmp_path, [3]).__exit__()
    truncate(tmp_path / "checkpoints" / "3")
    with (
        Checkpoints(tmp_path / "checkpoints") as checkpoints,
        pytest.raises(FileNotFoundError, match="no whole checkpoint"),
    ):
        checkpoints.restore(state(), replicated())


def test_a_saved_state_survives_the_donation_of_its_buffers(tmp_path):
    double = jax.jit(lambda s: s.replace(params=jax.tree.map(lambda p: 2 * p, s.params)), donate_argnums=0)
    current = state(1.0, 1)
    with Checkpoints(tmp_path / "checkpoints", keep=5) as checkpoints:
        for step in range(1, 6):
            checkpoints.save(current.replace(step=jnp.int32(step)), {})
            current = double(current)
    for step in (5, 4, 3, 2, 1):
        with Checkpoints(tmp_path / "checkpoints", keep=5) as checkpoints:
            restored, _, _ = checkpoints.restore(state(), replicated())
        np.testing.assert_array_equal(restored.params["head/kernel"], 2.0 ** (step - 1))
        shutil.rmtree(tmp_path / "checkpoints" / str(step))
