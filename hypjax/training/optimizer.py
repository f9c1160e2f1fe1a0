"""AdamW with a warm-up, a schedule, a clipped gradient and a learning rate of its own for the head."""

from __future__ import annotations

import jax
import optax

from hypjax.errors import UsageError
from hypjax.training.state import Params

SCHEDULES = ("cosine", "constant")
NEW_PARTS = ("head/", "doubt/")  # start from scratch, and may learn faster than a pretrained encoder


def learning_rate_schedule(peak: float, *, steps: int, warmup: float, schedule: str) -> optax.Schedule:
    """The learning rate over the steps of a run.

    Args:
      peak: the highest learning rate.
      steps: of the whole run.
      warmup: share of the steps, in [0, 1), over which it rises linearly from 0.
      schedule: `cosine`, down to 0 at the last step, or `constant`.

    Returns:
      An optax schedule.

    Raises:
      UsageError: an unknown schedule or a share outside [0, 1).
    """
    if schedule not in SCHEDULES:
        raise UsageError(f"optimizer.schedule {schedule!r} is unknown; there are: {', '.join(SCHEDULES)}")
    if not 0 <= warmup < 1:
        raise UsageError(f"optimizer.warmup is a share of the steps in [0, 1), not {warmup}")
    rise = round(warmup * steps)
    # The first update already moves: a step at learning rate 0 is a step lost.
    ascent = optax.linear_schedule(peak / (rise + 1), peak, rise)
    rest = max(1, steps - rise)
    descent = optax.cosine_decay_schedule(peak, rest) if schedule == "cosine" else optax.constant_schedule(peak)
    return optax.join_schedules([ascent, descent], [rise])


def create_optimizer(
    schedule: optax.Schedule, *, head_multiplier: float, weight_decay: float, clip_norm: float
) -> optax.GradientTransformation:
    """Binds the pieces together for parameters held by path.

    Args:
      schedule: learning rate by step.
      head_multiplier: of the learning rate for parameters under `NEW_PARTS`.
      weight_decay: decoupled; kernels only, so that norms, scales and biases stay free.
      clip_norm: largest norm of the global gradient; 0 leaves it as it is.

    Returns:
      The transformation.
    """

    def matrices(params: Params) -> dict[str, bool]:
        return jax.tree.map(lambda value: value.ndim > 1, params)

    def scale_head(updates: Params, params: Params | None = None) -> Params:
        return {
            path: update * head_multiplier if path.startswith(NEW_PARTS) else update for path, update in updates.items()
        }

    return optax.chain(
        optax.clip_by_global_norm(clip_norm) if clip_norm > 0 else optax.identity(),
        optax.adamw(schedule, weight_decay=weight_decay, mask=matrices),
        optax.stateless(scale_head),
    )
