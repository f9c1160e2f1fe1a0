"""The loop of training: steps, and what is done between them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import jax

from hypjax.training.state import TrainState

Log = Callable[[int, dict[str, jax.Array]], None]
"""What a step's metrics are given to, as soon as they are known; it raises where they are not finite."""


@dataclass
class Plan:
    """How far a run goes.

    Attributes:
      last: its last step, which early stopping brings nearer.
    """

    last: int

    def is_due(self, step: int, every: int) -> bool:
        """Whether something is done after this step: every so many steps, 0 for never, and after the last."""
        return step == self.last or bool(every and step % every == 0)


class Hook(Protocol):
    """Something that is done between two steps."""

    def is_due(self, step: int) -> bool:
        """Whether it is done after this step; asked once for each."""
        ...

    def __call__(self, step: int, state: TrainState) -> TrainState:
        """Does it; gives the state that training goes on with."""
        ...


def take_steps(
    state: TrainState,
    batches: Iterator[Any],
    step_function: Callable[[TrainState, Any], tuple[TrainState, dict[str, jax.Array]]],
    plan: Plan,
    *,
    log: Log,
    hooks: Sequence[Hook],
) -> TrainState:
    """Takes the steps that are left.

    Args:
      state: after the steps that were taken before.
      batches: of which each step takes the next.
      step_function: state and batch to the next state and its metrics, computed while Python goes on.
      plan: how far to go.
      log: is told the metrics of each step once the next one is on its way, so that the device need not wait.
      hooks: what is done between steps, in this order. Before any of them the metrics are logged: before a state is
        kept, it must be known to be good.

    Returns:
      The state after the last step.
    """
    step, pending = int(state.step), None
    while step < plan.last:
        state, metrics = step_function(state, next(batches))
        if pending is not None:
            log(step, pending)
        step, pending = step + 1, metrics
        due = [hook for hook in hooks if hook.is_due(step)]
        if due:
            log(step, pending)
            pending = None
        for hook in due:
            state = hook(step, state)
    return state
