import importlib.util

import pytest

from hypjax.config.settings import default_settings
from hypjax.config.words import apply_arguments
from hypjax.data.errors import UsageError
from hypjax.run import rehearsal
from hypjax.run.rehearsal.collectives import FORBIDDEN, by_kind

needs_libtpu = pytest.mark.skipif(importlib.util.find_spec("libtpu") is None, reason="libtpu is not installed")


def test_without_libtpu_one_is_told_what_to_install(monkeypatch):
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "libtpu" else find(name))
    config = apply_arguments(default_settings(), "dry,dry.topology=v5e:4x4")
    with pytest.raises(UsageError, match=r"dry.topology=v5e:4x4 .*pip install 'hypjax\[tpu\]'"):
        rehearsal.rehearse(config)


def test_a_topology_says_itself_how_many_devices_there_are():
    config = apply_arguments(default_settings(), "dry,dry.topology=v5e:4x4,dry.devices=8")
    with pytest.raises(UsageError, match=r"leave dry\.devices out"):
        rehearsal.rehearse(config)


@needs_libtpu
def test_slices_are_known_by_name():
    for name, size, kind in (("v5e:4x4", 16, "TPU v5 lite"), ("v4:2x2x4", 16, "TPU v4"), ("v6e:2x2", 4, "TPU v6 lite")):
        mesh = rehearsal.topology_mesh(name)
        assert (mesh.size, mesh.devices.flat[0].device_kind) == (size, kind)
    for name in ("v99:2x2", "v5e:3x3", "nonsense"):
        with pytest.raises(UsageError, match=f"{name} is no slice that libtpu knows"):
            rehearsal.topology_mesh(name)


@needs_libtpu
def test_a_step_is_laid_out_for_a_slice():
    words = "data=cub,encoder=vit_s16,data.image_size=32,data.eval_image_size=32,batch.classes=8,head.dim=6"
    config = apply_arguments(default_settings(), f"dry,{words}")
    config.encoder.sizes.update({"width": 32, "depth": 1, "heads": 2})
    found = rehearsal.measure(config, rehearsal.topology_mesh("v5e:2x2"))
    assert [transfer for transfer in found.transfers if transfer.carries in FORBIDDEN] == []
    assert by_kind(found.transfers)["all-reduce"]["gradients"] == found.trained * 4 * 2 * 3 / 4
    assert found.platform == "v5e"
    assert 0 < found.memory.temporaries < 2**27
    assert found.times.counted == 0 < found.times.memory
