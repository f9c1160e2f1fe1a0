"""Layers of the ball: their Euclidean limit, the hyperplanes that they mean, and where they are hard."""

import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import optimize

from hypjax.geometry import layers, poincare
from tests.geometry.jitted import jitted

of, ball = jitted(layers), jitted(poincare)


@pytest.fixture(autouse=True)
def _float64():
    with jax.enable_x64(True):
        yield


def parameters(seed, k=3, d=4):
    rng = np.random.default_rng(seed)
    return rng.normal(size=(k, d)), 0.4 * rng.normal(size=k)


@pytest.mark.slow
def test_the_layers_tend_to_the_euclidean_ones(ball_points):
    x = np.asarray(ball_points(0, 6, 4, c=1.0, dtype="float64"))
    weight, bias = parameters(0)
    np.testing.assert_allclose(of.linear(x, weight, bias, c=1e-10), x @ weight.T + bias[None], rtol=1e-7)
    np.testing.assert_allclose(of.linear(x, weight, c=1e-10), x @ weight.T, rtol=1e-7)
    flat = 4 * (x @ weight.T - (bias * np.linalg.norm(weight, axis=1))[None])
    np.testing.assert_allclose(of.mlr(x, weight, bias, c=1e-10), flat, rtol=1e-6)


@pytest.mark.slow
def test_a_linear_layer_is_its_parts(ball_points, c):
    x = np.asarray(ball_points(0, 6, 4, c=c, dtype="float64"))
    weight, bias = parameters(0)
    moved = [ball.mobius_add(ball.mobius_matvec(weight, one, c=c), ball.expmap0(bias, c=c), c=c) for one in x]
    found = of.linear(x.reshape(2, 3, 4), weight, bias, c=c)
    np.testing.assert_allclose(np.reshape(found, (6, 3)), np.stack(moved), rtol=1e-12)


@pytest.mark.slow
def test_logits_are_those_of_the_textbook(ball_points, c):
    """Ganea et al.'s form, with the hyperplane's foot p and its normal a = z carried there: λ_p‖a‖ d(x, H)."""
    x = np.asarray(ball_points(0, 5, 4, c=c, dtype="float64"))
    normals, offsets = parameters(1)
    found = np.asarray(of.mlr(x, normals, offsets, c=c))
    for k, (z, r) in enumerate(zip(normals, offsets, strict=True)):
        unit = z / np.linalg.norm(z)
        foot = np.tanh(np.sqrt(c) * r) / np.sqrt(c) * unit
        for i, point in enumerate(x):
            moved = np.asarray(ball.mobius_add(-foot, point, c=c))
            sine = 2 * np.sqrt(c) * moved @ unit / (1 - c * moved @ moved)
            np.testing.assert_allclose(found[i, k], 2 * np.linalg.norm(z) / np.sqrt(c) * np.arcsinh(sine), rtol=1e-9)


@jax.jit
def beside_the_hyperplanes(normals, offsets, c):
    """Their feet, points on them, and points a step ahead and behind, with all that is said of these."""
    unit = normals / jnp.linalg.norm(normals, axis=1, keepdims=True)
    feet = poincare.expmap0(offsets[:, None] * unit, c=c)
    on_plane = poincare.expmap(feet, jnp.cross(unit, jnp.array([[1.0, 2.0, -1.0]])) / 3, c=c)
    ahead, behind = (poincare.expmap(feet, step * unit, c=c) for step in (0.1, -0.1))
    logits = [jnp.diagonal(layers.mlr(x, normals, offsets, c=c)) for x in (feet, on_plane)]
    distances = [jnp.diagonal(layers.hyperplane_dist(x, normals, offsets, c=c)) for x in (ahead, behind)]
    return logits, distances, poincare.dist0(feet, c=c), poincare.dist(feet, ahead, c=c)


@pytest.mark.slow
def test_the_boundary_is_the_hyperplane_through_the_offset(c):
    normals, offsets = parameters(2, k=2, d=3)
    logits, (ahead, behind), from_origin, step = beside_the_hyperplanes(normals, offsets, c)
    np.testing.assert_allclose(logits, np.zeros((2, 2)), atol=1e-12)
    np.testing.assert_allclose(from_origin, 2 * np.abs(offsets), rtol=1e-9)
    np.testing.assert_allclose(ahead, step, rtol=1e-9)
    assert np.all(behind < 0)


@pytest.mark.slow
def test_the_distance_is_the_least_one_to_the_hyperplane(ball_points):
    c = 0.7
    x = np.asarray(ball_points(3, 4, 3, c=c, dtype="float64", reach=3.0))
    normals, offsets = parameters(3, k=2, d=3)
    found = np.asarray(of.hyperplane_dist(x, normals, offsets, c=c))

    @jax.jit
    @jax.value_and_grad
    def objective(v, point, foot, basis):
        return poincare.sqdist(poincare.expmap(foot, v @ basis, c=c), point, c=c)

    for k in range(2):
        unit = np.asarray(normals[k]) / np.linalg.norm(normals[k])
        foot = ball.expmap0(float(offsets[k]) * unit, c=c)
        basis = np.linalg.svd(unit[None])[2][1:]
        for i, point in enumerate(x):
            least = optimize.minimize(
                lambda *arguments: tuple(map(np.asarray, objective(*arguments))),
                np.zeros(2),
                (point, foot, basis),
                jac=True,
                tol=1e-12,
            )
            np.testing.assert_allclose(abs(found[i, k]), np.sqrt(least.fun), rtol=1e-7)


@jax.jit
@functools.partial(jax.value_and_grad, argnums=(0, 1, 2, 3), has_aux=True)
def total(x, weight, offsets, c):
    logits = layers.mlr(x, weight, offsets, c=c)
    return jnp.sum(layers.linear(x, weight, offsets, c=c)) + jnp.sum(jnp.tanh(logits)), logits


@pytest.mark.slow
@pytest.mark.parametrize("wide", [False, True])
@pytest.mark.parametrize("c", [0.1, 2.5])
def test_everything_is_finite_at_hard_points(wide, c):
    dtype = "float64" if wide else "float32"
    edge = 1 / np.sqrt(c)
    x = (np.array([[0, 0], [1, 0], [-0.8, 0.6], [30, -40], [1e-6, 0]]) * edge).astype(dtype)
    weight = np.array([[0, 0], [1, 0], [1e-20, 0], [1e4, 1e4], [-1, 0]], dtype)
    offsets = np.array([0, 0, 1, 1e4, -1e4], dtype)

    (_, logits), _ = found = total(x, weight, offsets, np.asarray(c, dtype))
    chex.assert_tree_all_finite(found)
    np.testing.assert_array_equal(np.asarray(logits)[:, 0], 0)
    x[0, 0] = np.nan
    (_, logits), _ = total(x, weight, offsets, np.asarray(c, dtype))
    assert np.isnan(np.asarray(logits)[0, 1])
