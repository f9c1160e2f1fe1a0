import io
import sys

import jax.numpy as jnp
import numpy as np
import pytest

from hypjax.geometry import Euclidean, Poincare, named
from hypjax.retrieval import ApproximateIndex, Index, lift_gallery, lift_queries
from hypjax.retrieval.approximate import KINDS, LEAST

faiss = pytest.importorskip("faiss")

GEOMETRIES = ("poincare", "lorentz", "euclidean", "sphere")
M, D, ASKING = 5000, 16, 200


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    """Several wait for each other by spinning, which takes more time than the work where cores are shared."""
    threads = faiss.omp_get_max_threads()
    faiss.omp_set_num_threads(1)
    yield
    faiss.omp_set_num_threads(threads)


def clustered(geometry, m=M, longest=4.0, seed=0):
    """Points in classes of ten, at radii up to 2 · `longest`."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(m // 10, D)).repeat(10, axis=0) + 0.5 * rng.normal(size=(m, D))
    x *= rng.uniform(0.5, longest, (m, 1)) / np.linalg.norm(x, axis=1, keepdims=True)
    return np.asarray(named(geometry, 1.0).embed(jnp.asarray(x, jnp.float32)))


@pytest.fixture(scope="module")
def built():
    """Points and an index of each kind and geometry, made when it is asked for."""
    made = {}

    def get(geometry, kind):
        if (geometry, kind) not in made:
            points = clustered(geometry)
            made[geometry, kind] = points, ApproximateIndex(points, named(geometry, 1.0), kind=kind)
        return made[geometry, kind]

    return get


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("geometry", GEOMETRIES)
def test_nearly_all_of_the_nearest_are_found_each_with_its_exact_distance_and_in_its_place(built, geometry, kind):
    points, index = built(geometry, kind)
    assert index.recall >= 0.97
    own = np.arange(1, M, M // ASKING)  # other ones than those by which the effort was chosen
    found = index.search(points[own], 10, exclude=own)
    every = Index(points, named(geometry, 1.0)).search(points[own], M)
    distance = np.empty((len(own), M))
    np.put_along_axis(distance, every.indices, every.distances, axis=1)
    np.testing.assert_allclose(np.take_along_axis(distance, found.indices, axis=1), found.distances, rtol=1e-12)
    assert (np.diff(found.distances, axis=1) >= 0).all()
    assert not (found.indices == own[:, None]).any()
    assert all(len(set(row)) == 10 for row in found.indices.tolist())
    nearest = every.indices[:, 1:11]  # after itself
    assert np.mean([np.isin(*pair).mean() for pair in zip(nearest, found.indices, strict=True)]) >= 0.95


@pytest.mark.slow
def test_effort_is_taken_until_the_recall_is_reached(built):
    points, index = built("poincare", "ivf_pq")
    small, large = (ApproximateIndex(points, Poincare(1.0), recall=share) for share in (0.01, 1.0))
    assert small.effort < index.effort <= large.effort
    assert small.recall < index.recall <= large.recall


@pytest.mark.slow
@pytest.mark.parametrize("metric", ["METRIC_INNER_PRODUCT", "METRIC_L2"])
def test_lifted_points_would_lead_a_graph_astray(metric):
    """Why FAISS is given other vectors, with which more than nine of ten are found above."""
    points, space = clustered("poincare"), Poincare(1.0)
    truth = Index(points, space).search(points[:100], 10).indices
    graph = faiss.IndexHNSWFlat(D + 1, 32, getattr(faiss, metric))
    graph.add(lift_gallery(points, space))
    asking = (lift_gallery if metric == "METRIC_L2" else lift_queries)(points[:100], space)
    rows = graph.search(asking, 100)[1]
    assert np.mean([np.isin(*pair).mean() for pair in zip(truth, rows, strict=True)]) < 0.5


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_duplicates_keep_the_lower_row_and_the_excluded_one_is_not_found(kind):
    points = np.repeat(clustered("poincare", m=300), 4, axis=0)
    exclude = np.array([401, -1])
    found = ApproximateIndex(points, Poincare(1.0), kind=kind).search(points[[400, 400]], 4, exclude=exclude)
    np.testing.assert_array_equal(found.indices[1], [400, 401, 402, 403])
    np.testing.assert_array_equal(found.indices[0, :3], [400, 402, 403])
    np.testing.assert_array_equal(found.distances[:, :3], np.zeros((2, 3)))


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_whoever_asks_for_all_gets_all(built, kind):
    points, index = built("euclidean", kind)
    found = index.search(points[:2], M)
    expected = Index(points, Euclidean()).search(points[:2], M)
    np.testing.assert_array_equal(found.indices, expected.indices)
    np.testing.assert_array_equal(found.distances, expected.distances)


@pytest.mark.slow
def test_points_may_stay_in_their_file(built, tmp_path):
    points, index = built("lorentz", "ivf_pq")
    np.save(tmp_path / "points.npy", points)
    mapped = ApproximateIndex(np.load(tmp_path / "points.npy", mmap_mode="r"), named("lorentz", 1.0))
    for one, other in zip(index.search(points[:9], 5), mapped.search(points[:9], 5), strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.slow
def test_angles_are_compared_whatever_the_lengths():
    points = clustered("euclidean", m=1000)
    index = ApproximateIndex(points, named("sphere"), distance="cosine")
    expected = Index(points, named("sphere"), distance="cosine").search(points[:20], 5)
    found = index.search(points[:20], 5)
    assert (found.indices == expected.indices).mean() > 0.95


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_a_kept_index_answers_as_it_did(built, kind):
    points, index = built("poincare", kind)
    file = io.BytesIO()
    index.save(file, of="points")
    file.seek(0)
    again = ApproximateIndex.load(file, points, Poincare(1.0), of="points")
    assert (again.recall, again.effort, again.width, again.kind) == (index.recall, index.effort, index.width, kind)
    for one, other in zip(index.search(points[:50], 10), again.search(points[:50], 10), strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.slow
def test_a_kept_index_is_of_its_points_and_whole(built):
    points, index = built("poincare", "ivf_pq")
    file = io.BytesIO()
    index.save(file, of="points")
    kept = file.getvalue()
    for options in ({"of": "others"}, {"manifold": Poincare(0.5)}, {"points": points[:-1]}, {"points": points[:, :-1]}):
        options = {"points": points, "manifold": Poincare(1.0), "of": "points"} | options
        with pytest.raises(ValueError, match="other points"):
            ApproximateIndex.load(io.BytesIO(kept), **options)
    for damaged in (b"", b"\x80\n", b"[]\n", b"{}\n", kept[:100], kept[: len(kept) // 2], b"PK" + kept):
        with pytest.raises(ValueError, match=r"."):
            ApproximateIndex.load(io.BytesIO(damaged), points, Poincare(1.0), of="points")


def test_what_makes_no_index_is_refused(monkeypatch):
    points = clustered("poincare", m=500)
    with pytest.raises(ValueError, match="'flat' is unknown; there are ivf_pq and hnsw"):
        ApproximateIndex(points, Poincare(1.0), kind="flat")
    with pytest.raises(ValueError, match=f"{LEAST - 1} points are too few"):
        ApproximateIndex(points[: LEAST - 1], Poincare(1.0))
    with pytest.raises(ValueError, match="finite"):
        ApproximateIndex(np.where(np.arange(500)[:, None] == 77, np.nan, points), Poincare(1.0))
    with pytest.raises(ValueError, match=r"use retrieval\.knn"):
        ApproximateIndex(points, Poincare(1.0), distance="hybrid")
    with pytest.raises(ValueError, match="k=501"):
        ApproximateIndex(points, Poincare(1.0)).search(points[:1], 501)
    monkeypatch.setitem(sys.modules, "faiss", None)
    with pytest.raises(ImportError, match=r'needs FAISS: pip install "hypjax\[search\]"'):
        ApproximateIndex(points, Poincare(1.0))
