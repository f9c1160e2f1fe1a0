import subprocess
import sys
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from hypjax.geometry import named, poincare, sphere
from hypjax.retrieval import Rows, knn, neighbors, products, scan, selection
from hypjax.retrieval.selection import on_device


def euclidean(x, y):
    return jnp.sqrt(jnp.sum((x[:, None, :] - y[None, :, :]) ** 2, axis=-1))


def manhattan(x, y):
    return jnp.sum(jnp.abs(x[:, None, :] - y[None, :, :]), axis=-1)


LENGTHS = {
    euclidean: lambda v: float(np.sqrt(np.sum(v.astype(np.float64) ** 2))),
    manhattan: lambda v: float(np.sum(np.abs(v.astype(np.float64)))),
}


def by_sorting(queries, gallery, k, length, exclude=None):
    """Neighbors by sorting whole rows, one query at a time, in float64."""
    found, distances = [], []
    for i, query in enumerate(queries):
        row = [(length(query - item), j) for j, item in enumerate(gallery)]
        row = sorted(entry for entry in row if exclude is None or entry[1] != exclude[i])[:k]
        found.append([j for _, j in row])
        distances.append([separation for separation, _ in row])
    return np.array(found), np.array(distances)


def points(n, d=3, seed=0):
    return np.random.default_rng(seed).normal(size=(n, d)).astype(np.float32)


def grid(n, seed=1):
    """Points of few integer coordinates: ties and duplicates everywhere, and exact distances."""
    return np.random.default_rng(seed).integers(0, 3, size=(n, 2)).astype(np.float32)


@pytest.mark.parametrize("metric", [euclidean, manhattan])
@pytest.mark.parametrize("k", [1, 13])
def test_equals_sorting_whole_rows(metric, k):
    queries, gallery = points(7), points(13, seed=2)
    indices, distances = knn(queries, gallery, k=k, distance=metric)
    expected, expected_distances = by_sorting(queries, gallery, k, LENGTHS[metric])
    np.testing.assert_array_equal(indices, expected)
    np.testing.assert_allclose(distances, expected_distances, rtol=1e-6)
    assert indices.dtype == jnp.int32


@pytest.fixture(params=["host", "device"])
def where(request, monkeypatch):
    """Where the nearest are selected: by NumPy, as on a CPU, or as an accelerator would."""
    if request.param == "device":
        devices = jax.local_devices()
        chosen = partial(scan._spread, devices=devices)
        monkeypatch.setattr(
            scan,
            "_selector",
            lambda score, host: (partial(chosen, score=scan.as_argument(score or selection.inner_products)), 64),
        )
    return request.param


@pytest.mark.slow
@pytest.mark.parametrize("k", [1, 5, 199])
def test_ties_go_to_the_lower_index(where, k):
    """Duplicates everywhere, and more items than the chunks that are compared first."""
    gallery, exclude = grid(200), np.arange(0, 200, 3)
    expected, expected_distances = by_sorting(gallery[exclude], gallery, k, LENGTHS[manhattan], exclude)
    indices, distances = knn(gallery[exclude], gallery, k=k, distance=manhattan, exclude=exclude)
    np.testing.assert_array_equal(indices, expected)
    np.testing.assert_array_equal(distances, expected_distances)


@pytest.mark.parametrize(("queries", "slab"), [(1, 8), (5, 40), (64, 96)])
def test_block_sizes_do_not_matter_even_with_ties(queries, slab, monkeypatch):
    gallery, exclude = grid(103), np.arange(103)
    monkeypatch.setattr(scan, "QUERIES", queries)
    monkeypatch.setattr(neighbors, "SLAB", slab)
    expected, expected_distances = by_sorting(gallery, gallery, 22, LENGTHS[manhattan], exclude)
    indices, distances = knn(gallery, gallery, k=22, distance=manhattan, exclude=exclude)
    np.testing.assert_array_equal(indices, expected)
    np.testing.assert_array_equal(distances, expected_distances)


def test_a_query_is_removed_by_index_and_its_duplicates_stay():
    gallery = np.zeros((4, 2), np.float32)
    indices, distances = knn(gallery, gallery, k=3, distance=euclidean, exclude=np.arange(4))
    np.testing.assert_array_equal(indices, [[1, 2, 3], [0, 2, 3], [0, 1, 3], [0, 1, 2]])
    np.testing.assert_array_equal(distances, np.zeros((4, 3)))


def test_exclusion_can_differ_between_queries():
    gallery = np.array([[0.0], [1.0], [2.0]], np.float32)
    exclude = np.array([-1, 0, 2])
    indices, _ = knn(np.zeros((3, 1), np.float32), gallery, k=2, distance=euclidean, exclude=exclude)
    np.testing.assert_array_equal(indices, [[0, 1], [1, 2], [0, 1]])


def test_all_items_can_be_asked_for_when_nothing_is_excluded():
    gallery = points(6)
    indices, _ = knn(gallery, gallery, k=6, distance=euclidean, exclude=np.full(6, -1))
    np.testing.assert_array_equal(np.sort(indices, axis=1), np.tile(np.arange(6), (6, 1)))


@pytest.mark.parametrize(("k", "exclude"), [(0, None), (7, None), (6, np.arange(6))])
def test_impossible_k_is_refused(k, exclude):
    with pytest.raises(ValueError, match=f"k={k} "):
        knn(points(6), points(6), k=k, distance=euclidean, exclude=exclude)


def test_no_query_is_refused():
    with pytest.raises(ValueError, match="no query"):
        knn(points(0), points(6), k=1, distance=euclidean)


@pytest.mark.parametrize("known", [False, True])
def test_infinite_and_nan_distances_rank_last_and_still_have_an_index(where, known):
    gallery = np.array([[np.nan], [1.0], [np.inf], [0.0]], np.float32)
    distance = named("euclidean").pairwise_dist if known else euclidean
    indices, distances = knn(np.array([[0.0], [np.nan]], np.float32), gallery, k=4, distance=distance)
    np.testing.assert_array_equal(indices, [[3, 1, 0, 2], [0, 1, 2, 3]])
    np.testing.assert_array_equal(distances, [[0, 1, np.inf, np.inf], [np.inf] * 4])


def test_padding_never_appears(where):
    gallery = points(5)
    indices, distances = knn(gallery[:3], gallery, k=5, distance=euclidean)
    np.testing.assert_array_equal(np.sort(indices, axis=1), np.tile(np.arange(5), (3, 1)))
    assert np.all(np.isfinite(distances))


def test_jitted_call_equals_plain_call():
    gallery, exclude = points(20), jnp.arange(20)
    plain = knn(gallery, gallery, k=3, distance=euclidean, exclude=exclude)
    jitted = jax.jit(lambda x, e: knn(x, x, k=3, distance=euclidean, exclude=e))(gallery, exclude)
    np.testing.assert_array_equal(plain[0], jitted[0])
    np.testing.assert_allclose(plain[1], jitted[1], rtol=1e-6)


@pytest.mark.slow
def test_memory_grows_with_blocks_not_with_the_gallery(monkeypatch):
    monkeypatch.setattr(selection, "QUERIES", 16)
    score = scan.as_argument(lambda x, y: -x @ y.T)

    def temporary_bytes(n):
        rows, excluded = jax.ShapeDtypeStruct((n, 16), jnp.float32), jax.ShapeDtypeStruct((n,), jnp.int32)
        lowered = on_device.lower(rows, excluded, rows, n, score, k=4)
        return lowered.compile().memory_analysis().temp_size_in_bytes

    small, large = temporary_bytes(2048), temporary_bytes(8192)
    assert large < 8192 * 8192 * 4 / 50
    # Copies of the rows and of the result grow linearly; n × m would grow sixteenfold.
    assert large < 6 * small


def test_compiles_once_for_a_shape():
    gallery = points(9)
    before = selection._masked._cache_size()
    for seed, count in enumerate((9, 12, 16)):  # of queries, which are filled up to 16
        knn(points(count, seed=seed), gallery, k=2, distance=manhattan)
    assert selection._masked._cache_size() == before + 1


@pytest.mark.slow
def test_another_curvature_compiles_nothing():
    gallery, before = jnp.asarray(points(9) / 4), selection._masked._cache_size()
    between = jax.jit(poincare.pairwise_dist)
    for c in (0.1, 1.0):
        bound = jax.tree_util.Partial(poincare.pairwise_dist, c=c)
        found = knn(gallery, gallery, k=2, distance=bound, exclude=jnp.asarray(np.arange(9)))[1]
        everyone = np.asarray(between(gallery, gallery, c=c)) + np.diag(np.full(9, np.inf))
        np.testing.assert_allclose(found, np.sort(everyone)[:, :2], rtol=1e-5)
    assert selection._masked._cache_size() == before + 1


@pytest.mark.slow
def test_importing_retrieval_takes_jax_alone():
    code = (
        "import sys, hypjax.retrieval\n"
        "unwanted = {'flax', 'optax', 'orbax', 'matplotlib', 'grain', 'tensorflow_datasets', 'einops'}\n"
        "print(sorted(unwanted & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.slow
@pytest.mark.parametrize("k", [1, 5, 30])
def test_slab_by_slab_finds_the_same(k, where, monkeypatch):
    gallery = np.round(8 * points(90, seed=1))  # whose distances are exact, in whatever order they are summed
    gallery[70:80] = gallery[10:20]  # equal ones in different slabs
    gallery[33] = np.nan
    exclude = np.arange(25) * 3
    whole = knn(gallery[exclude], gallery, k=k, distance=manhattan, exclude=exclude)
    rows = Rows(len(gallery), lambda chosen: gallery[chosen])
    for size in (16, 88):
        monkeypatch.setattr(neighbors, "SLAB", size)
        for held in (gallery, rows):
            part = knn(gallery[exclude], held, k=k, distance=manhattan, exclude=exclude)
            for one, other in zip(whole, part, strict=True):
                np.testing.assert_array_equal(one, other)


def test_slabs_end_with_what_is_not_finite(where, monkeypatch):
    gallery = np.array([[0.0], [np.nan], [2.0], [np.inf], [1.0]], np.float32)
    monkeypatch.setattr(neighbors, "SLAB", 2)
    indices, distances = knn(gallery[:1], gallery, k=4, distance=manhattan, exclude=np.array([0]))
    np.testing.assert_array_equal(indices, [[4, 2, 1, 3]])
    np.testing.assert_array_equal(distances, [[1, 2, np.inf, np.inf]])


@pytest.mark.slow
@pytest.mark.parametrize("name", ["poincare", "lorentz", "euclidean", "sphere", "cosine"])
def test_a_manifold_is_searched_by_products_and_measured(name, where, monkeypatch):
    """As computed for all pairs in float64; also slab by slab, from rows, and with vectors that are not finite."""
    manifold = named("sphere" if name == "cosine" else name, 0.5)
    gallery = np.array(manifold.embed(jnp.asarray(points(700, 6))))
    distance = sphere.pairwise_cosine_distance if name == "cosine" else manifold.pairwise_dist
    if name == "cosine":
        gallery = gallery * np.linspace(0.5, 3, 700, dtype=np.float32)[:, None]
        gallery[[20, 30]] = 0  # at a right angle to all
    exclude = np.where(np.arange(40) % 2, np.arange(40) * 17, -1)
    queries = gallery[np.arange(40) * 17]
    with jax.enable_x64(True):
        everyone = np.array(distance(jnp.asarray(queries, float), jnp.asarray(gallery, float)))
    gallery[[5, 50]], everyone[:, [5, 50]] = np.nan, np.inf
    everyone[np.flatnonzero(exclude >= 0), exclude[exclude >= 0]] = np.nan
    order = np.argsort(everyone, axis=1, kind="stable")[:, :30]
    monkeypatch.setattr(products, "SLAB", 256)
    for held in (gallery, Rows(700, lambda chosen: gallery[chosen])):
        indices, distances = knn(queries, held, k=30, distance=distance, exclude=exclude)
        np.testing.assert_array_equal(indices, order)
        np.testing.assert_allclose(distances, np.take_along_axis(everyone, order, axis=1), rtol=1e-6, atol=1e-7)
        assert indices.dtype == np.int32


@pytest.mark.slow
@pytest.mark.parametrize("finite", [3, 40])
def test_hardly_any_item_is_finite(finite, where, monkeypatch):
    """What fills a slab up is as far as what is not finite, and is not taken for an item of the next."""
    gallery, manifold = np.full((900, 4), np.nan, np.float32), named("euclidean")
    chosen = np.sort(np.random.default_rng(0).choice(900, finite, replace=False))
    gallery[chosen] = points(finite, 4)
    monkeypatch.setattr(products, "SLAB", 260)  # filled up to 272
    indices, distances = knn(gallery[chosen[:3]], gallery, k=10, distance=manifold.pairwise_dist)
    separation = np.full((3, 900), np.inf)
    separation[:, chosen] = np.linalg.norm(gallery[chosen[:3], None].astype(float) - gallery[chosen][None], axis=2)
    order = np.argsort(separation, axis=1, kind="stable")[:, :10]
    np.testing.assert_array_equal(indices, order)
    np.testing.assert_allclose(distances, np.take_along_axis(separation, order, axis=1), rtol=1e-6)
