"""What an objective learns beside the model, at step 0: proxies as directions and as points."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp

from hypjax.geometry import Manifold, Product
from hypjax.training.comparing import CLASS_PROXIES, HIER_PROXIES, NODE_PROXIES, Params
from hypjax.training.levels import Levels
from hypjax.training.space import Space


def initial_params(
    key: jax.Array,
    dim: int,
    *,
    params: Params,
    space_at: Callable[[Params], Space],
    proxies: tuple[str, ...] | None,
    centers: int,
    tree: Levels,
    placed: bool,
    hier: Mapping[str, Any] | None,
    clip_radius: float,
) -> dict[str, jax.Array]:
    """Draws the proxies.

    Args:
      key: of what is drawn.
      dim: of tangent vectors.
      params: what is known already: a curvature, a boundary.
      space_at: these to the space.
      proxies: the axes of the loss's proxies as directions before the last one; None where it has none.
      centers: of each class.
      tree: of the classes.
      placed: whether there are proxies that are points, one for each node of the tree.
      hier: settings of HIER; None without.
      clip_radius: of the head.

    Returns:
      All parameters by name.
    """
    proxy_key, hier_key = jax.random.split(key)
    made = dict(params)
    manifold = space_at(params).manifold
    embed = jax.jit(manifold.embed)
    if proxies is not None:
        sizes = {"classes": len(tree.paths), "centers": centers}
        made[CLASS_PROXIES] = jax.random.normal(proxy_key, (*(sizes[axis] for axis in proxies), dim))
    if placed:
        start = tree.start(jax.random.fold_in(proxy_key, 1), dim, clip_radius / 2)
        made[NODE_PROXIES] = embed(_as_long(start, manifold))
    if hier is not None:
        # N(0, 1) · 0.9 r/√d [code: HIER]: lengths about 0.9 of the clip radius.
        drawn = 0.9 * clip_radius / dim**0.5 * jax.random.normal(hier_key, (hier["proxies"], dim))
        tangent = _as_long(drawn, manifold)
        made[HIER_PROXIES[hier["proxies_as"]]] = embed(tangent) if hier["proxies_as"] == "points" else tangent
    return made


def _as_long(tangent: jax.Array, manifold: Manifold) -> jax.Array:
    """Drawn vectors, of which each space of a product gets a share as long as the whole was."""
    if not isinstance(manifold, Product):
        return tangent
    scales = [(tangent.shape[-1] / d) ** 0.5 for d in manifold.dimensions]
    return jnp.concatenate([s * v for s, v in zip(scales, manifold.split_tangent(tangent), strict=True)], axis=-1)
