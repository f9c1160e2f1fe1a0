"""Embeddings in a standalone Milvus server, which the package `milvus` brings: `pip install milvus==2.3.5`."""

import importlib.util
import os
import signal
import socket
import subprocess
import sys
import threading

import numpy as np
import pytest

from hypjax import embed
from hypjax.data.errors import UsageError
from hypjax.stores import embeddings
from hypjax.stores.gallery import FileGallery, open_gallery
from hypjax.stores.milvus import Collection
from tests.databases import ABOUT, CALIBRATED, HOSTILE, found, held, keep, made, require_equal
from tests.filters import PATHS
from tests.killing import embed_until
from tests.pictures import save_pictures, untrained_run

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not importlib.util.find_spec("milvus"), reason="no server: pip install milvus==2.3.5"),
]
# It ends with its standard input, so that no server outlives its test.
SERVER = """
import sys
from milvus import default_server
default_server.set_base_dir(sys.argv[1])
default_server.listen_port = int(sys.argv[2])
with default_server:
    print("started", flush=True)
    sys.stdin.read()
"""


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """The address of a server that holds nothing."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    words = [sys.executable, "-c", SERVER, str(tmp_path_factory.mktemp("milvus")), str(port)]
    pipe = subprocess.PIPE
    with subprocess.Popen(words, stdin=pipe, stdout=pipe, text=True, start_new_session=True) as process:
        guard = threading.Timer(60, os.killpg, [process.pid, signal.SIGKILL])
        guard.start()
        assert process.stdout.readline() == "started\n", "no server within a minute; does another one have its ports?"
        guard.cancel()
        yield f"milvus:http://127.0.0.1:{port}"
        process.stdin.close()
        process.wait(60)


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    """A workdir, forty pictures, and what the model makes of them."""
    root = tmp_path_factory.mktemp("photos")
    workdir, folder = untrained_run()[0], save_pictures(root / "photos", classes=8, each=5)
    embed.main(["embed", f"--workdir={workdir}", f"--images={folder}", f"--out={root / 'a.npz'}"])
    return workdir, folder, embeddings.read(root / "a.npz")


def test_a_server_finds_what_a_file_does(server, tmp_path):
    address = f"{server}/pair"
    whole = made([*PATHS, *HOSTILE, *(f"{i % 5}/{i}.png" for i in range(120))], ABOUT | CALIBRATED)
    embeddings.write(tmp_path / "a.npz", whole)
    keep(address, whole)
    require_equal(address, whole)
    file, database = FileGallery(tmp_path / "a.npz"), open_gallery(address)
    queries, leave_out = whole.points[5:15], [picture.path for picture in whole.pictures[5:15]]
    assert found(database, queries, 7, leave_out=leave_out) == found(file, queries, 7, leave_out=leave_out)
    for where in (
        "uncertainty < 0.6 and path like '3/%' or label == '1' and not p_wrong > 0.5",
        "path like '2024/b_1%' or path like 'it\\'s \"a\"\\\\%' or path in ['tab\\\\', \"100%/é.png\"]",
        "path not in ['1/1.png'] and uncertainty in [0.25, 0.5] and p_wrong > 1e-7",
        "path == 'it\\'s \"a\"\\\\b.png' or path == '\") or (uncertainty >= 0.png'",
    ):
        assert found(database, queries, 500, where=where) == found(file, queries, 500, where=where)
    with pytest.raises(UsageError, match=r"unsupported pattern: %\.png") as refused:
        database.nearest(queries, 7, where="path like '%.png'")
    assert "\n" not in str(refused.value)
    for path in [*PATHS, *HOSTILE]:
        np.testing.assert_array_equal(database.find(path)[0], file.find(path)[0])
    assert set(database.sample(10_000).paths) == set(file.row_of)
    database.close()
    fewer = whole._replace(points=whole.points[:90], uncertainty=whole.uncertainty[:90], pictures=whole.pictures[:90])
    keep(address, fewer)
    require_equal(address, fewer)


def test_what_hypjax_did_not_make_is_left_alone(server):
    keep(f"{server}/own", made(["a.png"]))
    collection = Collection(f"{server}/own")
    collection._client.create_collection("other", dimension=3)
    collection.close()
    with pytest.raises(UsageError, match=r"other is a collection that hypjax\.embed did not make"):
        Collection(f"{server}/other", create=True)
    with pytest.raises(UsageError, match="nothing holds nothing yet"):
        open_gallery(f"{server}/nothing")


@pytest.mark.parametrize(("parts", "more"), [(1, 0.0), (9, 0.004)])
def test_killed_at_any_time_it_ends_with_every_picture_once(parts, more, server, photos):
    (workdir, folder, whole), address = photos, f"{server}/killed{parts}"
    kept = embed_until(workdir, folder, address, parts=parts, more=more)
    assert parts * 2 <= kept < 40
    assert kept <= len(held(address)) <= kept + 2
    embed.main(["embed", f"--workdir={workdir}", f"--images={folder}", f"--out={address}"])
    require_equal(address, whole, atol=1e-6)


def test_several_processes_fill_one_collection(server, photos):
    """All of them create it; one is killed on its way and started again."""
    (workdir, folder, whole), address = photos, f"{server}/shared"
    words = [sys.executable, "-m", "hypjax.embed", f"--workdir={workdir}", f"--images={folder}", f"--out={address}"]
    environment = os.environ | {"JAX_PLATFORMS": "cpu", "XLA_FLAGS": ""}
    others = [subprocess.Popen([*words, f"--share={i}/3"], env=environment, stdout=subprocess.DEVNULL) for i in (1, 2)]
    embed_until(workdir, folder, address, parts=2, share="0/3")
    assert [process.wait(120) for process in others] == [0, 0]
    embed.main(["embed", *words[3:], "--share=0/3"])
    require_equal(address, whole, atol=1e-6)
