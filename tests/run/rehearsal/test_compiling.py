import threading

import jax
import jax.numpy as jnp
import pytest

from hypjax.run.compiled import NAME
from hypjax.run.rehearsal.compiling import compiled, laid_out

STEM = "module_0000.jit_on_mesh.cl_1.after_optimizations"


def test_what_the_compiler_wrote_is_read_once_it_went_on(tmp_path):
    (tmp_path / f"{STEM}-memory-usage-report.txt").write_text(
        "Memory Space: vmem (color=1)\nTotal bytes: 7 (7B)\nMemory Space: default (color=0)\nTotal bytes: 1234 (1KiB)\n"
    )
    (tmp_path / f"{STEM}.txt").write_text("HloModule")
    assert laid_out(tmp_path) is None
    (tmp_path / f"{STEM}_after_buffer_assignment.txt").touch()
    assert laid_out(tmp_path) == ("HloModule", 1234)


@pytest.mark.parametrize("ahead", [False, True])
def test_a_compiler_that_writes_nothing_is_waited_for(ahead):
    lowered = jax.jit(lambda x, y: (x @ y, x), donate_argnums=0).lower(jnp.ones((8, 16)), jnp.ones((16, 4)))
    made = compiled(lowered, ahead=ahead)
    said = lowered.compile().memory_analysis()
    # Both arguments and the product; the first argument is given back in its place.
    assert made.buffers - said.temp_size_in_bytes == pytest.approx(4 * (8 * 16 + 16 * 4 + 8 * 4), abs=32)
    assert made.text.startswith("HloModule jit__lambda")
    assert NAME not in {thread.name for thread in threading.enumerate()}


def test_what_the_compiler_complains_of_is_raised():
    lowered = jax.jit(jnp.sin).lower(1.0)
    with pytest.raises(jax.errors.JaxRuntimeError, match="no_such_option"):
        compiled(lowered, {"no_such_option": 1})
