"""What a training run is made of between two steps, and nothing else."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from functools import partial
from typing import Any

import flax.struct
import jax
import jax.numpy as jnp
import optax
from flax.traverse_util import flatten_dict, unflatten_dict

from hypjax.losses.memory import CrossBatchMemory

Params = dict[str, jax.Array]  # by path, such as "encoder/stem/kernel"
OBJECTIVE = "objective/"  # what the objective learns beside the model: proxies, boundary, curvature


class TrainState(flax.struct.PyTreeNode):
    """The state of a run; all that a checkpoint holds besides the position in the data.

    Attributes:
      step: steps taken, int32 [].
      params: what the optimizer changes, by path; the objective's own under `OBJECTIVE`.
      frozen: parameters that stay as they are, by path.
      collections: the model's other variables: BatchNorm and feature statistics.
      opt_state: the optimizer's state for `params`.
      average: exponential moving average of `params`, or None when it is off.
      failures: for each training image 1 if its nearest neighbor was wrong before training, else 0 [n]; None
        for a model without doubt.
      memory: points of earlier batches for a cross-batch memory, or None.
    """

    step: jax.Array
    params: Params
    frozen: Params
    collections: Mapping[str, Any]
    opt_state: optax.OptState
    average: Params | None
    failures: jax.Array | None = None
    memory: CrossBatchMemory | None = None

    def variables(self, params: Params | None = None) -> dict[str, Any]:
        """The model's variables, with `params` in place of the current ones if given.

        The objective's own parameters are among them as the collection `objective`, which the model never looks at:
        where the embeddings live may depend on them.
        """
        return merge(self.params if params is None else params, self.frozen, self.collections)

    def evaluated(self) -> dict[str, Any]:
        """The model's variables for evaluation: the averaged weights where they are kept."""
        return self.variables(self.average)


def merge(params: Params, frozen: Params, collections: Mapping[str, Any]) -> dict[str, Any]:
    """Puts trainable and frozen parameters together again as the nested variables Flax takes."""
    model = {path: value for path, value in params.items() if not path.startswith(OBJECTIVE)}
    return {"params": unflatten_dict({**model, **frozen}, sep="/"), "objective": of_objective(params), **collections}


def of_objective(params: Params) -> Params:
    """The objective's own parameters by their short names.

    >>> of_objective({"head/kernel": 1, "objective/beta": 2})
    {'beta': 2}
    """
    return {path.removeprefix(OBJECTIVE): value for path, value in params.items() if path.startswith(OBJECTIVE)}


def create_state(
    variables: Mapping[str, Any],
    optimizer: optax.GradientTransformation,
    *,
    objective: Mapping[str, jax.Array] | None = None,
    frozen: Iterable[str] = (),
    average: bool = False,
    failures: jax.Array | None = None,
    memory: CrossBatchMemory | None = None,
) -> TrainState:
    """Makes the state of step 0.

    Args:
      variables: the model's variables, weights loaded and head calibrated.
      optimizer: the optax transformation of the trainable parameters.
      objective: the objective's own parameters by short name.
      frozen: regular expressions; a parameter whose path matches one from its start is not trained.
      average: whether to keep averaged weights.
      failures: of the training images before training, if the objective asks for them.
      memory: an empty cross-batch memory, if one is kept.

    Returns:
      The state.

    Raises:
      ValueError: an expression matches no parameter, or all of them.
    """
    collections = {name: value for name, value in variables.items() if name != "params"}
    flat = flatten_dict(variables["params"], sep="/")
    patterns = [re.compile(pattern) for pattern in frozen]
    for pattern in patterns:
        if not any(pattern.match(path) for path in flat):
            raise ValueError(
                f"encoder.frozen: {pattern.pattern!r} matches no parameter of this encoder; choose the encoder behind "
                "the colon (:encoder=NAME), or set encoder.frozen"
            )
    held = {path: value for path, value in flat.items() if any(p.match(path) for p in patterns)}
    params = {path: value for path, value in flat.items() if path not in held}
    params |= {OBJECTIVE + name: value for name, value in (objective or {}).items()}
    if not params:
        raise ValueError(f"encoder.frozen: {tuple(frozen)} leaves nothing to train")
    return TrainState(
        step=jnp.int32(0),
        params=params,
        frozen=held,
        collections=collections,
        opt_state=jax.jit(optimizer.init)(params),
        average=jax.jit(partial(jax.tree.map, jnp.copy))(params) if average else None,
        failures=failures,
        memory=memory,
    )
