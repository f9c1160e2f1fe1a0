"""How a Fréchet mean is found and differentiated, the same in every curved space.

The mean of points x_i with weights w_i is where Σ w_i d(m, x_i)² is least, so where Σ w_i log_m(x_i) = 0. It is
reached by descent along that sum, and its derivative comes from the equation and not from the steps (implicit
differentiation): memory does not grow with them, and both modes and second derivatives work.

References:
    Karcher (1977), Riemannian center of mass and mollifier smoothing.
    Lou et al. (2020), Differentiating through the Fréchet Mean. https://arxiv.org/abs/2003.00335
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

from hypjax.geometry import numerics

STEPS = 100


def shares(x: Float[Array, "... n d"], weights: Float[Array, "... n"] | None) -> Float[Array, "... n"]:
    """The weights divided by their sum, equal ones where None; all 0 where they are all 0."""
    weights = jnp.ones(x.shape[:-1], x.dtype) if weights is None else jnp.broadcast_to(weights, x.shape[:-1])
    return numerics.divide(weights, jnp.sum(weights, axis=-1, keepdims=True))


def solve(
    pull: Callable[[Array], Array],
    advance: Callable[[Array], tuple[Array, Array]],
    start: Float[Array, " d"],
    steps: int,
) -> Float[Array, " d"]:
    """The point m with pull(m) = 0, differentiable in all that `pull` closes over.

    Args:
        pull: a function of the point, [d] → [d], whose Jacobian at its zero has an inverse.
        advance: the next point from a point, and the length of the step there in units in which the rounding of a
            coordinate is about the dtype's epsilon; below 8 of them it is the last.
        start: [d], near the zero.
        steps: the most that are taken.
    """
    last = 8 * float(jnp.finfo(start.dtype).eps)

    def descend(_, start):
        def once(state):
            count, m, _ = state
            m, length = advance(m)
            return count + 1, m, length <= last

        return lax.while_loop(lambda state: (state[0] < steps) & ~state[2], once, (0, start, jnp.array(False)))[1]

    def tangent_solve(linear, b):
        return jnp.linalg.solve(jax.jacobian(linear)(b), b)

    return lax.custom_root(pull, lax.stop_gradient(start), descend, tangent_solve)
