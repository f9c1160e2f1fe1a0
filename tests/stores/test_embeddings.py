import io
import json
import pickle
import zipfile

import numpy as np
import pytest

from hypjax.data.errors import UsageError
from hypjax.data.unlabeled import Picture
from hypjax.stores import embeddings
from hypjax.stores.embeddings import Embeddings, Store

ABOUT = {
    "model": "m",
    "run": "r",
    "step": 3,
    "root": "/photos",
    "geometry": "poincare",
    "distance": "geodesic",
    "curvature": 0.1,
}


def some(*names, value=0.0, about=ABOUT):
    pictures = [Picture(name, 10, 20) for name in names]
    points = np.full((len(names), 2), value, np.float32)
    return Embeddings(points, points[:, 0], pictures, [], about)


def test_what_is_written_is_read(tmp_path):
    skipped = [(Picture("c.png", 1, 2), "c.png: cannot decode")]
    written = some("a/ü.png", "b.png", value=0.5)._replace(skipped=skipped)
    embeddings.write(tmp_path / "new" / "a.npz", written)
    read = embeddings.read(tmp_path / "new" / "a.npz")
    np.testing.assert_array_equal(read.points, written.points)
    np.testing.assert_array_equal(read.uncertainty, written.uncertainty)
    assert (read.pictures, read.skipped, read.about) == (written.pictures, skipped, ABOUT)
    assert [p.name for p in (tmp_path / "new").iterdir()] == ["a.npz"]


class Bomb:
    def __reduce__(self):
        return (exec, ("raise SystemExit('executed')",))


def member(path, **changed):
    """A file of embeddings with some of its arrays replaced."""
    embeddings.write(path, some("a.png"))
    with np.load(path) as file:
        arrays = {name: file[name] for name in file}
    np.savez(path, **(arrays | changed))


def npy(array):
    file = io.BytesIO()
    np.save(file, array)
    return file.getvalue()


def said(**changed):
    return np.array(json.dumps({"format": embeddings.FORMAT, "skipped": [], **ABOUT} | changed))


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda path: path.write_bytes(b""), "no whole file of embeddings"),
        (lambda path: path.write_text("text"), "no whole file of embeddings"),
        (lambda path: path.write_bytes(pickle.dumps(Bomb())), "no whole file of embeddings"),
        (lambda path: member(path, points=np.array([[Bomb()]], object)), "it holds pickled objects"),
        (lambda path: path.write_bytes(npy(np.zeros(3))), "no whole file of embeddings"),
        (lambda path: zipfile.ZipFile(path, "w").close(), "no whole file of embeddings"),
        (lambda path: member(path, about=said(format="other")), "it does not say that it is"),
        (lambda path: member(path, about=np.array("[1]")), "it does not say that it is"),
        (lambda path: member(path, paths=np.array(["../../secret.png"])), "leaves its folder"),
        (lambda path: member(path, paths=np.array(["/etc/secret.png"])), "leaves its folder"),
        (lambda path: member(path, paths=np.array(["a", "b"])), "no whole file of embeddings"),
        (lambda path: member(path, points=np.zeros((1, 2), np.float64)), "points float64"),
    ],
)
def test_hostile_and_damaged_files_are_one_clear_line(spoil, message, tmp_path):
    spoil(tmp_path / "a.npz")
    with pytest.raises(UsageError, match=message) as refused:
        embeddings.read(tmp_path / "a.npz")
    assert "\n" not in str(refused.value)
    assert str(refused.value).startswith(f"{tmp_path / 'a.npz'} is no whole file")


def test_a_truncated_file_is_refused(tmp_path):
    embeddings.write(tmp_path / "a.npz", some(*(f"{i}.png" for i in range(50))))
    whole = (tmp_path / "a.npz").read_bytes()
    for length in (30, len(whole) // 2, len(whole) - 1):
        (tmp_path / "a.npz").write_bytes(whole[:length])
        with pytest.raises(UsageError, match="no whole file"):
            embeddings.read(tmp_path / "a.npz")


def test_later_shards_take_the_place_of_earlier_ones(tmp_path):
    store = Store(tmp_path / "a.npz", ABOUT)
    store.add(some("a.png", "b.png", value=1.0))
    store.add(some("b.png", "c.png", value=2.0))
    pictures = [Picture(name, 10, 20) for name in ("a.png", "b.png", "c.png")]
    assert store.missing([*pictures, Picture("a.png", 11, 20)]) == [Picture("a.png", 11, 20)]
    again = Store(tmp_path / "a.npz", ABOUT)  # as after a kill
    whole = again.finish(pictures)
    np.testing.assert_array_equal(whole.points[:, 0], [1, 2, 2])
    assert not again.partial.exists()
    assert Store(tmp_path / "a.npz", ABOUT).current(pictures) is not None
    assert Store(tmp_path / "a.npz", ABOUT).current(pictures[:2]) is None


def test_a_folder_that_moved_is_the_same_folder_and_one_that_is_still_there_is_not(tmp_path):
    (tmp_path / "old").mkdir()
    for root, other in ((tmp_path / "gone", False), (tmp_path / "old", True)):
        embeddings.write(tmp_path / "a.npz", some("a.png", about={**ABOUT, "root": str(root)}))
        if other:
            with pytest.raises(UsageError, match="holds the images of"):
                Store(tmp_path / "a.npz", ABOUT)
        else:
            assert Store(tmp_path / "a.npz", ABOUT).missing([Picture("a.png", 10, 20)]) == []
