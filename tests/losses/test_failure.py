import jax
import jax.numpy as jnp
import numpy as np
import pytest

from hypjax.geometry import euclidean
from hypjax.losses import failure_cross_entropy, nearest_is_wrong

LABELS = np.array([0, 0, 1, 1, 1, 2, 3, 3])  # class 2 has a single image


def points(seed=0):
    return jax.random.normal(jax.random.key(seed), (8, 3))


def by_loops(doubt, x, labels, prior=None, level=None):
    terms = []
    for i in range(len(x)):
        gaps = [(np.linalg.norm(x[i] - x[j]), labels[j]) for j in range(len(x)) if j != i]
        partners = [gap for gap, label in gaps if label == labels[i]]
        opponents = [gap for gap, label in gaps if label != labels[i]]
        if partners and opponents:
            target = float(min(opponents) < min(partners))
            target = target if prior is None else (target + prior[i]) / 2
            target = target if level is None else max(target, level[i])
            terms.append(-target * np.log(doubt[i]) - (1 - target) * np.log(1 - doubt[i]))
    return np.mean(terms) if terms else 0.0


@pytest.mark.parametrize("labels", [LABELS, np.zeros(8, int), np.arange(8), np.repeat(np.arange(4), 2)])
@pytest.mark.parametrize("known", [(), ("prior",), ("level",), ("prior", "level")])
def test_matches_a_float64_loop(labels, known):
    with jax.enable_x64(True):
        x = jnp.asarray(np.random.default_rng(1).normal(size=(8, 3)))
        doubt = jnp.linspace(0.1, 0.9, 8)
        given = {"prior": np.linspace(1.0, 0.0, 8), "level": np.array([0, 0.9, 0.2, 0, 1, 0.3, 0, 0.6])}
        given = {name: given[name] for name in known}
        value = failure_cross_entropy(
            doubt,
            x,
            jnp.asarray(labels),
            distance=euclidean.pairwise_dist,
            **{name: jnp.asarray(values) for name, values in given.items()},
        )
        np.testing.assert_allclose(value, by_loops(np.asarray(doubt), np.asarray(x), labels, **given), atol=1e-12)


@pytest.mark.slow
def test_only_the_doubt_learns():
    def value(doubt, x):
        return failure_cross_entropy(doubt, x, jnp.asarray(LABELS), distance=euclidean.pairwise_dist)

    to_doubt, to_points = jax.grad(value, argnums=(0, 1))(jnp.full(8, 0.5), points())
    assert np.abs(to_doubt).max() > 0
    assert to_doubt[5] == 0  # a single image cannot fail
    np.testing.assert_array_equal(to_points, 0)


@pytest.mark.slow
@pytest.mark.parametrize("extreme", [0.0, 1.0])
def test_finite_where_the_doubt_is_sure(extreme):
    value, grad = jax.value_and_grad(failure_cross_entropy)(
        jnp.full(8, extreme), points(), jnp.asarray(LABELS), distance=euclidean.pairwise_dist
    )
    assert np.isfinite(value)
    assert np.isfinite(grad).all()


@pytest.mark.slow
def test_the_best_doubt_is_the_share_of_failures():
    wrong, asked = nearest_is_wrong(points(), jnp.asarray(LABELS), distance=euclidean.pairwise_dist)
    share = wrong[asked].mean()
    candidates = jnp.linspace(0.05, 0.95, 181)
    values = jax.vmap(
        lambda q: failure_cross_entropy(jnp.full(8, q), points(), jnp.asarray(LABELS), distance=euclidean.pairwise_dist)
    )(candidates)
    assert abs(candidates[int(np.argmin(values))] - share) < 0.006
