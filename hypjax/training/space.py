"""Where the embeddings live: geometry, distance and uncertainty, resolved by name at a curvature.

Each table maps the name of a part to what builds it. The curvature may be traced, so a space can be made inside the
train step from a curvature that is learned. Distances and midpoints hold it as a leaf (`jax.tree_util.Partial`): what
is compiled for one curvature serves the next.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, NamedTuple

import jax
from jax.tree_util import Partial
from jax.typing import ArrayLike

from hypjax import losses, optim
from hypjax.encoders.model import ModelOutput
from hypjax.errors import UsageError
from hypjax.geometry import euclidean, lorentz, poincare, sphere

Distance = Callable[[jax.Array, jax.Array], jax.Array]


class Space(NamedTuple):
    """Where the embeddings live.

    Attributes:
      embed: tangent vectors at the origin [n, d] to points.
      distance: points [n, .] and [m, .] to their distances [n, m].
      similarity: points likewise to what similarity losses take [n, m], at most 1: the cosine on the sphere,
        exp(−distance) elsewhere, as HIER's relation has it.
      uncertainty: the model's output to a value in [0, 1] per image [n].
      ball: points to the Poincaré ball, for pictures; None where there is none.
      curvature: c of the ball, or None.
      manifold: what an optimizer of points needs to know.
      midpoint: points [n, .] and weights [n] to a point.
    """

    embed: Callable[[jax.Array], jax.Array]
    distance: Distance
    similarity: Distance
    uncertainty: Callable[[ModelOutput], jax.Array]
    ball: Callable[[jax.Array], jax.Array] | None
    curvature: ArrayLike | None
    manifold: optim.Manifold
    midpoint: Callable[[jax.Array, jax.Array], jax.Array]


def _exponential(distance: Distance) -> Distance:
    return lambda x, y: jax.numpy.exp(-distance(x, y))


def _poincare(c: ArrayLike) -> dict[str, Any]:
    return {
        "embed": partial(poincare.expmap0, c=c),
        "ball": lambda points: points,
        "distances": {"geodesic": Partial(poincare.pairwise_dist, c=c)},
        "manifold": optim.poincare(c),
        "midpoint": Partial(poincare.weighted_midpoint, c=c),
    }


def _lorentz(c: ArrayLike) -> dict[str, Any]:
    # A tangent vector of the ball is twice as long as its Euclidean norm says (λ_0 = 2): the factor makes
    # both models of hyperbolic space embed one tangent vector at one point.
    return {
        "embed": lambda tangent: lorentz.expmap0(2 * tangent, c=c),
        "ball": partial(lorentz.to_poincare, c=c),
        "distances": {"geodesic": Partial(lorentz.pairwise_dist, c=c)},
        "manifold": optim.lorentz(c),
        "midpoint": Partial(lorentz.weighted_midpoint, c=c),
    }


def _euclidean(c: ArrayLike) -> dict[str, Any]:
    return {
        "embed": euclidean.expmap0,
        "ball": None,
        "distances": {"geodesic": euclidean.pairwise_dist},
        "manifold": optim.euclidean(),
        "midpoint": euclidean.weighted_midpoint,
    }


def _sphere(c: ArrayLike) -> dict[str, Any]:
    return {
        "embed": sphere.expmap0,
        "ball": None,
        "distances": {"geodesic": sphere.pairwise_dist, "cosine": sphere.pairwise_cosine_distance},
        "similarity": lambda x, y: 1 - sphere.pairwise_cosine_distance(x, y),
        "manifold": optim.sphere(),
        "midpoint": sphere.weighted_midpoint,
    }


GEOMETRIES: dict[str, Callable[[ArrayLike], dict[str, Any]]] = {
    "poincare": _poincare,
    "lorentz": _lorentz,
    "euclidean": _euclidean,
    "sphere": _sphere,
}


def _radius(output: ModelOutput, *, ball: Callable | None, embed: Callable, c: ArrayLike, r: float) -> jax.Array:
    # Without a ball the length of the tangent vector says how far from the origin, and from the clip, it is.
    if ball is None:
        return losses.distance_uncertainty(output.tangent, clip_radius=r)
    return losses.radial_uncertainty(ball(embed(output.tangent)), c=c)


def _distance(output: ModelOutput, *, r: float, **unused: Any) -> jax.Array:
    return losses.distance_uncertainty(output.tangent, clip_radius=r)


def _learned(output: ModelOutput, **unused: Any) -> jax.Array:
    if output.doubt is None:
        raise ValueError("uncertainty 'learned' needs a model with a doubt: EmbeddingModel(..., doubt=Head(dim=1))")
    return output.doubt


UNCERTAINTIES: dict[str, Callable[..., jax.Array]] = {
    "radius": _radius,
    "distance": _distance,
    "learned": _learned,
}


def choose(table: Mapping[str, Any], name: str, setting: str) -> Any:
    """Looks a part up by name.

    Raises:
      UsageError: there is none of that name; says which exist.
    """
    if name not in table:
        raise UsageError(f"{setting} {name!r} is unknown; there are: {', '.join(table)}")
    return table[name]


def create_space(
    geometry: str,
    *,
    c: ArrayLike,
    distance: str,
    uncertainty: str,
    clip_radius: float,
    hybrid: Mapping[str, Any] | None = None,
) -> Space:
    """Resolves geometry, distance and uncertainty by name.

    Args:
      geometry: a key of `GEOMETRIES`.
      c: curvature parameter, positive, possibly traced; euclidean and sphere ignore it.
      distance: `geodesic`; `cosine` on the sphere; or `hybrid`, of the geodesic and a divergence.
      uncertainty: a key of `UNCERTAINTIES`.
      clip_radius: of the head, the length at which `distance` uncertainty is 0.
      hybrid: settings of `losses.hybrid_distance`, for the distance of that name.

    Returns:
      The space.

    Raises:
      UsageError: an unknown name, a curvature that is not positive.
    """
    if isinstance(c, int | float) and not c > 0:
        raise UsageError(f"curvature must be positive (the space has curvature -c), not {c}")
    parts = choose(GEOMETRIES, geometry, "geometry")(c)
    measure = choose(UNCERTAINTIES, uncertainty, "uncertainty")
    distances = dict(parts["distances"])
    distances["hybrid"] = losses.hybrid_distance(distances["geodesic"], **(hybrid or {"alpha": 0.5}))
    chosen = choose(distances, distance, f"distance of geometry {geometry}:")
    return Space(
        embed=parts["embed"],
        distance=chosen,
        similarity=_exponential(chosen) if distance == "hybrid" else parts.get("similarity", _exponential(chosen)),
        uncertainty=partial(measure, ball=parts["ball"], embed=parts["embed"], c=c, r=clip_radius),
        ball=parts["ball"],
        curvature=c if parts["ball"] is not None else None,
        manifold=parts["manifold"],
        midpoint=parts["midpoint"],
    )
