"""A workdir at an address, on storage without a network (`tests/storage.py`)."""

import os
from types import SimpleNamespace

import jax
import numpy as np
import pytest
from matplotlib.figure import Figure

from configs.hyp_uml import get_config
from hypjax import embed, evaluate, train
from hypjax.data import atomic
from hypjax.data.catalog import read
from hypjax.data.copies import below, local_copy
from hypjax.data.errors import DataError, UsageError
from hypjax.data.places import as_path, is_remote
from hypjax.data.source import digest
from hypjax.data.unlabeled import find_pictures
from hypjax.run import Run, manifest
from hypjax.run.hooks import Logging, Saving
from hypjax.run.lock import FILE
from hypjax.run.loop import Plan
from hypjax.run.metrics import MetricWriter, Rewritten, read_metrics
from hypjax.run.results import write_page
from hypjax.show.plots import style
from tests import storage
from tests.pictures import save_pictures
from tests.programs import kept_compiled, unpainted
from tests.run.test_checkpoint import replicated, saved, state, truncate


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """One for all, as TensorStore remembers its address."""
    root = tmp_path_factory.mktemp("google")
    with storage.Server(root) as address:
        yield root, address


@pytest.fixture
def google(objects, server, monkeypatch):
    """Google's storage, for TensorStore too."""
    objects.root, address = server
    monkeypatch.setenv("TENSORSTORE_GCS_HTTP_URL", address)
    monkeypatch.setenv("GOOGLE_AUTH_TOKEN_FOR_TESTING", "any")
    return objects


def test_an_address_stays_one_whatever_it_comes_as(objects, tmp_path):
    assert str(as_path("gs://bucket/run")) == "gs://bucket/run"
    assert str(as_path(as_path("gs://bucket/run") / "a.json")) == "gs://bucket/run/a.json"
    assert str(as_path(tmp_path.__class__("gs://bucket/run"))) == "gs://bucket/run"  # which lost a slash
    assert as_path(tmp_path) == tmp_path
    assert type(as_path(str(tmp_path))) is type(tmp_path)
    assert [is_remote(as_path(place)) for place in ("s3://bucket", "runs/gs://x", tmp_path)] == [True, False, False]


def test_what_opens_an_address_is_named_where_it_is_missing(monkeypatch):
    monkeypatch.setattr("hypjax.data.places.importlib.util.find_spec", lambda name: None)
    with pytest.raises(UsageError, match=r's3://a/b needs s3fs: pip install "hypjax\[s3\]"'):
        Run.open("s3://a/b")


def test_where_orbax_keeps_nothing_nothing_is_trained(objects):
    with pytest.raises(UsageError, match="nothing can be trained in s3://bucket/run"):
        Run.open("s3://bucket/run", "train", config=get_config("quick"))
    assert not objects.written


def test_what_fails_in_the_making_is_not_sent(objects):
    path = as_path("gs://bucket/a.txt")
    atomic.write_text(path, "whole")

    def fail():
        with atomic.writing(path) as file:
            file.write(b"half")
            raise ValueError("midway")

    with pytest.raises(ValueError, match="midway"):
        fail()
    assert path.read_text() == "whole"


def test_the_life_of_a_run_at_an_address(objects):
    config = get_config("quick")
    with Run.open("gs://bucket/runs/a", "train", config=config) as run:
        assert f'"process": {os.getpid()}' in (run.workdir / FILE).read_text()
        writer = MetricWriter(run.workdir, config={}, require=run.require_held)
        writer.write(1, {"loss": 1.5})
        writer.write(2, {"loss": 1.0, "validation/recall@1": 0.5})
        writer.close()
        manifest.record(run.workdir, {"steps": 2, "python": "3"}, seconds=1.0, resumed_at=0)
        style.save(Figure(figsize=(1, 1)), run.workdir / "curves.png")
        write_page(run, {"recall@1": 0.5}, step=2, finished=True)
        atomic.write_json(run.workdir / "results.json", {"recall@1": 0.5})
    run = Run.open("gs://bucket/runs/a")
    assert run.begun
    assert run.finished
    assert (run.config.name, run.steps, run.results) == (config.name, 2, {"recall@1": 0.5})
    assert (run.validated, list(run.pictures)) == ({"recall@1": 0.5}, ["curves"])
    page = (run.workdir / "report.html").read_text()
    assert "finished after 2 steps" in page
    assert "data:image/png" in page
    config.seed = 5
    with pytest.raises(UsageError, match=r"gs://bucket/runs/a holds a run with other settings"):
        Run.open("gs://bucket/runs/a", "train", config=config)


def test_rows_are_written_now_and_then_and_before_a_state_is_kept(objects):
    now = SimpleNamespace(time=0.0)
    path = as_path("gs://bucket/run/metrics.jsonl")
    writer = MetricWriter(path.parent, config={})
    writer._file = Rewritten(path, "", interval=10.0, clock=lambda: now.time)
    for step, now.time in enumerate((1.0, 9.0, 10.0, 19.0), 1):
        writer.write(step, {"loss": 0.0})
    assert [row["step"] for row in read_metrics(path)] == [1, 2, 3]

    def save(kept, position):
        assert [row["step"] for row in read_metrics(path)] == [1, 2, 3, 4]
        kept.append(position)

    batches, kept = SimpleNamespace(get_state=lambda: {"next": 4}), []
    checkpoints = SimpleNamespace(save=save)
    Saving(checkpoints, batches, Plan(9), every=4, minutes=0, before=None, writer=writer)(4, kept)
    assert kept == [{"next": 4}]
    assert objects.written.count(str(path)) == 4  # empty, twice; the third row; before the state


def test_slow_storage_is_written_to_less_often(objects):
    clock = iter([0.0, 2.0, 39.0, 41.9, 41.9, 42.0, 100.0, 100.0])
    rows = Rewritten(as_path("gs://bucket/rows"), "", clock=lambda: next(clock))  # takes two seconds: each forty
    rows.write("a")
    assert as_path("gs://bucket/rows").read_text() == ""
    rows.write("b")
    rows.write("c")
    assert as_path("gs://bucket/rows").read_text() == ""
    rows.write("d")
    assert as_path("gs://bucket/rows").read_text() == "abcd"


@pytest.mark.slow
def test_states_are_kept_at_an_address_of_google(google):
    path = as_path("gs://bucket/run")
    with saved(path, [1, 2, 3]) as checkpoints:
        assert checkpoints.steps == [2, 3]
        (path / "checkpoints/4").mkdir()  # as it is while it is being written
        assert checkpoints.steps == [2, 3]
        (path / "checkpoints/4").rmtree()
        truncate(google.root / "bucket/run/checkpoints/3")
        (google.root / "bucket/run/checkpoints/3/commit_success.txt").write_text("")
        restored, position, notices = checkpoints.restore(state(), replicated())
    jax.tree.map(np.testing.assert_array_equal, restored, state(2.0, 2))
    assert position == {"next_index": 2}
    assert "checkpoint 3 is damaged and was set aside" in notices[0]
    assert not (path / "checkpoints/3").exists()
    assert len(list(below(path / "damaged-checkpoints/3"))) > 5


def tiny(folder):
    """Six steps, with a checkpoint and a validation after the third."""
    config = get_config(f"quick,encoder=vit_ti8,data=folder,data_dir={folder}")
    config.encoder.sizes = {"width": 16, "depth": 1, "heads": 2}
    config.update(
        steps=6,
        head={"dim": 8},
        data={"fractions": (0.4, 0.3, 0.3)},
        batch={"classes": 4, "samples_per_class": 4},
        checkpoint={"every": 3},
        evaluation={"every": 3, "batch": 16, "ks": (1, 2), "degraded_queries": 0},
        log={"every": 1},
    )
    return config


@pytest.mark.slow
@kept_compiled()
@unpainted()
def test_a_run_is_trained_killed_resumed_and_evaluated_at_an_address(google, tmp_path, monkeypatch, capsys):
    config = tiny(save_pictures(tmp_path / "photos", classes=10, each=4))
    train.train(config, tmp_path / "here")
    there, taken = as_path("gs://bucket/trained"), Logging.__call__

    def killed(log, step, metrics):
        if step == 5:
            raise RuntimeError("killed")
        taken(log, step, metrics)

    with monkeypatch.context() as patched:
        patched.setattr(Logging, "__call__", killed)
        with pytest.raises(RuntimeError, match="killed"):
            train.train(config, there)
    assert not Run.open(there).finished
    train.train(config, there)
    assert "resuming after step 3" in capsys.readouterr().out
    here, run = Run.open(tmp_path / "here"), Run.open(there)
    assert run.states().steps == here.states().steps
    assert [row["step"] for row in run.metrics] == [row["step"] for row in here.metrics]
    for name, figure in here.results.items():
        assert run.results[name] == pytest.approx(figure, abs=1e-5), name
    assert run.pictures.keys() == here.pictures.keys()
    assert {path.name for path in there.iterdir()} == {path.name for path in (tmp_path / "here").iterdir()}
    assert evaluate.evaluate(there)["recall@1"] == pytest.approx(run.results["recall@1"])
    with pytest.raises(UsageError, match="--out names a file of this machine"):
        embed.embed(there, tmp_path / "photos", as_path("gs://bucket/photos.npz"))
    assert len(embed.embed(there, tmp_path / "photos", tmp_path / "photos.npz").points) == 40
    train.train(config, there)
    assert "is finished" in capsys.readouterr().out


def test_pictures_at_an_address_are_those_of_the_folder(objects, tmp_path):
    here = save_pictures(objects.root / "bucket/photos")
    (here / "class 0/.hidden.png").write_bytes(b"")
    (here / "class 0/notes.txt").write_text("none")
    (here / "list.csv").write_text("path,label\nclass 0/0.png,a\nclass 1/0.png,b\nclass 1/1.png,b\n", "utf-8-sig")
    for name in ("", "list.csv"):
        there, local = (read("folder", f"{root}/{name}").source for root in ("gs://bucket/photos", here))
        assert [there.name(i) for i in range(len(there))] == [local.name(i) for i in range(len(local))]
        assert there.class_names == local.class_names
        assert digest(there) == digest(local)
        np.testing.assert_array_equal(there.image(1), local.image(1))
    there.check_headers()
    (here / "class 1/1.png").write_bytes((here / "class 1/1.png").read_bytes()[:100])
    with pytest.raises(DataError, match=r"gs://bucket/photos/class 1/1.png: cannot decode this image"):
        there.check_headers()
    (here / "class 1/1.png").unlink()
    with pytest.raises(DataError, match="1 of 3 listed images are not in gs://bucket/photos"):
        read("folder", "gs://bucket/photos/list.csv")
    with pytest.raises(DataError, match="gs://bucket/none does not exist"):
        read("folder", "gs://bucket/none")
    with pytest.raises(DataError, match="is an address"):
        find_pictures(as_path("gs://bucket/photos"))


def test_rows_at_an_address_are_copied(objects, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    (objects.root / "bucket").mkdir(parents=True)
    np.savez(objects.root / "bucket/rows.npz", features=np.eye(4, dtype=np.float32), labels=np.array([0, 0, 1, 1]))
    assert len(read("features", "s3://bucket/rows.npz").source) == 4


def test_a_file_from_elsewhere_is_copied_once_until_it_changes(objects, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    path = as_path("s3://bucket/weights.npz")
    path.write_bytes(b"one")
    copy = local_copy("s3://bucket/weights.npz")
    assert (copy.read_bytes(), copy.suffix, type(copy)) == (b"one", ".npz", type(tmp_path))
    inode = copy.stat().st_ino
    assert local_copy(path) == copy
    assert copy.stat().st_ino == inode
    path.write_bytes(b"another")
    assert local_copy(path).read_bytes() == b"another"
    assert local_copy(tmp_path / "here.npz") == tmp_path / "here.npz"
    with pytest.raises(FileNotFoundError):
        local_copy("s3://bucket/none.npz")
