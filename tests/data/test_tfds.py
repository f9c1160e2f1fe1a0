import io
import os
import shutil
import sys

import cloudpickle
import numpy as np
import pytest
from PIL import Image

from hypjax.data import tfds as tfds_source
from hypjax.data.errors import DataError
from hypjax.data.source import Source, own_reader
from hypjax.data.tfds import Layout, TfdsSource


def png(value):
    out = io.BytesIO()
    Image.new("RGB", (6, 8), (value, value, value)).save(out, "PNG")
    return out.getvalue()


KIND = Layout("id", "kind", lambda number, name, kind: (name, kind), ("kind",))


def record(label, kind, image=None):
    return {"image": png(label) if image is None else image, "id": label, "kind": kind}


def test_sequences_are_joined_and_labels_made_dense():
    names = {"kind": ["chair", "lamp"]}
    source = TfdsSource([record(5, 1), record(9, 0)], [record(5, 1)], layout=KIND, names=names)
    assert isinstance(source, Source)
    np.testing.assert_array_equal(source.labels, [0, 1, 0])
    assert source.class_names == ["5", "9"]
    np.testing.assert_array_equal(source.ancestors, [[1], [0]])
    assert source.ancestor_names == [["chair", "lamp"]]
    assert source.level_names == ["kind"]
    assert source.image(1).shape == (8, 6, 3)
    assert source.image(1)[0, 0, 0] == 9


def test_grey_and_damaged_images():
    images = [np.full((2, 3, 1), 7, np.uint8), b"rubbish", np.zeros((2, 3, 3), np.float32)]
    source = TfdsSource([record(0, 0, image) for image in images], layout=Layout("id"))
    np.testing.assert_array_equal(source.image(0), np.full((2, 3, 3), 7))
    with pytest.raises(DataError, match="record 1: cannot decode this image"):
        source.image(1)
    with pytest.raises(DataError, match=r"record 2: expected uint8 \[h, w, 1 or 3\]; got float32"):
        source.image(2)


@pytest.mark.parametrize(
    ("records", "message"),
    [
        ([], "no records"),
        ([{"picture": 0, "label": 1}], "have no image; they have label, picture"),
        (
            [{"image": b"", "label": 1, "kind": 0}, {"image": b"", "label": 1, "kind": 1}],
            "class 1 has more than one kind",
        ),
    ],
)
def test_bad_records(records, message):
    layout = Layout(ancestor="kind") if records and "kind" in records[0] else Layout()
    with pytest.raises(DataError, match=message):
        TfdsSource(records, layout=layout)


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    """A folder with a data set in ArrayRecord files, prepared without TensorFlow."""
    tfds = pytest.importorskip("tensorflow_datasets")

    class HypjaxToy(tfds.core.GeneratorBasedBuilder):
        VERSION = tfds.core.Version("1.0.0")

        def _info(self):
            features = {"image": tfds.features.Image(), "label": tfds.features.ClassLabel(names=["wren", "owl"])}
            return tfds.core.DatasetInfo(builder=self, features=tfds.features.FeaturesDict(features))

        def _split_generators(self, dl_manager):
            return {"train": self._generate_examples(0), "test": self._generate_examples(100)}

        def _generate_examples(self, offset):
            for i in range(4):
                yield i, {"image": io.BytesIO(png(offset + i)), "label": i % 2}

    folder = tmp_path_factory.mktemp("tfds")
    HypjaxToy(data_dir=folder, file_format="array_record").download_and_prepare()
    return str(folder)


@pytest.mark.filterwarnings("ignore")
def test_prepared_array_record_is_read_without_tensorflow(prepared, tmp_path):
    source = TfdsSource.load("hypjax_toy", prepared, copies=tmp_path)
    assert len(source) == 8
    assert source.class_names == ["wren", "owl"]
    values = np.array([source.image(i)[0, 0, 0] for i in range(8)])
    np.testing.assert_array_equal(values % 2, source.labels)
    assert sorted(values) == [0, 1, 2, 3, 100, 101, 102, 103]
    assert "tensorflow" not in sys.modules
    read, key = cloudpickle.loads(cloudpickle.dumps(own_reader(source)[0])), own_reader(source)[1]
    np.testing.assert_array_equal(read(key(5)), source.image(5))


def test_labels_are_read_once(tmp_path, monkeypatch):
    records, index = [record(5, b"chair"), record(9, b"lamp"), record(5, b"chair")], tmp_path / "a" / "b.npz"
    first = TfdsSource(records, layout=KIND, index=index)
    with monkeypatch.context() as patch:
        patch.setattr(tfds_source, "_all_records", None)
        again = TfdsSource(records, layout=KIND, index=index)
    assert again.class_names == first.class_names == ["5", "9"]
    assert again.ancestor_names == first.ancestor_names == [["chair", "lamp"]]
    np.testing.assert_array_equal(again.labels, [0, 1, 0])
    index.write_bytes(index.read_bytes()[:-30])
    np.testing.assert_array_equal(TfdsSource(records, layout=KIND, index=index).labels, [0, 1, 0])


@pytest.mark.filterwarnings("ignore")
def test_an_index_is_that_of_the_files(prepared, tmp_path):
    copy, kept = shutil.copytree(prepared, tmp_path / "copy"), tmp_path / "kept"
    for _ in range(2):
        TfdsSource.load("hypjax_toy", str(copy), copies=kept)
        assert len(list(kept.iterdir())) == 1
    file = next(copy.glob("hypjax_toy/1.0.0/*.array_record*"))
    os.utime(file, ns=(0, 0))
    TfdsSource.load("hypjax_toy", str(copy), copies=kept)
    assert len(list(kept.iterdir())) == 2


@pytest.mark.filterwarnings("ignore")
def test_unprepared_and_unknown_sets_fail_at_once(tmp_path):
    with pytest.raises(DataError, match=r"caltech_birds2011 is not prepared in .*tfds build caltech_birds2011 "):
        TfdsSource.load("caltech_birds2011", str(tmp_path))
    with pytest.raises(DataError, match="TFDS has no data set 'no_such_set'"):
        TfdsSource.load("no_such_set", str(tmp_path))
