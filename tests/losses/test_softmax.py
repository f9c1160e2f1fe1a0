import jax
import jax.numpy as jnp
import numpy as np
import pytest

from hypjax import losses
from hypjax.geometry import Poincare
from hypjax.mining import easy_positive, hard_negative
from tests.losses import table

LABELS = np.array([2, 0, 1, 0, 2, 2, 1, 0, 5], np.int32)


@pytest.mark.slow
def test_with_two_images_of_each_class_they_are_one_loss():
    distances = jnp.array(np.random.default_rng(0).uniform(0, 3, (8, 8)), jnp.float32)
    pairs = table.pairs(np.arange(8) // 2)
    both = [losses.mean(form(distances, pairs, temperature=0.2)) for form in (losses.nt_xent, losses.supcon)]
    np.testing.assert_allclose(*both, rtol=1e-6)


@pytest.mark.slow
def test_hard_points_of_the_ball_are_finite_at_tiny_temperatures(points):
    x = jnp.array(points(9), jnp.float32)
    x = x.at[1].set(x[3]).at[2].set(0).at[4].set(x[4] / jnp.linalg.norm(x[4]) / 0.7**0.5)

    @jax.jit
    def run(x):
        def values(x):
            distances = Poincare(0.7).pairwise_dist(x, x)
            pairs = hard_negative(distances, easy_positive(distances, table.pairs(LABELS)))
            return [losses.mean(form(distances, pairs, temperature=1e-3)) for form in (losses.nt_xent, losses.supcon)]

        return values(x), jax.jacrev(values)(x)

    values, gradients = run(x)
    assert np.isfinite(values).all()
    for gradient in gradients:
        assert jnp.isfinite(gradient).all()
        assert jnp.abs(gradient).max() > 0
