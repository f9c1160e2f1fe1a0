"""The lease of a workdir at an address: one holder at a time, and who has lost it writes nothing more."""

import json
import time
from types import SimpleNamespace

import pytest

from configs.hyp_uml import get_config
from hypjax.data import atomic
from hypjax.data.errors import UsageError
from hypjax.data.places import as_path
from hypjax.run import Run
from hypjax.run.lease import Lease
from hypjax.run.metrics import MetricWriter, read_metrics


def lease(clock=time.time, *, command="python -m hypjax.train", folder="gs://bucket/run", renewed=100.0):
    return Lease(as_path(folder), command, renewed=renewed, expires=90.0, settles=0.0, clock=clock)


def test_a_second_trainer_is_refused_while_a_lease_is_fresh(objects):
    config = get_config("quick")
    said = r"gs://bucket/run is being trained by process \d+ on .*; wait, or .* its hold ends in (89|90) s"
    with Run.open("gs://bucket/run", "train", config=config), pytest.raises(UsageError, match=said):
        Run.open("gs://bucket/run", "train", config=config)
    with Run.open("gs://bucket/run", "train", config=config) as run:  # the first has let go
        run.require_held()


def test_a_lease_is_renewed_by_itself(objects):
    with lease(renewed=0.01):
        first, deadline = json.loads(as_path("gs://bucket/run/.lock").read_text())["renewed"], time.monotonic() + 5
        while json.loads(as_path("gs://bucket/run/.lock").read_text())["renewed"] == first:
            assert time.monotonic() < deadline
            time.sleep(0.01)


@pytest.mark.parametrize("ended", [False, True], ids=["at work", "that has gone"])
def test_who_stood_still_finds_another_and_writes_nothing_more(objects, ended):
    now = SimpleNamespace(time=0.0)
    with lease(lambda: now.time) as first:
        writer = MetricWriter(as_path("gs://bucket/run"), config={}, require=first.require)
        writer.write(1, {"loss": 1.0})
        writer.flush()
        now.time = 89.0
        with pytest.raises(UsageError, match="ends in 1 s"):
            lease(lambda: now.time, command="too soon")
        now.time = 91.0
        second = lease(lambda: now.time, command="the next")
        if ended:
            second.__exit__(None, None, None)
        held = as_path("gs://bucket/run/.lock").read_text()
        writer.write(2, {"loss": 2.0})
        with pytest.raises(UsageError, match=r"gs://bucket/run was taken over by process .*\(the next\)"):
            writer.flush()
        with pytest.raises(UsageError, match="taken over"):
            writer.close()
    assert [row["step"] for row in read_metrics(as_path("gs://bucket/run/metrics.jsonl"))] == [1]
    assert as_path("gs://bucket/run/.lock").read_text() == held
    second.__exit__(None, None, None)


def test_of_two_who_take_a_lease_at_once_the_later_has_it(objects, monkeypatch):
    path = as_path("gs://bucket/run/.lock")
    other = {"process": 7, "host": "h", "since": "s", "command": "c", "token": "t", "renewed": time.time()}
    monkeypatch.setattr("hypjax.run.lease.time.sleep", lambda seconds: atomic.write_json(path, other))
    with pytest.raises(UsageError, match=r"taken over by process 7 on h since s \(c\)"):
        lease()
    assert json.loads(path.read_text()) == other


def test_a_holder_that_cannot_reach_the_storage_goes_on_until_it_would_write(objects, monkeypatch):
    now = SimpleNamespace(time=0.0)
    with lease(lambda: now.time) as held:
        with monkeypatch.context() as away:
            away.setattr(objects, "open", lambda *_: (_ for _ in ()).throw(OSError("unreachable")))
            now.time = 60.0
            held.require()
            now.time = 91.0
            with pytest.raises(OSError, match="unreachable"):
                held.require()
        held.require()  # nobody took it
