import pytest

from hypjax.config.settings import default_settings
from hypjax.config.words import apply_arguments
from hypjax.data.errors import UsageError
from hypjax.run import rehearsal
from hypjax.run.rehearsal import fitting, measuring
from hypjax.run.rehearsal.fitting import largest
from hypjax.run.rehearsal.measuring import Memory, TooLarge, exceeded

GIB = 2**30


@pytest.mark.parametrize(
    ("needed", "expected", "tries"),
    [
        (lambda n: 10 + n, 80, 1),  # 0.97 of what is left
        (lambda n: 10 + 20 * n**0.5, 16, 4),  # small ones take more than their share: 72, 32 and 24 are too large
        (lambda n: 200, None, 4),
    ],
)
def test_a_size_that_fits_is_found_by_trying(needed, expected, tries):
    tried = []

    def compiled(size):
        tried.append(size)
        return needed(size)

    found = largest(range(8, 400, 8), compiled, available=100, held=10, refused=(320, needed(320)))
    assert found == (expected and (expected, needed(expected)))
    assert len(tried) == tries
    assert largest([64, 128], compiled, available=20, held=10, refused=(320, needed(320))) is None


def test_a_batch_too_large_for_a_chip_is_refused_with_one_that_fits(monkeypatch, capsys):
    tried = []

    def measure(config, mesh):
        images = config.batch.classes * config.batch.samples_per_class
        tried.append(config.batch.classes)
        memory = Memory(GIB, 0, 2 * GIB, 0, 0, images * 2**21, 0)
        if memory.total > 15.75 * GIB:
            raise TooLarge(images, memory.total, 15.75 * GIB, memory.state)
        return type("Found", (), {"memory": memory})

    monkeypatch.setattr(rehearsal, "measure", measure)
    monkeypatch.setattr(fitting, "measure", measure)
    monkeypatch.setattr(rehearsal, "topology_mesh", lambda name: type("Mesh", (), {"size": 16}))
    config = apply_arguments(
        default_settings(), "dry,dry.topology=v5e:4x4,batch.classes=2048,batch.samples_per_class=4"
    )
    # 2 MiB an image: 6,528 fill the 12.75 GiB beside the state, of which 97 % are 6,332, in fours for 16 chips.
    words = (
        r"step of 8,192 images needs 19.00 GiB of each chip's memory, which has 15.75 GiB for it; "
        r"--config.batch.classes=1580 makes it 6,320 images, which take 15.34 GiB"
    )
    with pytest.raises(UsageError, match=words):
        rehearsal.rehearse(config)
    assert (tried, config.batch.classes) == ([2048, 1580], 2048)
    assert not capsys.readouterr().out


def test_what_the_compiler_says_of_memory_is_understood():
    told = (
        "E1000: CompileTimeHbmOom: ... for HLO temporaries (24.00G) exceeds available HBM (15.75G). HLO module: jit_f."
    )
    assert exceeded(told) == (24 * GIB, 15.75 * GIB)
    assert exceeded("Ran out of memory in memory space hbm. Used 900.5M of 512.00K hbm.") == (900.5 * 2**20, 512 * 1024)
    assert exceeded("INTERNAL: something else") is None


@pytest.mark.slow
def test_other_complaints_of_the_compiler_are_not_taken_for_memory(monkeypatch):
    import jax

    def fails(*_, **__):
        raise jax.errors.JaxRuntimeError("INTERNAL: no such thing")

    monkeypatch.setattr(measuring.compiling, "compiled", fails)
    config = apply_arguments(default_settings(), "dry,quick,data=cub,encoder=vit_ti8")
    with pytest.raises(jax.errors.JaxRuntimeError, match="no such thing"):
        rehearsal.measure(config, rehearsal.claim_devices(1))
