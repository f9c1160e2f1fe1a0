"""Searching in Milvus Lite, beside the same in a file; what a server does stands in test_milvus_server.py."""

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings

from hypjax import geometry
from hypjax.data.errors import UsageError
from hypjax.data.unlabeled import Picture
from hypjax.stores import embeddings
from hypjax.stores.embeddings import Embeddings
from hypjax.stores.gallery import FileGallery, open_gallery
from hypjax.stores.milvus import Collection
from tests.databases import ABOUT, CALIBRATED, HOSTILE, found, keep, made
from tests.filters import PATHS, filters

pytest.importorskip("pymilvus")


@pytest.fixture(scope="module")
def pair(tmp_path_factory):
    """The same embeddings in a file and in a database."""
    root = tmp_path_factory.mktemp("pair")
    whole = made([*PATHS, *HOSTILE, *(f"{i % 5}/{i}.png" for i in range(120))], ABOUT | CALIBRATED)
    embeddings.write(root / "a.npz", whole)
    keep(f"milvus:{root}/a.db", whole)
    database = open_gallery(f"milvus:{root}/a.db")
    yield FileGallery(root / "a.npz"), database
    database.close()


@pytest.mark.slow
def test_a_database_finds_what_a_file_does(pair):
    file, database = pair
    assert (len(database), database.about) == (len(file), file.about)
    queries, leave_out = file.embeddings.points[5:15], [file.embeddings.pictures[i].path for i in range(5, 15)]
    assert found(database, queries, 7, leave_out=leave_out) == found(file, queries, 7, leave_out=leave_out)
    where = "uncertainty < 0.6 and path like '3/%' or label == '1' and not p_wrong > 0.5"
    assert found(database, queries, 500, where=where) == found(file, queries, 500, where=where)
    with pytest.raises(UsageError, match="nothing in the index fulfills uncertainty > 3"):
        database.nearest(queries, 7, where="uncertainty > 3")
    with pytest.raises(UsageError, match=r"expected a column \(path, uncertainty, p_wrong, label\)"):
        database.nearest(queries, 7, where="size > 3")
    with pytest.raises(UsageError, match="nothing in the index but the query fulfills path =="):
        database.nearest(queries[:1], 7, where="path == '2024'", leave_out=["2024"])


@pytest.mark.slow
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(filters)
def test_a_database_filters_as_a_file_does(pair, filtered):
    paths = []
    for gallery in pair:
        try:
            paths.append(
                [hit.path for hit in gallery.nearest(pair[0].embeddings.points[:1], 500, where=filtered[0])[0]]
            )
        except UsageError as error:
            paths.append(str(error).partition("fulfills ")[2])
    assert paths[0] == paths[1]
    assert paths[0]


def test_hostile_paths_are_found_as_they_are(pair):
    file, database = pair
    for path in [*PATHS, *HOSTILE]:
        point, doubt = database.find(path)
        np.testing.assert_array_equal(point, file.find(path)[0])
        assert doubt == file.find(path)[1]
    for path in ['nothing"', "\\", "a\udce9.png", "a\0.png", "x" * 9000, '") or (path != "']:
        assert database.find(path) is None


def test_a_sample_is_spread_and_the_same_again(pair):
    file, database = pair
    paths, points, uncertainty = database.sample(40)
    assert len(set(paths)) == 40
    assert paths == database.sample(40).paths
    assert paths[:10] == list(database.sample(10).paths)
    for path, point, doubt in zip(paths, points, uncertainty, strict=True):
        np.testing.assert_array_equal(point, file.find(path)[0])
        assert doubt == file.find(path)[1]
    assert len(database.sample(10_000).paths) == len(file)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "distance", "curvature"),
    [
        ("lorentz", "geodesic", 0.5),
        ("euclidean", "geodesic", None),
        ("sphere", "geodesic", None),
        ("sphere", "cosine", None),
    ],
)
def test_every_geometry_whose_distances_order_as_products_do(name, distance, curvature, tmp_path):
    about = ABOUT | {"geometry": name, "distance": distance, "curvature": curvature}
    whole = made([f"{i}.png" for i in range(150)], about)
    embeddings.write(tmp_path / "a.npz", whole)
    keep(f"milvus:{tmp_path}/a.db", whole)
    database = open_gallery(f"milvus:{tmp_path}/a.db")
    queries = made(["a", "b", "c"], about, seed=1).points
    assert found(database, queries, 20) == found(FileGallery(tmp_path / "a.npz"), queries, 20)
    database.close()


@pytest.mark.slow
def test_where_products_cannot_tell_more_is_asked_for(tmp_path, monkeypatch):
    """Far out, in a cluster, float32 products of lifted points are all alike."""
    rng = np.random.default_rng(0)
    about, tangent = ABOUT | {"curvature": 1.0}, np.array([6.0, 0, 0, 0, 0, 0])
    space = geometry.named("poincare", 1.0)
    points = np.asarray(space.embed((tangent + 1e-4 * rng.normal(size=(400, 6))).astype(np.float32)))
    names = [f"{i:03}.png" for i in range(400)]
    whole = Embeddings(points, np.zeros(400, np.float32), [Picture(name, 1, 1) for name in names], [], about)
    embeddings.write(tmp_path / "a.npz", whole)
    keep(f"milvus:{tmp_path}/a.db", whole)
    database, widths = open_gallery(f"milvus:{tmp_path}/a.db"), []
    searched = Collection.search
    monkeypatch.setattr(Collection, "search", lambda self, *more: widths.append(more[1]) or searched(self, *more))
    assert found(database, points[:5], 5) == found(FileGallery(tmp_path / "a.npz"), points[:5], 5)
    assert widths == [37, 148, 592]
    database.close()


@pytest.mark.slow
def test_an_index_of_distances_in_the_place_of_products_serves_too(tmp_path):
    whole, address = made([f"{i:03}.png" for i in range(300)]), f"milvus:{tmp_path}/a.db"
    embeddings.write(tmp_path / "a.npz", whole)
    keep(address, whole)
    collection = Collection(address)
    client = collection._client
    client.release_collection("pictures")
    client.drop_index("pictures", "lifted")
    index = client.prepare_index_params()
    index.add_index("lifted", index_type="FLAT", metric_type="L2")
    client.create_index("pictures", index)
    database, queries = open_gallery(address), made(["a", "b", "c"], seed=1).points
    assert found(database, queries, 5) == found(FileGallery(tmp_path / "a.npz"), queries, 5)
    assert keep(address, whole)[0] == 0  # which leaves it as it is
    database = open_gallery(address)
    assert database._collection.metric == "L2"
    database.close()


def test_a_path_that_leaves_its_folder_is_not_shown(tmp_path):
    keep(f"milvus:{tmp_path}/a.db", made(["../secret.png", "a.png"]))
    database = open_gallery(f"milvus:{tmp_path}/a.db")
    with pytest.raises(UsageError, match=r"holds the path '\.\./secret\.png', which leaves its folder"):
        database.nearest(np.zeros((1, 6), np.float32), 2)
    database.close()
