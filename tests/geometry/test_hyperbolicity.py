import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from hypjax.geometry import euclidean, hyperbolicity, poincare

gromov_delta = jax.jit(hyperbolicity.gromov_delta, static_argnames="base")
relative_delta = jax.jit(hyperbolicity.relative_delta)


def shortest_paths(edges, n):
    """All distances of a graph by Floyd and Warshall; an edge is (i, j, length)."""
    d = np.full((n, n), np.inf)
    np.fill_diagonal(d, 0)
    for i, j, length in edges:
        d[i, j] = d[j, i] = length
    for k in range(n):
        d = np.minimum(d, d[:, k, None] + d[None, k, :])
    return d


def delta_loop(d, w):
    """The definition, literally, over all triples."""
    n = len(d)
    product = 0.5 * (d[:, w, None] + d[None, w, :] - d)
    return max(min(product[x, z], product[z, y]) - product[x, y] for x in range(n) for y in range(n) for z in range(n))


@pytest.mark.parametrize("base", [0, 7])
def test_a_tree_has_delta_0(base):
    rng = np.random.default_rng(0)
    d = shortest_paths([(i, rng.integers(i), rng.uniform(0.1, 2)) for i in range(1, 16)], 16)
    assert abs(gromov_delta(d.astype(np.float32), base=base)) < 1e-5
    assert relative_delta(d.astype(np.float32)) < 1e-5


@pytest.mark.parametrize("n", [4, 12])
def test_a_cycle_of_4k_edges_has_delta_k(n):
    d = shortest_paths([(i, (i + 1) % n, 1.0) for i in range(n)], n)
    assert gromov_delta(d.astype(np.float32)) == n / 4
    assert relative_delta(d.astype(np.float32)) == 1.0


def test_a_square_grid_seen_from_its_corner():
    side = 4
    x, y = np.divmod(np.arange(side * side), side)
    d = np.abs(x[:, None] - x) + np.abs(y[:, None] - y)
    assert gromov_delta(d.astype(np.float32)) == side - 1


def test_delta_is_the_loop():
    points = np.random.default_rng(0).normal(size=(12, 3))
    d = np.linalg.norm(points[:, None] - points, axis=-1)
    for base in (0, 7):
        delta = gromov_delta(d.astype(np.float32), base=base)
        np.testing.assert_allclose(delta, delta_loop(d, base), rtol=1e-5)


@pytest.mark.slow
def test_the_hyperbolic_plane_has_delta_log_2():
    """By Gromov products; log(1 + √2) is the plane's constant for thin triangles, another definition."""
    angles = np.linspace(0, 2 * np.pi, 48, endpoint=False)
    circle = np.tanh(3.5) * np.stack([np.cos(angles), np.sin(angles)], axis=1)
    x = np.concatenate([np.zeros((1, 2)), circle]).astype(np.float32)
    delta = jax.jit(lambda x: hyperbolicity.gromov_delta(poincare.pairwise_dist(x, x, c=1.0)))(x)
    assert 0.9 * np.log(2) < delta <= np.log(2) + 1e-3


@pytest.mark.slow
def test_sampling_is_reproducible_and_scale_free():
    x = jnp.asarray(np.random.default_rng(0).normal(size=(60, 4)).astype(np.float32))
    sample = functools.partial(hyperbolicity.sampled_relative_delta, subset=20, repeats=3)
    one = sample(x, jax.random.key(0), distance=euclidean.pairwise_dist)
    np.testing.assert_array_equal(one, sample(x, jax.random.key(0)))
    np.testing.assert_allclose(sample(8 * x, jax.random.key(0)), one, rtol=1e-5)
    assert np.ptp(one) > 0
    assert np.all((np.asarray(one) > 0) & (np.asarray(one) <= 1))


def test_curvature_hint():
    np.testing.assert_allclose(hyperbolicity.suggested_curvature(0.144), 1.0, rtol=1e-6)
    np.testing.assert_allclose(hyperbolicity.suggested_curvature(jnp.float32(0.288)), 0.25, rtol=1e-6)


def test_wrong_arguments_are_refused():
    with pytest.raises(ValueError, match="square"):
        hyperbolicity.gromov_delta(jnp.zeros((0, 0)))
    with pytest.raises(ValueError, match="base"):
        hyperbolicity.gromov_delta(jnp.zeros((3, 3)), base=3)
    with pytest.raises(ValueError, match="at least 1"):
        hyperbolicity.sampled_relative_delta(jnp.zeros((3, 3)), jax.random.key(0), subset=0)
