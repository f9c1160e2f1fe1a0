"""A large batch in blocks of rows, shared out over devices."""

import functools

import jax
import numpy as np
import pytest
from jax.sharding import AxisType, NamedSharding, PartitionSpec

from hypjax.encoders.model import ModelOutput
from hypjax.run.rehearsal import hlo
from hypjax.run.rehearsal.collectives import KINDS
from hypjax.training.objective import create_objective, learned_space
from tests.training.test_objective import DOUBT, LABELS, SETTINGS, output, space


@pytest.mark.slow
def test_devices_make_blocks_of_their_own_and_send_nothing_in_between(monkeypatch):
    """Points of all before, their gradient after; a learned curvature and boundary come along."""
    mesh = jax.make_mesh((8,), ("data",), axis_types=(AxisType.Auto,))
    where = learned_space(lambda c: space(c=c), 0.05, 2.0)
    made = create_objective(
        where,
        "margin",
        samples_per_class=4,
        settings=SETTINGS | {"learn_beta": True},
        curvature=-0.8,
        failure_weight=2.0,
    )
    params = made.initial(jax.random.key(1), 5)

    def on_mesh(tangent, doubt, params):
        with jax.sharding.use_abstract_mesh(mesh.abstract_mesh):
            return made(ModelOutput(tangent, tangent, doubt), LABELS, params=params)[0]

    given, places = (output().tangent, DOUBT, params), NamedSharding(mesh, PartitionSpec())
    expected = jax.jit(jax.value_and_grad(on_mesh, (0, 1, 2)))(*given)
    monkeypatch.setattr("hypjax.training.comparing._BLOCK", 5)
    monkeypatch.setattr("hypjax.training.comparing._LEAST", 12)
    compiled = (
        jax.jit(jax.value_and_grad(on_mesh, (0, 1, 2)), in_shardings=places, out_shardings=places)
        .lower(*given)
        .compile()
    )
    found = compiled(*jax.device_put(given, places))
    jax.tree.map(functools.partial(np.testing.assert_allclose, rtol=1e-5, atol=1e-7), found, expected)
    lines = hlo.parse(compiled.as_text()).steps(fused=True)
    assert {times for line, _, times in lines if line.opcode in KINDS} == {1}
