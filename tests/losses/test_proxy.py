import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from hypjax import losses
from hypjax.geometry import sphere

LABELS = {
    "uneven classes": [2, 0, 2, 2, 3, 0],
    "one class": [1] * 6,
    "singletons and no class of their own": [3, -1, 1, 4, 0, 2],
    "nothing known": [-1, 4, 9, -7, 4, 4],
}
CLASSES = 4


def cosine(x, y):
    return np.dot(x, y) / np.sqrt(np.dot(x, x) * np.dot(y, y))


def anchor_loop(x, labels, proxies, margin=0.1, alpha=32.0):
    attraction, repulsion = [], []
    for p, proxy in enumerate(proxies):
        own = [cosine(v, proxy) for v, y in zip(x, labels, strict=True) if y == p]
        other = [cosine(v, proxy) for v, y in zip(x, labels, strict=True) if y != p and 0 <= y < len(proxies)]
        if own:
            attraction.append(np.log(1 + sum(np.exp(-alpha * (s - margin)) for s in own)))
        repulsion.append(np.log(1 + sum(np.exp(alpha * (s + margin)) for s in other)))
    return (np.mean(attraction) if attraction else 0.0) + np.mean(repulsion)


def nca_loop(x, labels, proxies, scale=1.0):
    losses = []
    for v, y in zip(x, labels, strict=True):
        if 0 <= y < len(proxies):
            unit = v / np.linalg.norm(v)
            closeness = [np.exp(-scale * np.sum((unit - p / np.linalg.norm(p)) ** 2)) for p in proxies]
            losses.append(-np.log(closeness[y] / (sum(closeness) - closeness[y])))
    return np.mean(losses) if losses else 0.0


def triple_loop(x, labels, centers, scale=20.0, gamma=0.1, margin=0.01):
    losses = []
    for v, y in zip(x, labels, strict=True):
        if 0 <= y < len(centers):
            to_class = []
            for own in centers:
                s = np.array([cosine(v, center) for center in own])
                q = np.exp(s / gamma)
                to_class.append(np.sum(q / q.sum() * s))
            to_class[y] -= margin
            logits = scale * np.array(to_class)
            losses.append(np.log(np.exp(logits).sum()) - logits[y])
    return np.mean(losses) if losses else 0.0


CASES = {
    "proxy_anchor": (anchor_loop, {"margin": 0.2, "alpha": 5.0}, (CLASSES, 3)),
    "proxy_nca": (nca_loop, {"scale": 3.0}, (CLASSES, 3)),
    "soft_triple": (triple_loop, {"scale": 4.0, "gamma": 0.3, "margin": 0.1}, (CLASSES, 2, 3)),
}


def loss(name, x, labels, proxies, **settings):
    """By the cosine, as their authors compare."""
    x, proxies = sphere.project(x), sphere.project(proxies)
    similarities = jnp.einsum("bd,p...d->bp...", x, proxies)
    pairs = losses.pairs(labels, jnp.arange(len(proxies)))
    return losses.mean(getattr(losses, name)(similarities, pairs, **settings))


@functools.cache
def compiled(name, **settings):
    return jax.jit(jax.value_and_grad(functools.partial(loss, name, **settings), (0, 2)))


def random_proxies(shape, seed=1):
    return jnp.array(np.random.default_rng(seed).normal(size=shape))


@pytest.mark.slow
@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("batch", LABELS)
def test_values_and_gradients_are_those_of_the_loop(name, batch, points, numeric_gradient, float64):
    loop, settings, shape = CASES[name]
    x, labels, proxies = points(6), LABELS[batch], random_proxies(shape)
    x[3] = x[2]
    value, (by_x, by_proxies) = compiled(name, **settings)(jnp.array(x), jnp.array(labels), proxies)

    proxies = np.array(proxies)
    np.testing.assert_allclose(value, loop(x, labels, proxies, **settings), atol=1e-12)
    expected = numeric_gradient(lambda x: loop(x, labels, proxies, **settings), x)
    np.testing.assert_allclose(by_x, expected, atol=1e-7)
    expected = numeric_gradient(lambda proxies: loop(x, labels, proxies, **settings), proxies)
    np.testing.assert_allclose(by_proxies, expected, atol=1e-7)


@pytest.mark.slow
def test_defaults_are_those_of_the_loop(points, float64):
    x, labels = points(6), LABELS["uneven classes"]
    for name, (loop, _, shape) in CASES.items():
        proxies = random_proxies(shape)
        value = jax.jit(loss, static_argnums=0)(name, jnp.array(x), jnp.array(labels), proxies)
        np.testing.assert_allclose(value, loop(x, labels, np.array(proxies)), rtol=1e-12, err_msg=name)


@pytest.mark.slow
@pytest.mark.parametrize("name", CASES)
def test_what_has_diverged_is_not_hidden(name, points):
    _, settings, shape = CASES[name]
    x, labels = jnp.array(points(6), jnp.float32), jnp.array(LABELS["uneven classes"])
    proxies, run = random_proxies(shape), compiled(name, **settings)
    assert jnp.isnan(run(x.at[4, 1].set(jnp.nan), labels, proxies)[0])
    # The proxy of class 1, of which there is no image here.
    assert jnp.isnan(run(x, labels, proxies.at[1].set(jnp.nan))[0])


@pytest.mark.slow
@pytest.mark.parametrize("name", CASES)
def test_zero_vectors_have_finite_gradients(name, points):
    _, settings, shape = CASES[name]
    x, labels = jnp.array(points(6), jnp.float32), jnp.array(LABELS["uneven classes"])
    value, gradients = compiled(name, **settings)(x.at[1].set(0), labels, random_proxies(shape).at[2].set(0))
    by_x, by_proxies = map(np.asarray, gradients)
    assert np.isfinite(value)
    assert np.all(np.isfinite(by_x))
    assert np.all(np.isfinite(by_proxies))
    np.testing.assert_array_equal(by_x[1], np.zeros(3))
    assert np.any(by_x[0] != 0)


@pytest.mark.slow
def test_sharp_settings_do_not_overflow():
    """exp(2000·s) is out of any float's range; the logarithm of its sum is not."""

    @jax.jit
    def run(s, labels):
        pairs = losses.pairs(labels, jnp.arange(2))

        def values(s):
            anchor = losses.proxy_anchor(s, pairs, alpha=2000.0)
            nca, triple = losses.proxy_nca(s, pairs, scale=2000.0), losses.soft_triple(s[:, :, None], pairs)
            return jnp.stack([losses.mean(each) for each in (anchor, nca, triple)])

        return values(s), jax.jacrev(values)(s)

    right, wrong = (run(jnp.eye(2), jnp.array(labels)) for labels in ([0, 1], [1, 0]))
    # Every proxy: its own image at cosine 0, the other at 1.
    np.testing.assert_allclose(wrong[0][0], 2000 * 0.1 + 2000 * 1.1, rtol=1e-6)
    np.testing.assert_allclose(right[0][1:], [-4000, 0], rtol=1e-6, atol=2e-6)
    np.testing.assert_allclose(wrong[0][1:], [4000, 20 * 1.01 + np.log1p(np.exp(-20 * 1.01))], rtol=1e-6)
    assert np.isfinite(right[1]).all()
    assert np.isfinite(wrong[1]).all()


def test_one_center_a_class_is_a_cross_entropy(points, float64):
    x, labels, centers = points(6), np.array(LABELS["uneven classes"]), random_proxies((CLASSES, 1, 3))
    logits = 7 * np.array([[cosine(v, w[0]) for w in np.array(centers)] for v in x])
    expected = np.mean(np.log(np.exp(logits).sum(1)) - logits[np.arange(6), labels])
    run = jax.jit(functools.partial(loss, "soft_triple", scale=7.0, margin=0.0))
    value = run(jnp.array(x), jnp.array(labels), centers)
    np.testing.assert_allclose(value, expected, rtol=1e-12)


def test_the_regularizer_is_the_loop(numeric_gradient, float64):
    def loop(centers):
        count = centers.shape[1]
        total = 0.0
        for own in centers:
            for k in range(count):
                for other in range(k + 1, count):
                    total += np.sqrt(2 + 1e-5 - 2 * cosine(own[k], own[other]))
        return total / (len(centers) * count * (count - 1))

    centers = random_proxies((4, 3, 3))
    value, gradient = jax.jit(jax.value_and_grad(losses.soft_triple_regularizer))(centers)
    np.testing.assert_allclose(value, loop(np.array(centers)), rtol=1e-12)
    np.testing.assert_allclose(gradient, numeric_gradient(loop, np.array(centers)), atol=1e-7)


def test_the_regularizer_is_finite_for_merged_zero_and_single_centers():
    run = jax.jit(jax.value_and_grad(losses.soft_triple_regularizer))
    value, gradient = run(jnp.array([[[0.3, 0.7], [0.3, 0.7]], [[0.0, 0.0], [1.0, 0.0]]]))
    assert jnp.isfinite(value)
    assert np.all(np.abs(np.asarray(gradient)) < 2)
    value, gradient = run(jnp.ones((3, 1, 2)))
    assert value == 0
    np.testing.assert_array_equal(gradient, jnp.zeros((3, 1, 2)))
