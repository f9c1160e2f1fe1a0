import json
import re
import shutil
from html import unescape
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from hypjax import calibrate, embed, search
from hypjax.data.errors import DataError, UsageError
from hypjax.data.unlabeled import Picture
from hypjax.retrieval import Probability
from hypjax.run import Run, trained
from hypjax.stores import embeddings
from hypjax.stores.gallery import searcher
from tests.pictures import save_pictures, untrained_run


@pytest.fixture(scope="module")
def indexed(tmp_path_factory):
    """A workdir, a folder with a name that HTML would trip over, and its index."""
    root = tmp_path_factory.mktemp("search")
    workdir, photos = untrained_run()[0], save_pictures(root / "holidays & <b>more")
    embed.main(["embed", f"--workdir={workdir}", f"--images={photos}", f"--out={root / 'index.npz'}"])
    return workdir, photos, root / "index.npz"


def run(workdir, index, *more):
    search.main(["search", f"--workdir={workdir}", f"--index={index}", *map(str, more)])


@pytest.mark.slow
def test_the_nearest_are_listed_by_exact_distance_without_the_query_itself(indexed, capsys):
    workdir, photos, path = indexed
    run(workdir, path, f"--query={photos / 'class 2' / '1.png'}", "--k=4")
    title, heading, *lines = capsys.readouterr().out.strip().splitlines()
    index = embeddings.read(path)
    points, row = index.points.astype(np.float64), 7
    square = np.sum((points - points[row]) ** 2, axis=1)
    gaps = 1 - 0.1 * np.sum(points**2, axis=1)
    distances = 2 / np.sqrt(0.1) * np.arcsinh(np.sqrt(0.1 * square / (gaps * gaps[row])))
    assert index.pictures[row].path == "class 2/1.png"
    assert title.endswith(f"class 2/1.png  (uncertainty {index.uncertainty[row]:.3f})")
    order = [i for i in np.argsort(distances, kind="stable") if i != row][:4]
    assert [line.split()[0] for line in lines] == ["1", "2", "3", "4"]
    assert [line.split(maxsplit=3)[3] for line in lines] == [index.pictures[i].path for i in order]
    assert [float(line.split()[1]) for line in lines] == pytest.approx(distances[order], abs=1e-4)
    assert [float(line.split()[2]) for line in lines] == pytest.approx(index.uncertainty[order], abs=1e-3)
    assert len({line.index(line.split()[1]) + len(line.split()[1]) for line in lines}) == 1  # aligned
    assert "distance" in heading


@pytest.mark.slow
def test_the_gallery_shows_every_query_in_one_file(indexed, tmp_path, capsys):
    workdir, photos, path = indexed
    elsewhere = tmp_path / "q <i>.png"
    shutil.copy(photos / "class 0" / "0.png", elsewhere)
    out = tmp_path / "pages" / "gallery.html"
    run(workdir, path, f"--query={elsewhere}", f"--query={photos / 'class 1'}", "--k=3", f"--out={out}")
    page = out.read_text(encoding="utf-8")
    printed = capsys.readouterr().out
    assert page.count('class="query"') == 4
    assert page.count("data:image/jpeg;base64,") == 4 * (1 + 3)
    assert not re.findall(r"(?:src|href)=\"(?!data:)", page)
    assert "<i>" not in page
    assert "<b>more" not in page
    assert "holidays & <b>more (index.npz)" in unescape(page)
    # A copy that lies elsewhere finds the original at distance 0.
    assert "1. <b>d 0.000</b>" in page
    distances = re.findall(r"^ +\d+ +(\d\.\d+)", printed, re.MULTILINE)
    shown = [float(value) for value in re.findall(r"<b>d ([\d.]+)</b>", page)]
    assert shown == pytest.approx([float(value) for value in distances], abs=6e-4)  # of which each was rounded alone


@pytest.mark.slow
def test_moved_images_are_found_where_they_are_now(indexed, tmp_path):
    workdir, photos, path = indexed
    whole = embeddings.read(path)
    moved = tmp_path / "moved.npz"
    embeddings.write(moved, whole._replace(about={**whole.about, "root": str(tmp_path / "gone")}))
    query, out = f"--query={photos / 'class 1' / '0.png'}", tmp_path / "gallery.html"
    run(workdir, moved, query, "--k=2", f"--out={out}")
    assert out.read_text().count("the file is not there") == 2
    run(workdir, moved, query, "--k=2", f"--out={out}", f"--images={photos}")
    assert "the file is not there" not in out.read_text()
    assert "d 0.000" not in out.read_text()  # known again as one of the indexed files


@pytest.mark.slow
def test_k_beyond_the_index_lists_all_there_is(indexed, capsys):
    workdir, photos, path = indexed
    run(workdir, path, f"--query={photos / 'class 1' / '0.png'}", "--k=100")
    assert len(capsys.readouterr().out.strip().splitlines()) == 2 + 17


def test_a_hybrid_distance_is_searched_without_an_index():
    """No inner product orders by it; here it orders by the second coordinate alone."""
    points = np.array([[0.0, 3.0], [0.0, 1.0], [9.0, 2.0]], np.float32)
    about = {"geometry": "poincare", "distance": "hybrid", "curvature": 0.1}
    pictures = [Picture(name, 1, 1) for name in ("a.png", "b.png", "c.png")]
    index = embeddings.Embeddings(points, points[:, 0], pictures, [], about)
    space = SimpleNamespace(distance=lambda x, y: abs(x[:, 1:] - y[:, 1:].T))
    indices, distances = searcher(index, space)(points[[0, 1]], np.array([-1, 1]), 2)
    np.testing.assert_array_equal(indices, [[0, 2], [2, 0]])
    np.testing.assert_array_equal(distances, [[0, 1], [1, 2]])
    with pytest.raises(UsageError, match="a hybrid distance has no order of inner products"):
        searcher(index)(points[[0, 1]], np.array([-1, 1]), 2)


@pytest.mark.slow
def test_a_calibrated_index_says_how_likely_its_first_answer_is_wrong(indexed, tmp_path, capsys):
    workdir, photos, path = indexed
    query = f"--query={photos / 'class 2' / '1.png'}"
    path = Path(shutil.copy(path, tmp_path))
    with pytest.raises(UsageError, match=r"--risk needs to know how often .* first python -m hypjax.calibrate --index"):
        run(workdir, path, query, "--risk=0.1")
    calibrate.main(["calibrate", f"--index={path}"])
    capsys.readouterr()
    run(workdir, path, query, "--k=1")
    title, _, line = capsys.readouterr().out.strip().splitlines()
    assert line.startswith("   1 ")
    probability = float(re.search(r"the first is wrong with probability (0\.\d\d)\)$", title)[1])
    assert 0 < probability < 1
    run(workdir, path, query, "--risk=0.01")  # 18 images prove nothing of the kind
    promise, _, title, unsure, *lines = capsys.readouterr().out.strip().splitlines()
    assert promise.startswith("no answer is sure enough: that at most 1% of them are wrong is proven by no threshold")
    assert (unsure.strip(), len(lines)) == ("not sure enough to be answered; what lies nearest:", 11)
    with pytest.raises(UsageError, match=r"--risk must lie in \(0, 1\), not 1.5"):
        run(workdir, path, query, "--risk=1.5")


@pytest.mark.slow
def test_a_run_that_is_calibrated_tells_chances_before_a_search(indexed, tmp_path, capsys):
    """They are of another gallery, and it says so."""
    workdir, photos = tmp_path / "run", indexed[1]
    shutil.copytree(indexed[0], workdir)
    of_u = Probability(np.array([0.5]), -1.0, np.array([0.45]), np.array([0.01]))
    held = {"made": {"before": of_u.as_dict()}, "size": 4282, "classes": 291, "step": 0}
    (workdir / "calibration.json").write_text(json.dumps(held))
    path = tmp_path / "index.npz"
    embed.main(["embed", f"--workdir={workdir}", f"--images={photos}", f"--out={path}"])
    with np.load(path) as file:
        np.testing.assert_allclose(file["p_wrong"], of_u(file["uncertainty"][:, None]), rtol=1e-6)
    capsys.readouterr()
    run(workdir, path, f"--query={photos / 'class 2' / '1.png'}", "--k=1")
    said, _, title, *_ = capsys.readouterr().out.strip().splitlines()
    assert said.startswith(f"{path} is not calibrated: chances are told from u alone, as learned among 4,282 images")
    assert re.search(r"the first is wrong with probability 0\.\d\d\)$", title)
    held["step"] = 7  # of another state
    (workdir / "calibration.json").write_text(json.dumps(held))
    assert trained.load(Run.open(workdir)).calibration is None


@pytest.mark.slow
def test_an_index_of_another_model_is_refused(indexed, tmp_path):
    workdir, photos, path = indexed
    whole = embeddings.read(path)
    embeddings.write(tmp_path / "a.npz", whole._replace(about={**whole.about, "model": "other", "run": "hyp_vit"}))
    with pytest.raises(UsageError, match=r"made by another model \(hyp_vit, step 0\) than .* \(step 0\) holds"):
        run(workdir, tmp_path / "a.npz", f"--query={photos / 'class 1' / '0.png'}")


@pytest.mark.slow
def test_a_query_that_is_no_image_is_named(indexed, tmp_path):
    workdir, _, path = indexed
    (tmp_path / "a.jpg").write_bytes(b"no picture")
    with pytest.raises(DataError, match=r"a\.jpg: cannot decode this image"):
        run(workdir, path, f"--query={tmp_path / 'a.jpg'}")
    with pytest.raises(DataError, match=r"none\.png does not exist"):
        run(workdir, path, f"--query={tmp_path / 'none.png'}")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "--workdir is missing"),
        (["--workdir=w", "--index=i"], "--query is missing"),
        (["--workdir=w", "--index=i", "--query=q", "--k=0"], "--k must be at least 1"),
        (["--workdir=w", "--index=i", "--query=q"], "w holds no run"),
    ],
)
def test_bad_usage_is_named(words, message):
    with pytest.raises(UsageError, match=message):
        search.main(["search", *words])


@pytest.mark.slow
def test_an_index_that_is_not_there_is_named_with_the_command_that_makes_it(indexed):
    with pytest.raises(UsageError, match=r"/no/such.npz does not exist: python -m hypjax.embed"):
        run(indexed[0], "/no/such.npz", "--query=q")


@pytest.mark.slow
def test_an_approximate_search_says_what_it_is_worth_and_promises_nothing(indexed, tmp_path, capsys):
    pytest.importorskip("faiss")
    workdir, photos, path = indexed
    held = embeddings.read(path)
    points = np.random.default_rng(0).normal(size=(300, held.coordinates)).astype(np.float32)
    more = np.concatenate([held.points, 0.1 * points])
    pictures = [*held.pictures, *(Picture(f"more/{i}.png", 1, 1) for i in range(300))]
    embeddings.write(
        tmp_path / "more.npz", held._replace(points=more, pictures=pictures, uncertainty=np.ones(len(more)))
    )
    asking = f"--query={photos / 'class 2' / '1.png'}"
    run(workdir, tmp_path / "more.npz", asking, "--k=3")
    expected = capsys.readouterr().out
    for _ in range(2):
        run(workdir, tmp_path / "more.npz", asking, "--k=3", "--approximate=ivf_pq")
        said, _, found = capsys.readouterr().out.partition("\n\n")
        assert re.fullmatch(
            r"approximate search \(ivf_pq\): of 10 nearest (100|9\d)\.\d% are found, as 256 .* asked", said
        )
        assert found == expected
    assert (tmp_path / "more.ivf_pq").is_file()
    for words, message in (("--risk=0.1", "exact answers"), ("--approximate=flat", "flat")):
        with pytest.raises(UsageError, match=message):
            run(workdir, tmp_path / "more.npz", asking, "--approximate=hnsw", words)
    with pytest.raises(UsageError, match="18 points are too few"):
        run(workdir, path, asking, "--approximate=ivf_pq")
