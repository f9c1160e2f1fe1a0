"""Features as data, from file to figures: trained, resumed, scored, embedded, searched, and made of images."""

import json
from functools import partial
from types import SimpleNamespace

import jax
import numpy as np
import pytest

from configs.hyp_uml import get_config
from hypjax import embed, evaluate, search, train
from hypjax.config import assembly, initialization, optimization
from hypjax.config.inputs import create_inputs
from hypjax.data import catalog
from hypjax.data.errors import UsageError
from hypjax.run import Run, rehearsal, training
from hypjax.run.checkpoint import Checkpoints
from hypjax.run.metrics import MetricWriter
from hypjax.stores import embeddings, extracted, filling, rows
from hypjax.training import sharding
from tests.pictures import save_pictures, untrained_run
from tests.programs import kept_compiled, unpainted
from tests.workdirs import results
from tests.workdirs import rows as rows_of

CLASSES, EACH, WIDTH = 12, 6, 16


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    """Classes in three groups, their rows in no order."""
    rng = np.random.default_rng(0)
    labels = rng.permutation(np.repeat(np.arange(CLASSES), EACH))
    centers = rng.normal(size=(3, WIDTH))[np.arange(CLASSES) // 4] + 0.5 * rng.normal(size=(CLASSES, WIDTH))
    features = (centers[labels] + 0.4 * rng.normal(size=(len(labels), WIDTH))).astype(np.float32)
    path = tmp_path_factory.mktemp("features") / "rows.npz"
    np.savez(path, features=features, labels=labels, group=labels // 4)
    return path


def settings(file, *words):
    common = (
        f"quick,data=features,data_dir={file},head.dim=8,batch.classes=4,batch.samples_per_class=4,evaluation.batch=32"
    )
    return get_config(",".join([common, *words]))


@pytest.fixture(scope="module", autouse=True)
def quickly():
    with kept_compiled(), unpainted():
        yield


@pytest.fixture(scope="module")
def finished(file, tmp_path_factory):
    """An unbroken run."""
    workdir = tmp_path_factory.mktemp("run") / "run"
    train.train(settings(file), workdir)
    return workdir


@pytest.mark.slow
def test_a_run_has_all_but_what_shows_images(finished):
    drawn = {path.name for path in finished.glob("*.png")}
    assert drawn == {"ancestors.png", "curves.png", "disk.png", "risk_coverage.png", "tree.png"}
    figures = results(finished)
    assert {"recall@1", "map@r", "nmi", "agreement@group", "uncertainty_auroc", "body_recall@1"} <= set(figures)
    assert not [name for name in figures if name.startswith(("blur", "noise", "occlusion", "body_before"))]
    assert None not in figures.values()
    report = (finished / "report.html").read_text()
    assert "Answer to damage" not in report
    with Checkpoints(finished / "checkpoints") as checkpoints:
        leaves, _ = checkpoints.read(sharding.replicated(sharding.data_mesh()))
    assert not [path for path in leaves if "encoder" in path]
    assert json.loads((finished / "config.json").read_text())["encoder"]["name"] == "none"


def test_evaluate_says_where_the_rows_are_others(finished, file, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(evaluate, "score", lambda *parts, **how: SimpleNamespace(figures={}, reliance=None))
    monkeypatch.setattr(evaluate, "write_results", lambda *parts, **how: None)
    with np.load(file) as held:
        np.savez(tmp_path / "rows.npz", **(dict(held) | {"features": held["features"] * 1.001}))
    for data_dir, told in ((file, False), (tmp_path / "rows.npz", True)):
        evaluate.evaluate(finished, data_dir=str(data_dir))
        assert ("was trained beside other test rows: " in capsys.readouterr().out) == told


class Killed(BaseException):
    """Not to be caught."""


@pytest.mark.slow
def test_killed_and_resumed_ends_as_if_unbroken(finished, file, tmp_path, monkeypatch, capsys):
    save = Checkpoints.save

    def save_and_die(checkpoints, *held):
        save(checkpoints, *held)
        raise Killed

    writers = []

    def remembered(*words, **more):
        writers.append(MetricWriter(*words, **more))
        return writers[-1]

    monkeypatch.setattr(Checkpoints, "save", save_and_die)
    monkeypatch.setattr(training, "MetricWriter", remembered)
    with pytest.raises(Killed):
        train.train(settings(file), tmp_path / "run")
    monkeypatch.undo()
    writers[0].close()  # as the system does for a process that is gone
    assert not (tmp_path / "run" / "results.json").exists()
    train.train(settings(file), tmp_path / "run")
    assert "resuming after step 6" in capsys.readouterr().out
    losses = [[row["loss"] for row in rows_of(run) if "loss" in row] for run in (tmp_path / "run", finished)]
    assert losses[0] == losses[1]
    assert results(tmp_path / "run") == results(finished)


@pytest.mark.slow
def test_few_queries_search_the_whole_gallery(finished, file):
    config = settings(file, "evaluation.queries=7")
    setup, mesh = assembly.assemble(config), sharding.data_mesh()
    with Checkpoints(finished / "checkpoints") as checkpoints:
        state, _, _ = checkpoints.restore(initialization.abstract_state(config, setup), sharding.replicated(mesh))
    test = setup.splits.test
    ask = partial(assembly.create_evaluator(config, setup, mesh), state.evaluated(), test, degraded_queries=0)
    few = ask()
    assert few.figures["queries"] == len(few.asking) == 7
    np.testing.assert_array_equal(few.answering, np.arange(len(test)))
    config.evaluation.queries = 0
    every = assembly.create_evaluator(config, setup, mesh)(state.evaluated(), test, degraded_queries=0)
    assert every.figures["queries"] == len(test)
    np.testing.assert_array_equal(few.retrieved.neighbors, every.retrieved.neighbors[few.asking])
    np.testing.assert_array_equal(few.retrieved.wrong, every.retrieved.wrong[few.asking])


@pytest.mark.slow
def test_a_file_trains_as_the_same_features_of_a_frozen_encoder_do(tmp_path):
    photos, out = save_pictures(tmp_path / "photos", classes=8, each=3), tmp_path / "features.npz"
    same = "head.dim=4,evaluation.batch=8,batch.classes=3,augment.degrade_share=0,head.init=pca"
    frozen = get_config(f"quick,frozen,encoder=vit_ti8,data=folder,data_dir={photos},features.views=1,{same}")
    frozen.encoder.sizes = {"width": 16, "depth": 1, "heads": 2}
    frozen.features.dir = str(tmp_path / "cached")
    mesh = sharding.data_mesh(jax.devices()[:1])

    def begin(config):
        setup = assembly.assemble(config)
        inputs = create_inputs(config, setup, mesh)
        state = initialization.initial_state(
            config, setup, assembly.create_evaluator(config, setup, mesh, inputs.reader)
        )
        batch = sharding.global_batch(next(inputs.batches), mesh)
        _, metrics = optimization.create_step(config, setup, mesh)(state, batch, seed=config.seed)
        return inputs, setup.splits.test.class_names, batch, float(metrics["loss"])

    inputs, names, batch, loss = begin(frozen)
    source = catalog.read("folder", str(photos)).source
    features = np.concatenate([read["features"][read["valid"]] for read in inputs.reader(source)])
    np.savez(out, features=features, labels=np.array(source.class_names)[source.labels])
    _, same_names, same_batch, same_loss = begin(get_config(f"quick,data=features,data_dir={out},{same}"))
    assert same_names == names
    for name in ("features", "label", "index", "level"):
        np.testing.assert_allclose(same_batch[name], batch[name], atol=1e-6)
    assert same_loss == pytest.approx(loss, rel=1e-5)


@pytest.mark.slow
def test_rows_are_embedded_and_find_others_but_not_themselves(finished, file, tmp_path, capsys):
    out = tmp_path / "index.npz"
    embed.main(["embed", f"--workdir={finished}", f"--images={file}", f"--out={out}"])
    index = embeddings.read(out)
    assert (len(index.points), index.pictures[5].path) == (CLASSES * EACH, "5")
    embed.main(["embed", f"--workdir={finished}", f"--images={file}", f"--out={out}", "--batch=16"])
    assert "is up to date: 72 rows" in capsys.readouterr().out
    asked = ["search", f"--workdir={finished}", f"--index={out}", "--k=3"]
    search.main([*asked, f"--query={file}", "--rows=5,7:9"])
    printed = capsys.readouterr().out
    assert printed.startswith(f"{file} row 5 (5)  (uncertainty ")
    assert printed.count("distance") == 3
    search.main([*asked, f"--query={file}", f"--out={tmp_path / 'found.npz'}"])
    with np.load(file) as held:
        copy = tmp_path / "copy.npz"
        np.savez(copy, features=held["features"][:4])
    search.main([*asked, f"--query={copy}", f"--out={tmp_path / 'copies.npz'}"])
    with np.load(tmp_path / "found.npz") as found, np.load(tmp_path / "copies.npz") as copies:
        assert found["neighbors"].shape == (CLASSES * EACH, 3)
        assert (found["neighbors"] != found["rows"][:, None]).all()
        np.testing.assert_array_equal(copies["neighbors"][:, 0], np.arange(4))  # from elsewhere they find the original
        np.testing.assert_array_equal(copies["neighbors"][:, 1:], found["neighbors"][:4, :2])
    np.savez(copy, features=np.ones((2, WIDTH + 1), np.float32))
    with pytest.raises(UsageError, match=f"has {WIDTH + 1} features a row; the model was trained on {WIDTH}"):
        search.main([*asked, f"--query={copy}"])
    with pytest.raises(UsageError, match="features have no pictures to show"):
        search.main([*asked, f"--query={file}", "--out=gallery.html"])
    with pytest.raises(UsageError, match="has no encoder; name one"):
        extracted.by_run(Run.open(finished), file.parent, tmp_path / "features.npz")


@pytest.mark.slow
def test_features_of_images_are_data_and_survive_a_kill(tmp_path, monkeypatch, capsys):
    workdir, out = untrained_run()[0], tmp_path / "features.npz"
    photos = tmp_path / "photos"
    for group in ("cats", "dogs"):
        save_pictures(photos / group, classes=4, each=2)
    (photos / "dogs" / "class 1" / "broken.png").write_bytes(b"no picture")
    words = ["embed", "--features", f"--workdir={workdir}", f"--images={photos}", "--batch=8"]
    embed.main([*words, f"--out={out}"])
    source = catalog.read("features", str(out)).source
    assert (len(source), source.level_names) == (16, ["folder 1"])
    assert source.class_names[:2] == ["cats/class 0", "cats/class 1"]
    assert source.ancestor_names == [["cats", "dogs"]]
    assert source.name(9) == "dogs/class 0/1.png"
    folder = catalog.read("folder", str(photos)).source
    names = [folder.name(i) for i in range(len(folder)) if "broken" not in folder.name(i)]
    assert names == [source.name(i) for i in range(16)]
    embed.main([*words, f"--out={out}"])
    assert "is up to date" in capsys.readouterr().out

    monkeypatch.setattr(filling, "KEEP_EVERY", 0.0)
    add, added = embeddings.Store.add, []

    def add_and_die(store, part):
        if added:
            raise Killed
        added.append(part)
        add(store, part)

    monkeypatch.setattr(embeddings.Store, "add", add_and_die)
    with pytest.raises(Killed):
        embed.main([*words, f"--out={tmp_path / 'cut.npz'}"])
    monkeypatch.setattr(embeddings.Store, "add", add)
    embed.main([*words, f"--out={tmp_path / 'cut.npz'}"])
    assert ", 8 of them are done" in capsys.readouterr().out
    assert (tmp_path / "cut.npz").read_bytes() == out.read_bytes()


def test_what_takes_images_is_refused_in_one_line(file):
    for word in ("encoder=resnet50", "weights=a.npz", "frozen", "encoder.dtype=bfloat16"):
        with pytest.raises(UsageError, match=f"{word}' makes no sense with data=features"):
            settings(file, word)
    for word in ("augment.degrade_share=0.5", "evaluation.degraded_test_queries=3", "features.cached=true"):
        with pytest.raises(UsageError, match=f"{word.partition('=')[0]} is for images"):
            assembly.assemble(settings(file, word))
    with pytest.raises(UsageError, match=f"at most {WIDTH} dimensions, .* set head.dim={WIDTH} or less"):
        assembly.assemble(settings(file, "head.dim=99"))
    with pytest.raises(UsageError, match="--encoder goes with --features"):
        embed.main(["embed", "--encoder=resnet50", "--images=i", "--out=o.npz"])
    with pytest.raises(UsageError, match="no package carries weights of resnet50"):
        embed.main(["embed", "--features", "--encoder=resnet50", f"--images={file.parent}", "--out=o.npz"])


@pytest.mark.slow
def test_a_dry_run_counts_the_head_alone(file):
    config = settings(file, "dry")
    found = rehearsal.measure(config, sharding.data_mesh(jax.devices()[:1]))
    assert found.trained == WIDTH + 1  # the doubt; the head is fitted in closed form
    assert found.frozen == WIDTH * 8 + 8
    assert "encoder     none, features are the data" in "\n".join(rehearsal.describe(config, found))


@pytest.mark.parametrize("words", ["x", "3:2", "9:", "-1", "0:11"])
def test_rows_that_are_none_are_refused(words):
    with pytest.raises(UsageError, match="--rows="):
        rows.chosen_rows(words, 9)
