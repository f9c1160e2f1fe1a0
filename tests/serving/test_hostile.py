"""Each hostile request gets a 4xx with one line of JSON, and the server goes on."""

import contextlib
import http.client
import io
import json
import socket
import struct
import time
import zlib

import pytest
from PIL import Image

from hypjax.serving import application, connections
from tests.serving.asking import form, get, post_json, post_picture, request, served, talk

JSON = {"content-type": "application/json"}


def bomb(width=50_000, height=50_000):
    """A PNG of a hundred bytes that says that it has 2.5 thousand million pixels."""

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    parts = [chunk(b"IHDR", head), chunk(b"IDAT", zlib.compress(b"\0" * 9)), chunk(b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


def encoded(kind, size=(16, 16)):
    file = io.BytesIO()
    Image.new("RGB", size, "red").save(file, kind)
    return file.getvalue()


PICTURES = {
    "a bomb": (bomb(), "pixels"),
    "text": (b"I am a picture", "not an image"),
    "nothing": (b"", "empty"),
    "half a picture": (encoded("JPEG", (200, 200))[:900], "truncated"),
    "a format that is not on the list": (encoded("ICO"), "not an image"),
    "a script": (b'<svg xmlns="http://www.w3.org/2000/svg"><script>1</script></svg>', "not an image"),
    "PostScript": (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "not an image"),
}


def refused(answer, status, words=""):
    """Checks that an answer is a refusal of one line."""
    found, _, body = answer
    assert (found, list(body)) == (status, ["error"]), body
    assert body["error"]
    assert "\n" not in body["error"]
    assert words in body["error"]


@pytest.mark.parametrize("name", PICTURES)
@pytest.mark.parametrize("path", ["/search", "/embed"])
def test_what_is_no_picture_is_refused(port, name, path):
    picture, words = PICTURES[name]
    refused(post_picture(port, path, picture, name="cat.jpg"), 415, words)
    assert get(port, "/healthz")[0] == 200


@pytest.mark.parametrize("kind", ["PNG", "GIF", "BMP", "WEBP", "TIFF", "JPEG"])
def test_a_picture_is_known_by_its_bytes(port, kind):
    assert post_picture(port, "/embed", encoded(kind), name="not a picture.exe")[0] == 200


BODIES = {
    "no JSON": (b"{", JSON, 400, "no JSON document"),
    "no object": (b"[1]", JSON, 400, "no JSON object"),
    "very deep": (b"[" * 100_000, JSON, 400, "no JSON document"),
    "no text": (b"\xff\xfe\xfa", JSON, 400, "no JSON document"),
    "a document of 300 kB of a million": (b" " * 300_001, JSON, 413, "300,000 bytes"),
    "another kind": (b"x", {"content-type": "text/plain"}, 415, "multipart/form-data"),
    "no kind": (b"x", {}, 415, "multipart/form-data"),
    "no boundary": (b"x", {"content-type": "multipart/form-data"}, 400, ""),
    "no form": (b"x" * 99, {"content-type": "multipart/form-data; boundary=b"}, 400, ""),
    "a form cut short": (form(b"x" * 99)[0][:80], form(b"")[1], 400, "send one of"),
    "two pictures": (
        form(b"x")[0].removesuffix(b"--\r\n") + form(b"x")[0].removeprefix(b"--between"),
        form(b"")[1],
        400,
        "",
    ),
    "a hundred fields": (*form(b"x", **{f"f{i}": "x" for i in range(100)}), 400, ""),
    "a picture that is no file": (b"image=1", {"content-type": "application/x-www-form-urlencoded"}, 400, "no file"),
    "a field of 100 kB": (*form(b"x", where="x" * 100_000), 400, ""),
}


@pytest.mark.parametrize("name", BODIES)
def test_what_cannot_be_read_is_refused(port, name):
    body, headers, status, words = BODIES[name]
    refused(request(port, "POST", "/search", body, headers), status, words)


FIELDS = {
    "nothing asked": ({}, 400, "send one of"),
    "two things asked": ({"path": "class 0/0.png", "vector": [0.0]}, 400, "send one of"),
    "k of none": ({"path": "class 0/0.png", "k": 0}, 400, "k must be"),
    "k of half a one": ({"path": "class 0/0.png", "k": 1.5}, 400, "k must be"),
    "k of very many": ({"path": "class 0/0.png", "k": 10**30}, 400, "k must be"),
    "k that is no number": ({"path": "class 0/0.png", "k": "many"}, 400, "k must be"),
    "k that is true": ({"path": "class 0/0.png", "k": True}, 400, "k must be"),
    "a list for k": ({"path": "class 0/0.png", "k": [1]}, 400, "k must be"),
    "a risk of one": ({"path": "class 0/0.png", "risk": 1}, 400, "risk must lie"),
    "a risk of a vector that is not known well": ({"vector": [0.0] * 8, "risk": 0.1}, 400, "risk cannot be kept"),
    "a filter with quotes": ({"path": "class 0/0.png", "where": "path == '\" or 1==1"}, 400, "filter"),
    "a filter with a statement": ({"path": "class 0/0.png", "where": "1; DROP TABLE photos"}, 400, "filter"),
    "a filter of megabytes": ({"path": "class 0/0.png", "where": "(" * 200_000}, 400, "filter"),
    "a filter that is none": ({"path": "class 0/0.png", "where": {"$gt": ""}}, 400, "texts"),
    "a filter for nothing": ({"path": "class 0/0.png", "where": "uncertainty > 2"}, 400, "nothing"),
    "a path elsewhere": ({"path": "../../etc/passwd"}, 404, "no image"),
    "a path with a null": ({"path": "class 0/0.png\0"}, 404, "no image"),
    "an empty path": ({"path": ""}, 404, "no image"),
    "a number for a path": ({"path": 7}, 400, "texts"),
    "a vector of another space": ({"vector": [0.0] * 7}, 400, ""),
    "a vector out of the ball": ({"vector": [9.0] * 8}, 400, "inside the ball"),
    "a vector of nothing": ({"vector": []}, 400, "finite"),
    "a vector of words": ({"vector": ["0"] * 8}, 400, "list of numbers"),
    "a vector of vectors": ({"vector": [[0.0]] * 8}, 400, "list of numbers"),
    "a vector of infinities": ({"vector": [float("inf")] * 8}, 400, "finite"),
    "a vector of huge numbers": ({"vector": [10**400] * 8}, 400, "finite"),
    "a vector and a doubt of two": ({"vector": [0.0] * 8, "uncertainty": 2}, 400, "uncertainty must lie"),
}


@pytest.mark.parametrize("name", FIELDS)
def test_what_cannot_be_asked_is_refused(port, name):
    fields, status, words = FIELDS[name]
    refused(post_json(port, "/search", fields), status, words)


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/image?path=../../../../etc/passwd", 404),
        ("/image?path=/etc/passwd", 404),
        ("/image?path=class%200/..%2f..%2findex.npz", 404),
        ("/image?path=%00", 404),
        ("/image", 404),
        ("/image?path=class%200/0.png&side=100000", 400),
        ("/image?path=class%200/0.png&side=-1", 400),
        ("/image?path=class%200/0.png&side=x", 400),
        ("/queue?limit=1000000", 400),
        ("/queue?limit=nan", 400),
        ("/page/../serve.py", 404),
        ("/page/%2e%2e/__init__.py", 404),
        ("/page/__init__.py", 404),
        ("/search", 405),
        ("/" + "a" * 9000, 404),
    ],
)
def test_addresses_lead_nowhere_else(port, path, status):
    refused(get(port, path), status)


def test_a_server_for_this_machine_answers_to_no_other_name(port):
    refused(get(port, "/about", host="evil.example"), 421, "127.0.0.1")
    assert get(port, "/about", host="localhost:1234")[0] == 200


def test_what_is_too_large_is_refused_while_it_comes(port):
    """By what it announces, and by what comes; not one byte of it is kept."""
    body, headers = form(b"x" * 3_000_000)
    refused(request(port, "POST", "/search", body, headers), 413, "300,000 bytes")
    refused(request(port, "POST", "/search", iter([body[:200_000], body[200_000:]]), headers), 413, "300,000 bytes")
    refused(request(port, "POST", "/no/such/address", body, headers), 404)
    head = (
        b"POST /search HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100000000\r\nContent-Type: application/json\r\n"
    )
    began = time.monotonic()
    assert talk(port, head + b"Expect: 100-continue\r\n\r\n").startswith(b"HTTP/1.1 413")
    assert time.monotonic() - began < 4


@pytest.mark.parametrize(
    "sent",
    [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n",
        b"GET /\r\n\r\n",
        b"POST /search HTTP/1.1\r\nHost: localhost\r\nContent-Length: -1\r\n\r\n",
        b"POST /search HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: localhost\r\n" + b"X: " + b"a" * 100_000,
    ],
)
def test_what_is_no_http_is_refused(port, sent):
    head, _, body = talk(port, sent).partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 400 Bad Request")
    assert json.loads(body)["error"].startswith("this is no HTTP request")


@pytest.fixture
def hurried(indexed, monkeypatch):
    """A server with the limits of the real one, in a tenth of the time."""
    for name, seconds in (("HEAD", 0.5), ("STUCK", 0.5), ("LOOK", 0.1)):
        monkeypatch.setattr(connections, name, seconds)
    with served(application.create_app(indexed.hold(indexed.plain), grace=0.8)) as port:
        yield port


HEADS = {
    "no head": b"",
    "half a head": b"GET /healthz HTTP/1.1\r\nHost: local",
    "half a body": b"POST /search HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
    b"Content-Length: 1000\r\n\r\n{",
    "half a second request": b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\nGET /healthz HTTP/1.1\r\nHost: loc",
}


@pytest.mark.slow
@pytest.mark.parametrize("name", HEADS)
def test_slow_clients_are_sent_away_while_others_are_answered(hurried, name):
    began, slow = time.monotonic(), []
    with contextlib.ExitStack() as stack:
        for _ in range(40):
            slow.append(stack.enter_context(socket.create_connection(("127.0.0.1", hurried), timeout=5)))
            slow[-1].sendall(HEADS[name])
        for _ in range(3):
            for connection in slow:
                connection.sendall(b"a")
            asked = time.monotonic()
            assert post_json(hurried, "/search", {"path": "class 0/0.png"})[0] == 200
            assert time.monotonic() - asked < 1
        for connection in slow:
            received = b""
            with contextlib.suppress(ConnectionResetError):
                while part := connection.recv(65536):
                    received += part
            assert b"HTTP/1.1 408 " in received
        assert time.monotonic() - began < 4


def test_who_does_not_read_is_left(indexed, monkeypatch):
    async def app(scope, receive, send):
        headers = [(b"content-type", b"text/plain")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        for _ in range(100):
            await send({"type": "http.response.body", "body": b"x" * 1_000_000, "more_body": True})

    for name, seconds in (("STUCK", 0.3), ("LOOK", 0.1)):
        monkeypatch.setattr(connections, name, seconds)
    with served(app) as port, socket.create_connection(("127.0.0.1", port), timeout=5) as reader:
        reader.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
        time.sleep(1.5)
        received = 0
        with contextlib.suppress(ConnectionResetError):
            while part := reader.recv(2**20):
                received += len(part)
        assert 0 < received < 90_000_000


def test_where_there_are_too_many_connections_the_one_that_waits_longest_makes_room(hurried, monkeypatch):
    monkeypatch.setattr(connections, "HEAD", 60.0)
    monkeypatch.setattr(connections.Connection, "most", 5)
    with contextlib.ExitStack() as stack:
        waiting = []
        for _ in range(8):
            waiting.append(stack.enter_context(socket.create_connection(("127.0.0.1", hurried), timeout=5)))
            time.sleep(0.01)
        assert get(hurried, "/healthz")[0] == 200
        sent_away = [json.loads(waiting[i].recv(65536).partition(b"\r\n\r\n")[2])["error"] for i in range(4)]
        assert sent_away == ["too many connections"] * 4


def test_uploads_that_come_at_the_same_time_have_room_for_so_many(indexed, monkeypatch):
    monkeypatch.setattr(application, "UPLOADS", 2)
    body, headers = form(b"x" * 90_000)
    with served(application.create_app(indexed.hold(indexed.plain), max_upload=100_000, grace=60.0)) as port:
        with contextlib.ExitStack() as stack:
            for _ in range(2):
                connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
                stack.callback(connection.close)
                connection.putrequest("POST", "/search")
                for name, value in (*headers.items(), ("content-length", str(len(body)))):
                    connection.putheader(name, value)
                connection.endheaders(body[:85_000])
            refused(until(503, request, port, "POST", "/search", body, headers), 503, "too many uploads at once")
        refused(until(415, request, port, "POST", "/search", body, headers), 415)


def until(status, ask, *words):
    """Asks until an answer has a status, or for some seconds: the last answer."""
    began = time.monotonic()
    while (answer := ask(*words))[0] != status and time.monotonic() - began < 5:
        time.sleep(0.02)
    return answer
