"""Filling a collection of Milvus Lite: what is new, changed or gone, and what is refused."""

import subprocess
import sys
from unittest.mock import Mock

import numpy as np
import pytest

from hypjax.data.errors import UsageError
from hypjax.data.unlabeled import Picture
from hypjax.stores import milvus
from hypjax.stores.gallery import open_gallery
from hypjax.stores.milvus import Collection
from hypjax.stores.milvus_store import MilvusStore, Share
from tests.databases import ABOUT, CALIBRATED, OF_U, held, keep, made, require_equal

pymilvus = pytest.importorskip("pymilvus")


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


@pytest.mark.slow
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
