"""AdamW with a warm-up, a schedule and a clipped gradient; head and proxies at their own learning rates."""

from __future__ import annotations

from functools import partial
from typing import Any

import jax
import optax

from hypjax import optim
from hypjax.data.errors import UsageError
from hypjax.training.state import OBJECTIVE, Params

SCHEDULES = ("cosine", "constant")


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
    schedule: optax.Schedule,
    *,
    weight_decay: float,
    clip_norm: float,
    head_multiplier: float = 1.0,
    doubt_multiplier: float = 1.0,
    head_decay: float | None = None,
    proxy_multiplier: float = 1.0,
    hier_multiplier: float = 1.0,
    curvature_multiplier: float = 1.0,
) -> optax.GradientTransformationExtraArgs:
    """Binds the pieces together for parameters held by path.

    Args:
      schedule: learning rate by step.
      weight_decay: decoupled; kernels only, so that norms, scales and biases stay free.
      clip_norm: largest norm of the gradient of model and head; 0 leaves it as it is.
      head_multiplier: of the learning rate for the head.
      doubt_multiplier: of the learning rate for a learned uncertainty.
      head_decay: weight decay of the head's kernels; None for `weight_decay`.
      proxy_multiplier: of the learning rate for class proxies and the margin loss's boundary.
      hier_multiplier: of the learning rate for HIER's proxies and those of a tree's nodes: as points Riemannian Adam
        moves them on their manifold, as tangent vectors AdamW.
      curvature_multiplier: of the learning rate for a learned curvature.

    Returns:
      The transformation; its `update` takes the `manifold` of points beside gradients, state and parameters.
    """
    multipliers = {"head": head_multiplier, "doubt": doubt_multiplier}

    def scale(updates: Params, params: Params | None = None) -> Params:
        scaled = dict(updates)
        for path in updates:
            if (factor := multipliers.get(path.partition("/")[0])) is not None:
                scaled[path] = updates[path] * factor
        return scaled

    def scaled(factor: float) -> optax.Schedule:
        return lambda step: factor * schedule(step)

    model = optax.chain(
        optax.clip_by_global_norm(clip_norm) if clip_norm > 0 else optax.identity(),
        optax.chain(
            optax.scale_by_adam(),
            optax.chain(
                optax.add_decayed_weights(weight_decay, partial(_is_decayed, head=False)),
                optax.add_decayed_weights(
                    weight_decay if head_decay is None else head_decay, partial(_is_decayed, head=True)
                ),
            ),
            optax.scale_by_learning_rate(schedule),
        ),
        optax.stateless(scale),
    )
    groups = {  # each has a state of its own in every checkpoint: one more would make older ones unreadable
        "model": model,
        "proxies": optax.adam(scaled(proxy_multiplier)),
        "tangents": optax.adamw(scaled(hier_multiplier), weight_decay=weight_decay),
        "points": optim.riemannian_adam(scaled(hier_multiplier)),
        "curvature": optax.adam(scaled(curvature_multiplier)),
    }
    owners = {
        "objective/hier_proxies": "points",
        "objective/hier_tangents": "tangents",
        "objective/node_proxies": "points",
        "objective/curvature": "curvature",
    }

    def group_of(path: str) -> str:
        return owners.get(path, "proxies" if path.startswith(OBJECTIVE) else "model")

    return optax.partition(groups, lambda params: {path: group_of(path) for path in params})


def _is_decayed(params: Params, *, head: bool) -> dict[str, bool]:
    def matrices(path: str, value: Any) -> Any:
        # Another group's parameters are empty here, and stay so.
        return jax.tree.map(lambda leaf: path.startswith("head/") == head and leaf.ndim > 1, value)

    return {path: matrices(path, value) for path, value in params.items()}
