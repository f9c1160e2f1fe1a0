"""What a user meets: what a run leaves, and what is made of it."""

import shutil

import numpy as np
import pytest

from tests.programs import THIRDS, done, tiny
from tests.workdirs import losses, results, rows, saved


@pytest.fixture(scope="module")
def finished(folder, tmp_path_factory):
    """An unbroken run with all that a run leaves, and what it printed."""
    workdir = tmp_path_factory.mktemp("finished") / "run"
    return workdir, done(*tiny(folder, workdir, THIRDS), drawn=True)


@pytest.mark.slow
def test_a_run_leaves_what_the_readme_promises(finished):
    workdir, out = finished
    left = {"config.json", "environment.json", "metrics.jsonl", "checkpoints", "results.json", "report.html"}
    assert left <= {p.name for p in workdir.iterdir()}
    assert len([p for p in workdir.glob("*.png") if p.stat().st_size > 1000]) == 7
    assert len(losses(workdir)) >= 10
    assert saved(workdir) == [6, 12]
    figures = results(workdir)
    assert 0 <= figures["recall@1"] <= figures["recall@2"] <= 1
    assert {"map@r", "r_precision", "nmi", "uncertainty_auroc", "blur_rank_correlation"} <= set(figures)
    validated = [row["step"] for row in rows(workdir) if "validation/saturated_share" in row]
    assert validated == [0, 6, 12]  # the first before training, to compare with
    assert "1 cpu device(s) in 1 process(es)" in out
    assert len(out.splitlines()) < 30


@pytest.mark.slow
def test_a_finished_run_says_so(finished, folder):
    workdir, _ = finished
    before = (workdir / "results.json").stat().st_mtime_ns
    assert "is finished" in done(*tiny(folder, workdir, THIRDS))
    assert (workdir / "results.json").stat().st_mtime_ns == before


@pytest.mark.slow
def test_evaluate_gives_the_same_figures(finished, tmp_path):
    workdir, before = tmp_path / "run", results(finished[0])
    shutil.copytree(finished[0], workdir)
    (workdir / "results.json").write_text("{}")
    assert "recall@1 " in done(f"--workdir={workdir}", module="hypjax.evaluate")
    assert results(workdir) == {name: pytest.approx(value, abs=1e-6, nan_ok=True) for name, value in before.items()}


@pytest.mark.slow
def test_a_folder_is_embedded_and_searched_with_its_model(finished, folder, tmp_path):
    workdir, _ = finished
    index, page = tmp_path / "index.npz", tmp_path / "found.html"
    done(f"--workdir={workdir}", f"--images={folder}", f"--out={index}", module="hypjax.embed")
    with np.load(index) as held:
        assert len(held["paths"]) == len(held["points"]) == len(held["uncertainty"]) == 40
    query = shutil.copy(folder / "class 3" / "1.png", tmp_path / "ask me.png")
    words = [f"--workdir={workdir}", f"--index={index}", f"--query={query}", "--k=5", f"--out={page}"]
    found = [line.split() for line in done(*words, module="hypjax.search").splitlines()[2:7]]
    assert (found[0][0], float(found[0][1]), " ".join(found[0][3:])) == ("1", 0, "class 3/1.png")
    distances = [float(row[1]) for row in found]
    assert distances == sorted(distances)
    assert "data:image/" in page.read_text()


@pytest.mark.slow
def test_a_small_folder_needs_no_settings_of_its_own(folder, tmp_path):
    said = done(*tiny(folder, tmp_path / "run", "--config.most_epochs=1.0"))
    assert "they go through the training images 1 times (most_epochs)" in said, said
    assert {"recall@1", "recall@2"} <= set(results(tmp_path / "run"))
