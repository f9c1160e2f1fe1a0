import json
import os
import shutil
import sys

import numpy as np
import pytest
from PIL import Image

from hypjax import embed
from hypjax.config import assembly, persistence
from hypjax.data import files
from hypjax.data.errors import DataError, UsageError
from hypjax.run.checkpoint import Checkpoints
from hypjax.run.run import variables_of
from hypjax.stores import embeddings, filling
from hypjax.training import sharding
from tests.peers import all_do, met
from tests.pictures import save_pictures, untrained_run

pytestmark = pytest.mark.filterwarnings("ignore:Image size .* exceeds limit")


@pytest.fixture
def photos(tmp_path):
    return save_pictures(tmp_path / "my photos")


@pytest.fixture(scope="module")
def workdir():
    return untrained_run()[0]


def run(workdir, images, out, *more):
    embed.main(["embed", f"--workdir={workdir}", f"--images={images}", f"--out={out}", *more])
    return embeddings.read(out)


def held(path):
    with np.load(path, allow_pickle=False) as file:
        return {name: file[name] for name in file}


@pytest.mark.slow
def test_the_points_are_those_of_evaluation_and_need_numpy_alone(workdir, tmp_path):
    folder = untrained_run()[1]
    run(workdir, folder, tmp_path / "a.npz")
    file = held(tmp_path / "a.npz")
    assert (file["points"].shape, file["points"].dtype) == ((18, 8), np.float32)
    assert file["paths"].tolist()[:4] == ["class 0/0.png", "class 0/1.png", "class 0/2.png", "class 1/0.png"]
    about = json.loads(str(file["about"]))
    assert (about["geometry"], about["curvature"], about["step"]) == ("poincare", pytest.approx(0.1), 0)

    config = persistence.load_config(workdir)
    setup, mesh = assembly.assemble(config), sharding.data_mesh()
    with Checkpoints(workdir / "checkpoints") as checkpoints:
        leaves, _ = checkpoints.read(sharding.replicated(mesh))
    evaluator = assembly.create_evaluator(config, setup, mesh)
    expected, _ = evaluator._embed(variables_of(leaves), setup.splits.test)
    rows = [file["paths"].tolist().index(setup.splits.test.name(i)) for i in range(len(setup.splits.test))]
    np.testing.assert_allclose(file["points"][rows], expected.points, atol=1e-6)
    np.testing.assert_allclose(file["uncertainty"][rows], expected.uncertainty, atol=1e-6)


def test_processes_that_see_other_pictures_are_told_so(workdir, photos, tmp_path):
    fewer = save_pictures(tmp_path / "fewer", classes=2)
    peers = met(2)
    made = all_do(peers, lambda each: embed.embed(workdir, (photos, fewer)[each.index], tmp_path / "a.npz", among=each))
    all_do(peers, lambda each: each.close())
    assert all("they differ, from process 0 to process 1: pictures: " in line for line in made)


@pytest.mark.slow
def test_killed_at_any_time_it_ends_with_the_same_bytes(workdir, photos, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(filling, "KEEP_EVERY", 0.0)
    run(workdir, photos, tmp_path / "whole.npz", "--batch=8")
    written = []

    def killed(store, part):
        if len(written) == 2:
            raise KeyboardInterrupt
        written.append(part)
        add(store, part)

    add = embeddings.Store.add
    monkeypatch.setattr(embeddings.Store, "add", killed)
    with pytest.raises(KeyboardInterrupt):
        run(workdir, photos, tmp_path / "cut.npz", "--batch=8")
    monkeypatch.setattr(embeddings.Store, "add", add)
    shards = sorted((tmp_path / "cut.npz.partial").iterdir())
    assert len(shards) == 2
    shards[1].write_bytes(shards[1].read_bytes()[:100])  # the power failed, too
    run(workdir, photos, tmp_path / "cut.npz", "--batch=8")
    printed = capsys.readouterr().out
    assert "18 files in" in printed
    assert ", 8 of them are done" in printed
    assert (tmp_path / "cut.npz").read_bytes() == (tmp_path / "whole.npz").read_bytes()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["cut.npz", "my photos", "whole.npz"]


@pytest.mark.slow
def test_what_was_added_changed_and_removed_is_noticed(workdir, photos, tmp_path, monkeypatch, capsys):
    before = run(workdir, photos, tmp_path / "a.npz")
    stamp = (tmp_path / "a.npz").stat().st_mtime_ns
    run(workdir, photos, tmp_path / "a.npz")
    assert "is up to date: 18 files" in capsys.readouterr().out
    assert (tmp_path / "a.npz").stat().st_mtime_ns == stamp

    shutil.copy(photos / "class 1" / "0.png", photos / "class 0" / "1.png")
    shutil.copy(photos / "class 2" / "0.png", photos / "new.png")
    os.remove(photos / "class 5" / "2.png")
    looked_at = []
    files = filling.Files
    monkeypatch.setattr(
        filling, "Files", lambda paths, **more: looked_at.extend(p.name for p in paths) or files(paths, **more)
    )
    after = run(workdir, photos, tmp_path / "a.npz")
    assert looked_at == ["1.png", "new.png"]
    rows = {picture.path: row for row, picture in enumerate(after.pictures)}
    assert (len(rows), "class 5/2.png" in rows) == (18, False)
    np.testing.assert_allclose(after.points[rows["class 0/1.png"]], after.points[rows["class 1/0.png"]], atol=1e-6)
    np.testing.assert_allclose(after.points[rows["new.png"]], after.points[rows["class 2/0.png"]], atol=1e-6)
    np.testing.assert_array_equal(after.points[rows["class 0/0.png"]], before.points[0])


@pytest.mark.slow
def test_what_does_not_decode_is_named_and_left_out(workdir, photos, tmp_path, capsys):
    (photos / "broken.jpg").write_bytes(b"\xff\xd8 no picture")
    (photos / "empty.png").write_bytes(b"")
    Image.new("1", (9000, 9000)).save(photos / "bomb.png")
    Image.new("CMYK", (40, 20), (255, 0, 0, 0)).save(photos / "print.jpg")
    (photos / ".hidden.png").write_bytes(b"")
    whole = run(workdir, photos, tmp_path / "a.npz")
    assert len(whole.pictures) == 19
    assert [picture.path for picture, _ in whole.skipped] == ["bomb.png", "broken.jpg", "empty.png"]
    lines = capsys.readouterr().err.splitlines()
    assert [line.split(":")[0].split("/")[-1] for line in lines] == ["bomb.png", "broken.jpg", "empty.png"]
    assert "81" in lines[0].replace(",", "") or "pixels" in lines[0]
    assert "--config" not in " ".join(lines)


@pytest.mark.slow
def test_a_file_of_another_model_or_folder_is_not_overwritten(workdir, photos, tmp_path):
    out = tmp_path / "a.npz"
    run(workdir, photos, out)
    other = save_pictures(tmp_path / "other", classes=1)
    with pytest.raises(UsageError, match=r"holds the images of .*my photos; choose another --out"):
        run(workdir, other, out)
    whole = embeddings.read(out)
    embeddings.write(out, whole._replace(about={**whole.about, "model": "x"}))
    with pytest.raises(UsageError, match="made by another model; choose another --out"):
        run(workdir, photos, out)
    out.write_text("my diary")
    with pytest.raises(UsageError, match="no whole file of embeddings"):
        run(workdir, photos, out)
    assert out.read_text() == "my diary"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "--workdir is missing"),
        (["--workdir=w"], "--images is missing"),
        (["--workdir=w", "--images=i"], "--out is missing"),
        (["--workdir=w", "--images=i", "--out=o", "--size=3"], "size"),
        (["--workdir=w", "--images=i", "--out=o.txt"], r"--out=o\.txt: .* o\.txt\.npz"),
    ],
)
def test_flags_that_are_missing_are_named(words, message):
    with pytest.raises(UsageError, match=message):
        embed.main(["embed", *words])


@pytest.mark.slow
def test_bad_places_are_refused_before_any_work(workdir, tmp_path):
    (tmp_path / "empty").mkdir()
    images = save_pictures(tmp_path / "photos", classes=1)
    out = f"--out={tmp_path / 'a.npz'}"
    with pytest.raises(DataError, match="none does not exist"):
        embed.main(["embed", f"--workdir={workdir}", f"--images={tmp_path / 'none'}", out])
    with pytest.raises(DataError, match="empty holds no images"):
        embed.main(["embed", f"--workdir={workdir}", f"--images={tmp_path / 'empty'}", out])
    with pytest.raises(UsageError, match="is a folder; --out names a file"):
        embed.main(["embed", "--workdir=w", f"--images={images}", f"--out={tmp_path}"])
    with pytest.raises(UsageError, match="holds no run"):
        embed.main(["embed", f"--workdir={tmp_path}", f"--images={images}", out])


def test_names_that_are_no_utf8_can_be_printed_and_kept(tmp_path):
    name = os.fsdecode(b"caf\xe9.png")
    assert files.printable(name) == "caf?.png"
    if sys.platform != "linux":
        return
    Image.new("RGB", (4, 4)).save(tmp_path / "a.png")
    os.rename(tmp_path / "a.png", tmp_path / name)
    (picture,) = embed.find_pictures(tmp_path)
    points = np.zeros((1, 2), np.float32)
    about = dict.fromkeys(("model", "run", "step", "root", "geometry", "distance", "curvature"))
    embeddings.write(tmp_path / "a.npz", embeddings.Embeddings(points, points[:, 0], [picture], [], about))
    assert embeddings.read(tmp_path / "a.npz").pictures == [picture]
