import jax
import jax.numpy as jnp
import numpy as np
import pytest

from hypjax.training.levels import create_levels
from hypjax.training.regularizers import Regularized, cones, hier, nodes
from hypjax.training.space import create_space

C = 0.7
ANCESTORS = np.array([[0, 0], [1, 0], [0, 0], [2, 1], [2, 1]])
TREE = create_levels(ANCESTORS, ["kind", "realm"])
LABELS = np.array([0, 4, 2, 1, 1, 3, 0])
PATHS = np.concatenate([np.arange(5)[:, None], ANCESTORS], axis=1)[LABELS]
STARTS = (0, 5, 8)


def ball_points(n, seed):
    v = np.random.default_rng(seed).normal(size=(n, 3))
    return v / np.linalg.norm(v, axis=1, keepdims=True) * np.random.default_rng(seed).uniform(0.3, 0.8, (n, 1)) / C**0.5


@pytest.fixture
def float64():
    with jax.enable_x64(True):
        yield


POINTS, NODES, LATENT = ball_points(7, 0), ball_points(10, 1), ball_points(6, 2)


def distance(x, y):
    gaps = (1 - C * x @ x) * (1 - C * y @ y)
    return np.arccosh(1 + 2 * C * (x - y) @ (x - y) / gaps) / np.sqrt(C)


def excess(x, y, k):
    """How far y is out of the cone of x, by Ganea's closed forms."""
    x, y = np.sqrt(C) * x, np.sqrt(C) * y
    xx, yy, xy = x @ x, y @ y, x @ y
    below = np.sqrt(xx) * np.linalg.norm(x - y) * np.sqrt(1 + xx * yy - 2 * xy)
    return max(0, np.arccos((xy * (1 + xx) - xx * (1 + yy)) / below) - np.arcsin(min(1, k * (1 - xx) / np.sqrt(xx))))


def given(**params):
    space = create_space("poincare", c=C, distance="geodesic", uncertainty="radius", clip_radius=2.3)
    own = {name: jnp.asarray(value) for name, value in params.items()}
    return Regularized(space, jnp.asarray(POINTS), jnp.asarray(LABELS), own, jax.random.key(0), TREE, 2.3)


@pytest.mark.slow
def test_nodes_are_a_cross_entropy_at_each_level(float64):
    found = jax.jit(lambda: nodes({"decay": 0.5, "temperature": 0.3}, given(node_proxies=NODES)))()
    expected = 0.0
    for level, size in enumerate(TREE.sizes):
        each = []
        for point, path in zip(POINTS, PATHS, strict=True):
            logits = [-distance(point, NODES[STARTS[level] + node]) / 0.3 for node in range(size)]
            each.append(np.log(np.sum(np.exp(logits))) - logits[path[level]])
        expected += 0.5**level * np.mean(each)
    np.testing.assert_allclose(found, expected, rtol=1e-9)


@pytest.mark.slow
def test_images_and_nodes_belong_in_the_cones_of_what_is_above_them(float64):
    k, margin = 0.15, 0.2
    found = jax.jit(lambda: cones({"k": k, "margin": margin}, given(node_proxies=NODES)))()

    def loss(points, places, level):
        outside, near = [], []
        for point, place in zip(points, places, strict=True):
            for node in range(TREE.sizes[level]):
                violation = excess(NODES[STARTS[level] + node], point, k)
                (outside if node == place else near).append(violation if node == place else margin - violation)
        near = [one for one in near if one > 0]
        return np.mean(outside) + (np.mean(near) if near else 0)

    of_images = [loss(POINTS, PATHS[:, level], level) for level in range(3)]
    of_nodes = [
        loss(NODES[:5], ANCESTORS[:, 0], 1),
        loss(NODES[:8], [*ANCESTORS[:, 1], 0, 0, 1], 2),
    ]
    np.testing.assert_allclose(found, (sum(of_images) + sum(of_nodes)) / 3, rtol=1e-7)


@pytest.mark.slow
def test_an_anchor_pulls_the_first_of_hiers_proxies_to_the_known_ancestors_of_the_batch(float64):
    """Two realms, then three kinds; the sixth proxy stays free, and images are not pulled."""
    settings = {"margin": 0.1, "neighbors": 3, "triplets": 4, "temperature": 0.1, "anchor": 0.0}

    def with_gradients(anchor):
        def value(proxies, points):
            looked_at = given(hier_proxies=proxies)._replace(points=points)
            return hier(settings | {"anchor": anchor}, looked_at)

        return jax.value_and_grad(value, (0, 1))(jnp.asarray(LATENT), jnp.asarray(POINTS))

    both = jax.jit(lambda: (with_gradients(0.0), with_gradients(2.0)))()
    (plain, (slope, of_points)), (pulled, (steeper, of_points_too)) = both
    np.testing.assert_allclose(of_points_too, of_points, atol=1e-12)
    assert (np.abs(steeper - slope).max(axis=1) > 1e-3).tolist() == [True] * 5 + [False]
    manifold = given().space.manifold
    members = [PATHS[:, 2] == 0, PATHS[:, 2] == 1, PATHS[:, 1] == 0, PATHS[:, 1] == 1, PATHS[:, 1] == 2]
    midpoints = [np.asarray(manifold.midpoint(jnp.asarray(POINTS[there]))) for there in members]
    expected = np.mean([distance(x, y) for x, y in zip(LATENT[:5], midpoints, strict=True)])
    np.testing.assert_allclose(pulled - plain, 2 * expected, rtol=1e-7)
