"""The wrapped normal distribution by its integrals, its samples, and where it is hard."""

import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from hypjax.geometry import Euclidean, Lorentz, Poincare, Product, Sphere, wrapped_normal

SPACES = {
    "poincare": Poincare(0.7),
    "lorentz": Lorentz(0.7),
    "euclidean": Euclidean(),
    "product": Product((Poincare(0.4), Lorentz(1.3)), (1, 1)),
}
log_prob = jax.jit(wrapped_normal.log_prob)
sample = jax.jit(wrapped_normal.sample, static_argnums=4)
SCALE = np.array([0.5, 0.9])
MEAN = np.array([0.6, -0.3])


@pytest.fixture(autouse=True)
def _float64():
    with jax.enable_x64(True):
        yield


@functools.cache
def samples_of(name):
    """The mean and as many samples as all tests of them need."""
    mean = SPACES[name].embed(jnp.asarray(MEAN))
    return mean, sample(SPACES[name], jax.random.key(0), mean, SCALE, (100_000,))


def polar_grid(c, reach=20.0):
    """Points of the plane of curvature −c as `embed` takes them, their shares of its area, their distances to 0."""
    radii, radial = np.polynomial.legendre.leggauss(300)
    radii, radial = reach * (radii + 1) / 2, reach * radial / 2
    angles = 2 * np.pi * np.arange(200) / 200
    directions = np.stack([np.cos(angles), np.sin(angles)], axis=-1)
    area = radial * np.sinh(np.sqrt(c) * radii) / np.sqrt(c) * 2 * np.pi / 200
    tangent = (radii[:, None, None] / 2 * directions).reshape(-1, 2)
    return tangent, np.repeat(area, 200), np.repeat(radii, 200)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["poincare", "lorentz"])
def test_the_density_is_that_of_the_samples(name):
    space = SPACES[name]
    tangent, area, radii = polar_grid(0.7)
    x, (mean, samples) = space.embed(jnp.asarray(tangent)), samples_of(name)
    density = np.exp(log_prob(space, x, mean, SCALE)) * area
    np.testing.assert_allclose(np.sum(density), 1, rtol=1e-8)
    distances = np.asarray(space.dist0(samples))
    for limit in (0.7, 1.4, 2.1):
        inside = radii <= limit  # whole rings; half of one ring's weight is the grid's doubt
        ring = np.max(density.reshape(300, 200).sum(axis=1))
        np.testing.assert_allclose(np.mean(distances <= limit), np.sum(density[inside]), atol=0.005 + ring / 2)


def test_the_flat_density_is_the_normal_one():
    x, mean = np.random.default_rng(0).normal(size=(2, 5, 2))
    expected = -np.sum(((x - mean) / SCALE[None]) ** 2 / 2 + np.log(SCALE * np.sqrt(2 * np.pi))[None], axis=1)
    np.testing.assert_allclose(log_prob(Euclidean(), x, mean, SCALE), expected, rtol=1e-12)


@pytest.mark.slow
def test_both_models_have_one_distribution():
    tangent, mean = map(jnp.asarray, np.random.default_rng(0).normal(size=(2, 6, 3)))
    scale = np.array([0.3, 0.6, 1.0])
    ball, sheet = SPACES["poincare"], SPACES["lorentz"]
    densities = [log_prob(s, s.embed(tangent), s.embed(mean), scale) for s in (ball, sheet)]
    np.testing.assert_allclose(*densities, rtol=1e-9)
    samples = [sample(s, jax.random.key(1), s.embed(mean), scale) for s in (ball, sheet)]
    np.testing.assert_allclose(samples[0], sheet.to_poincare(samples[1]), rtol=1e-8)


@pytest.mark.slow
@pytest.mark.parametrize("name", SPACES)
def test_samples_are_spread_as_the_scale_says(name):
    space, (mean, x) = SPACES[name], samples_of(name)
    assert x.shape == (100_000, *mean.shape)

    @jax.jit
    def moments(space, mean, x):
        means = jnp.broadcast_to(mean, x.shape)
        return space.sqdist(means, x), space.norm(mean, jnp.mean(space.logmap(means, x), axis=0))

    squares, drift = moments(space, mean, x)
    np.testing.assert_allclose(np.mean(squares), np.sum(SCALE**2), rtol=0.03)
    assert drift < 0.02


@pytest.mark.slow
def test_a_products_density_is_the_product():
    space = SPACES["product"]

    @jax.jit
    def whole_and_parts(*tangents):
        x, mean = map(space.embed, tangents)
        parts = zip(space.manifolds, space.split(x), space.split(mean), SCALE, strict=True)
        return wrapped_normal.log_prob(space, x, mean, SCALE), sum(wrapped_normal.log_prob(*part) for part in parts)

    tangents = np.random.default_rng(0).normal(size=(2, 4, 2))
    np.testing.assert_allclose(*whole_and_parts(*tangents), rtol=1e-12)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["poincare", "lorentz"])
def test_the_density_tends_to_the_flat_one(name):
    flat = type(SPACES[name])(1e-9)
    tangent, mean = np.random.default_rng(0).normal(size=(2, 6, 3)) / 4
    scale = np.full(3, 0.7)
    found = log_prob(flat, flat.embed(jnp.asarray(tangent)), flat.embed(jnp.asarray(mean)), scale)
    np.testing.assert_allclose(found, log_prob(Euclidean(), 2 * tangent, 2 * mean, scale), rtol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("wide", [False, True])
@pytest.mark.parametrize("name", ["poincare", "lorentz", "euclidean"])
def test_gradients_are_finite_at_the_mean_at_the_origin_and_far_out(name, wide):
    space, dtype = SPACES[name], "float64" if wide else "float32"
    means = np.array([[0.0, 0.0], [0.6, -0.3], [1e-4, 0.0], [40.0, 30.0]], dtype)

    @jax.jit
    @functools.partial(jax.value_and_grad, argnums=(0, 1, 2))
    def total(tangent, scale, where):
        mean = space.embed(tangent)
        x = wrapped_normal.sample(space, jax.random.key(0), mean, scale)
        at = jnp.stack([x, space.embed(where), mean])
        return jnp.sum(x**2) + jnp.sum(wrapped_normal.log_prob(space, at, jnp.stack([mean] * 3), scale))

    for scale in (1e-3, 1.0, 10.0):
        chex.assert_tree_all_finite(total(means, np.full((4, 1), scale, dtype), 0 * means))


@pytest.mark.slow
def test_the_volume_keeps_its_digits():
    t = np.concatenate([[0.0], np.logspace(-12, 3, 300)])
    root = np.sqrt(np.where(t == 0, 1, t))
    expected = np.where(t < 1e-3, t / 6 - t**2 / 180 + t**3 / 2835, root + np.log((1 - np.exp(-2 * root)) / (2 * root)))
    for dtype, rtol in (("float32", 1e-5), ("float64", 1e-11)):
        found, slope = jax.jit(jax.vmap(jax.value_and_grad(wrapped_normal._log_sinhc_sqrt)))(t.astype(dtype))
        np.testing.assert_allclose(found, expected, rtol=rtol)
        true = np.where(t < 1e-3, 1 / 6 - t / 90 + t**2 / 945, (1 / np.tanh(root) - 1 / root) / (2 * root))
        np.testing.assert_allclose(slope, true, rtol=100 * rtol if dtype == "float64" else 1e-4)


def test_what_makes_no_sense_is_refused():
    x = jnp.array([1.0, 0.0])
    for space in (Sphere(), Product((Euclidean(), Sphere()), (1, 1))):
        with pytest.raises(ValueError, match=r"not Sphere\(\)"):
            wrapped_normal.log_prob(space, x, x, 1.0)
        with pytest.raises(ValueError, match=r"not Sphere\(\)"):
            wrapped_normal.sample(space, jax.random.key(0), x, 1.0)
    with pytest.raises(ValueError, match="scale must be positive, got 0"):
        wrapped_normal.sample(Euclidean(), jax.random.key(0), x, 0)
