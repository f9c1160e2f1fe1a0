import io
import json
import os
import shutil
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from PIL import Image

from hypjax import embed
from hypjax.serving import application, openapi
from hypjax.stores import embeddings
from tests.serving.asking import get, post_json, post_picture, request, served


def picture_of(indexed, label=2, number=1):
    return (indexed.photos / f"class {label}" / f"{number}.png").read_bytes()


def test_an_uploaded_picture_finds_itself_and_a_path_does_not(indexed, port):
    status, headers, found = post_picture(port, "/search", picture_of(indexed), k=4)
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
    picture = picture_of(indexed, 4, 0)
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


def test_a_calibrated_index_says_how_likely_its_first_answer_is_wrong(indexed, port):
    _, _, found = post_json(port, "/search", {"path": "class 2/1.png"})
    assert 0 < found["p_wrong"] < 1
    assert found["words"][0] == f"the first is wrong with probability {found['p_wrong']:.2f}"
    assert (found["given"], found["enough"], found["higher"]) == (None, 0, "")
    _, _, careful = post_json(port, "/search", {"path": "class 2/1.png", "risk": 0.01})
    assert (careful["given"], careful["p_wrong"]) == (False, found["p_wrong"])  # 18 images prove nothing of the kind
    assert "not sure enough to be answered; what lies nearest:" in careful["words"]
    assert careful["enough"] > 0


def test_a_filter_leaves_what_fulfills_it(indexed, port):
    sent = {"path": "class 2/1.png", "where": 'path like "class 3/%"', "k": 9}
    status, _, found = post_json(port, "/search", sent)
    assert status == 200
    assert sorted(hit["path"] for hit in found["neighbors"]) == [f"class 3/{i}.png" for i in range(3)]
    assert found["p_wrong"] is None  # the calibration is of the whole index, and the run has none
    status, _, told = post_json(port, "/search", {**sent, "risk": 0.1})
    assert (status, "of the whole index" in told["error"]) == (400, True)


def test_the_index_is_described(indexed, port):
    _, _, about = get(port, "/about")
    assert (about["count"], about["folder"], about["geometry"]) == (18, "holidays & <b>more", "poincare")
    assert (about["calibrated"], about["levels"], about["risks"]) == (True, ["class"], [0.05, 0.1, 0.2])
    assert (about["proven"], about["notices"]) == ([], [])  # 18 images prove nothing of the kind
    assert about["promises"].keys() == {"0.05", "0.1", "0.2"}
    assert "at most 20% of them are wrong is proven by no threshold" in about["promises"]["0.2"]
    _, _, world = get(port, "/map")
    assert sorted(world["paths"]) == sorted(picture.path for picture in embeddings.read(indexed.index).pictures)
    assert max(np.hypot(world["x"], world["y"])) < 1
    assert world["levels"][0]["names"] == [f"class {label}" for label in range(6)]
    place = world["paths"].index("class 1/0.png")
    _, _, found = post_json(port, "/search", {"path": "class 1/0.png"})
    assert (found["query"]["x"], found["query"]["y"]) == pytest.approx((world["x"][place], world["y"][place]), abs=1e-5)


def test_the_queue_begins_with_the_least_sure(indexed, port):
    _, _, queue = get(port, "/queue?limit=5")
    index = embeddings.read(indexed.index)
    order = np.argsort(-index.uncertainty, kind="stable")[:5]
    assert [item["path"] for item in queue["items"]] == [index.pictures[row].path for row in order]
    assert [item["label"] for item in queue["items"]] == [item["path"].split("/")[0] for item in queue["items"]]
    for item in queue["items"]:
        _, _, found = post_json(port, "/search", {"path": item["path"]})
        assert item["p_wrong"] == pytest.approx(found["p_wrong"])


def test_thumbnails_are_small_and_known_again(indexed, port):
    status, headers, jpeg = get(port, "/image?path=class%200/2.png&side=16")
    image = Image.open(io.BytesIO(jpeg))
    assert (status, headers["content-type"], image.format, max(image.size)) == (200, "image/jpeg", "JPEG", 16)
    status, _, none = get(port, "/image?path=class%200/2.png&side=16", **{"if-none-match": headers["etag"]})
    assert (status, none) == (304, b"")


def test_what_is_not_indexed_or_leads_out_is_shown_to_nobody(indexed, tmp_path):
    """Neither a file beside those of the index, nor an indexed link that was bent since."""
    photos, index = tmp_path / "photos", tmp_path / "index.npz"
    shutil.copytree(indexed.photos, photos)
    (photos / "class 0" / "secret.png").write_bytes(picture_of(indexed))
    (photos / "class 0" / "0.png").unlink()
    (photos / "class 0" / "0.png").symlink_to(indexed.photos / "class 0" / "0.png")
    (photos / "class 0" / "1.png").unlink()
    (photos / "class 0" / "2.png").write_bytes(b"no picture any more")
    held = embeddings.read(indexed.plain)
    embeddings.write(index, held._replace(about={**held.about, "root": str(photos)}))
    with served(application.create_app(indexed.hold(index))) as port:
        assert get(port, "/image?path=class%201/0.png")[0] == 200
        for path in ("class%200/secret.png", "class%200/0.png", "class%200/1.png", "class%200/2.png"):
            assert get(port, f"/image?path={path}")[0] == 404


def test_a_name_that_is_no_utf8_is_told_and_understood(indexed, tmp_path):
    held = embeddings.read(indexed.plain)
    strange = held.pictures[0]._replace(path="caf\udce9 <b>☕.png")
    embeddings.write(tmp_path / "index.npz", held._replace(pictures=[strange, *held.pictures[1:]]))
    with served(application.create_app(indexed.hold(tmp_path / "index.npz"))) as port:
        _, _, found = post_json(port, "/search", {"vector": held.points[0].tolist(), "k": 1})
        assert found["neighbors"][0]["path"] == strange.path
        assert post_json(port, "/search", {"path": strange.path})[2]["query"]["path"] == strange.path
        assert strange.path in get(port, "/map")[2]["paths"]
        assert strange.path in [item["path"] for item in get(port, "/queue")[2]["items"]]
        status, _, told = post_json(port, "/search", {"path": "caf\udce8"})
        assert (status, told) == (404, {"error": "the index holds no image 'caf\\udce8'"})


def test_many_at_once_are_answered_as_one_at_a_time(indexed, port):
    def ask(number):
        kind, label = number % 3, number % 6
        if kind == 0:
            return post_picture(port, "/search", picture_of(indexed, label, 0), k=3 + number % 4, risk=0.2)[2]
        fields = {"path": f"class {label}/1.png", "k": 1 + number % 5}
        return post_json(port, "/search", fields | ({"where": "uncertainty > 0"} if kind == 1 else {}))[2]

    alone = [ask(number) for number in range(24)]
    with ThreadPoolExecutor(24) as pool:
        together = list(pool.map(ask, range(24)))
    for one, same in zip(alone, together, strict=True):
        assert [hit["path"] for hit in one["neighbors"]] == [hit["path"] for hit in same["neighbors"]]
        told, again = ([hit["distance"] for hit in found["neighbors"]] for found in (one, same))
        np.testing.assert_allclose(told, again, atol=1e-4)
        assert (one["given"], one["query"]["path"]) == (same["given"], same["query"]["path"])
        assert (one["p_wrong"] is None) == (same["p_wrong"] is None)


def test_counts_are_told_to_prometheus(indexed, port):
    post_json(port, "/search", {"path": "class 0/0.png"})
    get(port, "/no/such/address")
    status, headers, text = get(port, "/metrics")
    lines = dict(line.rsplit(" ", 1) for line in text.decode().splitlines() if not line.startswith("#"))
    assert (status, headers["content-type"].split(";")[0]) == (200, "text/plain")
    assert int(lines['hypjax_requests_total{path="/search",status="200"}']) >= 1
    assert int(lines['hypjax_requests_total{path="other",status="404"}']) >= 1
    assert (
        lines['hypjax_request_seconds_bucket{path="/search",le="+Inf"}']
        == (lines['hypjax_request_seconds_count{path="/search"}'])
    )
    assert int(lines["hypjax_batch_size_count"]) >= 1
    assert (lines["hypjax_index_images"], float(lines["process_resident_memory_bytes"]) > 1e7) == ("18", True)


def test_a_token_opens_what_is_not_the_page(indexed):
    with served(application.create_app(indexed.hold(indexed.index), token="sesame")) as port:
        for path in ("/healthz", "/docs", "/openapi.json"):
            assert get(port, path, host="photos.example")[0] == 200
        for headers in ({}, {"authorization": "Bearer sesam"}, {"authorization": "Basic sesame"}):
            status, told, body = get(port, "/about", **headers)
            assert (status, told["www-authenticate"]) == (401, "Bearer")
            assert body["error"].startswith("the token is missing or another")
            assert get(port, "/image?path=class%200/0.png", **headers)[0] == 401
            assert post_json(port, "/search", {"path": "class 0/0.png"}, **headers)[0] == 401
        assert get(port, "/about", authorization="Bearer sesame", host="photos.example")[0] == 200


def test_the_page_is_served_as_it_lies_in_its_folders(indexed, tmp_path, monkeypatch):
    (tmp_path / "page").mkdir()
    (tmp_path / "page" / "index.html").write_text("<!DOCTYPE html><title>found</title>")
    (tmp_path / "page" / "hidden.py").write_text("secret = 1")
    monkeypatch.setattr(application.resources, "files", lambda package: tmp_path)
    monkeypatch.setattr(application, "FOLDERS", (("anything", "page"), ("anything", "not there")))
    with served(application.create_app(indexed.hold(indexed.plain), token="sesame")) as port:
        for path in ("/", "/page/index.html"):
            status, headers, page = get(port, path)
            assert (status, headers["content-type"]) == (200, "text/html; charset=utf-8")
            assert b"found" in page
            assert (
                "default-src 'self'; img-src 'self' blob: data:; style-src 'self'"
                in (headers["content-security-policy"])
            )
        for path in ("/page/hidden.py", "/page/..%2fsecret", "/page/none.js"):
            assert get(port, path)[0] == 404


def test_the_document_names_every_address_and_the_page_loads_nothing(indexed, port):
    _, _, document = get(port, "/openapi.json")
    assert document == json.loads(json.dumps(openapi.DOCUMENT))
    for path, methods in document["paths"].items():
        for method in methods:
            status, _, _ = request(port, method.upper(), path, b"{}", {"content-type": "application/json"})
            assert status not in (405, 500), path
            assert (status == 404) <= (path in ("/", "/image")), path
    status, headers, page = get(port, "/docs")
    assert (status, headers["content-type"]) == (200, "text/html; charset=utf-8")
    assert b"src=" not in page
    assert b"href=" not in page
    assert b"POST /search" in page


@pytest.mark.slow
def test_an_index_replaced_while_it_is_searched_answers_as_one_or_the_other(indexed, tmp_path):
    index, whole = tmp_path / "index.npz", embeddings.read(indexed.plain)
    half = whole._replace(points=whole.points[::2], uncertainty=whole.uncertainty[::2], pictures=whole.pictures[::2])
    embeddings.write(index, whole)
    vector = {"vector": whole.points[3].tolist(), "k": 18}
    with served(application.create_app(indexed.hold(index), look=0.02)) as port:
        states = {18: post_json(port, "/search", vector)[2]["neighbors"]}
        embeddings.write(index, half)
        wait(port, 1)
        states[9] = post_json(port, "/search", vector)[2]["neighbors"]
        assert [len(found) for found in states.values()] == [18, 9]
        seen = set()
        for changes in range(2, 8):
            embeddings.write(index, (half, whole)[changes % 2 == 0])
            for _ in range(10):
                status, _, found = post_json(port, "/search", vector)
                assert status == 200
                assert found["neighbors"] == states[len(found["neighbors"])]
                seen.add(len(found["neighbors"]))
            wait(port, changes)
        assert seen == {9, 18}
        assert len(get(port, "/map")[2]["paths"]) == get(port, "/about")[2]["count"] == 9


def test_an_index_of_another_model_or_a_damaged_one_does_not_replace_the_one_that_answers(indexed, tmp_path):
    index = tmp_path / "index.npz"
    for name in ("index.npz", "index.calibration.npz"):
        shutil.copy(indexed.root / name, tmp_path)
    whole = embeddings.read(index)
    with served(application.create_app(indexed.hold(index), look=0.02)) as port:
        embeddings.write(index, whole._replace(about={**whole.about, "model": "other"}))
        assert wait(port, 0, "made by another model")["count"] == 18
        index.write_bytes(b"damaged")
        wait(port, 0, "is no whole file of embeddings")
        index.unlink()
        wait(port, 0, "is gone; what it held still answers")
        assert post_json(port, "/search", {"path": "class 0/0.png", "risk": 0.3})[0] == 200
        fewer = whole._replace(points=whole.points[1:], uncertainty=whole.uncertainty[1:], pictures=whole.pictures[1:])
        embeddings.write(index, fewer)
        assert wait(port, 1, "changed since index.calibration.npz was made")["count"] == 17
        about = get(port, "/about")[2]
        assert (about["promises"], about["notices"]) == ({}, get(port, "/healthz")[2]["notices"])
        assert post_json(port, "/search", {"path": "class 1/0.png"})[2]["changes"] == about["changes"] == 1
        status, _, told = post_json(port, "/search", {"path": "class 0/1.png", "risk": 0.3})
        assert (status, "risk cannot be kept to" in told["error"]) == (400, True)
        assert post_json(port, "/search", {"path": "class 0/0.png"})[0] == 404
        os.utime(index)
        wait(port, 2)


def wait(port, changes, notice=""):
    """Until the index has changed so often and that is said of it; what is said then."""
    for _ in range(1000):
        health = get(port, "/healthz")[2]
        if health["changes"] == changes and notice in "".join(health["notices"]):
            return health
    raise AssertionError(health)


@pytest.mark.slow
def test_a_database_is_served_as_a_file_is(indexed, port, tmp_path):
    address = f"milvus:{tmp_path / 'photos.db'}"
    embed.main(["embed", f"--workdir={indexed.workdir}", f"--images={indexed.photos}", f"--out={address}"])
    with served(application.create_app(indexed.hold(address), look=0.02)) as other:
        for sent in ({"path": "class 3/1.png", "k": 5}, {"path": "class 3/1.png", "where": 'label == "class 4"'}):
            in_file, in_database = (post_json(at, "/search", sent)[2] for at in (port, other))
            told = [[(hit["path"], hit["distance"]) for hit in found["neighbors"]] for found in (in_file, in_database)]
            assert [path for path, _ in told[0]] == [path for path, _ in told[1]]
            np.testing.assert_allclose([far for _, far in told[0]], [far for _, far in told[1]], atol=1e-5)
        status, _, refused = post_json(other, "/search", {"path": "class 3/1.png", "risk": 0.1})
        assert (status, "this index is a database" in refused["error"]) == (400, True)
        assert sorted(get(other, "/map")[2]["paths"]) == sorted(get(port, "/map")[2]["paths"])
        queued = [[item["path"] for item in get(at, "/queue")[2]["items"]] for at in (port, other)]
        assert queued[0] == queued[1]
        assert get(other, "/image?path=class%203/1.png")[0] == 200
