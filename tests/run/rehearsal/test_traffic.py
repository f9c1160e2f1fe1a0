import jax
import jax.numpy as jnp
import pytest

from hypjax.run.rehearsal import hlo, traffic
from tests.run.rehearsal.programs import LOOP


def test_bytes_of_main_memory_are_counted_by_the_layout():
    row, points = 384 * 4, 45 * 128
    # Each turn reads one row of the stacked array and writes it; the sum over devices reads and writes it again.
    turns = 12 * (row + row + 4 + row + row)
    # To fast memory and nothing more: points in bfloat16. What is gathered there is copied out at the end.
    once = 2 * points + 720 * 128 * 4 + (720 * 4 + 4) + (2 * 720 * 4 + 2 * 4)
    assert traffic.memory_traffic(hlo.parse(LOOP)) == turns + once


def test_cycles_are_those_that_the_compiler_left():
    assert traffic.cycles(hlo.parse(LOOP)) == 1500


def change_in_place(x, row):
    return jax.lax.fori_loop(0, 5, lambda i, x: jax.lax.dynamic_update_slice(x, row + i, (i, 0)), x)


@pytest.mark.parametrize(
    ("function", "shapes", "bytes_moved"),
    [(lambda x: x + 1, [(1000,)], 8000), (lambda x, y: x * y, [(64, 8), (64, 8)], 3 * 2048)],
)
def test_a_fusion_reads_and_writes_once(function, shapes, bytes_moved):
    text = jax.jit(function).lower(*(jnp.zeros(shape) for shape in shapes)).compile().as_text()
    assert traffic.memory_traffic(hlo.parse(text)) == bytes_moved


def test_a_row_changed_in_place_costs_a_row():
    lowered = jax.jit(change_in_place, donate_argnums=0).lower(jnp.zeros((1000, 256)), jnp.zeros((1, 256)))
    moved = traffic.memory_traffic(hlo.parse(lowered.compile().as_text()))
    assert 5 * 1024 <= moved < 5 * 8 * 1024  # and not 5 times the megabyte of all rows
