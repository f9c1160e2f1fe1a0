import re
import socket
import threading
import time

import numpy as np
import pytest

from configs.hyp_uml import get_config
from hypjax.data.errors import UsageError
from hypjax.run import Run, meeting, starting
from hypjax.run.peers import ALONE
from hypjax.run.stopping import Stopping
from hypjax.run.training import Training
from tests.peers import all_do, met
from tests.pictures import save_pictures
from tests.programs import run, tiny


def free_port():
    with socket.socket() as free:
        free.bind(("localhost", 0))
        return free.getsockname()[1]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("images")


def test_those_that_meet_hear_each_other_and_process_0():
    peers = met(3)
    assert [(each.index, each.count, each.chief) for each in peers] == [(0, 3, True), (1, 3, False), (2, 3, False)]
    assert all_do(peers, lambda each: each.share({"a": each.index})) == [[{"a": 0}, {"a": 1}, {"a": 2}]] * 3
    figures = {"x": np.float32(0.5), "y": float("-inf")}
    assert all_do(peers, lambda each: each.from_chief(figures if each.chief else None)) == [figures] * 3
    all_do(peers, lambda each: each.close())


def test_alone_one_is_process_0_of_1():
    assert (ALONE.chief, ALONE.count, ALONE.share(7), ALONE.from_chief(8)) == (True, 1, [7], 8)


def test_all_are_told_who_differs_in_what():
    peers = met(3)
    told = [{"seed": 0, "numpy": "2.3"}, {"seed": 0, "numpy": "2.3"}, {"seed": 1, "numpy": "2.2"}]
    (line,) = set(all_do(peers, lambda each: starting.require_alike(each, told[each.index])))
    assert line.endswith("they differ, from process 0 to process 2: numpy: 2.3 -> 2.2; seed: 0 -> 1")
    all_do(peers, lambda each: each.close())


def test_pictures_that_another_host_has_otherwise_are_refused_on_all(tmp_path):
    """The counts are the same, so that nothing else would notice."""
    peers, photos = met(2), [save_pictures(tmp_path / str(index), classes=20, each=2) for index in range(2)]
    (photos[1] / "class 3" / "0.png").rename(photos[1] / "class 3" / "another.png")

    def begin(each):
        config = get_config(f"quick,encoder=vit_ti8,data=folder,data_dir={photos[each.index]}")
        Training(Run(tmp_path / "run", config, among=each), Stopping())

    (line,) = set(all_do(peers, begin))
    assert re.search(r"they differ, from process 0 to process 1: digest of the data\.\w+: \w+ -> \w+", line), line
    assert not (tmp_path / "run").exists()
    all_do(peers, lambda each: each.close())


def test_process_0_waits_for_the_others_not_for_ever(monkeypatch, folder, tmp_path):
    monkeypatch.setattr(starting, "PATIENCE", 0.2)
    who = [f"--coordinator=localhost:{free_port()}", "--num_processes=3", "--process_id=0"]
    monkeypatch.setattr(meeting, "TOLD", 0.1)
    status, out, err = run(*tiny(folder, tmp_path / "run"), *who)
    assert (status, err) == (2, "error: of 3 processes processes 1 and 2 did not come within 0.2 s\n")
    assert out == "process 0 waits for processes 1 and 2 of 3, 0.2 s at most\n"


def test_the_others_wait_for_process_0_not_for_ever(monkeypatch, folder, tmp_path):
    monkeypatch.setattr(starting, "PATIENCE", 0.2)
    who = [f"--coordinator=localhost:{free_port()}", "--num_processes=3", "--process_id=1"]
    monkeypatch.setattr(meeting, "TOLD", 0.0)
    status, out, err = run(*tiny(folder, tmp_path / "run"), *who)
    assert status == 2
    assert out.startswith("process 1 waits for process 0 at localhost:")
    assert err.startswith("error: process 0 did not answer at localhost:")
    assert len(err.splitlines()) == 1


@pytest.mark.parametrize(("index", "count"), [(1, 4), (3, 3), (0, 3)])
def test_who_is_not_expected_is_refused_and_so_are_those_that_came(index, count):
    listening = meeting.listen(0)
    port, told = listening.getsockname()[1], []

    def come(index, count, after):
        time.sleep(after)
        with pytest.raises(UsageError) as caught:
            meeting.join(["localhost"], port, index, count, 20)
        told.append(str(caught.value))

    threads = [threading.Thread(target=come, args=who) for who in ((1, 3, 0.0), (index, count, 0.3))]
    for thread in threads:
        thread.start()
    with pytest.raises(UsageError, match=rf"comes as process {index} of {count}, where process 0 waits") as caught:
        meeting.welcome(listening, 3, 20)
    for thread in threads:
        thread.join()
    assert told == [str(caught.value)] * 2


def test_strangers_at_the_port_are_none_of_ours():
    listening = meeting.listen(0)
    port = listening.getsockname()[1]
    with socket.create_connection(("localhost", port)) as stranger:
        stranger.sendall(b"GET / HTTP/1.1\r\n\r\n")
        peers = [None, None]

        def come():
            peers[1] = meeting.join(["localhost"], port, 1, 2, 20)

        joined = threading.Thread(target=come)
        joined.start()
        peers[0] = meeting.welcome(listening, 2, 20)
        joined.join()
    assert all_do(peers, lambda each: each.share(each.index)) == [[0, 1]] * 2
    all_do(peers, lambda each: each.close())


def test_a_port_that_is_taken_is_named():
    with meeting.listen(0) as listening:
        port = listening.getsockname()[1]
        with pytest.raises(UsageError, match=f"port {port} of this host cannot be had"):
            meeting.listen(port)


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["--process_id=1"], "--coordinator, --num_processes and --process_id go together"),
        (["--coordinator=host", "--num_processes=2", "--process_id=1"], "--coordinator=host is no HOST:PORT"),
        (["--coordinator=host:1", "--num_processes=2", "--process_id=2"], "--process_id must lie in [0, 2)"),
    ],
)
def test_flags_that_say_nothing_are_refused(words, line, folder, tmp_path):
    status, _, err = run(*tiny(folder, tmp_path / "run"), *words)
    assert (status, err.partition(line)[0]) == (2, "error: ")
