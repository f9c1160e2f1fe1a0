import json
import sys

import numpy as np
import pytest

from hypjax.data import catalog, mapped
from hypjax.data.errors import DataError
from hypjax.data.features import Features
from hypjax.data.source import Source, coarsened, digest_of_rows, own_features, own_queries, subset

LABELS = np.repeat([f"class {i}" for i in range(8)], 3)
GROUPS = np.repeat(["a", "a", "a", "b", "b", "b", "c", "c"], 3)
ROWS = np.random.default_rng(0).normal(size=(24, 5)).astype(np.float32)


def write_npz(path, *, save=np.savez, **more):
    save(path, **({"features": ROWS, "labels": LABELS, "group": GROUPS} | more))
    return path


def write_npy(path, suffix=".csv", rows=ROWS):
    np.save(path, rows)
    columns = [
        {"label": c, "group": g, "name": f"row {i}"} for i, (c, g) in enumerate(zip(LABELS, GROUPS, strict=True))
    ]
    lines = [",".join(columns[0]), *(",".join(row.values()) for row in columns)]
    text = {".csv": "\n".join(lines), ".tsv": "\n".join(lines).replace(",", "\t"), ".json": json.dumps(columns)}
    path.with_suffix(suffix).write_text(text.get(suffix, "\n".join(map(json.dumps, columns))))
    return path


def write_parquet(path, kind=None, rows=ROWS, **more):
    pa, pq = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    columns = {"features": pa.array(list(rows), kind or pa.list_(pa.float32(), 5)), "label": LABELS, "group": GROUPS}
    pq.write_table(pa.table(columns | more), path, row_group_size=7)
    return path


def check(source, names=None):
    assert isinstance(source, Source)
    assert (len(source), source.width) == (24, 5)
    np.testing.assert_array_equal(source.features(np.array([20, 3, 3])), ROWS[[20, 3, 3]])
    np.testing.assert_array_equal(source.features(slice(2, 9)), ROWS[2:9])
    assert source.class_names == sorted(set(LABELS))
    np.testing.assert_array_equal(source.labels, np.repeat(np.arange(8), 3))
    assert source.level_names == ["group"]
    assert source.ancestor_names == [["a", "b", "c"]]
    np.testing.assert_array_equal(source.ancestors[:, 0], [0, 0, 0, 1, 1, 1, 2, 2])
    assert source.name(4) == (names or "{}").format(4)


@pytest.mark.parametrize("suffix", [".csv", ".tsv", ".json", ".jsonl"])
def test_an_array_with_every_form_of_a_listing(suffix, tmp_path):
    check(Features(write_npy(tmp_path / "a.npy", suffix)), "row {}")


def test_archives_are_read_in_place_and_small_compressed_ones_unpacked(tmp_path, caplog):
    source = Features(write_npz(tmp_path / "a.npz"))
    check(source)
    assert isinstance(source._rows, mapped.Mapped)
    check(Features(write_npz(tmp_path / "b.npz", names=np.array([f"n{i}" for i in range(24)]))), "n{}")
    assert not caplog.records
    check(Features(write_npz(tmp_path / "c.npz", save=np.savez_compressed)))
    assert "is compressed and was unpacked into memory" in caplog.text


@pytest.mark.parametrize("large", [False, True])
def test_parquet_is_kept_once_as_rows(large, tmp_path):
    pa = pytest.importorskip("pyarrow")
    path, copies = tmp_path / "a.parquet", tmp_path / "copies"
    write_parquet(path, pa.large_list(pa.float32()) if large else None)
    check(Features(path, copies=copies))
    (copy,) = copies.iterdir()
    stamp = copy.stat().st_mtime_ns
    check(Features(path, copies=copies))
    assert [p.stat().st_mtime_ns for p in copies.iterdir()] == [stamp]
    write_parquet(path, rows=ROWS + 1)
    np.testing.assert_array_equal(Features(path, copies=copies).features(slice(0, 2)), ROWS[:2] + 1)
    assert len(list(copies.iterdir())) == 2


@pytest.mark.parametrize("dtype", [np.float16, np.float64, ">f4"])
def test_other_floats_come_as_float32(dtype, tmp_path):
    rows = ROWS.astype(dtype)
    source = Features(write_npz(tmp_path / "a.npz", features=rows))
    assert source.features(slice(None)).dtype == np.float32
    np.testing.assert_array_equal(source.features(slice(None)), rows.astype(np.float32))


def test_integers_are_labels_and_nothing_else_is_a_super_label(tmp_path):
    more = {"labels": np.repeat(np.arange(8) * 10, 3), "weight": np.ones(24), "short": np.arange(3), "about": "x"}
    source = Features(write_npz(tmp_path / "a.npz", group=np.repeat(np.arange(8) // 4, 3).astype(np.int8), **more))
    assert source.class_names[:3] == ["0", "10", "20"]
    assert source.level_names == ["group"]
    assert source.ancestor_names == [["0", "1"]]


def test_views_of_a_source_read_its_rows(tmp_path):
    source = Features(write_npz(tmp_path / "a.npz"))
    part = subset(subset(source, np.arange(4, 20)), np.array([0, 15]))
    np.testing.assert_array_equal(part.features(slice(None)), ROWS[[4, 19]])
    np.testing.assert_array_equal(coarsened(source, "group").features(np.array([7])), ROWS[[7]])
    splits = catalog.load("features", directory=str(tmp_path / "a.npz"))
    assert sum(len(split) for split in splits) == 24
    for split in splits:
        rows = own_features(split)(slice(None))
        for row, label in zip(rows, split.labels, strict=True):
            (at,) = np.flatnonzero((row == ROWS).all(axis=1))
            assert split.class_names[label] == LABELS[at]
    with pytest.raises(DataError, match="row 4 has features and no image"):
        part.image(0)


def test_a_split_of_its_own(tmp_path):
    split = np.repeat(["train", "train", "train", "validation", "validation", "query", "query", "query"], 3)
    split[17::3] = "gallery"
    splits = catalog.load("features", directory=str(write_npz(tmp_path / "a.npz", split=split)))
    assert [len(part.class_names) for part in splits] == [3, 2, 3]
    np.testing.assert_array_equal(own_queries(splits.test), np.tile([True, True, False], 3))


def spoiled(**more):
    return lambda path: write_npz(path.with_suffix(".npz"), **more)


def with_nan(value):
    rows = ROWS.astype(np.float64)
    rows[6, 2] = value
    return rows


BAD = [
    (spoiled(features=with_nan(np.nan)), r"a\.npz: row 6 of features is not finite in float32; --config.data.skip"),
    (spoiled(features=with_nan(1e300)), "row 6 of features is not finite in float32"),
    (spoiled(features=ROWS[0]), r"features is float32 \[5\]; features must be floats .* \[n, f\]"),
    (spoiled(features=ROWS.astype(int)), r"features is int64 \[24, 5\]"),
    (spoiled(features=np.asfortranarray(ROWS)), "stored column by column; save np.ascontiguousarray"),
    (spoiled(features=ROWS[:, :0]), r"\[24, 0\]"),
    (spoiled(labels=LABELS[:20]), r"label has shape \[20\], but there are 24 rows"),
    (spoiled(labels=np.ones(24)), "label holds float64; it must hold strings or integers"),
    (spoiled(labels=LABELS.astype(object)), "it holds pickled objects; save labels as an array of strings"),
    (spoiled(labels=np.repeat(["a", "b"], 12), group=np.repeat(["x", "y"], 12)), "2 classes cannot be split"),
    (spoiled(group=np.tile(GROUPS[::3], 3)), "label 'class 2' has group 'c' and 'a'; super-labels must form a tree"),
    (spoiled(split=np.repeat("trian", 24)), "split 'trian' is unknown; there are: train"),
    (lambda path: np.savez(path.with_suffix(".npz"), labels=LABELS), "no array features; it has: labels"),
    (lambda path: np.savez(path.with_suffix(".npz"), features=ROWS), "one array of labels is needed"),
    (lambda path: np.save(path.with_suffix(".npy"), ROWS), r"needs a listing beside it, a\.csv"),
    (lambda path: write_npy(path.with_suffix(".npy"), rows=ROWS[:7]), r"has shape \[24\], but there are 7 rows"),
    (lambda path: path.with_suffix(".npz").write_bytes(b"no archive"), r"a\.npz cannot be read"),
    (lambda path: path.with_suffix(".npy").write_bytes(b"no array"), r"a\.npy cannot be read"),
    (lambda path: path.with_suffix(".parquet").write_bytes(b"no table"), r"a\.parquet cannot be read"),
    (lambda path: path.with_suffix(".txt").write_text("?"), r"is no file of features; expected one of \.npz"),
    (lambda path: None, "does not exist; give a file of features"),
]


@pytest.mark.parametrize(("spoil", "message"), BAD)
def test_what_is_wrong_is_one_clear_line(spoil, message, tmp_path):
    spoil(tmp_path / "a")
    path = next(iter(sorted(tmp_path.glob("a.np?"))), next(tmp_path.glob("a.*"), tmp_path / "a.npz"))
    with pytest.raises(DataError, match=message) as refused:
        catalog.load("features", directory=str(path), copies=tmp_path / "copies")
    assert "\n" not in str(refused.value)


def test_odd_lists_and_other_columns_of_parquet(tmp_path):
    pa = pytest.importorskip("pyarrow")
    ragged = [*list(ROWS[:23]), ROWS[0, :3]]
    with pytest.raises(DataError, match="row 23 has 3 features, the rows before it have 5"):
        Features(write_parquet(tmp_path / "a.parquet", pa.list_(pa.float32()), ragged), copies=tmp_path / "copies")
    assert not list((tmp_path / "copies").iterdir())
    with pytest.raises(DataError, match="holds int64; it must hold floats"):
        Features(write_parquet(tmp_path / "a.parquet", pa.list_(pa.int64()), ROWS.astype(int)), copies=tmp_path / "b")


def test_parquet_without_pyarrow_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pyarrow.parquet", None)
    with pytest.raises(DataError, match=r'pip install "hypjax\[parquet\]"'):
        Features(tmp_path / "a.parquet")


def test_rows_that_are_not_finite_can_be_left_out(tmp_path, caplog):
    path = write_npz(tmp_path / "a.npz", features=with_nan(np.inf))
    splits = catalog.load("features", directory=str(path), skip_corrupt=True)
    assert sum(len(split) for split in splits) == 23
    assert "left out 1 of 24 rows, which are not finite, the first: 6" in caplog.text


def test_large_compressed_and_truncated_archives_are_refused(tmp_path, monkeypatch):
    write_npz(tmp_path / "a.npz", save=np.savez_compressed)
    monkeypatch.setattr(mapped, "MOST_UNPACKED", 100)
    with pytest.raises(DataError, match=r"features is compressed, \d+ bytes .* save it with np\.savez instead"):
        Features(tmp_path / "a.npz")
    np.save(tmp_path / "b.npy", ROWS)
    (tmp_path / "b.npy").write_bytes((tmp_path / "b.npy").read_bytes()[:-4])
    with pytest.raises(DataError, match="is cut short"):
        Features(tmp_path / "b.npy", labeled=False)


def test_pages_are_let_go_and_read_again(tmp_path, monkeypatch):
    monkeypatch.setattr(mapped, "HELD", 1)
    rows = Features(write_npz(tmp_path / "a.npz"))
    for _ in range(3):
        np.testing.assert_array_equal(rows.features(np.arange(24)), ROWS)


def test_other_rows_of_the_same_labels_have_another_digest(tmp_path):
    rows = np.arange(12, dtype=np.float32).reshape(4, 3)
    found = []
    for held in (rows, rows.copy(), rows + 1, rows[:, :2]):
        np.savez(tmp_path / "rows.npz", features=held, labels=np.array(list("aabb")))
        found.append(digest_of_rows(subset(Features(tmp_path / "rows.npz"), np.arange(4))))
    assert found[0] == found[1]
    assert len(set(found)) == 3
