"""From an index to what it promises, kept beside it and refused where it is of another."""

from types import SimpleNamespace

import chex
import numpy as np
import pytest

from hypjax import calibrate
from hypjax.config.settings import default_settings
from hypjax.data.errors import DataError, UsageError
from hypjax.data.unlabeled import Picture
from hypjax.retrieval import auroc, calibration_error
from hypjax.stores import calibrations, embeddings
from hypjax.stores.gallery import searcher

ABOUT = {"model": "m", "run": "r", "step": 1, "root": "photos", "geometry": "euclidean", "distance": "geodesic"}
ABOUT |= {"curvature": None, "format": embeddings.FORMAT}


class World:
    """Classes around centers, the wider the less certain."""

    def __init__(self, classes, seed):
        self.rng = np.random.default_rng(seed)
        self.centers = 2 * self.rng.normal(size=(classes, 4))
        self.widths = self.rng.uniform(0.1, 1.2, classes)

    def images(self, classes):
        noise = self.rng.normal(size=(len(classes), 4))
        points = self.centers[classes] + self.widths[classes, None] * noise
        return points.astype(np.float32), (self.widths[classes] / 2).astype(np.float32)


def index_of(path, classes=60, seed=0, names=None, world=None):
    labels = np.repeat(np.arange(classes), 4)
    points, uncertainty = (world or World(classes, seed)).images(labels)
    names = names or [f"class {c}/{i}.png" for i, c in enumerate(labels)]
    embeddings.write(path, embeddings.Embeddings(points, uncertainty, [Picture(n, 1, 1) for n in names], [], ABOUT))
    return path


@pytest.fixture
def index(tmp_path):
    return index_of(tmp_path / "photos.npz")


@pytest.mark.slow
def test_what_it_tells_of_new_queries_of_the_same_index_holds(tmp_path):
    """Fresh images of the same classes ask, each in the place of one that it must not find."""
    world = World(400, seed=0)
    path = index_of(tmp_path / "photos.npz", classes=400, world=world)
    made, held = calibrate.calibrate(path), embeddings.read(path)
    own = np.repeat(np.arange(1600), 3)
    labels = np.array([int(picture.path.split("/")[0].split()[1]) for picture in held.pictures])
    points, uncertainty = world.images(labels[own])
    found, distances = searcher(held)(points, own, calibrations.NEIGHBORS)
    wrong = labels[found[:, 0]] != labels[own]
    words = calibrations.judge(made, uncertainty, found, distances, 0.3)
    p, given = np.array([word.probability for word in words]), np.array([word.given for word in words])
    assert auroc(p, wrong) > 0.03 + max(auroc(uncertainty, wrong), auroc(distances[:, 0], wrong))
    assert calibration_error(p, wrong) < 0.05
    assert 0.2 < given.mean() < 0.95
    assert wrong[given].mean() < 0.3 < wrong[~given].mean()
    assert p[given].max() < p[~given].min()
    assert 0.02 < np.mean([word.unlike for word in words]) < 0.08


@pytest.mark.slow
def test_what_the_index_has_nothing_of_is_noticed(tmp_path):
    """Each image of the calibrated index as it was, but for its class, which is taken out."""
    path = index_of(tmp_path / "photos.npz", classes=100)
    made, held = calibrate.calibrate(path), embeddings.read(path)
    noticed = {"gone": [], "there": []}
    for label in range(0, 100, 5):
        own = made.labels[0] == label
        kept = held._replace(
            points=held.points[~own], pictures=[p for p, o in zip(held.pictures, own, strict=True) if not o]
        )
        for name, index, labels, exclude in (
            ("gone", kept, made.labels[:, ~own], np.full(4, -1)),
            ("there", held, made.labels, np.flatnonzero(own)),
        ):
            found, distances = searcher(index)(held.points[own], exclude, calibrations.NEIGHBORS)
            judged = made._replace(labels=labels)
            words = calibrations.judge(judged, held.uncertainty[own], found, distances)
            noticed[name] += [word.unlike for word in words]
    assert np.mean(noticed["there"]) < 0.15
    assert np.mean(noticed["gone"]) > 3 * np.mean(noticed["there"])


def test_it_is_kept_beside_the_index_and_read_again(index, capsys):
    made = calibrate.calibrate(index)
    first, *promises = capsys.readouterr().out.splitlines()
    assert first.startswith(f"{index.parent / 'photos.calibration.npz'}: 240 queries of 60 classes, ")
    assert len(promises) == 4
    again = calibrations.read(index)
    assert again.about == made.about
    chex.assert_trees_all_equal(again.calibration, made.calibration)
    np.testing.assert_array_equal(again.labels, made.labels)
    assert calibrations.read(index_of(index.parent / "other.npz")) is None


def test_it_is_refused_where_the_index_changed_or_it_is_damaged(index):
    calibrate.calibrate(index)
    index_of(index, seed=5)
    with pytest.raises(UsageError, match=r"changed since photos.calibration.npz was made \(240 images then\)"):
        calibrations.read(index)
    path = calibrations.place(index)
    path.write_bytes(path.read_bytes()[:300])
    with pytest.raises(UsageError, match=r"is no whole calibration .* calibrate anew: python -m hypjax.calibrate"):
        calibrations.read(index)


def test_a_listing_says_the_classes_of_a_flat_folder(tmp_path):
    names = [f"{i}.png" for i in range(240)]
    index, listing = index_of(tmp_path / "flat.npz", names=names), tmp_path / "labels.csv"
    with pytest.raises(UsageError, match="images lie outside of class folders"):
        calibrate.calibrate(index)
    with pytest.raises(UsageError, match="is a folder: without --labels"):
        calibrate.calibrate(index, tmp_path)
    listing.write_text("path,label\n" + "".join(f"{name},{i // 4}\n" for i, name in enumerate(names[:-3])))
    with pytest.raises(DataError, match=r"has no label for 3 of 240 images, such as 237.png"):
        calibrate.calibrate(index, listing)
    listing.write_text("path,label\n" + "".join(f"{name},{i // 4}\n" for i, name in enumerate(names)))
    by_folder = calibrate.calibrate(index_of(tmp_path / "deep.npz"))
    assert calibrate.calibrate(index, listing).about["share_wrong"] == by_folder.about["share_wrong"]


def test_an_image_whose_class_is_unsure_is_told_the_group_above(tmp_path):
    """Sixty pairs of classes that are hard to tell apart, each pair in a folder of its own or named by a listing."""
    world = World(60, seed=0)
    world.centers, world.widths = 3 * np.repeat(world.centers, 2, axis=0), np.full(120, 0.4)
    world.centers += 0.3 * np.random.default_rng(1).normal(size=world.centers.shape)
    names = [f"pair {c // 2}/class {c}/{i}.png" for c in range(120) for i in range(4)]
    path = index_of(tmp_path / "photos.npz", classes=120, names=names, world=world)
    made, held = calibrate.calibrate(path), embeddings.read(path)
    found, distances = searcher(held)(held.points, np.arange(480), calibrations.NEIGHBORS)
    words = calibrations.judge(made, held.uncertainty, found, distances, 0.2)
    higher = np.array([word.higher for word in words])
    pair = np.array([name.split("/")[0] for name in names])
    assert set(higher) <= {"", *pair}
    assert np.mean(higher != "") > 0.3
    assert np.mean(higher[higher != ""] == pair[higher != ""]) > 0.9
    assert not any(word.given for word in words if word.higher)
    assert {"", "pair 3"} <= {calibrations.name_at(made, level, 31) for level in (0, 1, 2)}
    listing = tmp_path / "labels.csv"
    rows = [f"{name},{name.split('/')[1]},{name.split('/')[0]}\n" for name in names]
    listing.write_text("path,label,pair\n" + "".join(rows))
    listed = calibrate.calibrate(path, listing)
    assert (listed.names, listed.about) == (made.names, made.about)
    np.testing.assert_array_equal(listed.labels[1], made.labels[1])
    rows = {
        "labels": [name.split("/")[1] for name in names] + ["gone"],
        "pair": [*pair, "gone"],
        "names": [*names, "x"],
    }
    np.savez(tmp_path / "rows.npz", features=np.zeros((481, 2), np.float32), **rows)  # one was not embedded
    by_rows = calibrate.calibrate(path, tmp_path / "rows.npz")
    assert (by_rows.names, by_rows.about) == (made.names, made.about)
    np.testing.assert_array_equal(by_rows.labels[1], made.labels[1])


def test_classes_that_the_model_was_trained_on_answer_and_do_not_ask(index, monkeypatch, capsys):
    every = calibrate.calibrate(index)
    names = [f"class {c}" for c in range(20)]
    train = SimpleNamespace(
        train=SimpleNamespace(class_names=[*names[:15], "elsewhere"]),
        validation=SimpleNamespace(class_names=names[15:]),
    )
    monkeypatch.setattr(calibrate.assembly, "assemble", lambda config: SimpleNamespace(splits=train))
    made = calibrate.calibrate(index, run=SimpleNamespace(config=default_settings()))
    assert "20 classes of the index do not ask" in capsys.readouterr().out
    assert (made.about["queries"], made.about["classes"]) == (160, 40)
    np.testing.assert_array_equal(made.labels, every.labels)


def test_the_tree_of_a_run_gives_the_groups(index, tmp_path, monkeypatch, capsys):
    """Where it knows every class of the index."""
    labeling = calibrate.folders(index, [picture.path for picture in embeddings.read(index).pictures])
    classes, nobody = labeling.class_names, SimpleNamespace(class_names=[])
    run = SimpleNamespace(config=default_settings())
    run.config.data.tree = str(tmp_path / "tree.csv")
    splits = SimpleNamespace(splits=SimpleNamespace(train=nobody, validation=nobody))
    monkeypatch.setattr(calibrate.assembly, "assemble", lambda config: splits)
    lines = [f"{name},kind {number % 3}" for number, name in enumerate(classes)]
    (tmp_path / "tree.csv").write_text("\n".join(["child,parent", *lines]))
    found = calibrate.in_its_tree(labeling, run)
    assert [name for name, _ in found.levels] == ["level 1"]
    assert found.levels[0][1] == [f"kind {number % 3}" for number in range(len(classes))]
    calibrate.calibrate(index, run=run)
    (tmp_path / "tree.csv").write_text("\n".join(["child,parent", *lines[1:]]))
    calibrate.calibrate(index, run=run)
    assert "no groups by the tree of the run: " in capsys.readouterr().out


def test_few_classes_are_refused(tmp_path):
    with pytest.raises(UsageError, match="has 3 classes of two images or more that may ask; at least 4"):
        calibrate.calibrate(index_of(tmp_path / "few.npz", classes=3))
    with pytest.raises(UsageError, match="--index is missing"):
        calibrate.main(["calibrate"])


def test_what_is_no_file_is_named_as_what_it_is(tmp_path):
    for name in ("more.db", "photos"):
        (tmp_path / name).mkdir()
    for index, message in (
        ("milvus:more.db", "milvus:more.db is a database, which cannot be calibrated"),
        (tmp_path / "more.db", r"more\.db is a folder; did you mean milvus:.*more\.db\?"),
        (tmp_path / "photos", "photos is a folder; --index names a file, such as photos.npz"),
        (tmp_path / "none.npz", r"none\.npz does not exist: python -m hypjax.embed"),
    ):
        with pytest.raises(UsageError, match=message):
            calibrate.main(["calibrate", f"--index={index}"])


def test_classes_that_do_not_ask_are_counted_in_words():
    assert calibrate.left_out(0).startswith("no class of the index is one")
    assert calibrate.left_out(1).startswith(
        "1 class of the index does not ask, since the model was trained or chosen on it"
    )
