import logging
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from hypjax.data import catalog
from hypjax.data.errors import DataError
from hypjax.data.folder import ImageFolder, read_folders
from hypjax.data.source import Source


def save(path, image=None, **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    (image or Image.new("RGB", (6, 4), (200, 10, 10))).save(path, **options)


def test_sorted_classes_and_names(tmp_path):
    for name in ("b/2.png", "b/10.JPG", "a/x.webp", "a/y.bmp", ".hidden/z.png", "a/.DS_Store.png"):
        save(tmp_path / name)
    (tmp_path / "a" / "notes.txt").write_text("not an image")
    folder = ImageFolder(tmp_path)
    assert isinstance(folder, Source)
    assert [folder.name(i) for i in range(len(folder))] == ["a/x.webp", "a/y.bmp", "b/10.JPG", "b/2.png"]
    assert folder.class_names == ["a", "b"]
    np.testing.assert_array_equal(folder.labels, [0, 0, 1, 1])
    assert folder.ancestors.shape == (2, 0)
    assert folder.image(0).shape == (4, 6, 3)


def test_nested_folders_are_levels(tmp_path):
    for name in ("bird/owl/barn/1.png", "bird/owl/snow/1.png", "bird/wren/house/1.png", "fish/cod/1.png"):
        save(tmp_path / name)
    folder = ImageFolder(tmp_path)
    assert folder.class_names == ["bird/owl/barn", "bird/owl/snow", "bird/wren/house", "fish/cod"]
    assert folder.level_names == ["folder 1"]
    assert folder.ancestor_names == [["bird", "fish"]]
    np.testing.assert_array_equal(folder.ancestors, [[0], [0], [0], [1]])
    deeper = ImageFolder(tmp_path / "bird")
    assert ImageFolder(tmp_path / "bird").ancestor_names == [["owl", "wren"]]
    np.testing.assert_array_equal(deeper.ancestors, [[0], [0], [1]])


def test_links_are_followed_once(tmp_path):
    save(tmp_path / "outside" / "1.png")
    save(tmp_path / "root" / "a" / "1.png")
    (tmp_path / "root" / "b").symlink_to(tmp_path / "outside")
    (tmp_path / "root" / "a" / "loop").symlink_to(tmp_path / "root")
    assert ImageFolder(tmp_path / "root").class_names == ["a", "b"]


def test_files_are_in_the_order_of_sorted_paths(tmp_path):
    names = ["a/b/1.png", "a/b-c/1.png", "a/b.png", "a/c/d/2.png", "a/c/1.png", "a/c/e.png", "a-b/1.png", "a b/1.png"]
    for name in names:
        save(tmp_path / name)
    folder = ImageFolder(tmp_path)
    ordered = sorted(names, key=lambda name: name.split("/"))
    assert [folder.name(i) for i in range(len(folder))] == ordered
    assert [folder.class_names[label] for label in folder.labels] == [name.rpartition("/")[0] for name in ordered]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda root: None, "does not exist; give a folder"),
        (lambda root: root.write_text("x"), "is not a folder"),
        (lambda root: root.mkdir(), "holds no images; expected class folders"),
        (lambda root: (root / "empty").mkdir(parents=True), "holds no images"),
        (lambda root: save(root / "1.png"), "outside of class folders, such as 1.png"),
    ],
)
def test_bad_folders(tmp_path, make, message):
    make(tmp_path / "root")
    with pytest.raises(DataError, match=message):
        ImageFolder(tmp_path / "root")


def test_files_that_are_no_images_are_named_before_training_or_skipped(tmp_path, caplog):
    for label in "abcdef":
        for number in range(3):
            save(tmp_path / label / f"{number}.png")
    (tmp_path / "a" / "bad.png").write_bytes(b"\x89PNG\r\n\x1a\nrubbish")
    with pytest.raises(DataError, match=r"a/bad.png: cannot decode this image \(.*\); --config.data.skip_corrupt=true"):
        catalog.load("folder", directory=str(tmp_path))
    save(tmp_path / "b" / "cut.jpg")
    (tmp_path / "b" / "cut.jpg").write_bytes((tmp_path / "b" / "cut.jpg").read_bytes()[:200])
    (tmp_path / "c" / "empty.jpg").write_bytes(b"")
    with caplog.at_level(logging.WARNING):
        splits = catalog.load("folder", directory=str(tmp_path), skip_corrupt=True)
    assert sum(map(len, splits)) == 18
    assert "skipped 3 undecodable images, the first: " in caplog.text
    assert caplog.text.count("bad.png") == 1


@pytest.mark.parametrize("name", ["a b/ein Bär.png", "鳥/雀 1.png", "ελ/ñandú (1).jpeg", "percent%20/#1?.png"])
def test_paths_with_spaces_and_other_letters(tmp_path, name):
    save(tmp_path / name)
    folder = ImageFolder(tmp_path)
    assert folder.name(0) == name
    assert folder.class_names == [name.partition("/")[0]]
    assert folder.image(0).shape == (4, 6, 3)
    (tmp_path / name).write_bytes(b"")
    with pytest.raises(DataError, match=r"cannot decode this image \(the file is empty\)") as caught:
        folder.check_headers()
    assert str(tmp_path / name) in str(caught.value)


def test_train_and_test_folders_are_the_split(tmp_path):
    for name in ("train/a", "train/b", "val/c", "val/d", "test/e", "test/f"):
        save(tmp_path / name / "1.png")
        save(tmp_path / name / "2.png")
    folder = ImageFolder(tmp_path)
    assert folder.class_names == list("abcdef")
    assert folder.level_names == []
    np.testing.assert_array_equal(folder.parts, [2, 2, 2, 2, 0, 0, 0, 0, 1, 1, 1, 1])
    splits = catalog.load("folder", directory=str(tmp_path))
    assert [split.class_names for split in splits] == [["a", "b"], ["c", "d"], ["e", "f"]]


def test_classification_folders_are_joined_and_split_by_class(tmp_path, caplog):
    for part in ("train", "test"):
        for label in "abcdef":
            save(tmp_path / part / "birds" / label / "1.png")
    with caplog.at_level(logging.WARNING):
        folder = ImageFolder(tmp_path)
    assert folder.parts is None
    assert folder.class_names == [f"birds/{label}" for label in "abcdef"]
    assert folder.level_names == []  # all are birds
    assert "share classes, such as 'birds/a'" in caplog.text
    assert [len(split) for split in catalog.load("folder", directory=str(tmp_path))] == [4, 4, 4]


def test_folders_that_only_look_like_a_split_are_classes(tmp_path):
    for name in ("train/1.png", "test/1.png", "bus/1.png"):
        save(tmp_path / name)
    assert ImageFolder(tmp_path).class_names == ["bus", "test", "train"]


def test_a_class_that_lies_higher_than_others_is_named(caplog):
    """Else it would take the hierarchy from all of them without a word."""
    folders = [("birds", "owls", "barn"), ("birds", "hawks", "red"), ("fish", "cod")]
    found = read_folders(Path("photos"), folders)
    assert [name for name, _ in found.levels] == ["folder 1"]
    assert "photos: 1 of 2 levels of ancestors are used, as many as class 'fish/cod' has" in caplog.text
