import jax
import jax.numpy as jnp
import pytest

from hypjax.run.rehearsal import hlo
from tests.run.rehearsal.programs import LOOP


def test_a_loop_takes_as_many_turns_as_its_condition_says():
    program = hlo.parse(LOOP)
    assert program.entry == "main"
    gone = {line.name: times for line, _, times in program.steps(fused=False)}
    assert (gone["loop"], gone["one"], gone["sum"], gone["near"]) == (1, 12, 12, 1)
    assert "row" not in gone
    assert {line.name: times for line, _, times in program.steps(fused=True)}["row"] == 12


def test_types_operands_and_places_are_read():
    lines = hlo.parse(LOOP).computations["main"]
    assert lines["near"].arrays[:2] == [hlo.Array("bf16", (45, 128), near=True), hlo.Array("bf16", (45, 128))]
    assert [array.bytes for array in lines["pair"].arrays] == [2880, 4]
    assert lines["pair"].operands == ("norms", "loss")
    assert lines["pair"].op_name == "jit(step)/jvp(objective)/reduce_sum"
    assert (lines["out"].root, lines["near"].root) == (True, False)
    assert [hlo.Array(name, (8,)).bytes for name in ("pred", "s4", "u8", "f8e4m3fn", "f64")] == [8, 4, 8, 8, 64]


def test_what_xla_writes_here_is_read_too():
    def twice_in_turns(x):
        return jax.lax.fori_loop(0, 7, lambda i, y: jnp.sin(y) @ y, x)

    text = jax.jit(twice_in_turns).lower(jnp.ones((4, 4))).compile().as_text()
    steps = list(hlo.parse(text).steps(fused=True))
    assert {times for line, _, times in steps if line.opcode in ("sine", "dot")} == {7}
    with pytest.raises(ValueError, match="no entry"):
        hlo.parse("HloModule nothing")
