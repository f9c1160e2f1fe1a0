"""A run whose objective is summed over two spaces, from training to search."""

import json
import re
import shutil

import numpy as np
import pytest

from hypjax import geometry
from hypjax.config.settings import default_settings
from hypjax.data.errors import UsageError
from hypjax.run import Run, trained
from hypjax.serving import answering, application, resident
from hypjax.show import explore
from hypjax.stores import embeddings
from hypjax.stores.gallery import open_gallery
from tests.pictures import save_pictures
from tests.programs import LIGHT, THIRDS, done, tiny
from tests.serving.asking import post_picture, served

NAME = "poincare:5+sphere:3@0.5"
WORDS = (THIRDS, *LIGHT, "--config.steps=2", "--config.learn_curvature=true")


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A workdir, a folder of pictures and its index."""
    root = tmp_path_factory.mktemp("spaces")
    folder, workdir, index = save_pictures(root / "photos", classes=10, each=4), root / "run", root / "index.npz"
    config = "hyp_uml.py:quick,geometry=poincare:5+sphere@0.5,head=discriminant"
    done(*tiny(folder, workdir, *WORDS, config=config))
    done(f"--workdir={workdir}", f"--images={folder}", f"--out={index}", module="hypjax.embed")
    return workdir, folder, index


@pytest.mark.slow
def test_embeddings_say_where_they_live_and_are_searched_there(finished, tmp_path):
    workdir, folder, path = finished
    index = embeddings.read(path)
    assert index.about["geometry"] == NAME
    space = geometry.named(NAME, index.about["curvature"])
    assert index.about["curvature"] != default_settings().curvature  # the one that was learned
    np.testing.assert_allclose(np.linalg.norm(index.points[:, 5:], axis=1), 1, atol=1e-5)
    radius = np.linalg.norm(geometry.Poincare(index.about["curvature"]).logmap0(index.points[:, :5]), axis=1)
    low, high = np.multiply((0.7, 0.9), default_settings().head.clip_radius)
    assert low < radius.min() < radius.max() < high  # the model's own learned radius, in each space
    assert (np.diff(index.uncertainty[np.argsort(radius)]) <= 1e-6).all()
    query = shutil.copy(folder / "class 3" / "1.png", tmp_path / "ask.png")
    words = [f"--workdir={workdir}", f"--index={path}", f"--query={query}", "--k=5"]
    found = [line.split() for line in done(*words, module="hypjax.search").splitlines()[2:7]]
    distances = np.asarray(space.pairwise_dist(index.points[13:14], index.points))[0]
    assert [" ".join(row[3:]) for row in found] == [index.pictures[i].path for i in np.argsort(distances)[:5]]
    assert [float(row[1]) for row in found] == pytest.approx(np.sort(distances)[:5], abs=2e-3)


@pytest.mark.slow
def test_a_run_is_scored_and_drawn(finished):
    workdir = finished[0]
    validated = json.loads((workdir / "results.json").read_text())
    done(f"--workdir={workdir}", module="hypjax.evaluate")
    tested = json.loads((workdir / "results.json").read_text())
    for figures, prefix in ((validated, "validation/"), (tested, "")):
        assert 0 <= figures[f"{prefix}recall@1"] <= 1
        assert 0 < figures[f"{prefix}radius_mean"] < default_settings().head.clip_radius
    assert 0 <= tested["nmi"] <= 1
    assert json.loads((workdir / explore.KEPT).read_text())["geometry"] == NAME
    assert "poincare:5+sphere@0.5, c = 0.1" in (workdir / "report.html").read_text()


@pytest.mark.slow
def test_the_disk_shows_the_hyperbolic_part(finished):
    index = embeddings.read(finished[2])
    world = explore.explore(index).world
    assert world["how"].startswith(f"of {NAME} the poincare part is shown: every distance from the origin is exact")
    radii = np.sqrt(index.about["curvature"]) * np.linalg.norm(index.points[:, :5], axis=1)
    np.testing.assert_allclose(np.hypot(world["x"], world["y"]), radii, atol=1e-5)
    assert explore.place(index.points[7], world) == pytest.approx((world["x"][7], world["y"][7]), abs=1e-5)
    space = geometry.named(NAME, index.about["curvature"])
    nearest = np.asarray(space.pairwise_dist(index.points, index.points)) + np.diag(np.full(40, np.inf))
    assert [row[0] for row in world["neighbors"]] == nearest.argmin(axis=1).tolist()


@pytest.mark.slow
def test_no_index_goes_by_inner_products(finished):
    with pytest.raises(UsageError, match=f"goes by inner products, and {re.escape(NAME)} by a sum of distances"):
        open_gallery(str(finished[2]), approximate="ivf_pq")


@pytest.mark.slow
def test_a_server_finds_what_the_search_does(finished, monkeypatch):
    workdir, folder, path = finished
    index = embeddings.read(path)
    monkeypatch.setattr(answering, "SIZES", (1,))
    model = trained.load(Run.open(workdir), batch=8)
    held = resident.Resident(model, str(path), workdir=str(workdir))
    with served(application.create_app(held)) as port:
        status, _, found = post_picture(port, "/search", (folder / "class 3" / "1.png").read_bytes(), k=5)
    space = geometry.named(NAME, index.about["curvature"])
    distances = np.asarray(space.pairwise_dist(index.points[13:14], index.points))[0]
    assert status == 200
    assert [hit["path"] for hit in found["neighbors"]] == [index.pictures[i].path for i in np.argsort(distances)[:5]]
