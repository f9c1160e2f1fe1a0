import os
import subprocess
import sys
from pathlib import Path

import jax
import pytest

from hypjax.config.settings import default_settings
from hypjax.config.words import apply_arguments
from hypjax.data.errors import DataError, UsageError
from hypjax.run import rehearsal
from hypjax.training import sharding
from hypjax.training.sharding import data_mesh

TINY = {"width": 32, "depth": 1, "heads": 2}


def settings(words, **changes):
    config = default_settings()
    config.name = "hyp_vit"
    config.loss.name = "pairwise_cross_entropy"
    config = apply_arguments(config, f"dry,data=cub,encoder=vit_s16,data.image_size=32,data.eval_image_size=32,{words}")
    config.encoder.sizes.update(TINY)
    config.update_from_flattened_dict(changes)
    return config


def first(count):
    """A mesh of the first devices of the tests; `claim_devices` would leave them fewer, were it asked before them."""
    return data_mesh(jax.devices()[:count])


WORDS = "batch.classes=16,batch.samples_per_class=2"


@pytest.fixture(scope="module")
def many():
    return rehearsal.measure(settings(WORDS), first(8))


@pytest.mark.slow
def test_what_a_run_takes_is_counted(many):
    patch = 16 * 16 * 3 * 32 + 32
    block = 2 * 2 * 32 + (32 * 96 + 96) + (32 * 32 + 32) + (32 * 128 + 128) + (128 * 32 + 32)
    rest = 32 + (1 + 4) * 32 + 2 * 32  # class token, positions, the last normalization
    head = 32 * 128 + 128
    assert (many.frozen, many.trained, many.objective) == (patch, block + rest + head, 0)
    assert (many.devices, many.images, many.steps) == (8, 32, 50)
    # Adam's two moments beside the parameters, three counters; CUB's validation leaves 90 of 100 classes.
    assert 0 <= many.memory.state - 4 * (many.frozen + 3 * many.trained) < 64
    assert many.memory.batch == 4 * (32 * 32 * 3 + 3 * 4 + 1)
    assert len(many.splits.train) == 5864 - 586
    assert many.steps_per_epoch == -(-5278 // 32)
    assert many.memory.temporaries > many.memory.batch
    assert many.operations > 6 * many.images * block * 5  # forward and backward, at least
    text = "\n".join(rehearsal.describe(settings(WORDS), many))
    assert f"{many.trained:,} trained, {patch:,} frozen" in text
    assert "32 images, 16 classes × 2; 4 a device" in text


@pytest.mark.slow
def test_more_devices_hold_less_each(many):
    few = rehearsal.measure(settings(WORDS), first(1))
    assert many.memory.batch * 8 == few.memory.batch
    assert many.memory.temporaries < few.memory.temporaries / 3
    assert many.memory.state == few.memory.state
    # A CPU alone sums gradients of biases by products, since those are faster; several would send eight times as much.
    assert 0.97 * few.operations < many.operations <= few.operations


def test_a_batch_that_cannot_be_shared_names_one_that_can():
    words = r"810 images \(90 classes of 9\).*over 8 devices; .*classes=88 makes it 792"
    with pytest.raises(UsageError, match=words):
        rehearsal.measure(settings(""), first(8))
    with pytest.raises(DataError, match="92 classes is larger"):
        rehearsal.measure(settings("batch.classes=92"), first(1))
    with pytest.raises(UsageError, match="take fewer devices"):
        sharding.require_shares(3, 1, 8, limit=7)


def test_devices_are_those_there_are_or_as_many_as_asked_for():
    there = jax.device_count()
    assert rehearsal.claim_devices(0).size == there
    assert rehearsal.claim_devices(3).size == 3
    with pytest.raises(UsageError, match="too late to ask for 1000"):
        rehearsal.claim_devices(1000)
    with pytest.raises(UsageError, match="must not be negative"):
        rehearsal.claim_devices(-1)


@pytest.mark.slow
@pytest.mark.parametrize(
    "words",
    [
        "data=emoji,frozen,quick",
        "data=in_shop,encoder=vit_s16,loss=proxy_anchor,quick",
    ],
)
def test_other_jobs_are_rehearsed_too(words, capsys):
    config = apply_arguments(default_settings(), f"dry,{words}")
    config.encoder.sizes.update(TINY if "vit" in config.encoder.name else {})
    rehearsal.rehearse(config)
    assert "operations" in capsys.readouterr().out


@pytest.mark.slow
def test_the_program_makes_devices_of_its_own(tmp_path):
    environment = {name: value for name, value in os.environ.items() if name != "XLA_FLAGS"} | {"JAX_PLATFORMS": "cpu"}
    root = Path(__file__).parents[3]
    command = [sys.executable, "-m", "hypjax.train", "--config"]
    command += [f"{root}/configs/hyp_vit.py:dry,quick,data=sop,encoder=vit_s16", f"--config.encoder.sizes={TINY}"]
    run = subprocess.run(
        [*command, "--config.dry.devices=16"], cwd=tmp_path, env=environment, capture_output=True, text=True
    )
    assert run.returncode == 0, run.stderr
    assert "dry run for 16 cpu device(s)" in run.stdout
    assert list(tmp_path.iterdir()) == []
