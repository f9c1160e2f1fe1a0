"""What holds for every loss: it is its loop's, in value and gradient, however it is run."""

import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from hypjax import losses
from tests.losses import loops, table

BATCHES = {
    "uneven classes": [2, 0, 1, 0, 2, 2, 5],
    "one class": [0] * 7,
    "only singletons": list(range(7)),
    "one pair": [0, 0, 1, -1, -1, -1, -1],
}


def random_distances(n, m, seed=0):
    """Not symmetric, with a duplicate: column 1 is column 0."""
    d = np.random.default_rng(seed).uniform(0, 3, size=(n, m))
    d[:, 1] = d[:, 0]
    return d


def uncertainty(n):
    return np.linspace(0.15, 0.9, n)


def assert_all_are_their_loops(d, pairs, known, numeric_gradient):
    """Also row by row, and each weighed; every entry of both gradients."""
    u = uncertainty(len(d))
    for name, (value, by_distances, by_u) in table.run(jnp.array(d), pairs, jnp.array(u)).items():
        loop = table.LOOPS[name]
        np.testing.assert_allclose(value, loop(d, known, u), atol=1e-12, err_msg=name)
        np.testing.assert_allclose(
            by_u, numeric_gradient(lambda u, loop=loop: loop(d, known, u), u), atol=1e-7, err_msg=name
        )
        expected = np.zeros_like(d)
        if name != "failure_cross_entropy":
            expected = numeric_gradient(lambda d, loop=loop: loop(d, known, u), d)
        np.testing.assert_allclose(by_distances, expected, atol=1e-7, err_msg=name)


@pytest.mark.slow
@pytest.mark.parametrize("name", BATCHES)
def test_values_and_gradients_are_those_of_the_loop(name, numeric_gradient, float64):
    labels = BATCHES[name]
    assert_all_are_their_loops(
        random_distances(7, 7), table.pairs(np.array(labels)), loops.pairs(labels), numeric_gradient
    )


@pytest.mark.slow
def test_weighed_values_and_gradients_are_those_of_the_loop(uneven, numeric_gradient, float64):
    labels, weights = BATCHES["uneven classes"], uneven(7, 7)
    known = loops.pairs(labels)
    known = known._replace(positive=known.positive * weights[0], negative=known.negative * weights[1])
    weighed = table.pairs(np.array(labels)).weigh(*map(jnp.array, weights))
    assert_all_are_their_loops(random_distances(7, 7), weighed, known, numeric_gradient)


REFERENCES = {
    "query against gallery": {"references": [1, 1, 2, 0, 7, 0, 2, 2, 1, 5, 8]},
    "a memory, partly filled": {
        "references": [*BATCHES["uneven classes"], 2, 6, -1, -1],
        "ids": range(7),
        "reference_ids": range(11),
    },
    "rows of a batch against it, some of both masked": {
        "references": [3, 2, 0, 1, 0, 2, 2, 5, 3, 1, 2],
        "ids": range(1, 8),
        "reference_ids": range(11),
        "where": [True] * 5 + [False, True],
        "reference_where": [True] * 4 + [False] + [True] * 5 + [False],
    },
}


@pytest.mark.slow
@pytest.mark.parametrize("name", REFERENCES)
def test_against_references_they_are_those_of_the_loop(name, numeric_gradient, float64):
    labels, given = BATCHES["uneven classes"], REFERENCES[name]
    pairs = table.pairs(np.array(labels), **{name: np.array(value) for name, value in given.items()})
    assert_all_are_their_loops(random_distances(7, 11), pairs, loops.pairs(labels, **given), numeric_gradient)


@pytest.mark.slow
def test_in_the_ball_they_are_those_of_the_loop(hyperbolic, points, numeric_gradient, float64):
    distance, oracle_distance = hyperbolic
    x, labels, u = points(7), BATCHES["uneven classes"], uncertainty(7)
    pairs, known = table.pairs(np.array(labels)), loops.pairs(labels)
    run = jax.jit(lambda x: table.with_gradients(lambda x: table.values(distance(x, x), pairs, jnp.array(u)), x))
    values, (gradients,) = run(jnp.array(x))
    for name, value, gradient in zip(table.LOSSES, values, gradients, strict=True):

        def loop(x, name=name):
            return table.LOOPS[name](oracle_distance(x, x), known, u)

        np.testing.assert_allclose(value, loop(x), atol=1e-12, err_msg=name)
        expected = numeric_gradient(loop, x) if name != "failure_cross_entropy" else np.zeros_like(x)
        np.testing.assert_allclose(gradient, expected, atol=1e-7, err_msg=name)


@pytest.mark.slow
def test_each_anchor_alone_and_anchors_weighed_are_those_of_the_loop(float64):
    """`per_anchor` as a batch with one anchor, and a weight of 2 as that anchor twice."""
    labels, d, u = BATCHES["uneven classes"], random_distances(7, 7), uncertainty(7)
    pairs, known = table.pairs(np.array(labels)), loops.pairs(labels)
    weights = np.array([1.0, 0, 2, 1, 3, 0, 1])
    rows = np.repeat(np.arange(7), weights.astype(int))

    def of_rows(loop, rows):
        taken = known._replace(
            positive=known.positive[rows],
            negative=known.negative[rows],
            rank=[known.rank[i] for i in rows],
            somebody=[known.somebody[i] for i in rows],
        )
        return loop(d[rows], taken, u[rows])

    @jax.jit
    def run(d, u):
        terms = {name: loss(d, pairs, u) for name, loss in table.LOSSES.items()}
        return {name: (losses.per_anchor(each), losses.mean(each, jnp.array(weights))) for name, each in terms.items()}

    for name, (alone, weighed) in run(jnp.array(d), jnp.array(u)).items():
        loop = table.LOOPS[name]
        np.testing.assert_allclose(alone, [of_rows(loop, [i]) for i in range(7)], atol=1e-12, err_msg=name)
        np.testing.assert_allclose(weighed, of_rows(loop, rows), atol=1e-12, err_msg=name)


@pytest.mark.slow
def test_importing_takes_jax_alone():
    heavy = ["flax", "optax", "orbax", "grain", "tensorflow", "tensorflow_datasets", "matplotlib", "einops", "chex"]
    code = f"import sys, hypjax.losses, hypjax.mining; print([m for m in {heavy} if m in sys.modules])"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"


def test_the_package_exports_functions_not_its_files():
    names = ["pairs", "hier", "hybrid", "mean", "proxy_anchor", "proxy_nca", "soft_triple", "radial_uncertainty"]
    for name in [*table.LOSSES, *names]:
        assert callable(getattr(losses, name)), name
