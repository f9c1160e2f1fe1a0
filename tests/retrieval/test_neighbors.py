import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from hypjax.geometry import poincare
from hypjax.retrieval import Rows, knn
from hypjax.retrieval.neighbors import _knn, as_argument


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


@pytest.mark.slow
@pytest.mark.parametrize(("query_block", "gallery_block"), [(1, 1), (5, 4), (7, 100), (100, 6)])
@pytest.mark.parametrize("k", [1, 22])
def test_block_sizes_do_not_matter_even_with_ties(query_block, gallery_block, k):
    gallery = grid(23)
    exclude = np.arange(23)
    expected, expected_distances = by_sorting(gallery, gallery, k, LENGTHS[manhattan], exclude)
    indices, distances = knn(
        gallery,
        gallery,
        k=k,
        distance=manhattan,
        exclude=exclude,
        query_block=query_block,
        gallery_block=gallery_block,
    )
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


def test_no_query_and_empty_blocks_are_refused():
    with pytest.raises(ValueError, match="no query"):
        knn(points(0), points(6), k=1, distance=euclidean)
    with pytest.raises(ValueError, match="gallery_block=0"):
        knn(points(6), points(6), k=1, distance=euclidean, gallery_block=0)


def test_infinite_and_nan_distances_rank_last_and_still_have_an_index():
    gallery = np.array([[np.nan], [1.0], [np.inf], [0.0]], np.float32)
    indices, distances = knn(np.zeros((1, 1), np.float32), gallery, k=4, distance=euclidean, gallery_block=2)
    np.testing.assert_array_equal(indices, [[3, 1, 0, 2]])
    np.testing.assert_array_equal(distances, [[0, 1, np.inf, np.inf]])


def test_padding_never_appears():
    gallery = points(5)
    indices, distances = knn(gallery[:3], gallery, k=5, distance=euclidean, query_block=2, gallery_block=4)
    np.testing.assert_array_equal(np.sort(indices, axis=1), np.tile(np.arange(5), (3, 1)))
    assert np.all(np.isfinite(distances))


def test_jitted_call_equals_plain_call():
    gallery, exclude = points(20), jnp.arange(20)
    plain = knn(gallery, gallery, k=3, distance=euclidean, exclude=exclude)
    jitted = jax.jit(lambda x, e: knn(x, x, k=3, distance=euclidean, exclude=e))(gallery, exclude)
    np.testing.assert_array_equal(plain[0], jitted[0])
    np.testing.assert_allclose(plain[1], jitted[1], rtol=1e-6)


def test_memory_grows_with_blocks_not_with_the_gallery():
    def temporary_bytes(n):
        rows, excluded = jax.ShapeDtypeStruct((n, 16), jnp.float32), jax.ShapeDtypeStruct((n,), jnp.int32)
        blocks = {"query_block": 64, "gallery_block": 128}
        lowered = _knn.lower(rows, rows, excluded, k=4, distance=as_argument(lambda x, y: -x @ y.T), **blocks)
        return lowered.compile().memory_analysis().temp_size_in_bytes

    small, large = temporary_bytes(2048), temporary_bytes(8192)
    assert large < 8192 * 8192 * 4 / 50
    # Copies of the rows and of the result grow linearly; n × m would grow sixteenfold.
    assert large < 6 * small


def test_compiles_once_for_a_shape():
    gallery = points(9)
    before = _knn._cache_size()
    for seed in range(3):
        knn(points(9, seed=seed), gallery, k=2, distance=manhattan, query_block=4, gallery_block=5)
    assert _knn._cache_size() == before + 1


@pytest.mark.slow
def test_another_curvature_compiles_nothing():
    gallery, before = jnp.asarray(points(9) / 4), _knn._cache_size()
    between = jax.jit(poincare.pairwise_dist)
    for c in (0.1, 1.0):
        bound = jax.tree_util.Partial(poincare.pairwise_dist, c=c)
        found = knn(gallery, gallery, k=2, distance=bound, exclude=jnp.asarray(np.arange(9)))[1]
        everyone = np.asarray(between(gallery, gallery, c=c)) + np.diag(np.full(9, np.inf))
        np.testing.assert_allclose(found, np.sort(everyone)[:, :2], rtol=1e-5)
    assert _knn._cache_size() == before + 1


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
def test_slab_by_slab_finds_the_same(k):
    gallery = points(90, seed=1)
    gallery[70:80] = gallery[10:20]  # equal distances in different slabs
    gallery[33] = np.nan
    exclude = np.arange(25) * 3
    whole = knn(gallery[exclude], gallery, k=k, distance=manhattan, exclude=exclude, gallery_block=8)
    rows = Rows(len(gallery), lambda chosen: gallery[chosen])
    for size in (16, 32, 88):
        for held in (gallery, rows):
            part = knn(gallery[exclude], held, k=k, distance=manhattan, exclude=exclude, gallery_block=8, slab=size)
            for one, other in zip(whole, part, strict=True):
                np.testing.assert_array_equal(one, other)


def test_slabs_end_with_what_is_not_finite():
    gallery = np.array([[0.0], [np.nan], [2.0], [np.inf], [1.0]], np.float32)
    indices, distances = knn(gallery[:1], gallery, k=4, distance=manhattan, exclude=np.array([0]), slab=2)
    np.testing.assert_array_equal(indices, [[4, 2, 1, 3]])
    np.testing.assert_array_equal(distances, [[1, 2, np.inf, np.inf]])
