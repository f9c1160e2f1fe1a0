from types import SimpleNamespace

import numpy as np
import pytest

from hypjax.config.settings import default_settings
from hypjax.data.errors import UsageError
from hypjax.run.hooks import Logging, Saving, Stop, Validating
from hypjax.run.loop import Plan, take_steps
from hypjax.run.status import DivergedError, Stopped
from hypjax.run.stopping import Stopping
from hypjax.show.progress import Progress


class State:
    """Counts the steps that it was taken through."""

    def __init__(self, step=0):
        self.step = step

    def evaluated(self):
        return self.step


class Kept:
    """Checkpoints that hold the steps alone."""

    def __init__(self):
        self.steps = []

    def save(self, state, position):
        if state.step not in self.steps:
            self.steps.append(state.step)


def validating(figures, *, patience=0, every=2, best=None, plan, rows=(), figure="recall@1", written=None):
    """One that finds the figures in their order."""
    config = default_settings()
    config.update(patience=patience, evaluation={"every": every}, checkpoint={"best": figure})
    found = iter(figures)

    def evaluator(step, source, *, degraded_queries, clusters):
        return SimpleNamespace(figures=dict.fromkeys(FIGURES, next(found)))

    hook = Validating(
        evaluator,
        ["an image"],
        config,
        plan,
        stopping=Stopping(),
        writer=written,
        progress=Progress(),
        refit=None,
        best=best,
        position=dict,
    )
    hook.recall(rows)
    return hook


FIGURES = ("recall@1", "map@r", "uncertainty_auroc", "radius_mean", "saturated_share", "body_recall@1")


def train(plan, hooks, *, first=0, log=lambda step, metrics: None):
    def step(state, batch):
        assert batch == state.step
        return State(state.step + 1), {"loss": state.step + 1}

    return take_steps(State(first), iter(range(first, 1000)), step, plan, log=log, hooks=hooks).step


class Tells:
    """A hook that notes when it was called, and what was logged by then."""

    def __init__(self, due, logged):
        self.due, self.logged, self.calls = due, logged, []

    def is_due(self, step):
        return step in self.due

    def __call__(self, step, state):
        assert state.step == step
        self.calls.append((step, list(self.logged)))
        return state


def test_steps_are_logged_once_and_before_anything_is_done_with_their_state():
    logged = []
    hook = Tells({3, 5}, logged)
    assert train(Plan(6), [hook], log=lambda step, metrics: logged.append((step, metrics["loss"]))) == 6
    assert logged == [(step, step) for step in range(1, 6)]  # the last one is logged by a hook that is due at the end
    assert hook.calls == [(3, logged[:3]), (5, logged[:5])]


def test_a_run_is_saved_and_validated_at_intervals_and_at_the_end():
    plan, kept, best = Plan(7), Kept(), Kept()
    check = validating([0.1, 0.3, 0.2, 0.3], plan=plan, every=2, best=best)
    saving = Saving(kept, SimpleNamespace(get_state=dict), plan, every=5, minutes=0, before=check, writer=None)
    assert train(plan, [saving, check]) == 7
    assert kept.steps == [2, 4, 5, 6, 7]  # before each validation, by its own interval, and at the end
    assert best.steps == [2, 4]  # what is only as good as before is not kept


def test_training_ends_where_nothing_gets_better(capsys):
    plan, best, written = Plan(100), Kept(), SimpleNamespace(write=lambda step, row: None, flush=lambda: None)
    check = validating([0.5, 0.6, 0.6, 0.4, 0.1], plan=plan, patience=2, best=best, written=written)
    assert train(plan, [check]) == 9  # one step after the second validation without a better figure
    assert (plan.last, best.steps) == (9, [2, 4])
    assert "recall@1 got no better in 2 validations (patience): step 9 is the last" in capsys.readouterr().out


@pytest.mark.parametrize(("taken", "last"), [(0, 9), (4, 9), (6, 9), (8, 9)])
def test_a_run_that_goes_on_ends_where_an_unbroken_one_does(taken, last):
    figures = [0.5, 0.6, 0.6, 0.4, 0.1]
    rows = [{"step": 2 * (i + 1), "validation/recall@1": v} for i, v in enumerate(figures) if 2 * (i + 1) <= taken]
    plan, best = Plan(100), Kept()
    best.steps = [step for step in (2, 4) if step <= taken]
    check = validating(figures[taken // 2 :], plan=plan, patience=2, best=best, rows=[{"step": 1, "loss": 2.0}, *rows])
    assert train(plan, [check], first=taken) == last
    assert best.steps == [2, 4]


@pytest.mark.parametrize(("held", "again"), [([], True), ([2], True), ([4], False)])
def test_a_best_state_that_a_kill_took_is_kept_after_all(held, again):
    """Its figures are there already, and are not counted twice."""
    plan, best = Plan(9), Kept()
    best.steps = held
    rows = [{"step": 2, "validation/recall@1": 0.5}, {"step": 4, "validation/recall@1": 0.6}]
    check = validating([0.6], plan=plan, patience=1, best=best, rows=rows)
    assert check.is_due(4) == again
    if again:
        check(4, State(4))
        assert best.steps[-1] == 4
    assert not check.is_due(4)
    assert plan.last == 9


def test_what_was_validated_before_a_kill_is_not_validated_again():
    check = validating([], plan=Plan(9), rows=[{"step": 4, "validation/recall@1": 0.5}])
    assert not check.is_due(4)
    assert check.is_due(6)
    assert validating([], plan=Plan(9), rows=[]).is_due(0)  # before training, to compare with


def test_a_figure_that_there_is_not_is_named_once_all_are_known():
    """Before training neither clusters nor degraded queries are looked at."""
    plan = Plan(4)
    check = validating([0.4, 0.5], plan=plan, figure="nmi")
    check(0, State(0))
    with pytest.raises(UsageError, match=r"checkpoint.best 'nmi' is no figure; there are: recall@1, map@r"):
        train(plan, [check])


def test_the_best_state_has_the_least_of_what_is_better_lower():
    plan, best = Plan(100), Kept()
    check = validating(
        [0.5, 0.3, np.nan, 0.2, 0.4, 0.2, 0.2], plan=plan, patience=2, best=best, figure="saturated_share"
    )
    assert train(plan, [check]) == 13
    assert best.steps == [2, 4, 8]
    rows = [{"step": 2, "validation/recall@1": 0.1, "validation/saturated_share": 0.2}]
    again = validating([0.3, 0.1], plan=Plan(9), best=best, figure="saturated_share", rows=rows)
    assert not again.is_due(2)


def test_the_state_before_a_fit_of_the_head_is_saved():
    """A fit may take longer than a signal leaves."""
    plan, kept = Plan(7), Kept()
    check = validating([0.5], plan=plan, every=0)
    parts = {"every": 0, "minutes": 0, "before": check, "writer": None}
    saving = Saving(kept, SimpleNamespace(get_state=dict), plan, fits=True, **parts)
    train(plan, [saving])
    assert kept.steps == [6, 7]


def test_a_signal_saves_and_ends():
    plan, kept, stopping = Plan(9), Kept(), Stopping()
    saving = Saving(
        kept, SimpleNamespace(get_state=dict), plan, every=0, minutes=0, before=validating([], plan=plan), writer=None
    )
    saving._before.is_due = lambda step: False

    def log(step, metrics):
        if step == 3:
            stopping.asked = 15

    with pytest.raises(Stopped, match="SIGTERM"):
        train(plan, [saving, Stop(stopping, saving)], log=log)
    assert kept.steps == [4]  # the step that was on its way when step 3 was logged


def test_a_clock_that_has_run_out_saves():
    plan, kept = Plan(3), Kept()
    check = validating([0.5], plan=plan, every=0)
    assert (
        train(
            plan,
            [Saving(kept, SimpleNamespace(get_state=dict), plan, every=0, minutes=1e-9, before=check, writer=None)],
        )
        == 3
    )
    assert kept.steps == [1, 2, 3]


def test_a_figure_that_is_not_finite_stops_before_its_state_is_kept():
    plan, kept = Plan(9), Kept()
    check = validating([], plan=plan, every=0)
    saving = Saving(kept, SimpleNamespace(get_state=dict), plan, every=1, minutes=0, before=check, writer=None)
    last = {"learning_rate": lambda step: step, "last_saved": lambda: kept.steps[-1]}
    log = Logging(None, Progress(), plan, every=1, **last)

    def logged(step, metrics):
        log(step, {"loss": np.float32(1.0), "grad_norm": np.float32(np.nan if step == 4 else 1)})

    with pytest.raises(DivergedError, match=r"not finite at step 4 .* the last good checkpoint is 3"):
        train(plan, [saving], log=logged)
    assert kept.steps == [1, 2, 3]
