import numpy as np
import pytest

from hypjax import geometry
from hypjax.data.errors import UsageError
from hypjax.data.unlabeled import Picture
from hypjax.retrieval import Probability
from hypjax.stores import embeddings
from hypjax.stores.gallery import open_gallery

OF_U = Probability(np.array([0.5]), 1.0, np.array([0.45]), np.array([0.01]))


@pytest.fixture(scope="module")
def gallery(tmp_path_factory):
    """A file of 200 points of the ball, in three folders."""
    rng = np.random.default_rng(0)
    points = (rng.normal(size=(200, 4)) * 0.3).astype(np.float32)
    pictures = [Picture(f"{2022 + i % 3}/{i}.png", 1, 1) for i in range(200)]
    about = {"geometry": "poincare", "distance": "geodesic", "curvature": 0.5, "root": "photos", "model": "m"}
    about |= {"run": "hyp_uml", "step": 1, "p_wrong": {"of_u": OF_U.as_dict(), "size": 9, "classes": 3}}
    uncertainty = rng.uniform(size=200).astype(np.float32)
    path = tmp_path_factory.mktemp("gallery") / "a.npz"
    embeddings.write(path, embeddings.Embeddings(points, uncertainty, pictures, [], about))
    return open_gallery(str(path))


@pytest.mark.slow
def test_a_search_among_what_a_filter_leaves_is_one_of_all_that_keeps_these(gallery):
    held = gallery.embeddings
    queries = held.points[:5]
    leave_out = [held.pictures[0].path, "", "no/such.png", held.pictures[3].path, ""]
    where = "uncertainty < 0.4 and path like '2024/%' or label == '2022' and not p_wrong > 0.5"
    found = gallery.nearest(queries, 7, leave_out=leave_out, where=where)
    d = np.asarray(geometry.named("poincare", 0.5).pairwise_dist(queries, held.points))
    p_wrong = OF_U(held.uncertainty[:, None])
    for i, hits in enumerate(found):
        expected = [
            row
            for row in np.argsort(d[i], kind="stable")
            if (held.uncertainty[row] < 0.4 and row % 3 == 2) or (row % 3 == 0 and p_wrong[row] <= 0.5)
            if held.pictures[row].path != leave_out[i]
        ]
        assert [hit.row for hit in hits] == expected[:7]
        assert [hit.path for hit in hits] == [held.pictures[row].path for row in expected[:7]]
        np.testing.assert_allclose([hit.distance for hit in hits], d[i][expected[:7]], atol=1e-5)
        np.testing.assert_array_equal([hit.uncertainty for hit in hits], held.uncertainty[expected[:7]])
    own = gallery.nearest(queries, 7)  # what is left out once is not so for ever
    assert [hits[0].row for hits in own] == [0, 1, 2, 3, 4]


def test_a_filter_may_leave_little_or_nothing(gallery):
    query, (first, second) = gallery.embeddings.points[:1], gallery.embeddings.pictures[:2]
    where = f"path in ['{first.path}', '{second.path}']"
    assert [hit.row for hit in gallery.nearest(query, 7, where=where)[0]] == [0, 1]
    assert [hit.row for hit in gallery.nearest(query, 7, where=where, leave_out=[first.path])[0]] == [1]
    with pytest.raises(UsageError, match="nothing in the index fulfills uncertainty > 2"):
        gallery.nearest(query, 7, where="uncertainty > 2")
    with pytest.raises(UsageError, match="nothing in the index but the query fulfills path =="):
        gallery.nearest(query, 7, where=f"path == '{first.path}'", leave_out=[first.path])
    with pytest.raises(UsageError, match=r"expected a column \(path, uncertainty, p_wrong, label\)"):
        gallery.nearest(query, 7, where="size > 2")


def test_many_filters_leave_one_right(gallery):
    for i in range(12):
        (hits,) = gallery.nearest(gallery.embeddings.points[:1], 3, where=f"path == '{2022 + i % 3}/{i}.png'")
        assert [hit.row for hit in hits] == [i]


def test_a_sample_is_spread_over_the_whole(gallery):
    paths, points, uncertainty = gallery.sample(5)
    rows = [0, 50, 100, 149, 199]
    assert paths == [gallery.embeddings.pictures[row].path for row in rows]
    np.testing.assert_array_equal(points, gallery.embeddings.points[rows])
    np.testing.assert_array_equal(uncertainty, gallery.embeddings.uncertainty[rows])
    assert len(gallery.sample(1000).paths) == 200
    point, doubt = gallery.find(paths[1])
    np.testing.assert_array_equal(point, points[1])
    assert doubt == uncertainty[1]
    assert gallery.find("no/such.png") is None
