import logging

import numpy as np
import pytest

from hypjax.data import catalog
from hypjax.data.benchmarks import Counts, make_of_car, require_counts
from hypjax.data.errors import DataError
from hypjax.data.source import Source, own_queries
from tests.data import tiny

MAKERS = {"cub": tiny.cub, "cars": tiny.cars, "sop": tiny.sop, "in_shop": tiny.in_shop}


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """One tiny copy of each data set, in a folder of its own, by name."""
    parents = {name: tmp_path_factory.mktemp(name) for name in (*MAKERS, "cars_devkit")}
    for name, make in {**MAKERS, "cars_devkit": tiny.cars_devkit}.items():
        make(parents[name])
    return parents


def color(source, index):
    return source.image(index).astype(int).mean(axis=(0, 1))


def loaded(name, folder, **options):
    return catalog.load(name, directory=str(folder), complete=False, **options)


@pytest.mark.parametrize("name", [*MAKERS, "cars_devkit"])
def test_images_are_of_the_class_that_they_are_said_to_be(folders, name):
    given = catalog.read(name.removesuffix("_devkit"), str(folders[name]))
    source = given.source
    assert isinstance(source, Source)
    numbers = {
        "cub": {label: tiny_name[4:].replace("_", " ").lower() for label, tiny_name in tiny.CUB_CLASSES.items()},
        "cars": tiny.CARS_CLASSES,
    }.get(name.removesuffix("_devkit"))
    checked = 0
    for index in range(0, len(source), 3):
        try:
            red, _, blue = color(source, index)
        except DataError:
            continue  # the one that is corrupt
        found = source.class_names[source.labels[index]]
        if numbers is not None:
            label = next(label for label, known in numbers.items() if known == found)
        else:
            label = int(found.removeprefix("id_").rpartition(" ")[2])
        if abs(red - blue) > 4:  # but for the grey one
            np.testing.assert_allclose([red, blue], [label % 256, 255 - label % 256], atol=6)
            checked += 1
    assert checked > len(source) / 4


def test_cub(folders):
    splits = loaded("cub", folders["cub"] / "CUB_200_2011")
    assert [len(split.class_names) for split in splits] == [4, 2, 4]
    assert splits.test.class_names == ["white pelican", "western wood pewee", "sage thrasher", "common yellowthroat"]
    assert splits.test.level_names == ["kind"]
    assert splits.test.ancestor_names == [["pelican", "pewee", "thrasher", "yellowthroat"]]
    names = {*splits.train.class_names, *splits.validation.class_names}
    assert names >= {"black footed albatross", "laysan albatross", "brown pelican"}
    assert splits.test.name(0).startswith("101.White_Pelican/")


def test_cars_in_both_layouts(folders):
    one, two = loaded("cars", folders["cars"]), loaded("cars", folders["cars_devkit"])
    for split, other in zip(one, two, strict=True):
        assert split.class_names == other.class_names
        np.testing.assert_array_equal(split.ancestors, other.ancestors)
        np.testing.assert_array_equal(np.bincount(split.labels), np.bincount(other.labels))
    assert one.test.class_names[0] == "FIAT 500 Abarth 2012"
    assert one.test.level_names == ["make"]
    assert one.test.ancestor_names == [["FIAT", "McLaren", "Volvo", "smart"]]
    assert {make_of_car(name) for name in one.train.class_names} <= {"AM General", "Acura", "Aston Martin", "Eagle"}


def test_cars_packed_twice(tmp_path):
    root = tiny.cars_devkit(tmp_path)
    for folder in ("cars_train", "cars_test"):
        (root / folder).rename(root / "inner")
        (root / folder).mkdir()
        (root / "inner").rename(root / folder / folder)
    assert loaded("cars", root).test.image(0).shape == (8, 8, 3)


def test_sop(folders):
    splits = loaded("sop", folders["sop"])
    assert splits.test.class_names[:2] == ["bicycle 11319", "cabinet 11320"]
    assert splits.test.level_names == ["super_class"]
    assert splits.test.ancestor_names == [sorted(tiny.SUPER_CLASSES)]
    assert [len(split) for split in splits] == [32, 8, 40]


def test_in_shop_has_queries_and_a_gallery(folders):
    splits = loaded("in_shop", folders["in_shop"])
    assert splits.test.class_names == [f"id_{item:08}" for item in range(9, 15)]
    assert splits.test.level_names == ["category", "department"]
    assert splits.test.ancestor_names[1] == ["MEN", "WOMEN"]
    assert own_queries(splits.train) is None
    assert own_queries(splits.validation) is None
    asking = own_queries(splits.test)
    np.testing.assert_array_equal(asking, [True, False, False, True, False] * 6)


@pytest.mark.parametrize("layout", [{"eval_folder": "Anno"}, {"eval_folder": "."}, {"images": "Img/img"}])
def test_older_layouts_of_in_shop(tmp_path, layout):
    tiny.in_shop(tmp_path, **layout)
    assert len(loaded("in_shop", tmp_path).test) == 30


def test_grey_cmyk_and_corrupt_images(folders, caplog):
    given = catalog.read("cub", str(folders["cub"]))
    grey, cmyk = given.source.image(tiny.GREY), given.source.image(tiny.CMYK)
    assert np.ptp(grey, axis=2).max() == 0
    np.testing.assert_allclose(cmyk.mean(axis=(0, 1)), tiny.color(1, tiny.CMYK), atol=8)
    with pytest.raises(DataError, match=r"Black_footed_Albatross_0005_5.jpg: cannot decode this image \(.*\)"):
        given.source.image(tiny.CORRUPT)
    whole = loaded("cub", folders["cub"])
    with caplog.at_level(logging.WARNING):
        sound = loaded("cub", folders["cub"], skip_corrupt=True)
    assert sum(map(len, sound)) == sum(map(len, whole)) - 1
    assert "skipped 1 undecodable image," in caplog.text


def test_validation_is_carved_by_a_fixed_rule(folders):
    whole = loaded("sop", folders["sop"], validation=0.0)
    assert [len(split.class_names) for split in whole] == [10, 0, 10]
    halves = [loaded("sop", folders["sop"], validation=0.5) for _ in range(2)]
    assert [len(split.class_names) for split in halves[0]] == [5, 5, 10]
    assert halves[0].validation.class_names == halves[1].validation.class_names
    assert not set(halves[0].validation.class_names) & set(halves[0].train.class_names)
    with pytest.raises(ValueError, match=r"data\.validation must lie in"):
        loaded("sop", folders["sop"], validation=1.0)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        (
            "cub",
            "CUB-200-2011 in .* is not whole: train has 48 images of 6 classes where there should be 5,864 images of",
        ),
        ("cars", "Cars196 .*test has 32 images of 4 classes where there should be 8,131 images of 98 classes"),
        ("sop", "should be 59,551 images of 11,318 classes; test has 40 .* should be 60,502 images of 11,316 classes"),
        ("in_shop", "query has 12 images of 6 classes where there should be 14,218 images of 3,985 classes"),
    ],
)
def test_counts_are_asserted(folders, name, message):
    with pytest.raises(DataError, match=message):
        catalog.load(name, directory=str(folders[name]))


def test_whole_counts_pass(folders):
    import dataclasses

    source, parts, benchmark = catalog.read("cub", str(folders["cub"]))
    counts = dataclasses.replace(benchmark, train=Counts(6, 48), test=Counts(4, 32))
    require_counts(counts, source, parts, "here")


def test_listed_images_that_are_absent_are_counted_and_named(tmp_path):
    root = tiny.sop(tmp_path)
    for path in sorted((root / "bicycle_final").iterdir())[:4]:
        path.unlink()
    with pytest.raises(
        DataError, match=r"4 of 80 listed images are not in .*Products \(bicycle_final/11000001_0.JPG, "
    ):
        loaded("sop", tmp_path)


@pytest.mark.parametrize(
    ("name", "marks"),
    [
        ("cub", ["CUB_200_2011.tgz", "image_class_labels.txt"]),
        ("cars", ["car_ims.tgz", "cars_annos.mat", "cars_test_annos_withlabels.mat"]),
        ("sop", ["Stanford_Online_Products.zip", "Ebay_test.txt"]),
        ("in_shop", ["list_eval_partition.txt", "img.zip"]),
    ],
)
def test_a_missing_archive_says_what_to_download_and_where(tmp_path, name, marks):
    for directory in (tmp_path, tmp_path / "none"):
        with pytest.raises(DataError) as caught:
            catalog.load(name, directory=str(directory))
        assert all(mark in str(caught.value) for mark in marks)
        assert str(directory) in str(caught.value)
        assert "\n" not in str(caught.value)
    with pytest.raises(DataError, match=f"'{name}' needs the folder of"):
        catalog.load(name)


def test_a_packed_archive_is_to_be_unpacked(tmp_path):
    (tmp_path / "CUB_200_2011.tgz").write_bytes(b"")
    with pytest.raises(DataError, match=r"holds CUB_200_2011.tgz, which is not unpacked; unpack it there"):
        catalog.load("cub", directory=str(tmp_path))


@pytest.mark.parametrize(
    ("name", "damaged", "content", "message"),
    [
        ("cub", "CUB_200_2011/images.txt", "1\n", "images.txt is damaged: line 1 has not 2 columns"),
        ("cub", "CUB_200_2011/image_class_labels.txt", "1 1\n", "79 images have no label"),
        ("cub", "CUB_200_2011/image_class_labels.txt", None, "image_class_labels.txt is missing"),
        ("cars", "stanford_cars/cars_annos.mat", "rubbish", "cars_annos.mat cannot be read as a MATLAB file"),
        ("sop", "Stanford_Online_Products/Ebay_test.txt", "a b c d\n1 x 2 p\n", r"1 of 41 listed images"),
    ],
)
def test_damaged_lists(tmp_path, name, damaged, content, message):
    MAKERS[name](tmp_path)
    path = tmp_path / damaged
    if content is None:
        path.unlink()
    else:
        path.write_text(content)
    with pytest.raises(DataError, match=message):
        loaded(name, tmp_path)
