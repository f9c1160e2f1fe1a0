"""A whole evaluation by several processes, each with its share of the embeddings, against that of one."""

import threading

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from hypjax.config.settings import default_settings
from hypjax.encoders.discriminant import Scatter
from hypjax.retrieval import Shares, clustering, shares
from hypjax.run import answers
from hypjax.training import evaluated, sharding, trees, windows
from hypjax.training.embedding import Embedded
from hypjax.training.evaluation import FIGURES, Evaluator
from hypjax.training.space import create_space
from tests.data.toy import Toy
from tests.together import Meeting

CLASSES, EACH, D, BATCH = 20, 4, 12, 6
COUNT = CLASSES * EACH
RNG = np.random.default_rng(0)
PLACES = (RNG.normal(size=(CLASSES, D)).repeat(EACH, axis=0) + 0.9 * RNG.normal(size=(COUNT, D))).astype(np.float32)
SPACE = create_space("poincare", c=0.2, distance="geodesic", uncertainty="radius", clip_radius=9.0)
VARIABLES, UNTRAINED = {"scale": 0.3}, {"scale": -0.1}


class Processes:
    """What `Evaluator` asks a process for, of threads that are one each."""

    def __init__(self, count):
        self.meeting, self._here = Meeting(count), threading.local()

    def run(self, work):
        def in_process(process):
            self._here.process = process
            return work()

        return self.meeting.run(in_process)

    def shares(self, count, together):
        if self.meeting.processes == 1:
            return Shares.whole(count)
        holder = np.arange(count) // together % self.meeting.processes
        return Shares(holder, self._here.process, self.meeting.of(self._here.process))

    def reader(self, part, *, degradation=None, level=0.0):
        chosen = getattr(part, "indices", np.arange(len(part)))
        for start in range(0, len(chosen), BATCH * self.meeting.processes):
            wanted = start + BATCH * self._here.process + np.arange(BATCH)
            rows = PLACES[chosen[np.minimum(wanted, len(chosen) - 1)]]
            yield {"features": rows + level * np.roll(rows, 1, axis=1), "valid": wanted < len(chosen)}


def evaluator(processes, devices=1, **options):
    mesh = sharding.data_mesh(jax.devices()[:devices])

    def embed(variables, batch):
        tangent = variables["scale"] * batch["features"]
        radius = jnp.linalg.norm(tangent, axis=1)
        features = jnp.sin(tangent * 2)
        return Embedded(features, SPACE.manifold.embed(tangent), tangent, radius, 1 / (1 + radius))

    compiled = jax.jit(embed, out_shardings=sharding.split(mesh))
    return Evaluator(compiled, lambda params: SPACE, mesh, processes.reader, clip_radius=9.0, ks=(1, 2, 30), **options)


def source(queries=None):
    made = Toy((EACH,) * CLASSES, np.arange(CLASSES)[:, None] // 10)
    made.queries = queries
    return made


@pytest.fixture
def few_at_a_time(monkeypatch):
    """Blocks, windows and samples that many images do not fit in."""
    for module, name, value in (
        (shares, "BLOCK", 24 * D),
        (clustering, "GATHERED", 32),
        (trees, "TOGETHER", 16),
        (windows, "MOST_TOGETHER", 30),
        (evaluated, "MOST_SHOWN", 25),
    ):
        monkeypatch.setattr(module, name, value)


def evaluate(monkeypatch, count, part, **options):
    processes = Processes(count)
    monkeypatch.setattr(sharding, "shares", processes.shares)

    def work():
        found = evaluator(processes, **options)(VARIABLES, part, degraded_queries=11, untrained=UNTRAINED)
        asked = answers.found(found, part)
        return found, found.shown(), asked

    return processes.run(work), processes.meeting


@pytest.mark.slow
@pytest.mark.parametrize("queries", [None, np.arange(COUNT) % 3 == 0], ids=["all others", "a gallery"])
def test_several_processes_find_what_one_finds(monkeypatch, few_at_a_time, queries):
    part = source(queries)
    ((alone, shown, asked),), _ = evaluate(monkeypatch, 1, part)
    found, meeting = evaluate(monkeypatch, 3, part)
    for own, of_own, asked_there in found:
        assert own.figures == found[0][0].figures
        assert own.figures == pytest.approx(alone.figures, rel=1e-6, abs=1e-6, nan_ok=True)
        assert list(own.figures) == list(alone.figures)
        for one, other in ((of_own, shown), (asked_there, asked), (own.responses, alone.responses)):
            chex.assert_trees_all_close(one, other, rtol=1e-5, atol=1e-6)
        np.testing.assert_array_equal(own.uncertainty, alone.uncertainty)
        assert len(own.embedded.points) < COUNT / 2
        assert (own.trees is None) == (own is not found[0][0])
    assert sum(len(own.embedded.points) for own, *_ in found) == COUNT
    assert meeting.rows[D] < COUNT  # no process has ever been sent the embeddings of all


@pytest.fixture(scope="module")
def whole():
    """By one process on one device, with all figures."""
    with pytest.MonkeyPatch.context() as patch:
        return evaluate(patch, 1, source())[0][0][0]


@pytest.mark.slow
def test_eight_devices_find_what_one_finds(monkeypatch, whole):
    monkeypatch.setattr("tests.training.test_shares.BATCH", 16)
    ((eight, *_),), _ = evaluate(monkeypatch, 1, source(), devices=8)
    assert eight.figures == pytest.approx(whole.figures, rel=1e-6, nan_ok=True)


def test_failures_of_shares_are_those_of_a_loop(monkeypatch):
    directions = PLACES / np.linalg.norm(PLACES, axis=1, keepdims=True)
    cosines = directions.astype(float) @ directions.T
    np.fill_diagonal(cosines, -2)
    labels = source().labels
    for count in (1, 3):
        processes = Processes(count)
        monkeypatch.setattr(sharding, "shares", processes.shares)
        for wrong in processes.run(lambda: evaluator(processes).failures(VARIABLES, source())):  # noqa: B023
            np.testing.assert_array_equal(wrong, labels[cosines.argmax(axis=1)] != labels)


@pytest.mark.slow
def test_failures_in_windows_do_not_depend_on_the_processes(monkeypatch, few_at_a_time):
    found = []
    for count in (1, 4):
        processes = Processes(count)
        monkeypatch.setattr(sharding, "shares", processes.shares)
        found += processes.run(lambda: evaluator(processes).failures(VARIABLES, source()))  # noqa: B023
    assert 0 < found[0].sum() < COUNT
    for wrong in found[1:]:
        np.testing.assert_array_equal(wrong, found[0])


def test_scatters_of_several_add_up_to_that_of_all():
    labels, whole = source().labels, Scatter(CLASSES, D)
    whole.add(PLACES, labels)
    processes = Processes(3)

    def work():
        held, scatter = processes.shares(COUNT, BATCH), Scatter(CLASSES, D)
        scatter.add(PLACES[held.own], labels[held.own])
        scatter.sum_up(held.total)
        return scatter

    for scatter in processes.run(work):
        assert scatter.count == COUNT
        np.testing.assert_allclose(scatter.within(), whole.within(), rtol=1e-12, atol=1e-15)
        np.testing.assert_allclose(scatter.total(), whole.total(), rtol=1e-12, atol=1e-15)


@pytest.mark.slow
def test_figures_that_are_not_asked_for_are_not_there(monkeypatch, whole):
    """Each is asked for once, some of them together."""
    ((none, *_),), _ = evaluate(monkeypatch, 1, source(), figures=())
    of = {
        "nmi": ["nmi"],
        "trees": [name for name in whole.figures if "_tree_" in name or name.startswith("radius_order")],
    }
    for name in FIGURES[2:]:
        of[name] = [figure for figure in whole.figures if figure.startswith(f"{name}_") and "body_before" not in figure]
    of["body_before"] = [figure for figure in whole.figures if figure.startswith("body_before_")]
    assert all(of.values())
    for names in ("nmi", "direction", "body"), ("trees", "body_before"):
        ((some, *_),), _ = evaluate(monkeypatch, 1, source(), figures=names)
        assert some.figures.keys() == set(none.figures).union(*(of[name] for name in names))
        assert (some.trees is not None) == ("trees" in names)
    assert none.figures.keys() == whole.figures.keys() - {figure for figures in of.values() for figure in figures}
    assert "nmi" in default_settings().evaluation.figures
