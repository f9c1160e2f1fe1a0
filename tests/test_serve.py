import contextlib
import os
import re
import signal
import socket
import sys
import threading
import time

import pytest

import hypjax
from hypjax import embed, serve
from hypjax.data.errors import UsageError
from hypjax.run.status import Stopped
from hypjax.serving import answering
from hypjax.stores import embeddings
from tests import programs
from tests.pictures import save_pictures, untrained_run
from tests.serving.asking import get, post_picture


@pytest.fixture(scope="module")
def indexed(tmp_path_factory):
    root = tmp_path_factory.mktemp("serve")
    workdir, photos = untrained_run()[0], save_pictures(root / "photos")
    embed.main(["embed", f"--workdir={workdir}", f"--images={photos}", f"--out={root / 'index.npz'}"])
    return workdir, photos, root / "index.npz"


def run(workdir, index, *more):
    serve.main(["serve", f"--workdir={workdir}", f"--index={index}", *more])


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_serves_until_a_signal_comes(indexed, capsys, monkeypatch, number):
    """In this process, whose main thread it takes."""
    monkeypatch.setattr(answering, "SIZES", (1,))
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    found = []

    def ask():
        try:
            picture = (indexed[1] / "class 3" / "2.png").read_bytes()
            for _ in range(1000):
                with contextlib.suppress(ConnectionRefusedError):
                    found.append(post_picture(port, "/search", picture))
                    return
                time.sleep(0.02)
        finally:
            os.kill(os.getpid(), number)

    asking = threading.Thread(target=ask)
    asking.start()
    with pytest.raises(Stopped, match=hypjax.ended_by(number)):
        run(indexed[0], indexed[2], f"--port={port}")
    asking.join()
    ((status, _, answer),) = found
    assert (status, answer["neighbors"][0]["path"]) == (200, "class 3/2.png")
    assert f"http://127.0.0.1:{port}/ searches 18 images of photos; Ctrl-C ends it\n" in capsys.readouterr().out


@pytest.mark.slow
def test_the_process_ends_with_the_status_of_its_signal(indexed):
    words = (f"--workdir={indexed[0]}", f"--index={indexed[2]}", "--port=0", "--host=0.0.0.0", "--token=sesame")
    process = programs.start(*words, module="hypjax.serve")
    port = int(re.search(r"http://0\.0\.0\.0:(\d+)/", process.stdout.readline())[1])
    with socket.create_connection(("127.0.0.1", port), timeout=5) as slow:
        slow.sendall(b"GET /about HTTP/1.1\r\n")  # which nobody waits for
        assert get(port, "/about")[0] == 401
        assert get(port, "/about", authorization="Bearer sesame")[2]["count"] == 18
        process.terminate()
        ended, _, err = programs.finish(process, timeout=20)
    assert (ended, err.strip()) == (128 + signal.SIGTERM, "stopped by SIGTERM")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "--workdir is missing"),
        (["--workdir=w"], "--index is missing"),
        (["--workdir=w", "--index=i", "--host=0.0.0.0"], r"--host=0\.0\.0\.0 lets others ask: give a --token"),
        (["--workdir=w", "--index=i", "--max_upload=0"], r"--max_upload must lie in \(0, 1000\] MB, not 0"),
        (["--workdir=w", "--index=i", "--port=99999"], r"--port must lie in \[0, 65535\], not 99999"),
        (["--workdir=w", "--index=i", "--host=no.such.invalid", "--token=t"], "nothing can be served at no.such"),
        (["--workdir=w", "--index=i", "--port=0"], "w holds no run"),
    ],
)
def test_bad_usage_is_named(words, message, monkeypatch):
    monkeypatch.delenv("HYPJAX_TOKEN", raising=False)
    with pytest.raises(UsageError, match=message):
        serve.main(["serve", *words])


@pytest.mark.slow
def test_a_port_that_is_taken_is_named(indexed):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(UsageError, match=f"nothing can be served at 127.0.0.1 port {port} .*in use"):
            run(indexed[0], indexed[2], f"--port={port}")


def test_an_index_of_another_model_is_refused(indexed, tmp_path):
    whole = embeddings.read(indexed[2])
    embeddings.write(tmp_path / "a.npz", whole._replace(about={**whole.about, "model": "other", "run": "hyp_vit"}))
    with pytest.raises(UsageError, match=r"made by another model \(hyp_vit, step 0\) than .* \(step 0\) holds"):
        run(indexed[0], tmp_path / "a.npz", "--port=0")
    with pytest.raises(UsageError, match=r"/no/such.npz does not exist: python -m hypjax.embed"):
        run(indexed[0], "/no/such.npz", "--port=0")


def test_what_is_not_installed_is_named(indexed, monkeypatch):
    monkeypatch.setitem(sys.modules, "hypjax.serving", None)
    monkeypatch.setattr(serve, "find_spec", lambda name: None)
    for index, extras in ((indexed[2], "serve"), ("milvus:a.db", "milvus,serve")):
        with pytest.raises(UsageError, match=rf'not installed: pip install "hypjax\[{extras}\]"'):
            run(indexed[0], index, "--port=0")
