"""Gradient descent on a manifold, as optax transformations whose updates are added to the points as usual.

The manifold is an argument of `update`, since a learned curvature makes another one at every step. An update is the new
point minus the old one, so `optax.apply_updates` lands on the manifold, up to the rounding of that sum. Every leaf of
the parameters is an array of points [..., d] of one manifold; `optax.partition` keeps them apart from parameters of
other kinds.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax.typing import ArrayLike
from jaxtyping import Array, Float, Int

from hypjax.geometry import Manifold

LearningRate = ArrayLike | Callable[[Array], ArrayLike]
"""A number, or an optax schedule that gives it for the count of updates so far."""


class SgdState(NamedTuple):
    """State of `riemannian_sgd`.

    Attributes:
      step: [] updates so far.
      momentum: tangent vectors at the points, shaped like them; None without momentum.
    """

    step: Int[Array, ""]
    momentum: Any


class AdamState(NamedTuple):
    """State of `riemannian_adam`.

    Attributes:
      step: [] updates so far.
      mean: running mean of the gradient, tangent vectors at the points [..., d].
      square: running mean of its squared Riemannian length, one number a point [...].
    """

    step: Int[Array, ""]
    mean: Any
    square: Any


def riemannian_sgd(
    learning_rate: LearningRate,
    *,
    momentum: float = 0.0,
    nesterov: bool = False,
    use_expmap: bool = True,
) -> optax.GradientTransformationExtraArgs:
    """Stochastic gradient descent along geodesics.

    h = rgrad(x);  m ← μ m + h;  x' = exp_x(−η m);  m ← P_{x→x'}(m)

    or −η(μ m + h) after the new m in Nesterov's form. In flat space it is `optax.sgd`.

    Args:
        learning_rate: η, or a schedule of it.
        momentum: μ in [0, 1).
        nesterov: whether to look ahead.
        use_expmap: whether to walk the geodesic; otherwise the manifold's retraction.

    Returns:
        The transformation; its `update(gradients, state, params, manifold=...)` needs the points and where they live.

    Raises:
        ValueError: for a momentum outside [0, 1); at `init` for a leaf without a last axis of coordinates; at
            `update` without parameters or manifold.

    Example:
        >>> import jax, jax.numpy as jnp, optax
        >>> from hypjax import geometry, optim
        >>> space, target = geometry.Poincare(1.0), jnp.array([0.5, 0.3])
        >>> optimizer = optim.riemannian_sgd(0.2)
        >>> @jax.jit
        ... def step(x, state):
        ...     gradient = jax.grad(space.sqdist)(x, target)
        ...     update, state = optimizer.update(gradient, state, x, manifold=space)
        ...     return optax.apply_updates(x, update), state
        >>> x, state = jnp.zeros(2), optimizer.init(jnp.zeros(2))
        >>> for _ in range(30):
        ...     x, state = step(x, state)
        >>> print(x.round(3))
        [0.5 0.3]

    References:
        Bonnabel, Stochastic Gradient Descent on Riemannian Manifolds, IEEE TAC 2013.
    """
    if not 0 <= momentum < 1:
        raise ValueError(f"momentum={momentum} must lie in [0, 1), for instance 0.9")

    def init(params: optax.Params) -> SgdState:
        _check_points(params)
        return SgdState(jnp.zeros((), jnp.int32), jax.tree.map(jnp.zeros_like, params) if momentum else None)

    def update(
        gradients: optax.Updates,
        state: SgdState,
        params: optax.Params | None = None,
        *,
        manifold: Manifold | None = None,
        **unused: Any,
    ) -> tuple[optax.Updates, SgdState]:
        if not jax.tree.leaves(gradients):  # a partition without points
            return gradients, state
        points, manifold = _needed(params, manifold)
        direction = gradient = jax.tree.map(manifold.egrad2rgrad, points, gradients)
        velocity = None
        if momentum:
            velocity = jax.tree.map(lambda m, h: momentum * m + h, state.momentum, gradient)
            direction = jax.tree.map(lambda m, h: momentum * m + h, velocity, gradient) if nesterov else velocity
        rate = _rate(learning_rate, state.step)
        steps = jax.tree.map(lambda h: -rate.astype(h.dtype) * h, direction)
        updates, moved = _move(manifold, points, steps, use_expmap)
        if momentum:
            velocity = jax.tree.map(manifold.transport, points, moved, velocity)
        return updates, SgdState(state.step + 1, velocity)

    return optax.GradientTransformationExtraArgs(init, update)


def riemannian_adam(
    learning_rate: LearningRate,
    *,
    b1: float = 0.9,
    b2: float = 0.999,
    eps: float = 1e-8,
    use_expmap: bool = True,
) -> optax.GradientTransformationExtraArgs:
    """Adam along geodesics, with one step size for each point.

    h = rgrad(x);  m ← β₁ m + (1 − β₁)h;  v ← β₂ v + (1 − β₂)‖h‖²_x
    x' = exp_x(−η m̂/(√v̂ + ε));  m ← P_{x→x'}(m),   m̂ = m/(1 − β₁ᵗ), v̂ = v/(1 − β₂ᵗ) at update t

    A manifold has no coordinates of its own to scale one by one, so v is a number a point, its squared Riemannian
    gradient length: in flat space this is `optax.adam` for d = 1 alone. A step is about η long, in units of the
    manifold's distance.

    Args:
        learning_rate: η, or a schedule of it.
        b1: β₁ in [0, 1), of the mean.
        b2: β₂ in [0, 1), of the square.
        eps: ε > 0, in units of the gradient's length.
        use_expmap: whether to walk the geodesic; otherwise the manifold's retraction.

    Returns:
        The transformation; its `update(gradients, state, params, manifold=...)` needs the points and where they live.

    Raises:
        ValueError: for settings out of range; at `init` for a leaf without a last axis of coordinates; at `update`
            without parameters or manifold.

    Example:
        >>> import jax, jax.numpy as jnp, optax
        >>> from hypjax import geometry, optim
        >>> optimizer = optim.riemannian_adam(0.1)
        >>> x = jnp.array([[1.0, 0.0]])
        >>> update, state = optimizer.update(
        ...     jnp.array([[0.0, -3.0]]), optimizer.init(x), x, manifold=geometry.Sphere())
        >>> print(jnp.array_str(optax.apply_updates(x, update), precision=3), state.square.shape)
        [[0.995 0.1  ]] (1,)

    References:
        Bécigneul, Ganea, Riemannian Adaptive Optimization Methods, ICLR 2019.
    """
    if not (0 <= b1 < 1 and 0 <= b2 < 1 and eps > 0):
        raise ValueError(f"b1={b1}, b2={b2} must lie in [0, 1) and eps={eps} above 0; 0.9, 0.999, 1e-8 are usual")

    def init(params: optax.Params) -> AdamState:
        _check_points(params)
        squares = jax.tree.map(lambda x: jnp.zeros(x.shape[:-1], x.dtype), params)
        return AdamState(jnp.zeros((), jnp.int32), jax.tree.map(jnp.zeros_like, params), squares)

    def update(
        gradients: optax.Updates,
        state: AdamState,
        params: optax.Params | None = None,
        *,
        manifold: Manifold | None = None,
        **unused: Any,
    ) -> tuple[optax.Updates, AdamState]:
        if not jax.tree.leaves(gradients):  # a partition without points
            return gradients, state
        points, manifold = _needed(params, manifold)
        gradient = jax.tree.map(manifold.egrad2rgrad, points, gradients)
        lengths = jax.tree.map(lambda x, h: manifold.inner(x, h, h), points, gradient)
        mean = jax.tree.map(lambda m, h: b1 * m + (1 - b1) * h, state.mean, gradient)
        square = jax.tree.map(lambda v, s: b2 * v + (1 - b2) * s, state.square, lengths)
        step = state.step + 1
        rate = _rate(learning_rate, state.step)

        def scaled(m: Array, v: Array) -> Array:
            t = step.astype(m.dtype)
            typical = jnp.sqrt(v / (1 - b2**t)) + eps
            return -rate.astype(m.dtype) / (1 - b1**t) * m / typical[..., None]

        updates, moved = _move(manifold, points, jax.tree.map(scaled, mean, square), use_expmap)
        mean = jax.tree.map(manifold.transport, points, moved, mean)
        return updates, AdamState(step, mean, square)

    return optax.GradientTransformationExtraArgs(init, update)


def _move(manifold: Manifold, points: Any, steps: Any, use_expmap: bool) -> tuple[Any, Any]:
    """What to add to the points, and where they come to be."""
    walk = manifold.expmap if use_expmap else manifold.retract
    # Held at the boundary, a map may land 1 % of the coordinates beyond it, which are rounded that much there.
    moved = jax.tree.map(lambda x, u: manifold.project(walk(x, u)), points, steps)
    return jax.tree.map(jnp.subtract, moved, points), moved


def _rate(learning_rate: LearningRate, step: Array) -> Array:
    return jnp.asarray(learning_rate(step) if callable(learning_rate) else learning_rate, float)


def _needed(params: optax.Params | None, manifold: Manifold | None) -> tuple[optax.Params, Manifold]:
    if params is None or manifold is None:
        raise ValueError(
            "a Riemannian optimizer moves points of a manifold: call update(gradients, state, params, manifold=...)"
        )
    return params, manifold


def _check_points(params: optax.Params) -> None:
    for path, leaf in jax.tree_util.tree_leaves_with_path(params):
        if leaf.ndim == 0:
            raise ValueError(f"parameter {jax.tree_util.keystr(path)} is a scalar; points are arrays [..., d]")


def riemannian_gradient(x: Float[Array, "... e"], manifold: Manifold) -> Float[Array, "... e"]:
    """Points as they are, whose gradient goes on as the Riemannian one.

    For points that a network or a tangent parameter makes and a Euclidean optimizer moves: in the ball of curvature −c
    what they are made from gets (1 − c‖x‖²)²/4 times its gradient [code: HIER]. Where points themselves are learned,
    `riemannian_adam` does it and stays on the manifold.

    Args:
        x: [..., e] points.
        manifold: of the points; a learned curvature gets no gradient through this.

    Returns:
        x.

    Example:
        >>> from hypjax import geometry
        >>> x = jnp.array([0.6, 0.0])
        >>> print(jax.grad(lambda x: riemannian_gradient(x, geometry.Poincare(c=1.0))[0])(x).round(4))
        [0.1024 0.    ]
    """
    at = jax.lax.stop_gradient(x)
    # The scaling is linear and symmetric: what it does to a difference of 0 forward, it does to the gradient backward.
    return at + manifold.egrad2rgrad(at, x - at)
