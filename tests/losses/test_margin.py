import jax
import jax.numpy as jnp
import numpy as np
import pytest

from hypjax.losses import margin, triplet
from hypjax.losses.pairs import class_masks


def triplets(labels):
    n = range(len(labels))
    return [(a, p, k) for a in n for p in n for k in n if a != p and labels[a] == labels[p] and labels[a] != labels[k]]


def loop(form, distances, labels, alpha, beta, weights):
    """Every triplet in turn: Σ w·hinges / Σ w·(hinges above 0)."""
    alpha, beta = np.broadcast_to(alpha, len(labels)), np.broadcast_to(beta, len(labels))
    total = count = 0.0
    for a, p, n in triplets(labels):
        weight = weights[0][a, p] * weights[1][a, n]
        if form is triplet:
            hinges = [distances[a, p] - distances[a, n] + alpha[a]]
        else:
            hinges = [distances[a, p] - beta[a] + alpha[a], beta[a] - distances[a, n] + alpha[a]]
        for hinge in hinges:
            if hinge > 0:
                total, count = total + weight * hinge, count + weight
    return total / count if count else 0.0


BATCHES = {
    "uneven classes": np.array([2, 0, 1, 0, 2, 2, 1, 0, 5]),
    "one class": np.zeros(4, int),
    "only singletons": np.arange(5),
    "one pair": np.array([0, 0, 1]),
}


def build(form, labels, alpha, beta, distance, miner):
    keywords = {"beta": beta} if form is margin else {}
    return lambda x: form(x, labels, distance=distance, margin=alpha, miner=miner, **keywords)


@pytest.mark.parametrize("form", [triplet, margin])
@pytest.mark.parametrize(
    ("name", "mined"),
    [
        ("uneven classes", False),
        ("uneven classes", True),
        pytest.param("one class", False, marks=pytest.mark.slow),
        ("only singletons", False),
        pytest.param("one pair", False, marks=pytest.mark.slow),
    ],
)
def test_values_and_gradients_are_those_of_the_loop(
    form, name, mined, distance, oracle_distance, points, numeric_gradient, uneven_miner, float64
):
    labels = BATCHES[name]
    n = len(labels)
    x = points(n)
    x[1] = x[0]
    alpha, beta = (0.2, 1.2) if mined else (0.1 + 0.05 * np.arange(n), 1.0 + 0.07 * np.arange(n))
    miner = uneven_miner if mined else None
    weights = uneven_miner(np.zeros((n, n)), None) if mined else np.ones((2, n, n))
    weights = [np.asarray(w, np.float64) for w in weights]

    def loss(x, alpha, beta):
        return build(form, jnp.array(labels), alpha, beta, distance, miner)(x)

    value, gradients = jax.jit(jax.value_and_grad(loss, (0, 1, 2)))(x, jnp.array(alpha), jnp.array(beta))

    def expected(x, alpha, beta):
        return loop(form, oracle_distance(x, x), labels, alpha, beta, weights)

    np.testing.assert_allclose(value, expected(x, alpha, beta), atol=1e-12)
    by_x = numeric_gradient(lambda x: expected(x, alpha, beta), x)
    np.testing.assert_allclose(gradients[0], by_x, atol=1e-7)
    by_alpha = numeric_gradient(lambda alpha: expected(x, alpha, beta), alpha)
    np.testing.assert_allclose(gradients[1], by_alpha, atol=1e-7)
    by_beta = numeric_gradient(lambda beta: expected(x, alpha, beta), beta)
    np.testing.assert_allclose(gradients[2], by_beta, atol=1e-7)


@pytest.mark.parametrize("form", [triplet, margin])
def test_they_are_those_of_the_loop_in_the_ball(form, hyperbolic, points, numeric_gradient, float64):
    distance, oracle_distance = hyperbolic
    x, labels = points(9), BATCHES["uneven classes"]
    value, gradient = jax.jit(jax.value_and_grad(build(form, jnp.array(labels), 0.2, 1.2, distance, None)))(x)

    def expected(x):
        return loop(form, oracle_distance(x, x), labels, 0.2, 1.2, np.ones((2, 9, 9)))

    np.testing.assert_allclose(value, expected(x), atol=1e-12)
    np.testing.assert_allclose(gradient, numeric_gradient(expected, x), atol=1e-7)


@pytest.mark.parametrize("form", [triplet, margin])
def test_a_miner_that_finds_nothing_gives_zero(form, distance, points):
    x, labels = jnp.array(points(6), jnp.float32), jnp.repeat(jnp.arange(2), 3)

    def nothing(distances, labels):
        return (jnp.zeros_like(distances), jnp.ones_like(distances))

    value, gradient = jax.jit(jax.value_and_grad(build(form, labels, 0.2, 1.2, distance, nothing)))(x)
    assert value == 0
    np.testing.assert_array_equal(gradient, 0)


@pytest.mark.parametrize("form", [triplet, margin])
def test_satisfied_margins_give_zero(form):
    labels = jnp.repeat(jnp.arange(3), 2)

    def apart(x, y):
        return jnp.where(class_masks(labels)[1], 9.0, 0.0) + 0 * (x @ y.T)

    value, gradient = jax.jit(jax.value_and_grad(build(form, labels, 0.2, 1.2, apart, None)))(jnp.ones((6, 2)))
    assert value == 0
    np.testing.assert_array_equal(gradient, 0)


def test_a_tie_is_no_violation():
    """Hinges that are exactly 0 must not dilute the mean."""
    x, labels = jnp.array([[0.0], [1.0], [1.0], [3.0]]), jnp.array([0, 0, 1, 1])

    def distance(x, y):
        return jnp.abs(x[:, None, 0] - y[None, :, 0])

    # Anchor 0 ties (1 − 1). Anchor 1: 1 − 0. Anchor 2: 2 − 1 and 2 − 0. Anchor 3: 2 − 3, and a tie.
    loss = jax.jit(lambda x: triplet(x, labels, distance=distance, margin=0.0))(x)
    np.testing.assert_allclose(loss, 4 / 3)


@pytest.mark.parametrize("form", [triplet, margin])
def test_images_may_come_in_any_order(form, distance, points):
    x, labels = jnp.array(points(9), jnp.float32), jnp.array(BATCHES["uneven classes"])
    order = jnp.array([4, 8, 1, 0, 6, 7, 2, 5, 3])
    loss = jax.jit(lambda x, labels: build(form, labels, 0.2, 1.2, distance, None)(x))
    np.testing.assert_allclose(loss(x[order], labels[order]), loss(x, labels), rtol=1e-5)


@pytest.mark.parametrize("form", [triplet, margin])
@pytest.mark.parametrize("pair", [(0, 1), (0, 5)])
def test_a_diverged_distance_is_not_hidden(form, pair, points):
    """Neither a positive's nor a negative's, though NaN is not above 0 and sorts behind every threshold."""
    labels = jnp.array([0, 0, 1, 1, 2, 3])

    def broken(x, y):
        return jnp.full((6, 6), 0.5).at[pair].set(jnp.nan) + 0 * (x @ y.T)

    assert jnp.isnan(jax.jit(build(form, labels, 0.2, 1.2, broken, None))(jnp.ones((6, 2))))


@pytest.mark.parametrize("form", [triplet, margin])
def test_settings_of_the_wrong_length_are_named(form, distance):
    with pytest.raises(ValueError, match=r"margin has shape \(3,\)"):
        form(jnp.zeros((4, 2)), jnp.zeros(4, int), distance=distance, margin=jnp.ones(3))


@pytest.mark.parametrize(("form", "matrices"), [(triplet, 24), (margin, 10)])
@pytest.mark.fully_compiled
def test_memory_is_a_few_distance_matrices(form, matrices):
    """At 900 images one b·b·b array would be 2.9 GB; 24 matrices are 78 MB."""
    n = 900

    def inner(x, y):
        return -jnp.matmul(x, y.T)

    def loss(x):
        return form(x, jnp.repeat(jnp.arange(n // 9), 9), distance=inner)

    compiled = jax.jit(jax.grad(loss)).lower(jnp.zeros((n, 8))).compile()
    assert compiled.memory_analysis().temp_size_in_bytes < matrices * 4 * n * n


@pytest.mark.slow
def test_float32_agrees_with_float64_at_300_images(points):
    """The running sums of the sorted form lose nothing that matters over hundreds of terms."""
    x, labels = points(300, d=8), np.repeat(np.arange(60), 5)

    def distance(x, y):
        return 3 + jnp.abs(x[:, None, 0] - y[None, :, 0])

    def run(x):
        return jax.jit(jax.value_and_grad(lambda x: triplet(x, jnp.array(labels), distance=distance)))(x)

    value, gradient = run(jnp.array(x, jnp.float32))
    with jax.enable_x64(True):
        exact_value, exact_gradient = run(jnp.array(x))
    np.testing.assert_allclose(value, exact_value, rtol=1e-5)
    np.testing.assert_allclose(gradient, exact_gradient, rtol=1e-3, atol=1e-7)
