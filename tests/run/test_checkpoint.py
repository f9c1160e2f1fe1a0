import errno
import gc
import itertools
import resource
import shutil
import time
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from orbax.checkpoint import v1 as ocp
from orbax.checkpoint._src.futures import future

from hypjax.data.errors import UsageError
from hypjax.run.checkpoint import Checkpoints, SavedStates
from hypjax.training import sharding
from hypjax.training.state import create_state


def state(value=0.0, step=0):
    variables = {
        "params": {
            "head": {"kernel": jnp.full((3, 2), value)},
            "encoder": {"kernel": jnp.full(4, -value, jnp.bfloat16)},
        },
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


@pytest.mark.slow
@pytest.mark.parametrize("devices", [1, 8])
def test_state_and_position_come_back_on_any_number_of_devices(tmp_path, devices):
    with saved(tmp_path, [5]) as checkpoints:
        restored, position, notices = checkpoints.restore(state(), replicated(devices))
    jax.tree.map(np.testing.assert_array_equal, restored, state(5.0, 5))
    assert restored.params["head/kernel"].sharding.num_devices == devices
    assert (position, notices) == ({"next_index": 5}, [])


@pytest.mark.slow
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


@pytest.mark.slow
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


def noisy(step):
    """A state that is no use to a compressor, and too large to lie beside its name."""
    noise = jax.random.normal(jax.random.key(step), (64, 64))
    return state(float(step), step).replace(params={"head/kernel": noise, "encoder/kernel": noise.astype(jnp.bfloat16)})


def flip_a_bit(folder):
    """In the values of an array."""
    path = max(folder.rglob("*"), key=lambda path: path.stat().st_size if "/d/" in str(path) else 0)
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


@pytest.mark.slow
def test_a_flipped_bit_is_noticed_by_trainer_and_reader(tmp_path):
    with Checkpoints(tmp_path / "checkpoints") as checkpoints:
        for step in (3, 6):
            checkpoints.save(noisy(step), {"next_index": step})
    flip_a_bit(tmp_path / "checkpoints" / "6" / "state")
    leaves, notices = SavedStates(tmp_path / "checkpoints").read(replicated())
    assert int(leaves[".step"]) == 3
    assert [notice.partition(" (")[0] for notice in notices] == ["checkpoint 6 is damaged and was passed over"]
    assert "is not as it was written" in notices[0]
    with Checkpoints(tmp_path / "checkpoints") as checkpoints:
        restored, position, notices = checkpoints.restore(noisy(0), replicated())
    jax.tree.map(np.testing.assert_array_equal, restored, noisy(3))
    assert position == {"next_index": 3}
    assert "checkpoint 6 is damaged and was set aside" in notices[0]


@pytest.mark.slow
def test_what_an_older_version_wrote_without_checks_is_read(tmp_path):
    """From its devices, by another of Orbax's checkpointers."""
    leaves = jax.tree_util.tree_flatten_with_path(jax.device_put(noisy(3), replicated(8)))[0]
    tree = {jax.tree_util.keystr(path): leaf for path, leaf in leaves}
    data = {"json": np.frombuffer(b'{"next_index": 3}', np.uint8)}
    with ocp.training.Checkpointer(tmp_path / "checkpoints") as older:
        older.save_checkpointables(3, {"state": tree, "data": data}, force=True)
    with Checkpoints(tmp_path / "checkpoints") as checkpoints:
        restored, position, notices = checkpoints.restore(noisy(0), replicated())
    jax.tree.map(np.testing.assert_array_equal, restored, noisy(3))
    assert (position, notices) == ({"next_index": 3}, [])


def test_a_leaf_of_another_type_is_read_as_what_it_is_now(tmp_path):
    with Checkpoints(tmp_path / "checkpoints") as checkpoints:
        checkpoints.save(noisy(3), {})
        checkpoints.wait()
        now = noisy(0)
        now = now.replace(params={name: leaf.astype(jnp.float32) for name, leaf in now.params.items()})
        restored, _, notices = checkpoints.restore(now, replicated())
    assert (restored.params["encoder/kernel"].dtype, notices) == (jnp.float32, [])
    np.testing.assert_array_equal(restored.params["encoder/kernel"], noisy(3).params["encoder/kernel"])


def test_without_a_whole_checkpoint_it_says_so_each_time_and_leaves_them_where_they_are(tmp_path):
    """Else the same command would find none, the second time, and start anew."""
    saved(tmp_path, [3, 6]).__exit__()
    truncate(tmp_path / "checkpoints" / "3")
    truncate(tmp_path / "checkpoints" / "6")
    for _ in range(2):
        with (
            Checkpoints(tmp_path / "checkpoints") as checkpoints,
            pytest.raises(FileNotFoundError, match=r"no whole checkpoint .*checkpoint 6 .*checkpoint 3 is damaged"),
        ):
            checkpoints.restore(state(), replicated())
        assert checkpoints.steps == [3, 6]


@pytest.mark.slow
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


def listing(folder):
    return {path.relative_to(folder): path.stat().st_mtime_ns for path in folder.rglob("*")}


def test_who_only_reads_moves_and_cleans_nothing(tmp_path):
    """Neither a damaged checkpoint nor what a trainer at work is writing beside the whole ones."""
    saved(tmp_path, [3, 6]).__exit__()
    truncate(tmp_path / "checkpoints" / "6" / "state")
    pending = tmp_path / "checkpoints" / "9.orbax-checkpoint-tmp-1"
    pending.mkdir()
    (pending / "half").write_text("written")
    before = listing(tmp_path)
    states = SavedStates(tmp_path / "checkpoints")
    leaves, notices = states.read(replicated())
    assert (states.steps, int(leaves[".step"])) == ([3, 6], 3)
    assert [notice.partition(" (")[0] for notice in notices] == ["checkpoint 6 is damaged and was passed over"]
    assert listing(tmp_path) == before


@pytest.mark.parametrize(
    ("refused", "expected"),
    [
        (OSError(5, "Input/output error"), r"checkpoint 6 cannot be read: .*Input/output error"),
        (MemoryError("no room"), "no room"),
        (ImportError("no module named zstd"), "zstd"),
        (RuntimeError("can't start new thread"), "thread"),
        (ValueError("RESOURCE_EXHAUSTED: Out of memory allocating 1 bytes"), "Out of memory"),
    ],
)
def test_what_this_process_or_the_file_system_refuses_is_not_taken_for_damage(tmp_path, monkeypatch, refused, expected):
    saved(tmp_path, [3, 6]).__exit__()

    def refuse(*_):
        raise refused

    with Checkpoints(tmp_path / "checkpoints") as checkpoints:
        before = listing(tmp_path)
        monkeypatch.setattr("hypjax.run.checkpoint.ocp.load_checkpointables", refuse)
        with pytest.raises(type(refused), match=expected):
            checkpoints.restore(state(), replicated())
        assert listing(tmp_path) == before


def test_so_it_is_where_orbax_has_words_of_its_own_for_it(tmp_path, monkeypatch):
    saved(tmp_path, [3, 6]).__exit__()

    def refuse(*_):
        raise ValueError("UNKNOWN: Error reading local file: Input/output error [os_error_code='5']")

    monkeypatch.setattr("hypjax.run.checkpoint.ocp.load_checkpointables", refuse)
    with pytest.raises(OSError, match="checkpoint 6 cannot be read") as caught:
        SavedStates(tmp_path / "checkpoints").read(replicated())
    assert caught.value.errno == errno.EIO


# Orbax abandons its other writes when one fails, and Python says so of each when it is collected
@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_full_disk_is_the_file_systems_error_and_costs_nothing_that_was_there(tmp_path):
    saved(tmp_path, [3]).__exit__()
    before = resource.getrlimit(resource.RLIMIT_FSIZE)

    def fill():
        with Checkpoints(tmp_path / "checkpoints") as checkpoints:
            resource.setrlimit(resource.RLIMIT_FSIZE, (8000, before[1]))
            checkpoints.save(noisy(6), {"next_index": 6})
            checkpoints.wait()

    try:
        with pytest.raises(OSError, match="a checkpoint: File too large") as caught:
            fill()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert caught.value.errno == errno.EFBIG
    del caught
    gc.collect()
    with Checkpoints(tmp_path / "checkpoints") as checkpoints:
        assert checkpoints.steps == [3]
        checkpoints.save(noisy(6), {"next_index": 6})
        checkpoints.wait()
        assert checkpoints.steps == [3, 6]


def test_a_clock_that_jumps_costs_no_checkpoint(tmp_path, monkeypatch):
    days = itertools.count()
    with Checkpoints(tmp_path / "checkpoints") as checkpoints:
        monkeypatch.setattr(future, "time", SimpleNamespace(time=lambda: 86400.0 * next(days), sleep=time.sleep))
        checkpoints.save(noisy(3), {})
        checkpoints.wait()
        assert checkpoints.steps == [3]
    assert next(days) > 1


def test_a_state_of_another_shape_is_named_and_left_where_it_is(tmp_path):
    saved(tmp_path, [3, 6]).__exit__()
    other = state()
    other = other.replace(params={**other.params, "head/kernel": jnp.zeros((3, 5)), "head/bias": jnp.zeros(5)})
    with Checkpoints(tmp_path / "checkpoints") as checkpoints:
        before = listing(tmp_path)
        with pytest.raises(UsageError, match=r"params\['head/bias'\]: nothing -> \(5,\); .*\(3, 2\) -> \(3, 5\)"):
            checkpoints.restore(other, replicated())
        assert listing(tmp_path) == before


@pytest.mark.parametrize("newer", [None, 9], ids=["gone", "half gone for a newer one"])
def test_a_reader_takes_the_next_one_when_its_own_is_cleared_away(tmp_path, monkeypatch, newer):
    saved(tmp_path, [3, 6]).__exit__()
    load, seen = SavedStates._held, []

    def meanwhile(self, step):
        if not seen and newer:
            saved(tmp_path, [newer], keep=3).__exit__()
            truncate(tmp_path / "checkpoints" / "6")
        elif not seen:
            shutil.rmtree(tmp_path / "checkpoints" / "6")
        seen.append(step)
        return load(self, step)

    monkeypatch.setattr(SavedStates, "_held", meanwhile)
    leaves, notices = SavedStates(tmp_path / "checkpoints").read(replicated())
    assert (int(leaves[".step"]), notices) == (newer or 3, [])
