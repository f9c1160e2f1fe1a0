import numpy as np
import pytest

from hypjax.data.unlabeled import Picture
from hypjax.serving.resident import Resident
from hypjax.stores import embeddings


@pytest.mark.slow
def test_an_approximate_index_is_made_anew_with_its_file_and_judges_nothing(indexed, tmp_path):
    pytest.importorskip("faiss")
    held, path = embeddings.read(indexed.index), tmp_path / "more.npz"

    def save(count):
        points = np.random.default_rng(count).normal(size=(count, held.coordinates)).astype(np.float32)
        pictures = [Picture(f"{i}.png", 1, 1) for i in range(count)]
        uncertainty = np.ones(count, np.float32)
        embeddings.write(path, held._replace(points=0.1 * points, pictures=pictures, uncertainty=uncertainty))

    save(300)
    model = indexed.hold(indexed.plain).model
    resident = Resident(model, str(path), workdir=str(indexed.workdir), approximate="ivf_pq")
    first = resident.snapshot
    save(310)
    assert resident.refresh()
    for snapshot, count in ((first, 300), (resident.snapshot, 310)):
        points = snapshot.gallery.sample(count).points
        assert [hits[0].row for hits in snapshot.gallery.nearest(points, 1)] == list(range(count))
        assert snapshot.gallery.approximate.recall >= 0.97
        assert "exact answers" in snapshot.notice
        assert snapshot.calibrated is None
    save(20)
    assert not resident.refresh()
    assert "too few" in resident.notice
