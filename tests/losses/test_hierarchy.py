import functools
import itertools

import jax
import jax.numpy as jnp
import jaxtyping
import numpy as np
import pytest

from hypjax.geometry import euclidean, lorentz, poincare, sphere
from hypjax.losses import hier, hierarchy
from hypjax.losses.hierarchy import ancestors, reciprocal_neighbors, sample_triplets, triplet_losses

UNEVEN = np.array([2, 0, 1, 0, 2, 2, 1, 0, 5])

STEP = 1e-7  # where duplicates tie in a maximum, central differences are off by as much as the step


def softmax(logits):
    e = np.exp(logits - logits.max())
    return e / e.sum()


def mutual_neighbors(similarity, k):
    """Index sets by the formulas: k largest of each row, the point itself among them, then both ways."""
    n = len(similarity)
    among = [{int(j) for j in np.argsort(-similarity[i], kind="stable")[:k]} for i in range(n)]
    return [[j for j in range(n) if j != i and j in among[i] and i in among[j]] for i in range(n)]


def sets_of_anchors(similarity, k):
    n = len(similarity)
    for i, near in enumerate(mutual_neighbors(similarity, k)):
        far = [j for j in range(n) if j != i and j not in near]
        if len(near) >= 2 and far:
            yield i, near, far


class StraightThrough:
    """The loss of one triplet by loops, whose ordinary derivative is the straight-through one.

    ρ = onehot + s − constant: the first call finds the ancestors and the constants, which later calls keep.
    """

    def __init__(self, noise):
        self.noise, self.chosen = noise, None

    def __call__(self, rows, margin, temperature):
        i, j, k = rows
        pair = [max(a, b) for a, b in zip(i, j, strict=True)]
        both = pair, [max(a, b) for a, b in zip(pair, k, strict=True)]
        soft = [softmax(g - np.array(m) / temperature) for g, m in zip(self.noise, both, strict=True)]
        if self.chosen is None:
            self.chosen, self.constant = [int(np.argmax(s)) for s in soft], soft
        rho = [np.eye(len(i))[c] + s - f for c, s, f in zip(self.chosen, soft, self.constant, strict=True)]
        d = [[float(r @ row) for r in rho] for row in rows]
        hinges = [d[0][0] - d[0][1] + margin, d[1][0] - d[1][1] + margin, d[2][1] - d[2][0] + margin]
        return sum(max(h, 0) for h in hinges) if self.chosen[0] != self.chosen[1] else 0.0


def test_triplets_and_their_straight_through_gradients_are_those_of_the_loop(numeric_gradient, float64):
    rng = np.random.default_rng(0)
    t, p = 12, 4
    rows = rng.uniform(0, 0.6, size=(3, t, p))
    rows[1, 0] = rows[0, 0]  # duplicates tie in every maximum
    noise = rng.gumbel(size=(2, t, p))
    weights = rng.normal(size=t)

    def loss(rows, margin, temperature):
        return (weights * triplet_losses(*rows, jnp.array(noise), margin=margin, temperature=temperature)).sum()

    arguments = rows, np.array(0.1), np.array(0.3)
    value, gradients = jax.jit(jax.value_and_grad(loss, (0, 1, 2)))(*arguments)
    single = [StraightThrough(noise[:, s]) for s in range(t)]

    def expected(rows, margin, temperature):
        return sum(weights[s] * single[s](rows[:, s], margin, temperature) for s in range(t))

    np.testing.assert_allclose(value, expected(*arguments), atol=1e-12)
    assert 3 <= sum(one.chosen[0] != one.chosen[1] for one in single) < t
    for place, gradient in enumerate(gradients):

        def along(argument, place=place):
            return expected(*arguments[:place], argument, *arguments[place + 1 :])

        np.testing.assert_allclose(gradient, numeric_gradient(along, arguments[place], STEP), atol=1e-7)


def plan(x, labels, proxies, key, oracle_distance, neighbors, t):
    """The triplets and the noise that a key stands for, as (term, i, j, k, loss): points 0 … b − 1, then proxies."""
    draw_key, noise_key = jax.random.split(key)
    b, p = len(x), len(proxies)
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
    near, far, valid = sample_triplets(jnp.array(related), jnp.array(unrelated), draw_key, t)
    np.testing.assert_array_equal(np.flatnonzero(valid), anchors)

    triplets = []
    for i in anchors:
        noise = np.asarray(jax.random.gumbel(jax.random.fold_in(noise_key, i), (2, t, p), jnp.float32), np.float64)
        for s in range(t):
            j, k = int(near[i, s]), int(far[i, s])
            assert related[i, j]
            assert unrelated[i, k]
            triplets.append((int(i >= b), i, j, k, StraightThrough(noise[:, s])))
    return triplets


@pytest.mark.parametrize(
    ("labels", "neighbors", "in_blocks"),
    [
        pytest.param(UNEVEN, 4, True, marks=pytest.mark.slow),
        (UNEVEN, 3, False),
        pytest.param(np.zeros(9, int), 4, False, marks=pytest.mark.slow),
        pytest.param(np.arange(9), 4, False, marks=pytest.mark.slow),
    ],
    ids=["uneven classes in blocks", "small neighborhoods", "one class", "only singletons"],
)
def test_values_and_gradients_are_those_of_the_loop(
    labels, neighbors, in_blocks, hyperbolic, points, numeric_gradient, float64, monkeypatch
):
    distance, oracle_distance = hyperbolic
    t, p = 3, 6
    if in_blocks:
        monkeypatch.setattr(hierarchy, "_BLOCK", 4 * 2 * t * p)  # 15 anchors by fours: the last block is filled up
    x, proxies, key = points(9), 0.6 * points(p, seed=1), jax.random.key(3)
    x[4] = x[0]

    def loss(x, proxies):
        options = {"distance": distance, "neighbors": neighbors, "triplets_per_anchor": t}
        return hier(x, jnp.array(labels), proxies, key, **options)

    value, gradients = jax.jit(jax.value_and_grad(loss, (0, 1)))(x, proxies)
    triplets = plan(x, labels, proxies, key, oracle_distance, neighbors, t)

    def expected(x, proxies):
        distances = np.concatenate([oracle_distance(x, proxies), oracle_distance(proxies, proxies)])
        terms = [[], []]
        for term, i, j, k, one in triplets:
            terms[term].append(one(distances[[i, j, k]], 0.1, 0.1))
        return sum(sum(losses) / len(losses) for losses in terms if losses)

    reference = expected(x, proxies)
    assert reference > 0
    np.testing.assert_allclose(value, reference, atol=1e-10)
    by_x = numeric_gradient(lambda x: expected(x, proxies), x, STEP)
    np.testing.assert_allclose(gradients[0], by_x, atol=1e-7)
    by_proxies = numeric_gradient(lambda proxies: expected(x, proxies), proxies, STEP)
    np.testing.assert_allclose(gradients[1], by_proxies, atol=1e-7)


def exact_expectation(distances, similarity, neighbors, margin, temperature):
    """Of one term, over draws and ancestors: probabilities instead of samples, so no sampling error of its own."""
    losses = []
    for i, near, far in sets_of_anchors(similarity, neighbors):
        of_anchor = []
        for j, k in itertools.product(near, far):
            pair = np.maximum(distances[i], distances[j])
            first = softmax(-pair / temperature)
            second = softmax(-np.maximum(pair, distances[k]) / temperature)
            for a, b in itertools.permutations(range(distances.shape[1]), 2):
                hinges = [distances[i, a] - distances[i, b], distances[j, a] - distances[j, b]]
                hinges.append(distances[k, b] - distances[k, a])
                of_anchor.append(first[a] * second[b] * sum(max(h + margin, 0) for h in hinges))
        losses.append(sum(of_anchor) / (len(near) * len(far)))
    return np.mean(losses) if losses else 0.0


SPACES = {
    "ball": (functools.partial(poincare.expmap0, c=0.7), functools.partial(poincare.pairwise_dist, c=0.7)),
    "lorentz": (functools.partial(lorentz.expmap0, c=0.7), functools.partial(lorentz.pairwise_dist, c=0.7)),
    "euclidean": (lambda v: v, euclidean.pairwise_dist),
    "sphere": (sphere.project, sphere.pairwise_dist),
}


@pytest.mark.slow
@pytest.mark.parametrize("labels", [UNEVEN[:7], np.arange(7)])
@pytest.mark.parametrize("space", SPACES)
def test_the_mean_over_keys_is_the_expectation(space, labels):
    """Over triplets, ancestors and both terms, to four standard errors."""
    embed, distance = SPACES[space]
    v = 0.5 * np.random.default_rng(0).normal(size=(12, 3)).astype(np.float32)
    x, proxies = embed(jnp.array(v[:7])), embed(jnp.array(v[7:]))

    def loss(key):
        options = {"distance": distance, "neighbors": 3, "triplets_per_anchor": 2, "temperature": 0.3}
        return hier(x, jnp.array(labels), proxies, key, **options)

    samples = np.asarray(jax.jit(jax.vmap(loss))(jax.random.split(jax.random.key(1), 8000)))
    inner, outer, between = (
        np.asarray(distance(a, b), np.float64) for a, b in ((x, x), (x, proxies), (proxies, proxies))
    )
    similarity = np.exp(-inner) + (labels[:, None] == labels[None])
    terms = [
        exact_expectation(outer, similarity, 3, 0.1, 0.3),
        exact_expectation(between, np.exp(-between), 3, 0.1, 0.3),
    ]
    assert min(terms) > 0
    error = samples.std() / np.sqrt(len(samples))
    assert error < 0.01 * sum(terms)
    assert abs(samples.mean() - sum(terms)) < 4 * error


def test_draws_are_uniform_and_only_among_those_allowed():
    related = np.zeros((4, 4), bool)
    related[0, [1, 3]] = related[1, [0, 2, 3]] = related[2, [1]] = True
    unrelated = ~related & ~np.eye(4, dtype=bool)
    t = 30000
    draw = jax.jit(functools.partial(sample_triplets, triplets_per_anchor=t))
    near, far, valid = draw(jnp.array(related), jnp.array(unrelated), jax.random.key(0))
    # Anchor 1 has no unrelated point, anchor 2 one related point, anchor 3 none.
    np.testing.assert_array_equal(valid, [True, False, False, False])
    for drawn, mask in ((near, related), (far, unrelated)):
        for i in range(4):
            share = np.bincount(np.asarray(drawn[i]), minlength=4) / t
            if mask[i].any():
                expected = mask[i] / mask[i].sum()
                assert (np.abs(share - expected) <= 4 * np.sqrt(expected * (1 - expected) / t)).all()


def test_neighbors_are_reciprocal_without_the_point_itself():
    similarity = np.exp(-np.random.default_rng(0).uniform(size=(9, 9)))
    np.fill_diagonal(similarity, 2)
    similarity[3] = similarity[7] = 0.5  # all equal, the diagonal too: the lower index first
    find = jax.jit(reciprocal_neighbors, static_argnums=1)
    for k in (2, 4):
        mutual = find(jnp.array(similarity, jnp.float32), k)
        np.testing.assert_array_equal(
            mutual, [np.isin(range(9), near) for near in mutual_neighbors(similarity.astype(np.float32), k)]
        )
    assert jnp.array_equal(find(jnp.array(similarity), 100), ~jnp.eye(9, dtype=bool))


@pytest.mark.slow
def test_ancestors_are_one_of_the_proxies_and_learn_as_a_soft_choice():
    farthest = jnp.array([[0.1, 0.5, 0.2], [0.3, 0.3, 0.3]])
    noise = jnp.array([[0.0, 3.9, -2.0], [0.1, 0.1, 0.0]])
    rho, index = ancestors(farthest, noise, 0.1)
    np.testing.assert_array_equal(index, [0, 0])
    np.testing.assert_array_equal(rho, [[1, 0, 0], [1, 0, 0]])
    soft = softmax(np.array(noise[0]) - np.array(farthest[0]) / 0.1)
    jacobian = -(np.diag(soft) - np.outer(soft, soft)) / 0.1
    np.testing.assert_allclose(
        jax.jacobian(lambda m: ancestors(m, noise, 0.1)[0][0])(farthest)[:, 0], jacobian, rtol=1e-4
    )


@pytest.fixture(scope="module")
def in_float32():
    """HIER's value and gradients for 8 points and 5 proxies of a ball, compiled once."""
    distance = functools.partial(poincare.pairwise_dist, c=0.7)

    @jax.jit
    def run(x, labels, proxies, key):
        return jax.value_and_grad(
            lambda x, proxies: hier(x, labels, proxies, key, distance=distance, neighbors=3, triplets_per_anchor=4),
            (0, 1),
        )(x, proxies)

    return run


LABELS = jnp.repeat(jnp.arange(4), 2)


@pytest.mark.slow
def test_gradients_are_finite_at_the_boundary_the_origin_and_where_points_coincide(in_float32, points):
    x, proxies = jnp.array(points(8), jnp.float32), jnp.array(points(5, seed=1), jnp.float32)
    edge = poincare.project(1e3 * x, c=0.7)
    x = x.at[:3].set(edge[:3]).at[3].set(edge[2]).at[4:6].set(0).at[6].set(proxies[0])
    proxies = proxies.at[1].set(edge[0]).at[2].set(0).at[3].set(proxies[4])
    value, gradients = in_float32(x, LABELS, proxies, jax.random.key(0))
    assert value > 0
    for gradient in gradients:
        assert jnp.isfinite(gradient).all()
        assert jnp.abs(gradient).sum() > 0


@pytest.mark.slow
def test_a_key_fixes_the_loss(in_float32, points):
    x, proxies = jnp.array(points(8), jnp.float32), jnp.array(points(5, seed=1), jnp.float32)
    values = [float(in_float32(x, LABELS, proxies, jax.random.key(seed))[0]) for seed in (0, 0, 1)]
    assert values[0] == values[1] != values[2]


@pytest.mark.parametrize("where", [0, pytest.param(1, marks=pytest.mark.slow)])
def test_a_diverged_point_is_not_hidden(where, in_float32, points):
    """A single embedding or proxy may never be drawn, so that no triplet would tell."""
    arrays = [jnp.array(points(8), jnp.float32), jnp.array(points(5, seed=1), jnp.float32)]
    arrays[where] = arrays[where].at[4, 0].set(jnp.nan)
    assert jnp.isnan(in_float32(arrays[0], LABELS, arrays[1], jax.random.key(0))[0])


@pytest.mark.slow
@pytest.mark.fully_compiled
def test_jit_changes_nothing(in_float32, points):
    x, proxies = jnp.array(points(8), jnp.float32), jnp.array(points(5, seed=1), jnp.float32)
    measure = functools.partial(poincare.pairwise_dist, c=0.7)
    eager = hier(x, LABELS, proxies, jax.random.key(0), distance=measure, neighbors=3, triplets_per_anchor=4)
    np.testing.assert_allclose(in_float32(x, LABELS, proxies, jax.random.key(0))[0], eager, rtol=1e-5)


@pytest.mark.slow
def test_nothing_unrelated_gives_zero(distance, points):
    """As when neighborhoods are as large as the batch and the proxies are few."""
    x = jnp.array(points(5), jnp.float32)

    def loss(x, proxies):
        return hier(x, jnp.zeros(5, int), proxies, jax.random.key(0), distance=distance)

    value, gradients = jax.jit(jax.value_and_grad(loss, (0, 1)))(x, x[:4] + 0.1)
    assert value == 0
    for gradient in gradients:
        np.testing.assert_array_equal(gradient, 0)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"proxies": jnp.zeros((3, 7))}, r"proxies of shape \(3, 7\)"),
        ({"proxies": jnp.zeros((0, 2))}, r"proxies of shape \(0, 2\)"),
        ({"labels": jnp.zeros(3, int)}, r"labels of shape \(3,\)"),
        ({"neighbors": 1}, "neighbors must be at least 2"),
        ({"triplets_per_anchor": 0}, "triplets_per_anchor must be at least 1, got 0"),
        ({"temperature": 0.0}, "temperature must be positive, got 0"),
        ({"margin": -0.1}, "margin must be at least 0, got -0.1"),
    ],
)
def test_bad_arguments_are_named(change, message, distance, monkeypatch):
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)  # users have no shape checks
    arguments = {
        "embeddings": jnp.zeros((4, 2)),
        "labels": jnp.zeros(4, int),
        "proxies": jnp.zeros((3, 2)),
        "key": jax.random.key(0),
        "distance": distance,
    }
    with pytest.raises(ValueError, match=message):
        jax.eval_shape(lambda: hier(**(arguments | change)))


@pytest.mark.slow
@pytest.mark.fully_compiled
def test_full_size_fits_in_a_fraction_of_a_gigabyte():
    """180 images, 50 triplets each, 512 proxies: one array over all triplets and proxies would be 71 MB already."""
    distance = functools.partial(poincare.pairwise_dist, c=0.1)
    labels = jnp.repeat(jnp.arange(90), 2)

    def loss(x, proxies, key):
        return hier(x, labels, proxies, key, distance=distance)

    gradient = jax.jit(jax.grad(loss, (0, 1)))
    compiled = gradient.lower(jnp.zeros((180, 128)), jnp.zeros((512, 128)), jax.random.key(0)).compile()
    assert compiled.memory_analysis().temp_size_in_bytes < 2**27
