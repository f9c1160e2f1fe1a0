import numpy as np
import pytest

from hypjax.stores import embeddings
from tests.serving.asking import post_json, post_picture


def test_an_uploaded_picture_finds_itself_and_a_path_does_not(indexed, port):
    picture = (indexed.photos / "class 2" / "1.png").read_bytes()
    status, headers, found = post_picture(port, "/search", picture, k=4)
    assert (status, headers["x-content-type-options"]) == (200, "nosniff")
    assert next(hit["path"] for hit in found["neighbors"]) == "class 2/1.png"
    assert found["neighbors"][0]["distance"] == pytest.approx(0, abs=1e-4)
    assert (len(found["neighbors"]), found["query"]["path"]) == (4, None)
    status, _, by_path = post_json(port, "/search?k=3", {"path": "class 2/1.png"})
    assert status == 200
    assert [hit["path"] for hit in by_path["neighbors"]] == [hit["path"] for hit in found["neighbors"]][1:]
    assert by_path["query"]["path"] == "class 2/1.png"
    assert by_path["query"]["uncertainty"] == pytest.approx(found["query"]["uncertainty"], abs=1e-5)


def test_an_embedding_searches_as_its_picture_does(indexed, port):
    picture = (indexed.photos / "class 4" / "0.png").read_bytes()
    _, _, embedded = post_picture(port, "/embed", picture)
    index = embeddings.read(indexed.index)
    row = [held.path for held in index.pictures].index("class 4/0.png")
    np.testing.assert_allclose(embedded["point"], index.points[row], atol=1e-5)
    assert embedded["uncertainty"] == pytest.approx(float(index.uncertainty[row]), abs=1e-5)
    _, _, by_picture = post_picture(port, "/search", picture)
    sent = {"vector": embedded["point"], "uncertainty": embedded["uncertainty"]}
    _, _, by_vector = post_json(port, "/search", sent)
    assert by_vector == by_picture
    _, _, unjudged = post_json(port, "/search", {"vector": embedded["point"]})
    assert unjudged["neighbors"] == by_picture["neighbors"]
    assert (unjudged["p_wrong"], unjudged["query"]["uncertainty"], unjudged["words"]) == (None, None, [])
