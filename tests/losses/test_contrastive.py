import jax
import jax.numpy as jnp
import numpy as np
import pytest

from hypjax.losses.contrastive import contrastive, pairwise_cross_entropy
from hypjax.losses.uncertainty import uncertainty_contrastive
from hypjax.mining import easy_positive


def oracle(distances, labels, temperature, m, weights=None):
    """A row of logits for every class and ordered pair of samples, written out; classes equal to k are no negatives."""
    batch = len(labels)
    temperature = np.broadcast_to(temperature, batch)
    pair_weights, opponent_weights = np.ones((2, batch, batch)) if weights is None else weights
    losses, counts = [], []
    for k in range(batch // m):
        for a in range(m):
            for b in range(m):
                anchor, positive = k * m + a, k * m + b
                if a == b or labels[anchor] != labels[positive]:
                    continue
                candidates = [positive]
                for other in range(batch // m):
                    for image in other * m + b, other * m + a:
                        if other != k and labels[image] != labels[anchor]:
                            candidates.append(image)
                logits = -distances[anchor, candidates] / temperature[anchor]
                each = np.append(1, opponent_weights[anchor, candidates[1:]])
                losses.append(np.log((each * np.exp(logits)).sum()) - logits[0])
                counts.append(pair_weights[anchor, positive])
    return np.average(losses, weights=counts) if sum(counts) else 0.0


BATCHES = {
    "four classes of three": (np.repeat([0, 1, 2, 3], 3), 3),
    "pairs": (np.repeat([4, 1, 0, 7, 3], 2), 2),
    "a class drawn twice": (np.repeat([0, 1, 0, 2], 3), 3),
    "a torn group": (np.array([0, 0, 1, 1, 1, 1, 2, 2, 2]), 3),
    "one class": (np.zeros(4, int), 4),
    "one class, drawn twice": (np.zeros(6, int), 3),
    "only singletons": (np.arange(6), 2),
}


QUICK = ["four classes of three", "a torn group", "one class, drawn twice"]


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=() if name in QUICK else pytest.mark.slow) for name in BATCHES]
)
def test_values_and_gradients_are_those_of_the_loop(name, distance, oracle_distance, points, numeric_gradient, float64):
    labels, m = BATCHES[name]
    x = points(len(labels))
    x[1] = x[0]  # a duplicate image
    tau = np.array(0.2) if m == 2 else 0.3 + 0.05 * np.arange(len(labels))

    def loss(x, tau):
        return pairwise_cross_entropy(x, jnp.array(labels), distance=distance, temperature=tau, samples_per_class=m)

    value, (by_x, by_tau) = jax.jit(jax.value_and_grad(loss, (0, 1)))(jnp.array(x), jnp.array(tau))
    np.testing.assert_allclose(value, oracle(oracle_distance(x, x), labels, tau, m), atol=1e-12)
    expected = numeric_gradient(lambda t: oracle(oracle_distance(x, x), labels, t, m), tau)
    np.testing.assert_allclose(by_tau, expected, atol=1e-7)
    expected = numeric_gradient(lambda x: oracle(oracle_distance(x, x), labels, tau, m), x)
    np.testing.assert_allclose(by_x, expected, atol=1e-7)


@pytest.mark.parametrize("name", [pytest.param("four classes of three", marks=pytest.mark.slow), "a class drawn twice"])
def test_with_a_miner_values_and_gradients_are_those_of_the_loop(
    name, distance, oracle_distance, points, numeric_gradient, uneven_miner, float64
):
    labels, m = BATCHES[name]
    x = points(len(labels))
    weights = [np.asarray(w, np.float64) for w in uneven_miner(np.zeros((len(x), len(x))), None)]

    def loss(x):
        return pairwise_cross_entropy(
            x, jnp.array(labels), distance=distance, temperature=0.4, samples_per_class=m, miner=uneven_miner
        )

    value, gradient = jax.jit(jax.value_and_grad(loss))(jnp.array(x))

    def expected(x):
        return oracle(oracle_distance(x, x), labels, 0.4, m, weights)

    np.testing.assert_allclose(value, expected(x), atol=1e-12)
    np.testing.assert_allclose(gradient, numeric_gradient(expected, x), atol=1e-7)


def test_a_miner_of_ones_changes_nothing_and_one_of_nothing_leaves_nothing(distance, points):
    labels, m = BATCHES["a class drawn twice"]
    x = jnp.array(points(len(labels)), jnp.float32)

    def loss(x, weights=None):
        miner = None if weights is None else lambda distances, labels: weights
        return pairwise_cross_entropy(
            x, jnp.array(labels), distance=distance, temperature=0.2, samples_per_class=m, miner=miner
        )

    run, ones = jax.jit(jax.value_and_grad(loss)), jnp.ones((len(x), len(x)))
    jax.tree.map(np.testing.assert_array_equal, run(x, (ones, ones)), run(x))
    jax.tree.map(lambda leaf: np.testing.assert_array_equal(leaf, 0), run(x, (0 * ones, ones)))


def test_uncertainty_hands_its_miner_on(distance, points):
    x, labels = jnp.array(points(12), jnp.float32), jnp.repeat(jnp.arange(3), 4)
    arguments = {"distance": distance, "temperature": 0.2, "samples_per_class": 4}
    both = jax.jit(
        lambda x: (
            uncertainty_contrastive(x, labels, jnp.ones(12), strength=0.0, miner=easy_positive, **arguments),
            pairwise_cross_entropy(x, labels, miner=easy_positive, **arguments),
            pairwise_cross_entropy(x, labels, **arguments),
        )
    )(x)
    assert both[0] == both[1]
    assert abs(both[1] - both[2]) > 0.01


def test_it_is_that_of_the_loop_in_the_ball(hyperbolic, points, numeric_gradient, float64):
    distance, oracle_distance = hyperbolic
    x, labels = points(8), np.repeat([0, 1], 4)

    def loss(x):
        return pairwise_cross_entropy(x, jnp.array(labels), distance=distance, temperature=0.2, samples_per_class=4)

    value, gradient = jax.jit(jax.value_and_grad(loss))(x)

    def expected(x):
        return oracle(oracle_distance(x, x), labels, 0.2, 4)

    np.testing.assert_allclose(value, expected(x), atol=1e-12)
    np.testing.assert_allclose(gradient, numeric_gradient(expected, x), atol=1e-7)


@pytest.mark.parametrize("name", ["one class", "one class, drawn twice", "only singletons"])
def test_without_anything_to_tell_apart_it_is_zero_and_so_is_its_gradient(name, distance, points):
    labels, m = BATCHES[name]

    def loss(x):
        return pairwise_cross_entropy(x, jnp.array(labels), distance=distance, temperature=0.2, samples_per_class=m)

    value, gradient = jax.jit(jax.value_and_grad(loss))(jnp.array(points(len(labels)), jnp.float32))
    np.testing.assert_allclose(value, 0, atol=1e-6)
    np.testing.assert_allclose(gradient, 0, atol=1e-5)


def test_classes_and_samples_may_come_in_any_order(distance, points):
    x, labels = jnp.array(points(12), jnp.float32), jnp.repeat(jnp.arange(4), 3)
    loss = jax.jit(
        lambda index: pairwise_cross_entropy(
            x[index], labels[index], distance=distance, temperature=0.2, samples_per_class=3
        )
    )
    grid = np.arange(12).reshape(4, 3)
    expected = loss(grid.ravel())
    np.testing.assert_allclose(loss(grid[[2, 0, 3, 1]].ravel()), expected, rtol=1e-5)
    np.testing.assert_allclose(loss(grid[:, [2, 0, 1]].ravel()), expected, rtol=1e-5)


def test_it_stays_finite_at_tiny_temperatures(distance, points):
    x, labels = jnp.array(points(8), jnp.float32), jnp.repeat(jnp.arange(4), 2)

    def loss(x):
        return pairwise_cross_entropy(x, labels, distance=distance, temperature=1e-4, samples_per_class=2)

    value, gradient = jax.jit(jax.value_and_grad(loss))(x)
    assert jnp.isfinite(value)
    assert jnp.isfinite(gradient).all()
    assert jnp.abs(gradient).max() > 0


def test_a_diverged_embedding_is_not_hidden(distance, points):
    x = jnp.array(points(8), jnp.float32).at[3, 0].set(jnp.nan)
    labels = jnp.repeat(jnp.arange(4), 2)

    def loss(x):
        return pairwise_cross_entropy(x, labels, distance=distance, temperature=0.2, samples_per_class=2)

    assert jnp.isnan(jax.jit(loss)(x))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"samples_per_class": 1}, "samples_per_class=1"),
        ({"samples_per_class": 4}, "batch of 6 is no multiple of samples_per_class=4"),
        ({"temperature": 0.0}, "temperature=0.0 must be above 0"),
        ({"temperature": jnp.ones(3)}, r"temperature has shape \(3,\)"),
    ],
)
def test_bad_arguments_are_named(change, message, distance):
    arguments = {"distance": distance, "temperature": 0.2, "samples_per_class": 2} | change
    with pytest.raises(ValueError, match=message):
        pairwise_cross_entropy(jnp.zeros((6, 2)), jnp.zeros(6, int), **arguments)


@pytest.mark.slow
@pytest.mark.fully_compiled
def test_memory_is_a_few_distance_matrices():
    n, d = 900, 8

    def inner(x, y):
        return -jnp.matmul(x, y.T)

    def loss(x):
        return pairwise_cross_entropy(
            x, jnp.repeat(jnp.arange(n // 9), 9), distance=inner, temperature=0.2, samples_per_class=9
        )

    compiled = jax.jit(jax.grad(loss)).lower(jnp.zeros((n, d))).compile()
    assert compiled.memory_analysis().temp_size_in_bytes < 6 * 4 * n * n


def hinge_loop(distances, labels, pos_margin, neg_margin, weights):
    """Every pair in turn, each side's sum over the weight of its terms above 0."""
    pos_margin, neg_margin = (np.broadcast_to(margin, len(labels)) for margin in (pos_margin, neg_margin))
    loss = 0.0
    for side in 0, 1:
        total = count = 0.0
        for i in range(len(labels)):
            for j in range(len(labels)):
                if i == j or (labels[i] == labels[j]) != (side == 0):
                    continue
                hinge = neg_margin[i] - distances[i, j] if side else distances[i, j] - pos_margin[i]
                if hinge > 0:
                    total, count = total + weights[side][i, j] * hinge, count + weights[side][i, j]
        loss += total / count if count else 0.0
    return loss


UNEVEN = np.array([2, 0, 1, 0, 2, 2, 1, 0, 5])


@pytest.mark.parametrize(
    ("labels", "mined"),
    [
        pytest.param(UNEVEN, False, marks=pytest.mark.slow),
        (UNEVEN, True),
        (np.zeros(4, int), False),
        pytest.param(np.arange(5), False, marks=pytest.mark.slow),
    ],
    ids=["uneven classes", "mined", "one class", "only singletons"],
)
def test_hinges_and_their_gradients_are_those_of_the_loop(
    labels, mined, distance, oracle_distance, points, numeric_gradient, uneven_miner, float64
):
    n = len(labels)
    x = points(n)
    x[2] = x[0]
    margins = (np.array(0.3), np.array(2.5)) if mined else (0.3 + 0.04 * np.arange(n), 2.0 + 0.1 * np.arange(n))
    weights = uneven_miner(np.zeros((n, n)), None) if mined else np.ones((2, n, n))
    weights = [np.asarray(w, np.float64) for w in weights]

    def loss(x, pos_margin, neg_margin):
        miner = uneven_miner if mined else None
        return contrastive(
            x, jnp.array(labels), distance=distance, pos_margin=pos_margin, neg_margin=neg_margin, miner=miner
        )

    arguments = (x, *margins)
    value, gradients = jax.jit(jax.value_and_grad(loss, (0, 1, 2)))(*map(jnp.array, arguments))

    def expected(*arguments):
        return hinge_loop(oracle_distance(arguments[0], arguments[0]), labels, *arguments[1:], weights)

    np.testing.assert_allclose(value, expected(*arguments), atol=1e-12)
    for i in range(3):
        numeric = numeric_gradient(lambda a, i=i: expected(*arguments[:i], a, *arguments[i + 1 :]), arguments[i])
        np.testing.assert_allclose(gradients[i], numeric, atol=1e-7)


@pytest.mark.slow
def test_hinges_are_those_of_the_loop_in_the_ball(hyperbolic, points, numeric_gradient, float64):
    distance, oracle_distance = hyperbolic
    x = points(9)
    value, gradient = jax.jit(jax.value_and_grad(lambda x: contrastive(x, jnp.array(UNEVEN), distance=distance)))(x)

    def expected(x):
        return hinge_loop(oracle_distance(x, x), UNEVEN, 0.0, 1.0, np.ones((2, 9, 9)))

    np.testing.assert_allclose(value, expected(x), atol=1e-12)
    np.testing.assert_allclose(gradient, numeric_gradient(expected, x), atol=1e-7)


def test_fulfilled_margins_give_zero_and_a_tie_is_no_violation():
    x, labels = jnp.array([[0.0], [0.0], [1.0], [1.0]]), jnp.array([0, 0, 1, 1])

    def loss(x):
        return contrastive(x, labels, distance=lambda x, y: jnp.abs(x[:, None, 0] - y[None, :, 0]))

    run = jax.jit(jax.value_and_grad(loss))
    value, gradient = run(x)
    assert value == 0
    np.testing.assert_array_equal(gradient, 0)
    np.testing.assert_allclose(run(x.at[1].set(0.25))[0], 0.25 + 0.25)


@pytest.mark.parametrize("pair", [(0, 1), (0, 3)], ids=["positive", "negative"])
def test_a_diverged_distance_is_not_hidden(pair):
    distances = np.full((4, 4), 9.0, np.float32)
    distances[pair] = np.nan

    def loss(distances):
        return contrastive(jnp.ones((4, 2)), jnp.array([0, 0, 1, 1]), distance=lambda x, y: distances)

    assert jnp.isnan(jax.jit(loss)(jnp.array(distances)))
