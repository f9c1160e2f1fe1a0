import functools

import jax
import jax.numpy as jnp
import jaxtyping
import numpy as np
import pytest

from hypjax import geometry, losses
from hypjax.losses import hierarchy
from hypjax.losses.hierarchy import sample_triplets
from tests.losses import table
from tests.losses.hier_loops import StraightThrough, exact_expectation, mutual_neighbors, sets_of_anchors

UNEVEN = np.array([2, 0, 1, 0, 2, 2, 1, 0, 5], np.int32)

STEP = 1e-7  # where duplicates tie in a maximum, central differences are off by as much as the step


def terms(distance, x, pairs, proxies, key, **options):
    return losses.hier(distance(x, x), distance(x, proxies), distance(proxies, proxies), pairs, key, **options)


sample = jax.jit(sample_triplets, static_argnums=3)


def plan(x, labels, proxies, key, oracle_distance, neighbors, t):
    """The triplets and the noise that a key stands for, as (term, i, j, k, loss): points 0 … b − 1, then proxies."""
    b, p = len(x), len(proxies)
    draws_x, draws_p, noise_x, noise_p = jax.random.split(key, 4)

    def key_of(i, of_x, of_p):
        return jax.random.fold_in(of_x, i) if i < b else jax.random.fold_in(of_p, i - b)

    same_class = labels[:, None] == labels[None]
    groups = [
        (0, b, np.exp(-oracle_distance(x, x)) + same_class),
        (b, p, np.exp(-oracle_distance(proxies, proxies))),
    ]
    related, unrelated = np.zeros((2, b + p, b + p), bool)
    anchors = []
    for start, n, similarity in groups:
        inside = slice(start, start + n)
        related[inside, inside] = [np.isin(range(n), near) for near in mutual_neighbors(similarity, neighbors)]
        unrelated[inside, inside] = ~related[inside, inside] & ~np.eye(n, dtype=bool)
        anchors += [start + i for i, _, _ in sets_of_anchors(similarity, neighbors)]
    keys = jnp.stack([key_of(i, draws_x, draws_p) for i in range(b + p)])
    near, far, valid = map(np.asarray, sample(related, unrelated, keys, t))
    np.testing.assert_array_equal(np.flatnonzero(valid), anchors)

    triplets = []
    for i in anchors:
        noise = np.asarray(jax.random.gumbel(key_of(i, noise_x, noise_p), (2, t, p), jnp.float32), np.float64)
        for s in range(t):
            j, k = int(near[i, s]), int(far[i, s])
            assert related[i, j]
            assert unrelated[i, k]
            triplets.append((int(i >= b), i, j, k, StraightThrough(noise[:, s])))
    return triplets


@functools.cache
def of_points(distance, neighbors, t):
    """HIER's value and gradients, one program for all labels."""

    def loss(x, proxies, labels, key):
        pairs = losses.pairs(labels)
        return losses.mean(terms(distance, x, pairs, proxies, key, neighbors=neighbors, triplets_per_anchor=t))

    return jax.jit(jax.value_and_grad(loss, (0, 1)))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("labels", "neighbors"),
    [(UNEVEN, 4), (UNEVEN, 3), (np.zeros(9, np.int32), 3), (np.arange(9, dtype=np.int32), 3)],
    ids=["uneven classes in blocks", "small neighborhoods", "one class", "only singletons"],
)
def test_values_and_gradients_are_those_of_the_loop(
    labels, neighbors, hyperbolic, points, numeric_gradient, float64, monkeypatch
):
    distance, oracle_distance = hyperbolic
    t, p = 3, 6
    if neighbors == 4:
        monkeypatch.setattr(hierarchy, "_BLOCK", 4 * 2 * t * p)  # 15 anchors by fours: the last block is filled up
    x, proxies, key = points(9), 0.6 * points(p, seed=1), jax.random.key(3)
    x[4] = x[0]
    value, gradients = of_points(distance, neighbors, t)(jnp.array(x), jnp.array(proxies), labels, key)
    triplets = plan(x, labels, proxies, key, oracle_distance, neighbors, t)

    def expected(x, proxies):
        distances = np.concatenate([oracle_distance(x, proxies), oracle_distance(proxies, proxies)])
        means = [[], []]
        for term, i, j, k, one in triplets:
            means[term].append(one(distances[[i, j, k]], 0.1, 0.1))
        return sum(np.mean(each) for each in means if each)

    reference = expected(x, proxies)
    assert reference > 0
    np.testing.assert_allclose(value, reference, atol=1e-10)
    by_x = numeric_gradient(lambda x: expected(x, proxies), x, STEP)
    np.testing.assert_allclose(gradients[0], by_x, atol=1e-7)
    by_proxies = numeric_gradient(lambda proxies: expected(x, proxies), proxies, STEP)
    np.testing.assert_allclose(gradients[1], by_proxies, atol=1e-7)


SPACES = {
    "ball": geometry.Poincare(0.7),
    "lorentz": geometry.Lorentz(0.7),
    "euclidean": geometry.Euclidean(),
    "sphere": geometry.Sphere(),
}


@functools.cache
def drawn(space):
    """The distances of seven points and five proxies."""
    v, embed = 0.5 * np.random.default_rng(0).normal(size=(12, 3)).astype(np.float32), SPACES[space].embed
    return jax.jit(lambda v: three(embed(v[:7]), embed(v[7:]), space))(v)


@jax.jit
def many_times(distances, to_proxies, between, labels):
    def loss(key):
        options = {"neighbors": 3, "triplets_per_anchor": 2, "temperature": 0.3}
        return losses.mean(losses.hier(distances, to_proxies, between, losses.pairs(labels), key, **options))

    return jax.vmap(loss)(jax.random.split(jax.random.key(1), 8000))


@pytest.mark.slow
@pytest.mark.parametrize("labels", [UNEVEN[:7], np.arange(7)])
@pytest.mark.parametrize("space", SPACES)
def test_the_mean_over_keys_is_the_expectation(space, labels):
    """Over triplets, ancestors and both terms, to four standard errors."""
    distances = drawn(space)
    samples = np.asarray(many_times(*distances, jnp.array(labels)))
    inner, outer, between = (np.asarray(each, np.float64) for each in distances)
    similarity = np.exp(-inner) + (labels[:, None] == labels[None])
    expected = [
        exact_expectation(outer, similarity, 3, 0.1, 0.3),
        exact_expectation(between, np.exp(-between), 3, 0.1, 0.3),
    ]
    assert min(expected) > 0
    error = samples.std() / np.sqrt(len(samples))
    assert error < 0.01 * sum(expected)
    assert abs(samples.mean() - sum(expected)) < 4 * error


def three(x, proxies, space="ball"):
    """Distances among points, to proxies, among these."""
    distance = SPACES[space].pairwise_dist
    return distance(x, x), distance(x, proxies), distance(proxies, proxies)


distances_of = jax.jit(three)
to_points = jax.jit(lambda x, proxies, by_distances: jax.vjp(three, x, proxies)[1](by_distances))


@jax.jit
def of_distances(distances, labels, where, key):
    """HIER's value and its gradients by the three, compiled once for each number of points."""

    def loss(given):
        pairs = losses.pairs(labels, where=where)
        return losses.mean(losses.hier(*given, pairs, key, neighbors=3, triplets_per_anchor=4))

    return jax.value_and_grad(loss)(distances)


def in_float32(x, labels, proxies, key, where=True):
    """Its value and gradients for points and 5 proxies of the ball."""
    value, by_distances = of_distances(distances_of(x, proxies), labels, np.broadcast_to(where, len(labels)), key)
    return value, to_points(x, proxies, by_distances)


LABELS = np.arange(8) // 2


@pytest.fixture
def batch(points):
    return points(8).astype(np.float32), points(5, seed=1).astype(np.float32)


@pytest.mark.slow
def test_gradients_are_finite_at_the_boundary_the_origin_and_where_points_coincide(batch):
    x, proxies = batch
    edge = np.asarray(geometry.Poincare(0.7).project(jnp.asarray(1000 * x)))
    x[:3], x[3], x[4:6], x[6] = edge[:3], edge[2], 0, proxies[0]
    proxies[1], proxies[2], proxies[3] = edge[0], 0, proxies[4]
    value, gradients = in_float32(x, LABELS, proxies, jax.random.key(0))
    assert value > 0
    for gradient in gradients:
        assert np.isfinite(gradient).all()
        assert np.abs(gradient).sum() > 0


@pytest.mark.slow
def test_a_key_fixes_the_loss(batch):
    x, proxies = batch
    values = [float(in_float32(x, LABELS, proxies, jax.random.key(seed))[0]) for seed in (0, 0, 1)]
    assert values[0] == values[1] != values[2]


@pytest.mark.slow
@pytest.mark.parametrize("where", [0, 1])
def test_a_diverged_point_is_not_hidden(where, batch):
    """A single embedding or proxy may never be drawn, so that no triplet would tell."""
    batch[where][4, 0] = np.nan
    x, proxies = batch
    assert np.isnan(in_float32(x, LABELS, proxies, jax.random.key(0))[0])


@pytest.mark.slow
@pytest.mark.parametrize("by", ["where", "label"])
def test_masked_rows_behind_the_others_change_nothing(by, batch):
    """Whatever stands in them, in value and gradient; the draws of those before go by their place."""
    x, proxies = batch
    value, gradients = in_float32(x, LABELS, proxies, jax.random.key(2))
    assert value > 0
    labels = np.concatenate([LABELS, np.full(3, 1 if by == "where" else -1)])
    for filling in 0.1, 0.0, np.nan:
        more = np.concatenate([x, np.full((3, 3), filling, np.float32)])
        where = np.arange(11) < 8 if by == "where" else np.ones(11, bool)
        found, (by_x, by_proxies) = in_float32(more, labels, proxies, jax.random.key(2), where)
        np.testing.assert_allclose(found, value, rtol=1e-6)
        if filling == filling:  # the distance's own gradient is NaN at a NaN
            np.testing.assert_allclose(by_proxies, gradients[1], rtol=1e-5, atol=1e-7)
            np.testing.assert_allclose(np.asarray(by_x)[:8], gradients[0], rtol=1e-5, atol=1e-7)
            np.testing.assert_array_equal(np.asarray(by_x)[8:], 0)


@pytest.mark.slow
def test_what_stands_in_masked_rows_of_distances_changes_no_bit(points):
    x, proxies = points(11).astype(np.float32), points(5, seed=1).astype(np.float32)
    known = np.array([*LABELS, 0, 1, -1]), np.arange(11) < 8, jax.random.key(2)
    given = distances, to_proxies, _ = [np.array(each) for each in distances_of(x, proxies)]
    expected = of_distances(given, *known)
    assert expected[0] > 0
    for garbage in np.nan, np.inf, 1e30:
        distances[8:] = distances[:, 8:] = to_proxies[8:] = garbage
        jax.tree.map(np.testing.assert_array_equal, of_distances(given, *known), expected)


@pytest.mark.slow
def test_nothing_unrelated_gives_zero(distance, points):
    """As when neighborhoods are as large as the batch and the proxies are few."""
    x = points(5).astype(np.float32)

    def loss(x, proxies, labels):
        return losses.mean(terms(distance, x, losses.pairs(labels), proxies, jax.random.key(0)))

    run = jax.jit(jax.value_and_grad(loss, (0, 1)))
    for label in 0, -1:
        value, gradients = run(x, x[:4] + np.float32(0.1), np.full(5, label))
        assert value == 0
        for gradient in gradients:
            np.testing.assert_array_equal(gradient, 0)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"to_proxies": np.zeros((3, 3))}, r"distances of shapes \(\(4, 4\), \(3, 3\), \(3, 3\)\) do not go together"),
        ({"to_proxies": np.zeros((4, 0)), "between_proxies": np.zeros((0, 0))}, "do not go together"),
        ({"between_proxies": np.zeros((3, 2))}, "do not go together"),
        ({"pairs": table.pairs(np.zeros(3, int))}, r"pairs of shape \(3, 3\)"),
        ({"neighbors": 1}, "neighbors must be at least 2"),
        ({"triplets_per_anchor": 0}, "triplets_per_anchor must be at least 1, got 0"),
        ({"margin": -0.1}, "margin must be at least 0, got -0.1"),
        ({"margin": jnp.array(-0.1)}, "margin must be at least 0, got -0.1"),
    ],
)
def test_bad_arguments_are_named(change, message, monkeypatch):
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)  # users have no shape checks
    arguments = {
        "distances": np.zeros((4, 4)),
        "to_proxies": np.zeros((4, 3)),
        "between_proxies": np.zeros((3, 3)),
        "pairs": table.pairs(np.zeros(4, int)),
        "key": jax.random.key(0),
    }
    with pytest.raises(ValueError, match=message):
        jax.eval_shape(lambda: losses.hier(**(arguments | change)))


@pytest.mark.slow
def test_full_size_fits_in_a_fraction_of_a_gigabyte():
    """180 images, 50 triplets each, 512 proxies: one array over all triplets and proxies would be 71 MB already."""
    pairs, distance = table.pairs(np.arange(180) // 2), geometry.Poincare(0.1).pairwise_dist

    def loss(x, proxies, key):
        return losses.mean(terms(distance, x, pairs, proxies, key))

    gradient = jax.jit(jax.grad(loss, (0, 1)))
    shapes = [jax.ShapeDtypeStruct((n, 128), jnp.float32) for n in (180, 512)]
    compiled = gradient.lower(*shapes, jax.random.key(0)).compile()
    assert compiled.memory_analysis().temp_size_in_bytes < 2**27
