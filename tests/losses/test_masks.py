"""Nobody changes anything: masked rows, the empty slots of a memory, and an image that stands among its references."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from hypjax import losses
from tests.losses import table

LABELS = np.array([2, 0, 1, 0, 2, 2, 1, 0, 5], np.int32)
N, MORE = len(LABELS), 3


def distances(seed=0):
    """Of nine images, not symmetric, with a duplicate."""
    d = np.random.default_rng(seed).uniform(0, 3, size=(N, N))
    d[:, 1] = d[:, 0]
    return d


U = np.linspace(0.15, 0.9, N)
mined = jax.jit(table.every_miner)


def results(d, pairs, u=U):
    """Values and gradients of every loss after every miner."""
    d, u = jnp.array(d), jnp.array(u)
    return {name: table.run(d, chosen, u) for name, chosen in mined(d, pairs).items()}


@pytest.fixture(scope="module")
def plain():
    """Of the nine images alone."""
    with jax.enable_x64(True):
        return results(distances(), table.pairs(LABELS))


def assert_agree(found, plain, rows, columns):
    """Where the nine stand among more; what is more has no gradient."""
    for miner, by_loss in plain.items():
        for loss, (value, by_distances, by_u) in by_loss.items():
            message = f"{miner}, {loss}"
            more_value, more_by_distances, more_by_u = found[miner][loss]
            np.testing.assert_allclose(more_value, value, atol=1e-12, err_msg=message)
            gradient = np.array(more_by_distances)
            np.testing.assert_allclose(gradient[np.ix_(rows, columns)], by_distances, atol=1e-12, err_msg=message)
            gradient[np.ix_(rows, columns)] = 0
            assert not gradient.any(), message
            np.testing.assert_allclose(np.array(more_by_u)[rows], by_u, atol=1e-12, err_msg=message)


def among(rows, columns, n, m, filling=7.0):
    d, u = np.full((n, m), filling), np.full(n, 0.5)
    d[np.ix_(rows, columns)] = distances()
    u[rows] = U
    return d, u


END, MIDDLE = np.arange(N), np.array([0, 1, 3, 4, 5, 8, 9, 10, 11])
# All batches have as many anchors and references as those with masked rows, and are one program with them.
WITH_NOBODY, OTHER_IDS = np.array([*LABELS, *[-1] * MORE]), range(200, 200 + MORE)


@pytest.mark.slow
@pytest.mark.parametrize("rows", [END, MIDDLE], ids=["at the end", "in the middle"])
@pytest.mark.parametrize("by", ["where", "label"])
def test_masked_rows_change_nothing(rows, by, plain, float64):
    labels, where = np.full(N + MORE, 0 if by == "where" else -1), np.zeros(N + MORE, bool)
    labels[rows], where[rows] = LABELS, True
    pairs = table.pairs(labels, where=where) if by == "where" else table.pairs(labels)
    d, u = among(rows, rows, N + MORE, N + MORE)
    assert_agree(results(d, pairs, u), plain, rows, rows)


@pytest.mark.slow
@pytest.mark.parametrize("garbage", [np.nan, np.inf, -np.inf, 1e30])
def test_what_stands_in_masked_rows_changes_no_bit(garbage, float64):
    labels, where = np.array([*LABELS[:6], 0, 2, -1, *LABELS[6:]]), np.ones(N + MORE, bool)
    where[6:8] = False
    rows = np.array([0, 1, 2, 3, 4, 5, 9, 10, 11])
    pairs = table.pairs(labels, where=where)
    clean, u = among(rows, rows, N + MORE, N + MORE)
    dirty, _ = among(rows, rows, N + MORE, N + MORE, garbage)
    expected, found = results(clean, pairs, u), results(dirty, pairs, u)
    jax.tree.map(np.testing.assert_array_equal, found, expected)


@pytest.mark.slow
def test_an_empty_memory_changes_nothing(plain, float64):
    memory = losses.create_cross_batch_memory(MORE, 3, jnp.float64)
    known = losses.references(memory, jnp.ones((N, 3)), jnp.array(LABELS))
    pairs = table.pairs(WITH_NOBODY, known.labels, ids=np.array([*known.ids[:N], *OTHER_IDS]), reference_ids=known.ids)
    for filling in 7.0, np.nan:
        d, u = among(END, END, N + MORE, N + MORE, filling)
        assert_agree(results(d, pairs, u), plain, END, END)


@pytest.mark.slow
def test_a_batch_given_as_references_is_the_batch(plain, float64):
    """By ids of any order, and with other images that are masked before, amid and behind it."""
    ids = np.array([40, 7, 12, 3, 99, 0, 5, 1, 8])
    columns = np.array([1, 2, 3, 4, 6, 7, 8, 9, 10])
    m = N + MORE
    references, where, reference_ids = np.zeros(m, int), np.zeros(m, bool), np.full(m, 77)
    references[columns], where[columns], reference_ids[columns] = LABELS, True, ids
    d, u = among(END, columns, m, m)
    ids = np.array([*ids, *OTHER_IDS])
    pairs = table.pairs(WITH_NOBODY, references, reference_where=where, ids=ids, reference_ids=reference_ids)
    assert_agree(results(d, pairs, u), plain, END, columns)


@jax.jit
def in_proxies(similarities, pairs):
    """Values and gradients of the losses that compare with proxies."""

    def values(similarities):
        several = jnp.stack([similarities, 1 - similarities / 2], axis=2)
        terms = (
            losses.proxy_anchor(similarities, pairs, alpha=5.0),
            losses.proxy_nca(similarities, pairs, scale=3.0),
            losses.soft_triple(several, pairs, scale=4.0, gamma=0.3, margin=0.1),
        )
        return jnp.stack([losses.mean(each) for each in terms])

    return table.with_gradients(values, similarities)


@pytest.mark.slow
@pytest.mark.parametrize("rows", [END, MIDDLE], ids=["at the end", "in the middle"])
def test_masked_images_change_no_loss_of_proxies(rows, float64):
    labels, where = np.full(N + MORE, 1), np.zeros(N + MORE, bool)
    labels[rows], where[rows] = LABELS, True  # class 5 has no proxy
    s = distances()[:, :4]
    value, (gradient,) = in_proxies(jnp.array(s), table.pairs(LABELS, np.arange(4)))
    pairs = table.pairs(labels, np.arange(4), where=where)
    for filling in 0.3, np.nan, np.inf, 1e30:
        more = np.full((N + MORE, 4), filling)
        more[rows] = s
        found, (by_more,) = in_proxies(jnp.array(more), pairs)
        np.testing.assert_allclose(found, value, atol=1e-12)
        np.testing.assert_allclose(np.array(by_more)[:, rows], gradient, atol=1e-12)
        assert not np.delete(np.array(by_more), rows, axis=1).any()


@pytest.mark.slow
def test_a_masked_proxy_is_none(float64):
    s, labels = distances()[:, :4], np.array([0, 1, 2, 1, 0, 2, 2, 0, 5])
    value, (gradient,) = in_proxies(jnp.array(s[:, :3]), table.pairs(labels, np.arange(3)))
    for filling in 0.3, np.nan:
        more = np.full((N, 4), filling)
        more[:, [0, 1, 3]] = s[:, :3]
        pairs = table.pairs(labels, np.array([0, 1, 3, 2]), reference_where=np.array([True, True, False, True]))
        found, (by_more,) = in_proxies(jnp.array(more), pairs)
        np.testing.assert_allclose(found, value, atol=1e-12)
        np.testing.assert_allclose(np.array(by_more)[:, :, [0, 1, 3]], gradient, atol=1e-12)
        np.testing.assert_array_equal(np.array(by_more)[:, :, 2], 0)
