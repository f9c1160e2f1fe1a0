import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from hypjax.losses.softmax import nt_xent, supcon
from hypjax.mining import easy_positive, hard_negative, pair

BATCHES = {
    "uneven classes": np.array([2, 0, 1, 0, 2, 2, 1, 0, 5]),
    "one class": np.zeros(4, int),
    "only singletons": np.arange(5),
    "one pair": np.array([0, 0, 1]),
}


def loop(form, distances, labels, temperature, weights):
    """Every positive of every anchor in turn, averaged over pairs or over anchors."""
    n = range(len(labels))
    tau = np.broadcast_to(temperature, len(labels))
    by_pair, by_anchor = [], []
    for i in n:
        s = -distances[i] / tau[i]
        chosen = [p for p in n if p != i and labels[p] == labels[i] and weights[0][i, p] > 0]
        opponents = sum(weights[1][i, j] * np.exp(s[j]) for j in n if labels[j] != labels[i])
        classmates = sum(np.exp(s[p]) for p in chosen)
        terms = []
        for p in chosen:
            everything = opponents + (np.exp(s[p]) if form is nt_xent else classmates)
            terms.append((weights[0][i, p], -np.log(np.exp(s[p]) / everything)))
        by_pair += terms
        if terms:
            by_anchor.append(np.average([term for _, term in terms], weights=[w for w, _ in terms]))
    if not by_pair:
        return 0.0
    return (
        np.average([t for _, t in by_pair], weights=[w for w, _ in by_pair]) if form is nt_xent else np.mean(by_anchor)
    )


@pytest.mark.parametrize("form", [nt_xent, supcon])
@pytest.mark.parametrize(
    ("name", "mined"),
    [
        pytest.param("uneven classes", False, marks=pytest.mark.slow),
        ("uneven classes", True),
        ("one class", False),
        pytest.param("only singletons", False, marks=pytest.mark.slow),
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
    tau = np.array(0.4) if mined else 0.3 + 0.05 * np.arange(n)
    weights = uneven_miner(np.zeros((n, n)), None) if mined else np.ones((2, n, n))
    weights = [np.asarray(w, np.float64) for w in weights]

    def loss(x, tau):
        miner = uneven_miner if mined else None
        return form(x, jnp.array(labels), distance=distance, temperature=tau, miner=miner)

    value, (by_x, by_tau) = jax.jit(jax.value_and_grad(loss, (0, 1)))(x, jnp.array(tau))

    def expected(x, tau):
        return loop(form, oracle_distance(x, x), labels, tau, weights)

    np.testing.assert_allclose(value, expected(x, tau), atol=1e-12)
    np.testing.assert_allclose(by_x, numeric_gradient(lambda x: expected(x, tau), x), atol=1e-7)
    np.testing.assert_allclose(by_tau, numeric_gradient(lambda tau: expected(x, tau), tau), atol=1e-7)


@pytest.mark.slow
@pytest.mark.parametrize("form", [nt_xent, supcon])
def test_they_are_those_of_the_loop_in_the_ball(form, hyperbolic, points, numeric_gradient, float64):
    distance, oracle_distance = hyperbolic
    x, labels = points(9), BATCHES["uneven classes"]
    value, gradient = jax.jit(
        jax.value_and_grad(lambda x: form(x, jnp.array(labels), distance=distance, temperature=0.2))
    )(x)

    def expected(x):
        return loop(form, oracle_distance(x, x), labels, 0.2, np.ones((2, 9, 9)))

    np.testing.assert_allclose(value, expected(x), atol=1e-12)
    np.testing.assert_allclose(gradient, numeric_gradient(expected, x), atol=1e-7)


def test_with_two_images_of_each_class_they_are_one_loss(distance, points):
    x, labels = jnp.array(points(8), jnp.float32), jnp.repeat(jnp.arange(4), 2)
    both = jax.jit(lambda x: [form(x, labels, distance=distance, temperature=0.2) for form in (nt_xent, supcon)])
    np.testing.assert_allclose(*both(x), rtol=1e-6)


@pytest.mark.parametrize("form", [nt_xent, supcon])
@pytest.mark.parametrize("labels", [np.arange(5), np.zeros(1, int)])
def test_without_a_positive_they_are_zero_and_so_is_their_gradient(form, labels, distance, points):
    def loss(x):
        return form(x, jnp.array(labels), distance=distance, temperature=0.2)

    value, gradient = jax.jit(jax.value_and_grad(loss))(jnp.array(points(len(labels)), jnp.float32))
    assert value == 0
    np.testing.assert_array_equal(gradient, 0)


@pytest.mark.parametrize("form", [pytest.param(nt_xent, marks=pytest.mark.slow), supcon])
def test_hard_points_of_the_ball_are_finite_at_tiny_temperatures(form, hyperbolic, points):
    x = jnp.array(points(9), jnp.float32)
    x = x.at[1].set(x[3]).at[2].set(0).at[4].set(x[4] / jnp.linalg.norm(x[4]) / 0.7**0.5)
    loss = functools.partial(
        form, labels=jnp.array(BATCHES["uneven classes"]), distance=hyperbolic[0], temperature=1e-3,
        miner=pair(easy_positive, hard_negative),
    )  # fmt: skip
    value, gradient = jax.jit(jax.value_and_grad(loss))(x)
    assert jnp.isfinite(value)
    assert jnp.isfinite(gradient).all()
    assert jnp.abs(gradient).max() > 0


@pytest.mark.parametrize("form", [nt_xent, supcon])
@pytest.mark.parametrize("image", [0, 8], ids=["with a partner", "singleton"])
def test_a_diverged_embedding_is_not_hidden(form, image, distance, points):
    x = jnp.array(points(9), jnp.float32).at[image, 0].set(jnp.nan)
    loss = jax.jit(lambda x: form(x, jnp.array(BATCHES["uneven classes"]), distance=distance, temperature=0.2))
    assert jnp.isnan(loss(x))


@pytest.mark.parametrize("form", [nt_xent, supcon])
@pytest.mark.parametrize(
    ("temperature", "message"),
    [(0.0, "temperature=0.0 must be above 0"), (jnp.ones(3), r"temperature has shape \(3,\)")],
)
def test_bad_temperatures_are_named(form, temperature, message, distance):
    with pytest.raises(ValueError, match=message):
        form(jnp.zeros((4, 2)), jnp.zeros(4, int), distance=distance, temperature=temperature)


@pytest.mark.slow
@pytest.mark.parametrize("form", [nt_xent, supcon])
@pytest.mark.fully_compiled
def test_memory_is_a_few_distance_matrices(form):
    n = 900

    def loss(x):
        labels = jnp.repeat(jnp.arange(n // 9), 9)
        return form(x, labels, distance=lambda x, y: -jnp.matmul(x, y.T), temperature=0.2)

    compiled = jax.jit(jax.grad(loss)).lower(jnp.zeros((n, 8))).compile()
    assert compiled.memory_analysis().temp_size_in_bytes < 6 * 4 * n * n
