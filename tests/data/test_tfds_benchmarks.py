"""TFDS copies of the benchmarks as ArrayRecord, prepared and read without TensorFlow, beside their originals."""

import logging
import subprocess
import sys

import numpy as np
import pytest

from hypjax.data import catalog
from hypjax.data.benchmarks import make_of_car
from hypjax.data.errors import DataError
from hypjax.data.source import own_queries
from tests.data import tiny
from tests.data.tfds_copies import BUILDERS

NAMES = {"cub": "caltech_birds2011", "cars": "cars196", "sop": "stanford_online_products", "in_shop": "in_shop"}
pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """The originals by name, and `tfds` with a copy of each."""
    parents = {name: tmp_path_factory.mktemp(name) for name in (*NAMES, "tfds")}
    for name in NAMES:
        getattr(tiny, name)(parents[name])
    for name, builder in BUILDERS.items():
        builder(parents[name], data_dir=parents["tfds"], file_format="array_record").download_and_prepare()
    from hypjax.data import in_shop_builder

    in_shop_builder.prepare(str(parents["in_shop"]), str(parents["tfds"]))
    return parents


@pytest.fixture(autouse=True)
def _in_a_folder_of_its_own(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # below which labels are kept


def loaded(folders, name, **options):
    return (
        catalog.load(name, directory=str(folders[name]), complete=False, **options),
        catalog.load(f"tfds:{NAMES[name]}", directory=str(folders["tfds"]), complete=False, **options),
    )


def seen(source):
    """What identifies each image: its class, whether it asks, and its pixels."""
    asking = np.zeros(len(source), bool) if own_queries(source) is None else own_queries(source)
    pixels = [int(source.image(index).astype(int).sum()) for index in range(len(source))]
    return sorted(zip(source.labels.tolist(), asking.tolist(), pixels, strict=True))


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_both_routes_give_the_same_splits(folders, name, caplog):
    with caplog.at_level(logging.WARNING):
        original, copy = loaded(folders, name, skip_corrupt=True)
    assert caplog.text.count("skipped 1 undecodable image,") == 2
    for one, other in zip(original, copy, strict=True):
        assert one.class_names == other.class_names
        assert one.level_names == other.level_names
        assert one.ancestor_names == other.ancestor_names
        np.testing.assert_array_equal(one.ancestors, other.ancestors)
        asking, also = own_queries(one), own_queries(other)
        assert (asking is None) == (also is None)
        assert seen(one) == seen(other)
    assert "tensorflow" not in sys.modules


@pytest.mark.parametrize("name", NAMES)
def test_counts_of_copies_are_asserted(folders, name):
    with pytest.raises(DataError, match=r"is not whole: train has .* where there should be .*; test has "):
        catalog.load(f"tfds:{NAMES[name]}", directory=str(folders["tfds"]))


def test_every_car_has_a_make():
    from tensorflow_datasets.image_classification import cars196

    makes = {make_of_car(name) for name in cars196._NAMES}
    assert len(makes) == 49
    assert makes >= {"AM General", "Aston Martin", "Land Rover", "Rolls-Royce", "HUMMER", "smart"}


def test_a_corrupt_record_is_named(folders):
    _, copy = loaded(folders, "sop")
    complaints = []
    for split in copy:
        for index in range(len(split)):
            try:
                split.image(index)
            except DataError as error:
                complaints.append(str(error))
    assert len(complaints) == 1
    assert complaints[0].startswith("record ")


def test_in_shop_is_checked_before_anything_is_written(tmp_path, folders):
    from hypjax.data import in_shop_builder

    with pytest.raises(DataError, match="download DeepFashion's In-shop Clothes Retrieval Benchmark"):
        in_shop_builder.prepare(str(tmp_path), str(tmp_path / "out"))
    root = tiny.in_shop(tmp_path)
    next(root.glob("img/*/*/*/*.jpg")).unlink()
    with pytest.raises(DataError, match="1 of 94 listed images are not in"):
        in_shop_builder.prepare(str(tmp_path), str(tmp_path / "out"))
    assert not (tmp_path / "out").exists()
    with pytest.raises(
        DataError, match=r"in_shop is not prepared .*: python -m hypjax.data.in_shop_builder --manual_dir"
    ):
        catalog.load("tfds:in_shop", directory=str(tmp_path / "out"))


@pytest.mark.slow
def test_in_shop_is_prepared_by_its_command(tmp_path, folders):
    command = [sys.executable, "-m", "hypjax.data.in_shop_builder", f"--data_dir={tmp_path / 'a b'}"]
    done = subprocess.run([*command, f"--manual_dir={folders['in_shop']}"], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    copy = catalog.load("tfds:in_shop", directory=str(tmp_path / "a b"), complete=False)
    assert len(copy.test) == 30
    bad = subprocess.run([*command, f"--manual_dir={tmp_path}"], capture_output=True, text=True, timeout=120)
    assert (bad.returncode, len(bad.stderr.strip().splitlines())) == (2, 1)
    assert "list_eval_partition.txt" in bad.stderr
