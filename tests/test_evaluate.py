import errno
import json
import shutil
from types import SimpleNamespace

import pytest

from hypjax import encoders, evaluate
from hypjax.config.settings import default_settings
from hypjax.data.errors import UsageError
from hypjax.run import results
from tests import programs
from tests.pictures import untrained_run


@pytest.mark.slow
@pytest.mark.parametrize(("split", "count"), [("test", 7), ("validation", 3)])
def test_weights_that_are_gone_leave_out_the_figures_before_training_and_nothing_else(
    split, count, tmp_path, monkeypatch
):
    config = default_settings()
    config.encoder.weights = str(tmp_path / "gone.npz")
    config.evaluation.degraded_test_queries, config.evaluation.degraded_queries = 7, 3
    model = SimpleNamespace(encoder=encoders.create("efficientnet_lite0"))
    parts, said, asked = (
        SimpleNamespace(model=model, splits=SimpleNamespace(test="test", validation="validation")),
        [],
        [],
    )

    def evaluator(*words, **settings):
        asked.append((words, settings))
        return SimpleNamespace(figures={}, shown=lambda: None)

    relied = SimpleNamespace(figures=lambda: {"calibration_error": 0.1})
    monkeypatch.setattr(results.answers, "too_few", lambda config, source: False)
    monkeypatch.setattr(results.answers, "rely", lambda config, evaluation, splits, validated: relied)
    scored = results.score(config, parts, evaluator, {"params": {}}, split, say=said.append)
    assert scored.figures == ({"calibration_error": 0.1} if split == "test" else {})
    assert asked == [(({"params": {}}, split), {"degraded_queries": count, "untrained": None})]
    assert len(said) == 1
    assert "before training are left out" in said[0]


@pytest.mark.slow
def test_figures_are_given_where_the_workdir_cannot_be_written(monkeypatch, capsys):
    def refuse(*_, **__):
        raise OSError(errno.EROFS, "Read-only file system")

    monkeypatch.setattr(evaluate, "write_results", refuse)
    workdir = untrained_run()[0]
    assert "recall@1" in evaluate.evaluate(workdir)
    with pytest.raises(UsageError, match="--risk is told of test classes, of which 8 or more must calibrate"):
        evaluate.evaluate(workdir, risk=0.1)
    assert "cannot be written: pictures, page and figures in it stay as they are" in capsys.readouterr().out


@pytest.mark.slow
def test_it_finishes_no_run_for_its_trainer_and_says_where_the_images_are_others(tmp_path, monkeypatch, capsys):
    """Its last state may lie there, and its last validation be on the way."""
    written = []
    monkeypatch.setattr(evaluate, "write_results", lambda *parts, **how: written.append(how))
    workdir = tmp_path / "run"
    shutil.copytree(untrained_run()[0], workdir)
    (workdir / "environment.json").write_text(json.dumps({"steps": 0, "digest": {"test": "another"}}))
    evaluate.evaluate(workdir)
    (workdir / "results.json").write_text("{}")
    evaluate.evaluate(workdir)
    evaluate.evaluate(workdir, state="last")
    assert [how["finished"] for how in written] == [False, True, True]
    assert capsys.readouterr().out.count("was trained beside other test images: ") == 3


@pytest.mark.slow
def test_what_is_left_out_is_missing_everywhere_and_a_batch_is_rounded_up(tmp_path):
    """Eight devices share batches of five images; k-means, trees and plainer searches are off."""
    workdir = tmp_path / "run"
    shutil.copytree(untrained_run()[0], workdir)
    settings = json.loads((workdir / "config.json").read_text())
    settings["evaluation"] |= {"figures": [], "batch": 5, "degraded_test_queries": 0, "calibration": 0}
    (workdir / "config.json").write_text(json.dumps(settings))
    ended, told, complaints = programs.run(f"--workdir={workdir}", module="hypjax.evaluate", devices=8)
    assert ended == 0, complaints
    (results,) = workdir.glob("results*.json")
    figures = json.loads(results.read_text())
    assert not [name for name in figures if name.startswith(("nmi", "body", "direction", "linkage", "blur", "answer"))]
    assert figures.keys() >= {"recall@1", "map@r", "lca_height", "uncertainty_auroc", "radius_mean"}
    assert "body_recall@1" not in told
    drawn = {path.name for path in workdir.glob("*.png")}
    assert drawn == {"disk.png", "gallery.png", "layers.png", "risk_coverage.png"}
    assert (workdir / "report.html").exists()


@pytest.mark.parametrize("risk", ["0", "1", "1.5"])
def test_a_risk_is_a_share(risk):
    with pytest.raises(UsageError, match="--risk must lie between 0 and 1"):
        evaluate.main(["evaluate", "--workdir=nowhere", f"--risk={risk}"])
