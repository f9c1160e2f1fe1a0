"""Embeddings in Milvus Lite; what a server does stands in test_milvus_server.py."""

import subprocess
import sys
from unittest.mock import Mock

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings

from hypjax import embed, geometry, search
from hypjax.data.errors import UsageError
from hypjax.data.unlabeled import Picture
from hypjax.stores import embeddings, milvus
from hypjax.stores.embeddings import Embeddings
from hypjax.stores.gallery import FileGallery, open_gallery
from hypjax.stores.milvus import Collection
from hypjax.stores.milvus_store import MilvusStore, Share, read_share
from tests.databases import ABOUT, CALIBRATED, HOSTILE, OF_U, found, held, keep, made, require_equal
from tests.filters import PATHS, filters
from tests.killing import embed_until
from tests.pictures import save_pictures, untrained_run

pymilvus = pytest.importorskip("pymilvus")


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


def test_what_was_added_changed_and_removed_is_noticed(tmp_path, monkeypatch):
    address, whole = f"milvus:{tmp_path}/a.db", made([f"{i}.png" for i in range(60)])
    assert keep(address, whole)[0] == 60
    store = MilvusStore(address, ABOUT)
    assert store.current(whole.pictures) == (whole.pictures, 6, [])
    assert store.current(whole.pictures[1:]) is None
    store.close()
    assert keep(address, whole)[0] == 0
    later = made([f"{i}.png" for i in range(20, 80)], seed=1)
    pictures = [Picture(p.path, 99 if p.path == "30.png" else int(p.path[:-4]), 7) for p in later.pictures]
    changed, filled = keep(address, later._replace(pictures=pictures))
    assert (changed, len(filled.pictures), filled.coordinates) == (21, 60, 6)
    rows = held(address)
    assert set(rows) == {f"{i}.png" for i in range(20, 80)}
    np.testing.assert_array_equal(rows["30.png"]["point"], later.points[10])
    np.testing.assert_array_equal(rows["31.png"]["point"], whole.points[31])
    monkeypatch.setattr(milvus, "MOST", 1)  # rows that come at a time
    assert set(held(address)) == set(rows)


def test_what_is_no_picture_any_more_is_removed(tmp_path):
    address, whole = f"milvus:{tmp_path}/a.db", made(["a.png", "b.png"])
    keep(address, whole)
    store, changed = MilvusStore(address, ABOUT), [Picture("a.png", 5, 5), Picture("c\udce9.png", 5, 5)]
    store.add(whole._replace(points=whole.points[1:], uncertainty=whole.uncertainty[1:], pictures=changed[1:]))
    store.add(
        whole._replace(
            points=whole.points[:0], uncertainty=whole.uncertainty[:0], pictures=[], skipped=[(changed[0], "no")]
        )
    )
    filled = store.finish([*changed, whole.pictures[1]])
    assert [picture.path for picture in filled.pictures] == ["b.png"]
    assert [reason for _, reason in filled.skipped][1] == "no"
    assert "keeps no path that is no UTF-8" in filled.skipped[0][1]
    assert store.missing(whole.pictures) == whole.pictures[:1]
    store.close()
    assert set(held(address)) == {"b.png"}


def test_shares_are_filled_and_cleared_apart(tmp_path):
    address, whole = f"milvus:{tmp_path}/a.db", made([f"{i}.png" for i in range(90)])
    shares = [Share(i, 3) for i in range(3)]
    assert [sum(picture in share for share in shares) for picture in whole.pictures] == [1] * 90
    assert sum(keep(address, whole, share)[0] for share in shares) == 90
    require_equal(address, whole)
    half = whole._replace(points=whole.points[:45], uncertainty=whole.uncertainty[:45], pictures=whole.pictures[:45])
    keep(address, half, shares[1])
    gone = [picture.path for picture in whole.pictures[45:] if picture in shares[1]]
    assert 0 < len(gone) < 45
    assert set(held(address)) == {picture.path for picture in whole.pictures} - set(gone)


def test_a_calibration_that_comes_later_is_kept_with_each_row(tmp_path):
    address, whole = f"milvus:{tmp_path}/a.db", made([f"{i}.png" for i in range(30)])
    keep(address, whole)
    assert {row["p_wrong"] for row in held(address).values()} == {-1}
    later = whole._replace(about=ABOUT | CALIBRATED)
    assert keep(address, later)[0] == 0
    rows = held(address)
    expected = OF_U(whole.uncertainty[:, None])
    np.testing.assert_allclose([rows[p.path]["p_wrong"] for p in whole.pictures], expected, rtol=1e-6)
    require_equal(address, whole)
    store = MilvusStore(address, later.about)
    assert store.current(whole.pictures) is not None
    store.close()


def test_what_cannot_be_gone_on_with_is_refused(tmp_path):
    address = f"milvus:{tmp_path}/a.db"
    keep(address, made(["a.png"]))
    (tmp_path / "here").mkdir()
    for about, message in (
        ({"model": "other"}, "was made by another model; choose another name"),
        ({"distance": "hybrid"}, "which do not order the hybrid distance of poincare points; keep them in a file"),
        ({"geometry": "product"}, "which do not order the geodesic distance of product points"),
    ):
        with pytest.raises(UsageError, match=message):
            MilvusStore(address, ABOUT | about)
    keep(f"milvus:{tmp_path}/b.db", made(["a.png"], ABOUT | {"root": str(tmp_path / "here")}))
    with pytest.raises(UsageError, match=r"holds the images of .*here; choose another name"):
        MilvusStore(f"milvus:{tmp_path}/b.db", ABOUT)
    (tmp_path / "c.db").write_text("my diary")
    for make in (Collection, lambda address: Collection(address, create=True)):
        with pytest.raises(UsageError, match=r"c\.db (does not exist|is a file)|is a file"):
            make(f"milvus:{tmp_path}/c.db")
    assert (tmp_path / "c.db").read_text() == "my diary"
    with pytest.raises(UsageError, match=r"does not exist: python -m hypjax.embed --out milvus:"):
        open_gallery(f"milvus:{tmp_path}/none.db")
    assert not (tmp_path / "none.db").exists()
    for words in (
        "photos",
        ".db",
        "http://localhost:19530",
        "http://localhost:19530/a b",
        "ftp://x/photos",
        "http:///a",
    ):
        with pytest.raises(UsageError, match=r"is no database|names no collection"):
            Collection(f"milvus:{words}", create=True)


def test_a_path_that_leaves_its_folder_is_not_shown(tmp_path):
    keep(f"milvus:{tmp_path}/a.db", made(["../secret.png", "a.png"]))
    database = open_gallery(f"milvus:{tmp_path}/a.db")
    with pytest.raises(UsageError, match=r"holds the path '\.\./secret\.png', which leaves its folder"):
        database.nearest(np.zeros((1, 6), np.float32), 2)
    database.close()


def test_a_full_disk_is_one_as_for_a_file(tmp_path, monkeypatch):
    address, whole = f"milvus:{tmp_path}/a.db", made(["a.png", "b.png"])
    keep(address, whole)
    store, refuse = MilvusStore(address, ABOUT), pymilvus.exceptions.MilvusException
    for said, error, message in (
        ("[Errno 28] No space left on device: '/a'", OSError, "No space left on device: 'milvus:.*a\\.db'"),
        ("no such field", UsageError, r"a\.db cannot be read or written: no such field"),
    ):
        monkeypatch.setattr(store._collection._client, "upsert", Mock(side_effect=refuse(message=said)))
        with pytest.raises(error, match=message):
            store.add(whole)
    store.close()


def test_another_process_is_told_that_it_must_wait(tmp_path):
    address = f"milvus:{tmp_path}/a.db"
    keep(address, made(["a.png"]))
    database = open_gallery(address)
    program = (
        f"from hypjax.stores.milvus import Collection\ntry: Collection({address!r})\nexcept ValueError as e: print(e)"
    )
    told = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60)
    database.close()
    assert told.stdout.strip() == (
        f"{address} is in use by another process, and Milvus Lite is for one at a time; a server takes several"
    )
    assert told.stderr == ""


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    """A workdir, forty pictures, and what the model makes of them."""
    root = tmp_path_factory.mktemp("photos")
    workdir, folder = untrained_run()[0], save_pictures(root / "photos", classes=8, each=5)
    embed.main(["embed", f"--workdir={workdir}", f"--images={folder}", f"--out={root / 'a.npz'}"])
    return workdir, folder, root / "a.npz"


@pytest.mark.slow
def test_killed_at_any_time_it_ends_with_every_picture_once(photos, tmp_path):
    """After its first part, and once more within a later one."""
    workdir, folder, file = photos
    address, whole, before = f"milvus:{tmp_path}/a.db", embeddings.read(file), 0
    for parts, more in ((1, 0.0), (8, 0.004)):
        kept = before + embed_until(workdir, folder, address, parts=parts, more=more)
        assert before + parts * 2 <= kept < 40
        before = len(held(address))
        assert kept <= before <= kept + 2  # what was told to be kept is, and at most the part that was not told
    embed.main(["embed", f"--workdir={workdir}", f"--images={folder}", f"--out={address}"])
    require_equal(address, whole, atol=1e-6)


@pytest.mark.slow
def test_the_programs_embed_and_search(photos, tmp_path, capsys):
    (workdir, folder), address = photos[:2], f"milvus:{tmp_path}/a.db"
    for said in ("40 embeddings of 8 coordinates", "is up to date: 40 files"):
        embed.main(["embed", f"--workdir={workdir}", f"--images={folder}", f"--out={address}"])
        assert said in capsys.readouterr().out
    query, where = f"--query={folder / 'class 2' / '1.png'}", "--where=path like 'class 2/%' and uncertainty < 2"
    printed = []
    for index in (address, photos[2]):
        out = tmp_path / "gallery.html"
        words = ["search", f"--workdir={workdir}", f"--index={index}", query, where, "--k=9", f"--out={out}"]
        search.main(words)
        printed.append(capsys.readouterr().out)
        assert out.read_text().count("data:image/jpeg;base64,") == 1 + 4
    assert printed[0] == printed[1]
    assert printed[0].count("class 2/") == 1 + 4
    words = ["search", f"--workdir={workdir}", f"--index={address}", query]
    with pytest.raises(UsageError, match=r"--risk needs a file that hypjax.calibrate calibrates, .* is a database"):
        search.main([*words, "--risk=0.1"])
    with pytest.raises(UsageError, match=r"the filter cannot be read: .* after 'path ', before '= 3'"):
        search.main([*words, "--where=path = 3"])
    with pytest.raises(UsageError, match=r"--risk holds for the whole index"):
        search.main([*words[:2], f"--index={photos[2]}", query, "--risk=0.1", "--where=uncertainty < 1"])


def test_words_that_do_not_go_together_are_named():
    for words, message in (
        (["--out=photos.npz", "--share=0/2"], "--share goes with --out milvus:"),
        (["--out=milvus:a.db", "--features"], "--features are written to a file"),
    ):
        with pytest.raises(UsageError, match=message):
            embed.main(["embed", "--workdir=w", "--images=i", *words])
    assert read_share("0/4") == Share(0, 4)
    for words in ("4/4", "1", "a/b", "-1/2", "/", "1/2/3"):
        with pytest.raises(UsageError, match=f"--share={words} is none"):
            read_share(words)
