import numpy as np
import pytest

from hypjax.data.errors import UsageError
from hypjax.data.unlabeled import Picture
from hypjax.retrieval import ApproximateIndex
from hypjax.stores import beside, calibrations, embeddings
from hypjax.stores.gallery import open_gallery

pytest.importorskip("faiss")

M = 400
ABOUT = {"geometry": "poincare", "distance": "geodesic", "curvature": 0.5, "root": "photos", "model": "m"}
ABOUT |= {"run": "hyp_uml", "step": 1}


def save(path, *, m=M, seed=0, **about):
    """A file of embeddings of m points of the ball."""
    rng = np.random.default_rng(seed)
    points = (rng.normal(size=(m, 8)) * 0.2).astype(np.float32)
    pictures = [Picture(f"{i % 2}/{i}.png", 1, 1) for i in range(m)]
    held = embeddings.Embeddings(points, rng.uniform(size=m).astype(np.float32), pictures, [], ABOUT | about)
    embeddings.write(path, held)
    return str(path)


@pytest.fixture
def built(monkeypatch):
    """The indices that were made, one after the other, and not read."""
    made, build = [], ApproximateIndex._built

    def counted(self, rng):
        made.append(self)
        return build(self, rng)

    monkeypatch.setattr(ApproximateIndex, "_built", counted)
    return made


@pytest.mark.slow
def test_it_is_made_once_and_answers_as_an_exact_search(tmp_path, built):
    path = save(tmp_path / "a.npz")
    exact, first, second = open_gallery(path), *(open_gallery(path, approximate="ivf_pq") for _ in range(2))
    assert len(built) == 1
    assert (tmp_path / "a.ivf_pq").is_file()
    assert beside.told(second.approximate) == beside.told(first.approximate)
    queries = exact.embeddings.points[:20]
    for where in ("", "label == '1'"):
        expected = exact.nearest(queries, 5, where=where)
        found, again = first.nearest(queries, 5, where=where), second.nearest(queries, 5, where=where)
        assert found == again
        same = [a == b for pair in zip(found, expected, strict=True) for a, b in zip(*pair, strict=True)]
        assert np.mean(same) > 0.95
    own = [picture.path for picture in exact.embeddings.pictures[:20]]
    for path, hits in zip(own, first.nearest(queries, 5, leave_out=own), strict=True):
        assert path not in [hit.path for hit in hits]
    np.testing.assert_array_equal(first.find("1/3.png")[0], exact.find("1/3.png")[0])
    np.testing.assert_array_equal(first.sample(9).points, exact.sample(9).points)


def test_one_that_is_of_other_points_or_damaged_is_made_anew(tmp_path, built):
    path = save(tmp_path / "a.npz")
    open_gallery(path, approximate="hnsw")
    save(tmp_path / "a.npz", seed=1)
    gallery = open_gallery(path, approximate="hnsw")
    assert len(built) == 2
    assert gallery.nearest(gallery.embeddings.points[7:8], 1)[0][0].row == 7
    kept = tmp_path / "a.hnsw"
    kept.write_bytes(kept.read_bytes()[:-100])
    open_gallery(path, approximate="hnsw")
    open_gallery(path, approximate="hnsw")
    assert len(built) == 3


def test_what_cannot_be_kept_is_made_each_time(tmp_path, capsys):
    path = save(tmp_path / "a.npz")
    (tmp_path / "a.ivf_pq").mkdir()
    assert open_gallery(path, approximate="ivf_pq").approximate.recall >= 0.97
    assert "cannot be kept" in capsys.readouterr().out


def test_what_has_no_approximate_index_is_refused(tmp_path):
    with pytest.raises(UsageError, match="hybrid"):
        open_gallery(save(tmp_path / "h.npz", distance="hybrid"), approximate="ivf_pq")
    with pytest.raises(UsageError, match="20 points are too few"):
        open_gallery(save(tmp_path / "s.npz", m=20), approximate="ivf_pq")
    with pytest.raises(UsageError, match="database"):
        open_gallery(f"milvus:{tmp_path}/a.db", approximate="ivf_pq")


def test_a_calibration_is_of_exact_answers(tmp_path):
    path = save(tmp_path / "a.npz")
    gallery = open_gallery(path, approximate="ivf_pq")
    with pytest.raises(UsageError, match="exact answers"):
        calibrations.of_search(gallery, path, where="", risk=0.1)
    assert calibrations.of_search(gallery, path, where="", risk=None) is None
