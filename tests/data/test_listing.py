import json

import numpy as np
import pytest
from PIL import Image

from hypjax.data import catalog, files, listing
from hypjax.data import source as source_module
from hypjax.data.errors import DataError
from hypjax.data.labeling import read_labeling
from hypjax.data.listing import ListedImages
from hypjax.data.source import Source, digest, own_queries, sample

ROWS = [
    {"path": "a b/ä,1.png", "label": "wren", "family": "bird", "kingdom": "animal"},
    {"path": "2.png", "label": "owl", "family": "bird", "kingdom": "animal"},
    {"path": "3.png", "label": "owl", "family": "bird", "kingdom": "animal"},
    {"path": "4.png", "label": "cod", "family": "fish", "kingdom": "animal"},
]


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "a b").mkdir()
    for number, row in enumerate(ROWS):
        Image.new("RGB", (6, 4), (number, 0, 0)).save(tmp_path / row["path"])
    return tmp_path


def as_csv(rows, comma=","):
    lines = [comma.join(rows[0]), *(comma.join(f'"{value}"' for value in row.values()) for row in rows)]
    return "\r\n".join(lines) + "\r\n"


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("list.csv", as_csv(ROWS)),
        ("list.csv", "\ufeff" + as_csv(ROWS, ";")),
        ("list.tsv", as_csv(ROWS, "\t")),
        ("list.json", json.dumps(ROWS)),
        ("list.JSONL", "\n".join(map(json.dumps, ROWS)) + "\n\n"),
    ],
)
def test_every_form_of_a_listing(folder, name, text):
    (folder / name).write_text(text, encoding="utf-8")
    source = ListedImages(folder / name)
    assert isinstance(source, Source)
    assert source.class_names == ["cod", "owl", "wren"]
    np.testing.assert_array_equal(source.labels, [2, 1, 1, 0])
    assert source.level_names == ["family"]  # all are of one kingdom
    assert source.ancestor_names == [["bird", "fish"]]
    np.testing.assert_array_equal(source.ancestors, [[1], [0], [0]])
    assert [source.image(i)[0, 0, 0] for i in range(4)] == [0, 1, 2, 3]
    assert source.name(0) == "a b/ä,1.png"
    assert source.parts is None
    assert own_queries(source) is None


def test_absolute_paths_and_a_listing_elsewhere(folder, tmp_path_factory):
    elsewhere = tmp_path_factory.mktemp("lists") / "list.json"
    elsewhere.write_text(json.dumps([{**row, "path": str(folder / row["path"])} for row in ROWS]))
    assert ListedImages(elsewhere).image(3)[0, 0, 0] == 3


def listed(folder, rows):
    (folder / "list.json").write_text(json.dumps(rows))
    return folder / "list.json"


def test_a_given_split(folder):
    path = listed(folder, [{"path": "2.png", "label": c, "split": s} for c, s in zip("aabbccdd", PARTS, strict=True)])
    splits = catalog.load("folder", directory=str(path), validation=0.0)
    assert [split.class_names for split in splits] == [["a", "b"], [], ["c", "d"]]
    asking = own_queries(splits.test)
    np.testing.assert_array_equal(asking, [True, False, True, False])
    assert own_queries(splits.train) is None


PARTS = ("train", "train", "train", "train", "query", "gallery", "query", "gallery")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "lists no images"),
        ("path,label\n", "lists no images"),
        ("file,label\n2.png,a\n", "no column path; it has: file, label"),
        ("path,label\n2.png\n", "image 1 lacks one of path, label"),
        ("path,label\n2.png,a\n2.png,\n", "image 2 lacks one of path, label"),
        ("path,label,label\n2.png,a,b\n", "two columns are called 'label'; rename one"),
        ("path,label\n2.png,a,b\n", "image 1 has more values than the header has columns"),
        ("path,label\nno.png,a\n2.png,a\n", r"1 of 2 listed images are not in .* \(no.png\)"),
        ("path,label,kind\n2.png,a,x\n3.png,a,y\n", "label 'a' has kind 'x' and 'y'; super-labels must form a tree"),
        ("path,label,split\n2.png,a,trian\n", "split 'trian' is unknown; there are: train"),
        (
            "path,label,split\n2.png,a,train\n3.png,b,query\n",
            "needs test images, or query and gallery images; it has query",
        ),
    ],
)
def test_bad_listings(folder, text, message):
    (folder / "list.csv").write_text(text)
    with pytest.raises(DataError, match=message):
        catalog.load("folder", directory=str(folder / "list.csv"))


@pytest.mark.parametrize(
    ("text", "message"), [("{", "cannot read"), ('{"path": 1}', "a list of objects"), ("[1]", "a list")]
)
def test_bad_json(folder, text, message):
    (folder / "list.json").write_text(text)
    with pytest.raises(DataError, match=message):
        ListedImages(folder / "list.json")


def test_a_missing_listing_and_one_in_another_encoding(folder):
    with pytest.raises(DataError, match=r"none.csv: cannot read this listing .*UTF-8"):
        catalog.load("folder", directory=str(folder / "none.csv"))
    (folder / "list.csv").write_bytes("path,label\nä.png,a\n".encode("latin-1"))
    with pytest.raises(DataError, match="it must be a text file in UTF-8"):
        ListedImages(folder / "list.csv")


def test_a_listed_file_that_is_no_image_is_named_before_training(folder):
    (folder / "2.png").write_text("not a picture")
    rows = [{"path": "2.png", "label": label} for label in "abcdefabcdef"]
    with pytest.raises(DataError, match=r"2.png: cannot decode this image \(not an image Pillow knows\)"):
        catalog.load("folder", directory=str(listed(folder, rows)))


def test_rows_are_counted_over_blocks(folder, monkeypatch):
    monkeypatch.setattr(listing, "BLOCK", 2)
    for name, text in (("list.csv", as_csv(ROWS)), ("list.json", json.dumps(ROWS))):
        (folder / name).write_text(text, encoding="utf-8")
        source = ListedImages(folder / name)
        np.testing.assert_array_equal(source.labels, [2, 1, 1, 0])
        assert [source.name(i) for i in range(4)] == [row["path"] for row in ROWS]
        (folder / name).write_text(text.replace("fish", ""), encoding="utf-8")
        with pytest.raises(DataError, match="image 4 lacks one of path, label, family, kingdom"):
            ListedImages(folder / name)


def test_of_a_large_set_a_sample_is_opened(folder, monkeypatch):
    paths = [f"{number:02d}.png" for number in range(60)]
    rows = [{"path": path, "label": "abcdef"[number % 6]} for number, path in enumerate(paths)]
    path = listed(folder, rows)
    for name in paths:
        Image.new("RGB", (6, 4)).save(folder / name)
    whole = digest(ListedImages(path))
    monkeypatch.setattr(source_module, "LARGE", 20)
    monkeypatch.setattr(files, "LARGE", 20)
    monkeypatch.setattr(source_module, "SAMPLE", 10)
    large = ListedImages(path)
    looked_at = sample(large)
    assert len(set(looked_at)) == 10
    first = digest(large)
    assert first != whole
    for number in set(range(60)) - set(looked_at):
        (folder / paths[number]).unlink()
    catalog.load("folder", directory=str(path))
    assert digest(ListedImages(path)) == first
    with open(folder / paths[looked_at[0]], "ab") as file:
        file.write(b"x")
    assert digest(ListedImages(path)) != first
    rows[3]["label"], rows[5]["label"] = rows[5]["label"], rows[3]["label"]
    assert digest(ListedImages(listed(folder, rows))) != first
    (folder / paths[looked_at[1]]).unlink()
    with pytest.raises(DataError, match=paths[looked_at[1]]):
        catalog.load("folder", directory=str(path))


def test_super_labels_nest_the_nearest_first():
    columns = {"label": ["a", "b", "c"], "kind": ["x", "x", "y"], "realm": ["p", "q", "q"]}
    with pytest.raises(DataError, match=r"a table: kind 'x' has realm 'p' and 'q'; .*bring them in order"):
        read_labeling("a table", {name: np.array(values) for name, values in columns.items()})
    columns["realm"] = ["p", "p", "q"]
    assert [name for name, _ in read_labeling("a table", {k: np.array(v) for k, v in columns.items()}).levels] == [
        "kind",
        "realm",
    ]
