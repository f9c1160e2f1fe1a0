"""Layers of the ball: their Euclidean limit, the hyperplanes that they mean, and where they are hard."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import optimize

from hypjax.geometry import layers, poincare


@pytest.fixture(autouse=True)
def _float64():
    with jax.enable_x64(True):
        yield


def parameters(seed, k=3, d=4):
    rng = np.random.default_rng(seed)
    return jnp.asarray(rng.normal(size=(k, d))), jnp.asarray(0.4 * rng.normal(size=k))


def test_the_layers_tend_to_the_euclidean_ones(ball_points):
    x = ball_points(0, 6, 4, c=1.0, dtype="float64")
    weight, bias = parameters(0)
    np.testing.assert_allclose(layers.linear(x, weight, bias, c=1e-10), x @ weight.T + bias[None], rtol=1e-7)
    np.testing.assert_allclose(layers.linear(x, weight, c=1e-10), x @ weight.T, rtol=1e-7)
    flat = 4 * (x @ weight.T - (bias * jnp.linalg.norm(weight, axis=1))[None])
    np.testing.assert_allclose(layers.mlr(x, weight, bias, c=1e-10), flat, rtol=1e-6)


def test_a_linear_layer_is_its_parts(ball_points, c):
    x = ball_points(0, 6, 4, c=c, dtype="float64")
    weight, bias = parameters(0)
    expected = [
        poincare.mobius_add(poincare.mobius_matvec(weight, one, c=c), poincare.expmap0(bias, c=c), c=c) for one in x
    ]
    found = layers.linear(x.reshape(2, 3, 4), weight, bias, c=c).reshape(6, 3)
    np.testing.assert_allclose(found, jnp.stack(expected), rtol=1e-12)


def test_logits_are_those_of_the_textbook(ball_points, c):
    """Ganea et al.'s form, with the hyperplane's foot p and its normal a = z carried there: λ_p‖a‖ d(x, H)."""
    x = np.asarray(ball_points(0, 5, 4, c=c, dtype="float64"))
    normals, offsets = parameters(1)
    found = layers.mlr(jnp.asarray(x), normals, offsets, c=c)
    for k, (z, r) in enumerate(zip(np.asarray(normals), np.asarray(offsets), strict=True)):
        unit = z / np.linalg.norm(z)
        foot = np.tanh(np.sqrt(c) * r) / np.sqrt(c) * unit
        for i, point in enumerate(x):
            moved = np.asarray(poincare.mobius_add(jnp.asarray(-foot), jnp.asarray(point), c=c))
            sine = 2 * np.sqrt(c) * moved @ unit / (1 - c * moved @ moved)
            np.testing.assert_allclose(found[i, k], 2 * np.linalg.norm(z) / np.sqrt(c) * np.arcsinh(sine), rtol=1e-9)


def test_the_boundary_is_the_hyperplane_through_the_offset(c):
    normals, offsets = parameters(2, k=2, d=3)
    unit = normals / jnp.linalg.norm(normals, axis=1, keepdims=True)
    feet = poincare.expmap0(offsets[:, None] * unit, c=c)
    np.testing.assert_allclose(jnp.diagonal(layers.mlr(feet, normals, offsets, c=c)), np.zeros(2), atol=1e-12)
    np.testing.assert_allclose(poincare.dist0(feet, c=c), 2 * jnp.abs(offsets), rtol=1e-9)
    across = jnp.cross(unit, jnp.array([[1.0, 2.0, -1.0]]))
    on_plane = poincare.expmap(feet, across / 3, c=c)
    np.testing.assert_allclose(jnp.diagonal(layers.mlr(on_plane, normals, offsets, c=c)), np.zeros(2), atol=1e-12)
    ahead = poincare.expmap(feet, 0.1 * unit, c=c)
    distance = jnp.diagonal(layers.hyperplane_dist(ahead, normals, offsets, c=c))
    np.testing.assert_allclose(distance, poincare.dist(feet, ahead, c=c), rtol=1e-9)
    assert np.all(
        np.diagonal(layers.hyperplane_dist(poincare.expmap(feet, -0.1 * unit, c=c), normals, offsets, c=c)) < 0
    )


def test_the_distance_is_the_least_one_to_the_hyperplane(ball_points):
    c = 0.7
    x = ball_points(3, 4, 3, c=c, dtype="float64", reach=3.0)
    normals, offsets = parameters(3, k=2, d=3)
    found = np.asarray(layers.hyperplane_dist(x, normals, offsets, c=c))
    for k in range(2):
        unit = normals[k] / jnp.linalg.norm(normals[k])
        foot = poincare.expmap0(offsets[k] * unit, c=c)
        basis = jnp.asarray(np.linalg.svd(np.asarray(unit)[None])[2][1:])

        @jax.jit
        def objective(v, point, foot=foot, basis=basis):
            return poincare.sqdist(poincare.expmap(foot, v @ basis, c=c), point, c=c)

        slope = jax.jit(jax.grad(objective))
        for i, point in enumerate(x):
            least = optimize.minimize(
                lambda v, p, f=objective: float(f(jnp.asarray(v), p)),
                np.zeros(2),
                (point,),
                jac=lambda v, p, g=slope: np.asarray(g(jnp.asarray(v), p)),
                tol=1e-12,
            )
            np.testing.assert_allclose(abs(found[i, k]), np.sqrt(least.fun), rtol=1e-7)


@pytest.mark.parametrize("wide", [False, True])
@pytest.mark.parametrize("c", [0.1, 2.5])
def test_everything_is_finite_at_hard_points(wide, c):
    dtype = "float64" if wide else "float32"
    edge = 1 / np.sqrt(c)
    x = jnp.asarray(np.array([[0, 0], [1, 0], [-0.8, 0.6], [30, -40], [1e-6, 0]]) * edge, dtype)
    weight = jnp.array([[0, 0], [1, 0], [1e-20, 0], [1e4, 1e4], [-1, 0]], dtype)
    offsets = jnp.array([0, 0, 1, 1e4, -1e4], dtype)

    @jax.jit
    def total(x, weight, offsets, c):
        logits = layers.mlr(x, weight, offsets, c=c)
        return jnp.sum(layers.linear(x, weight, offsets, c=c)) + jnp.sum(jnp.tanh(logits)), logits

    (value, logits), slopes = jax.value_and_grad(total, argnums=(0, 1, 2, 3), has_aux=True)(
        x, weight, offsets, jnp.asarray(c, dtype)
    )
    assert jnp.isfinite(value)
    assert jnp.isfinite(logits).all()
    assert all(jnp.isfinite(slope).all() for slope in slopes)
    np.testing.assert_array_equal(logits[:, 0], 0)
    assert jnp.isnan(layers.mlr(x.at[0, 0].set(jnp.nan), weight, offsets, c=c)[0, 1])
