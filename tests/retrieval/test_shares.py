"""Processes that hold a share each find what one finds that holds all, number by number."""

import jax.numpy as jnp
import numpy as np
import pytest

from hypjax.geometry import Euclidean, Poincare, Sphere, sphere
from hypjax.retrieval import Blocks, Rows, Shares, kmeans, knn, retrieval_figures, shares
from tests.together import together


def in_turns(n, batch=4, processes=3):
    """The holder of each of n rows, as evaluation has them: so many of a batch in each process."""
    return np.arange(n) // batch % processes


def cloud(n, d=5, seed=0):
    points = np.random.default_rng(seed).normal(size=(n, d)).astype(np.float32)
    points[n // 2 :] = points[: n - n // 2]  # each twice: equal distances, in blocks and across them
    return points


HOLDERS = {
    "turns": in_turns(50),
    "one after the other": np.arange(50) // 17,
    "one has none": np.where(np.arange(50) % 2, 0, 2),
}


@pytest.mark.parametrize("holder", HOLDERS.values(), ids=list(HOLDERS))
def test_gathered_rows_are_all_rows(holder):
    rows, some = np.random.default_rng(0).normal(size=(50, 3)), np.array([3, 4, 17, 30, 49])

    def work(shares):
        own = rows[shares.own]
        np.testing.assert_array_equal(shares.gather(own), rows)
        np.testing.assert_array_equal(shares.take(own, some), rows[some])
        np.testing.assert_array_equal(own[shares.mine(some)], rows[some[shares.of(some).own]])
        np.testing.assert_array_equal(shares.total(np.full((2, 2), len(own))), np.full((2, 2), 50))
        assert shares.total(np.zeros((0, 2))).shape == (0, 2)
        return shares.gather(np.array(own[:, 0] > 0))

    for flags in together(holder, work):
        np.testing.assert_array_equal(flags, rows[:, 0] > 0)


SPACES, COUNTS = (Poincare(0.5), Sphere(), Euclidean(), "cosine", "any"), (1, 7, 49)
# Every two of holder, space and k meet once.
MET = [(list(HOLDERS)[(i + j) % 3], space, k) for i, space in enumerate(SPACES) for j, k in enumerate(COUNTS)]


@pytest.mark.slow
@pytest.mark.parametrize(("name", "space", "k"), MET, ids=str)
def test_neighbors_across_blocks_are_in_the_order_of_one_process(monkeypatch, name, space, k):
    holder = HOLDERS[name]
    monkeypatch.setattr(shares, "BLOCK", 5 * 12)  # coordinates: twelve rows a block
    points = cloud(50)
    if isinstance(space, str):
        distance = sphere.pairwise_cosine_distance if space == "cosine" else manhattan
    else:
        points, distance = np.asarray(space.embed(points)), space.pairwise_dist
    expected = knn(points, points, k=k, distance=distance, exclude=np.arange(50))

    def work(held):
        lazily = Rows(len(held.own), lambda rows: points[held.own[rows]])
        own = held.own.astype(np.int32)
        found = [knn(points[own], Blocks(rows, held), k=k, distance=distance, exclude=own)
                 for rows in (points[own], lazily)]  # fmt: skip
        for one, two in zip(*found, strict=True):
            np.testing.assert_array_equal(one, two)
        return found[0]

    for part, (indices, distances) in enumerate(together(holder, work)):
        np.testing.assert_array_equal(indices, np.asarray(expected[0])[holder == part])
        np.testing.assert_allclose(distances, np.asarray(expected[1])[holder == part], rtol=1e-6, atol=1e-7)


def manhattan(x, y):
    return jnp.abs(x[:, None] - y[None]).sum(-1)


@pytest.mark.slow
def test_kmeans_of_shares_is_that_of_all_points():
    space, points = Poincare(0.5), np.asarray(Poincare(0.5).embed(0.5 * cloud(300, seed=3)))
    expected = kmeans(points, 70, space, seed=1)
    for holder in (in_turns(300), np.zeros(300, int), np.where(np.arange(300) < 5, 1, 3)):
        found = together(holder, lambda held: kmeans(points[held.own], 70, space, seed=1, shares=held), 4)
        for part, assigned in enumerate(found):
            np.testing.assert_array_equal(assigned, expected[holder == part])


@pytest.mark.slow
@pytest.mark.parametrize("apart", [False, True])
def test_all_figures_are_those_of_one_process(monkeypatch, apart):
    monkeypatch.setattr(shares, "BLOCK", 5 * 40)
    rng, space = np.random.default_rng(5), Poincare(0.5)
    labels = rng.integers(0, 30, 240)
    points = np.asarray(space.embed((rng.normal(size=(30, 5))[labels] + 0.6 * rng.normal(size=(240, 5))).astype("f4")))
    asking = np.flatnonzero(np.arange(240) % 3 != 0) if apart else np.arange(240)
    answering = np.flatnonzero(np.arange(240) % 3 == 0) if apart else np.arange(240)
    options = {
        "distance": space.pairwise_dist,
        "uncertainty": rng.random(len(asking)).astype(np.float32),
        "ancestors": np.arange(30)[:, None] // 5,
        "exclude": None if apart else asking,
        "manifold": space,
    }
    gallery = points[answering], labels[answering]
    expected = retrieval_figures(points[asking], labels[asking], gallery=gallery, **options)

    def work(held):
        own, of = points[held.own], held.of(asking)
        blocks = Blocks(own[held.mine(answering)], held.of(answering))
        return retrieval_figures(
            own[held.mine(asking)], labels[asking], gallery=(blocks, labels[answering]), shares=of, **options
        )

    holder = in_turns(240, 7, 4)
    found = together(holder, work, 5)  # the last has no row at all
    for part, one in enumerate(found):
        assert one.figures == found[0].figures
        assert one.figures == pytest.approx(expected.figures, rel=1e-12)
        assert list(one.figures) == list(expected.figures)
        np.testing.assert_array_equal(one.neighbors, expected.neighbors[holder[asking] == part])
        np.testing.assert_array_equal(one.wrong, expected.wrong)
        np.testing.assert_array_equal(one.valid, expected.valid)
        np.testing.assert_allclose(one.nearest, expected.nearest, rtol=1e-6)


def test_one_process_copies_nothing():
    rows = cloud(6)
    alone = Shares.whole(6)
    assert alone.gather(rows) is rows
    assert next(iter(Blocks(rows, alone)))[1] is rows
