import jax.numpy as jnp
import numpy as np
import pytest

from hypjax.geometry import Euclidean, Poincare, Product, lorentz, named, poincare
from hypjax.retrieval import Index, knn, lift_gallery, lift_queries
from hypjax.retrieval.products import SPARE, Products
from hypjax.retrieval.scan import rounded

BALL_LIMIT = 1 - 1e-5  # of the radius, in float32


def directions(n, d, seed):
    x = np.random.default_rng(seed).normal(size=(n, d))
    return x / np.linalg.norm(x, axis=1, keepdims=True)


def in_ball(n, d, c, share, seed):
    """Points of the ball within a share of its radius."""
    lengths = share * np.random.default_rng(seed + 1).uniform(0.9, 1, (n, 1)) / np.sqrt(c)
    return (lengths * directions(n, d, seed)).astype(np.float32)


def inside(points, c):
    """Points brought back into the ball where they lie at its rim or beyond."""
    lengths = np.sqrt(c) * np.linalg.norm(points.astype(np.float64), axis=1, keepdims=True)
    return (points * np.minimum(1, BALL_LIMIT / lengths)).astype(np.float32)


def on_sheet(ball, c):
    ball = ball.astype(np.float64)
    space = 2 * ball / (1 - c * np.sum(ball**2, axis=1, keepdims=True))
    return np.concatenate([np.sqrt(1 / c + np.sum(space**2, axis=1, keepdims=True)), space], axis=1).astype(np.float32)


def exact(geometry, query, gallery, c):
    """Distances of one query, in float64, by the formulas of textbooks where they lose no digits."""
    query, gallery = query.astype(np.float64), gallery.astype(np.float64)
    if geometry == "euclidean":
        return np.linalg.norm(gallery - query, axis=1)
    if geometry == "sphere":
        return 2 * np.arcsin(np.linalg.norm(gallery - query, axis=1) / 2)
    if geometry == "lorentz":
        query, gallery = query[1:], gallery[:, 1:]
        query, gallery = (x / (1 + np.sqrt(1 + c * np.sum(x**2, -1, keepdims=True))) for x in (query, gallery))
    square = np.sum((gallery - query) ** 2, axis=1)
    gaps = (1 - c * np.sum(query**2)) * (1 - c * np.sum(gallery**2, axis=1))
    return 2 / np.sqrt(c) * np.arcsinh(np.sqrt(c * square / gaps))


def by_sorting(geometry, queries, gallery, k, c, exclude=None):
    rows = np.stack([exact(geometry, query, gallery, c) for query in queries])
    if exclude is not None:
        rows[np.arange(len(rows)), exclude] = np.inf
    order = np.argsort(rows, axis=1, kind="stable")[:, :k]
    return order, np.take_along_axis(rows, order, axis=1)


def agree(found, expected):
    np.testing.assert_array_equal(found.indices, expected[0])
    np.testing.assert_allclose(found.distances, expected[1], rtol=1e-6, atol=1e-12)


@pytest.mark.slow
@pytest.mark.parametrize("share", [0.3, 0.95, BALL_LIMIT])
@pytest.mark.parametrize("c", [0.1, 1.0])
@pytest.mark.parametrize("geometry", ["poincare", "lorentz"])
def test_the_order_is_that_of_exact_hyperbolic_distances(geometry, c, share):
    gallery, queries = in_ball(400, 8, c, share, 0), in_ball(9, 8, c, share, 2)
    # Neighbors so near to each other that the lift cannot tell them apart.
    gallery[300:] = in_ball(1, 8, c, share, 5) * (1 + 1e-6 * np.random.default_rng(6).normal(size=(100, 8)))
    gallery[300:] = inside(gallery[300:], c)
    queries[0] = gallery[300]
    if geometry == "lorentz":
        gallery, queries = on_sheet(gallery, c), on_sheet(queries, c)
    index = Index(gallery, named(geometry, c))
    agree(index.search(queries, 10), by_sorting(geometry, queries, gallery, 10, c))


@pytest.mark.parametrize("geometry", ["euclidean", "sphere"])
def test_the_order_is_that_of_exact_flat_distances(geometry):
    gallery, queries = directions(500, 6, 0).astype(np.float32), directions(7, 6, 1).astype(np.float32)
    if geometry == "euclidean":
        gallery, queries = gallery + 30, queries + 30  # far from the origin, where products cancel
    index = Index(gallery, named(geometry))
    agree(index.search(queries, 5), by_sorting(geometry, queries, gallery, 5, None))


def test_more_candidates_are_taken_where_rounding_hides_the_nearest():
    """At the rim of the ball float32 products order hundreds of points wrongly; the index still finds the nearest."""
    c = 1.0
    gallery = in_ball(1, 3, c, BALL_LIMIT, 0) * np.ones((300, 1), np.float32)
    gallery += 1e-4 * np.random.default_rng(1).normal(size=gallery.shape).astype(np.float32)
    gallery = inside(gallery, c)
    products = lift_queries(gallery[:1], named("poincare", c)) @ lift_gallery(gallery, named("poincare", c)).T
    order, _ = expected = by_sorting("poincare", gallery[:1], gallery, 5, c)
    first = np.argsort(-products[0], kind="stable")[: 5 + SPARE]
    assert not set(order[0].tolist()) <= set(first.tolist())  # else this test shows nothing
    agree(Index(gallery, named("poincare", c)).search(gallery[:1], 5), expected)


@pytest.mark.parametrize("geometry", ["poincare", "lorentz"])
def test_points_are_told_apart_beyond_what_a_product_can(geometry):
    c, origin = 0.5, np.zeros((1, 6), np.float32)
    gallery = (0.3 / np.sqrt(c) * directions(400, 6, 0)).astype(np.float32)  # one radius, but for rounding
    if geometry == "lorentz":
        gallery, origin = on_sheet(gallery, c), on_sheet(origin, c)
    index = Index(gallery, named(geometry, c))
    agree(index.search(origin, 10), by_sorting(geometry, origin, gallery, 10, c))


def test_duplicates_are_found_by_row_and_the_excluded_one_is_not():
    gallery = np.repeat(in_ball(3, 4, 0.5, 0.8, 0), 60, axis=0)
    index = Index(gallery, named("poincare", 0.5))
    exclude = np.array([0, 70])
    found = index.search(gallery[exclude], 4, exclude=exclude)
    np.testing.assert_array_equal(found.indices, [[1, 2, 3, 4], [60, 61, 62, 63]])
    np.testing.assert_array_equal(found.distances, np.zeros((2, 4)))
    assert index.search(gallery[:1], 180).indices[0].tolist()[:60] == list(range(60))


def test_it_finds_what_knn_finds():
    c = 0.1
    gallery, queries = in_ball(300, 5, c, 0.9, 0), in_ball(6, 5, c, 0.9, 1)
    indices, distances = knn(queries, gallery, k=7, distance=lambda x, y: poincare.pairwise_dist(x, y, c=c))
    found = Index(gallery, named("poincare", c)).search(queries, 7)
    np.testing.assert_array_equal(found.indices, indices)
    np.testing.assert_allclose(found.distances, distances, rtol=1e-5)


def test_cosine_distances_on_the_sphere():
    gallery = np.array([[1.0, 0.0], [0.0, 1.0]], np.float32)
    found = Index(gallery, named("sphere"), distance="cosine").search(gallery[:1], 2)
    np.testing.assert_allclose(found.distances, [[0, 1]])


@pytest.mark.slow
@pytest.mark.parametrize("geometry", ["poincare", "lorentz"])
def test_the_product_of_lifted_points_is_the_cosh_of_their_distance(geometry):
    c, ball = 0.3, in_ball(5, 3, 0.3, 0.7, 0)
    points = ball if geometry == "poincare" else np.asarray(lorentz.from_poincare(jnp.asarray(ball), c=c))
    product = lift_queries(points, named(geometry, c)) @ lift_gallery(points, named(geometry, c)).T
    expected = np.stack([exact("poincare", x, ball, c) for x in ball])
    np.testing.assert_allclose(-product, np.cosh(np.sqrt(c) * expected), rtol=1e-5)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"manifold": Product((Euclidean(),), (2,))}, "use retrieval.knn"),
        ({"manifold": Poincare(2.0)}, r"inside the ball of radius 1/√c = 0.7071"),
        ({"manifold": Euclidean(), "distance": "hybrid"}, "use retrieval.knn"),
    ],
)
def test_what_makes_no_index_is_refused(options, message):
    with pytest.raises(ValueError, match=message):
        Index(np.array([[0.9, 0.0]], np.float32), **options)


def test_impossible_searches_are_refused():
    points = directions(4, 3, 0).astype(np.float32)
    index = Index(points, named("sphere"))
    with pytest.raises(ValueError, match=r"k=5 .* 4 points"):
        index.search(points, 5)
    with pytest.raises(ValueError, match=r"k=4 .* 3 points"):
        index.search(points, 4, exclude=np.arange(4))
    with pytest.raises(ValueError, match="finite"):
        Index(points * np.float32(np.nan), named("sphere"))
    with pytest.raises(ValueError, match="at least one"):
        Index(points[:0], named("sphere"))
    with pytest.raises(ValueError, match="shape"):
        index.search(points[:, :2], 1)


@pytest.mark.slow
@pytest.mark.parametrize("geometry", ["poincare", "lorentz"])
def test_tight_clusters_far_out_are_not_measured_one_by_one(geometry, monkeypatch):
    """At radius 6 products of float32 tell nothing within a cluster; those of float64 do: few candidates suffice."""
    rng = np.random.default_rng(0)
    shapes: list[tuple[int, int]] = []
    centers = directions(30, 16, 0)[rng.integers(0, 30, 1500)]
    space = named(geometry, 1.0)
    tangent = 3 * (centers + 0.0003 * rng.normal(size=(1500, 16)))  # 2 artanh(‖x‖) = 6
    points = np.asarray(space.embed(jnp.asarray(tangent, jnp.float32)))
    index, measured = Index(points, space), Products._gaps

    def counted(self, queries, rows):
        shapes.append(rows.shape)
        return measured(self, queries, rows)

    monkeypatch.setattr(Products, "_gaps", counted)
    agree(index.search(points[:50], 10), by_sorting(geometry, points[:50], points, 10, 1.0))
    first, second = shapes  # by products of float32, then of float64 for those that they left in doubt
    assert first == (50, rounded(10 + SPARE))
    assert second[1] == rounded(10 + SPARE)


def test_coordinates_of_float64_are_taken_as_they_are():
    """Points that are one point in float32."""
    points = 0.5 + 1e-12 * np.random.default_rng(0).normal(size=(300, 4))
    index = Index(points, named("poincare", 0.5))
    agree(index.search(points[:7], 3), by_sorting("poincare", points[:7], points, 3, 0.5))


def test_points_so_far_out_that_products_overflow():
    rng = np.random.default_rng(0)
    space = rng.uniform(3e19, 4e19, (400, 1)) * directions(400, 64, 0)
    sheet = np.concatenate([np.sqrt(1 + np.sum(space**2, axis=1, keepdims=True)), space], axis=1).astype(np.float32)
    t, x = np.sqrt(1 + np.sum(sheet[:, 1:].astype(np.float64) ** 2, axis=1)), sheet[:, 1:].astype(np.float64)
    # sinh²(d/2) = ‖x/(1 + t) − x'/(1 + t')‖² (1 + t)(1 + t')/4
    base = x / (1 + t)[:, None]
    half = np.square(base[:9, None] - base[None]).sum(axis=2) * np.outer(1 + t[:9], 1 + t) / 4
    distances = 2 * np.arcsinh(np.sqrt(half))
    order = np.argsort(distances, axis=1, kind="stable")[:, :4]
    found = Index(sheet, named("lorentz", 1.0)).search(sheet[:9], 4)
    agree(found, (order, np.take_along_axis(distances, order, axis=1)))
