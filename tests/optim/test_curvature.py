import jax
import jax.numpy as jnp
import numpy as np
import pytest

from hypjax.optim import bounded_curvature, unbounded_curvature


def test_values_and_slope_are_those_of_the_formula():
    low, high = 0.01, 2.0
    raw = np.array([-3.0, 0.0, 0.7, 4.0])
    share = 1 / (1 + np.exp(-raw))
    c = low * (high / low) ** share
    with jax.enable_x64(True):
        run = jax.jit(jax.vmap(jax.value_and_grad(lambda raw: bounded_curvature(raw, low, high))))
        value, slope = run(jnp.asarray(raw))
        np.testing.assert_allclose(value, c, rtol=1e-12)
        np.testing.assert_allclose(slope, c * np.log(high / low) * share * (1 - share), rtol=1e-12)
        np.testing.assert_allclose(jax.vmap(lambda c: unbounded_curvature(c, low, high))(value), raw, rtol=1e-10)


def test_it_stays_within_its_bounds_in_single_precision():
    value, slope = jax.vmap(jax.value_and_grad(lambda raw: bounded_curvature(raw, 0.05, 3.0)))(
        jnp.array([-1e4, -50.0, 50.0, 1e4], jnp.float32)
    )
    np.testing.assert_allclose(value, [0.05, 0.05, 3.0, 3.0], rtol=1e-6)
    assert value.dtype == jnp.float32
    assert jnp.all(jnp.isfinite(slope))


def test_impossible_bounds_are_named():
    for low in (0, -1.0, np.float32(-1), jnp.float32(0), np.int64(0), np.array(-1), jnp.nan):
        with pytest.raises(ValueError, match="0 < low < high"):
            bounded_curvature(0.0, low, 1)
    with pytest.raises(ValueError, match=r"low=2\.0 and high=1\.0"):
        unbounded_curvature(1.5, 2.0, 1.0)
    with pytest.raises(ValueError, match=r"c=1\.0 must lie strictly between low=0\.1 and high=1\.0"):
        unbounded_curvature(1.0, 0.1, 1.0)
