import jax
import jax.numpy as jnp
import numpy as np
import pytest

from hypjax.geometry import Euclidean, Poincare
from hypjax.losses import divergence, hybrid
from hypjax.losses.hybrid import DIVERGENCES
from hypjax.retrieval import knn

METRICS = ["hellinger", "jensen_shannon"]
SYMMETRIC = [*METRICS, "jeffreys", "bhattacharyya"]


EACH = [*METRICS, *(pytest.param(name, marks=pytest.mark.slow) for name in DIVERGENCES if name not in METRICS)]


apart = jax.jit(divergence, static_argnames="kind")


def log_softmax(z):
    z = z - z.max()
    return z - np.log(np.sum(np.exp(z)))


def by_definition(kind, x, y, temperature):
    """One number for two vectors, in float64, by the textbook formula."""
    a, b = log_softmax(x / temperature), log_softmax(y / temperature)
    p, q = np.exp(a), np.exp(b)
    if kind == "hellinger":
        return np.sqrt(np.sum((np.sqrt(p) - np.sqrt(q)) ** 2) / 2)
    if kind == "jensen_shannon":
        middle = np.logaddexp(a, b) - np.log(2)
        return np.sqrt(max(np.sum(p * (a - middle) + q * (b - middle)) / 2, 0))
    if kind == "jeffreys":
        return np.sum((p - q) * (a - b))
    if kind == "bhattacharyya":
        return -np.logaddexp.reduce((a + b) / 2)
    return np.sum(p * (a - b))


def oracle(kind, x, y, temperature=1.0):
    return np.array([[by_definition(kind, one, other, temperature) for other in y] for one in x])


def draw(n, d=4, seed=0):
    return np.random.default_rng(seed).normal(size=(n, d))


@pytest.mark.slow
@pytest.mark.parametrize(  # the order is that of a sum, whose parts are what they are
    ("kind", "order"), [*((kind, 1.0) for kind in DIVERGENCES), ("hellinger", 2.5), ("jensen_shannon", 2.5)]
)
def test_values_and_gradients_are_those_of_the_loop(kind, order, distance, oracle_distance, numeric_gradient, float64):
    x, y, weights = draw(4), draw(5, seed=1), draw(4, 5, seed=2)
    y[1] = x[2] + 0.03 * y[3]
    y[2] *= 9  # nearly one-hot
    if order == 1 and kind != "jensen_shannon":  # whose textbook formula has no digits left there
        y[0] = x[0]

    def loss(x, y, alpha, temperature):
        divergences = divergence(x, y, kind=kind, temperature=temperature)
        return (weights * hybrid(distance(x, y), divergences, alpha=alpha, order=order)).sum()

    def expected(x, y, alpha, temperature):
        parts = oracle_distance(x, y), oracle(kind, x, y, temperature)
        return (weights * (alpha * parts[0] ** order + (1 - alpha) * parts[1] ** order) ** (1 / order)).sum()

    arguments = [x, y, np.array(0.3), np.array(0.7)]
    value, gradients = jax.jit(jax.value_and_grad(loss, (0, 1, 2, 3)))(*map(jnp.array, arguments))
    np.testing.assert_allclose(value, expected(*arguments), atol=1e-9)
    for place, gradient in enumerate(gradients):

        def along(argument, place=place):
            return expected(*arguments[:place], argument, *arguments[place + 1 :])

        np.testing.assert_allclose(gradient, numeric_gradient(along, arguments[place], 1e-6), atol=1e-7)


@pytest.mark.parametrize(
    ("kind", "space"),
    [("hellinger", Poincare(0.5)), pytest.param("jensen_shannon", Euclidean(), marks=pytest.mark.slow)],
)
def test_the_axioms_of_a_metric_hold(kind, space):
    @jax.jit
    def measure(x, alpha, order, temperature):
        divergences = divergence(x, x, kind=kind, temperature=temperature)
        return hybrid(space.pairwise_dist(x, x), divergences, alpha=alpha, order=order)

    rng = np.random.default_rng(0)
    for _ in range(30):
        # From clouds that nearly coincide to distributions that are nearly one-hot and disjoint.
        v = rng.normal(size=(16, 5)) * 10 ** rng.uniform(-3, 0) + rng.normal(size=5)
        v[1], v[2] = v[0], -v[3]
        x = Poincare(0.5).embed(jnp.asarray(v.astype(np.float32)))
        settings = rng.uniform(0.01, 1), rng.choice([1.0, 1.5, 2.0, 7.0]), 10 ** rng.uniform(-2, 1)
        d = np.asarray(measure(x, *settings), np.float64)
        assert (d >= 0).all()
        np.testing.assert_allclose(np.diag(d), 0, atol=1e-6)
        np.testing.assert_allclose(d[0, 1], 0, atol=1e-6)
        assert (d[~np.eye(16, dtype=bool) & (np.arange(16) > 1)[:, None] & (np.arange(16) > 1)[None]] > 0).all()
        np.testing.assert_allclose(d, d.T, rtol=1e-6, atol=1e-7)
        through = d[:, :, None] + d[None, :, :]  # [i, j, k]: from i by j to k
        assert (d[:, None, :] <= through * (1 + 2e-5) + 1e-6).all()


@pytest.mark.slow
@pytest.mark.parametrize("kind", SYMMETRIC)
def test_those_called_symmetric_are(kind):
    x = (3 * draw(6)).astype(np.float32)
    d = np.asarray(apart(x, x, kind=kind))
    np.testing.assert_allclose(d, d.T, rtol=1e-6, atol=1e-7)


def test_kl_is_not_symmetric_and_weighs_by_the_row():
    x = np.log(np.float32([[0.5, 0.5], [0.9, 0.1]]))
    expected = [[0, 0.5 * np.log(0.5 / 0.9 * 0.5 / 0.1)], [0.9 * np.log(1.8) + 0.1 * np.log(0.2), 0]]
    np.testing.assert_allclose(apart(x, x, kind="kl"), expected, atol=1e-6)


def mixed(x, kind, order=2.0):
    return hybrid(Euclidean().pairwise_dist(x, x), divergence(x, x, kind=kind), alpha=0.5, order=order)


@pytest.mark.slow
@pytest.mark.parametrize("kind", METRICS)
def test_the_gradient_is_zero_where_all_points_coincide(kind):
    x = np.tile(draw(1).astype(np.float32), (4, 1))
    d, gradient = jax.jit(lambda x: (mixed(x, kind), jax.grad(lambda x: mixed(x, kind).sum())(x)))(x)
    np.testing.assert_array_equal(d, 0)
    np.testing.assert_array_equal(gradient, 0)


@pytest.mark.slow
@pytest.mark.parametrize("kind", EACH)
def test_float32_keeps_its_digits_from_near_pairs_to_disjoint_ones(kind):
    """Logits of up to 3000: the overlap of two such distributions is far below the least float32."""
    base = draw(6, d=8)
    near = base + 1e-2 * draw(6, d=8, seed=1)
    x = np.concatenate([base, near, 300 * base, -1000 * base]).astype(np.float32)
    weights = draw(24, 24, seed=2).astype(np.float32)

    def loss(x):
        d = divergence(x, x, kind=kind)
        return (weights * d).sum(), d

    gradient, d = map(np.asarray, jax.jit(jax.grad(loss, has_aux=True))(x))
    assert np.isfinite(gradient).all()
    assert (d >= 0).all()
    np.testing.assert_allclose(np.diag(d), 0, atol=1e-6)
    np.testing.assert_allclose(d, oracle(kind, *[x.astype(np.float64)] * 2), rtol=2e-4, atol=1e-6)


@pytest.mark.parametrize("kind", METRICS)
def test_a_small_separation_is_seen_in_float32(kind):
    """Where a formula of first-order terms would leave nothing: both divergences are about 1e-9 before the root."""
    base = draw(6)
    x, y = base.astype(np.float32), (base + 1e-4 * draw(6, seed=1)).astype(np.float32)
    d = apart(x, y, kind=kind)
    exact = oracle("hellinger", *(z.astype(np.float64) for z in (x, y)))  # equal to the order of the separation
    np.testing.assert_allclose(np.diag(d), np.diag(exact), rtol=1e-2)


@pytest.mark.slow
@pytest.mark.parametrize("order", [1.0, 2.0])
def test_the_ends_are_exactly_the_parts(order):
    """Also where α is traced, so that both parts are there, and where points coincide."""
    x = draw(5).astype(np.float32)
    x[1:3] = 0

    @jax.jit
    def run(x, alpha):
        def value(x, alpha):
            return hybrid(Euclidean().pairwise_dist(x, x), divergence(x, x), alpha=alpha, order=order)

        def part(x):
            return jnp.where(alpha == 1, Euclidean().pairwise_dist(x, x), divergence(x, x))

        gradients = jax.grad(lambda x, alpha: value(x, alpha).sum(), (0, 1))(x, alpha)
        return value(x, alpha), part(x), gradients, jax.grad(lambda x: part(x).sum())(x)

    for alpha in (0.0, 1.0):
        value, part, gradients, part_gradient = run(x, alpha)
        np.testing.assert_array_equal(value, part)
        np.testing.assert_allclose(gradients[0], part_gradient, atol=1e-5)
        assert np.isfinite(gradients[1])


@jax.jit
def beside_nothing(divergences, order):
    return hybrid(jnp.zeros_like(divergences), divergences, alpha=0.5, order=order)


@pytest.mark.parametrize("kind", EACH)
def test_a_diverged_point_is_not_hidden(kind):
    """Not even in an order whose guards compare, where the other part is 0."""
    x = np.ones((6, 4), np.float32)
    x[1, 1] = np.nan
    for order in (1.0, 2.0):
        d = beside_nothing(apart(x, x, kind=kind), order)
        np.testing.assert_array_equal(np.isnan(d), (np.arange(6) == 1)[:, None] | (np.arange(6) == 1)[None])


@pytest.mark.slow
def test_the_search_takes_it(oracle_distance, distance, float64):
    x = draw(6)
    expected = np.sqrt(0.4 * oracle_distance(x, x) ** 2 + 0.6 * oracle("jensen_shannon", x, x, 0.5) ** 2)

    def measure(x, y):
        divergences = divergence(x, y, kind="jensen_shannon", temperature=0.5)
        return hybrid(distance(x, y), divergences, alpha=0.4, order=2.0)

    indices, found = knn(jnp.array(x), jnp.array(x), k=2, distance=measure, exclude=jnp.arange(6))
    others = np.where(np.eye(6, dtype=bool), np.inf, expected)
    np.testing.assert_array_equal(indices, np.argsort(others, axis=1)[:, :2])
    np.testing.assert_allclose(found, np.sort(others, axis=1)[:, :2], rtol=1e-9)


@pytest.mark.slow
@pytest.mark.parametrize("kind", DIVERGENCES)
def test_memory_is_a_few_distance_matrices(kind):
    """An n·m·d array would be 128 of them."""
    n = 512
    weights = jnp.ones((n, n))
    compiled = jax.jit(jax.grad(lambda x: (weights * mixed(x, kind)).sum())).lower(jnp.zeros((n, 128))).compile()
    assert compiled.memory_analysis().temp_size_in_bytes < 30 * 4 * n * n
