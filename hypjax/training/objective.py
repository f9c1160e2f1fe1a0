"""objective = loss(distance(points), uncertainty), composed once at start-up from names.

Each table below maps the name of a part to what builds it; a new method is a new line in one of them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from hypjax import losses
from hypjax.encoders.model import ModelOutput
from hypjax.errors import UsageError
from hypjax.geometry import euclidean, lorentz, poincare, sphere

Distance = Callable[[jax.Array, jax.Array], jax.Array]


class Space(NamedTuple):
    """Where the embeddings live.

    Attributes:
      embed: tangent vectors at the origin [n, d] to points.
      distance: points [n, .] and [m, .] to their distances [n, m].
      uncertainty: the model's output to a value in [0, 1] per image [n].
      ball: points to the Poincaré ball, for pictures; None where there is none.
      curvature: c of the ball, or None.
    """

    embed: Callable[[jax.Array], jax.Array]
    distance: Distance
    uncertainty: Callable[[ModelOutput], jax.Array]
    ball: Callable[[jax.Array], jax.Array] | None
    curvature: float | None


class Objective(NamedTuple):
    """Maps the model's output on a class-major batch to the loss and what is logged beside it.

    Attributes:
      space: where the embeddings live.
      loss: `(points, labels, uncertainty) -> scalar`.
      failure_weight: of the loss that teaches the model's doubt, where it has one.
    """

    space: Space
    loss: Callable[[jax.Array, jax.Array, jax.Array], jax.Array]
    failure_weight: float = 1.0

    def __call__(
        self,
        output: ModelOutput,
        labels: Int[Array, " b"],
        prior: Float[Array, " b"] | None = None,
        level: Float[Array, " b"] | None = None,
    ) -> tuple[Float[Array, ""], dict[str, Float[Array, ""]]]:
        """Evaluates the loss of the global batch; `prior` and `level` are for `failure_cross_entropy`."""
        points, uncertainty = self.space.embed(output.tangent), self.space.uncertainty(output)
        loss = self.loss(points, labels, uncertainty)
        figures = {"uncertainty": jnp.mean(uncertainty)}
        if output.doubt is not None and self.failure_weight:
            failure = losses.failure_cross_entropy(
                output.doubt, points, labels, distance=self.space.distance, prior=prior, level=level
            )
            figures |= {"metric_loss": loss, "failure_loss": failure}
            loss = loss + self.failure_weight * failure
        return loss, figures


def _poincare(c: float) -> dict[str, Any]:
    return {
        "embed": partial(poincare.expmap0, c=c),
        "ball": lambda points: points,
        "distances": {"geodesic": partial(poincare.pairwise_dist, c=c)},
    }


def _lorentz(c: float) -> dict[str, Any]:
    # A tangent vector of the ball is twice as long as its Euclidean norm says (λ_0 = 2): the factor makes
    # both models of hyperbolic space embed one tangent vector at one point.
    return {
        "embed": lambda tangent: lorentz.expmap0(2 * tangent, c=c),
        "ball": partial(lorentz.to_poincare, c=c),
        "distances": {"geodesic": partial(lorentz.pairwise_dist, c=c)},
    }


def _euclidean(c: float) -> dict[str, Any]:
    return {"embed": euclidean.expmap0, "ball": None, "distances": {"geodesic": euclidean.pairwise_dist}}


def _sphere(c: float) -> dict[str, Any]:
    distances = {"geodesic": sphere.pairwise_dist, "cosine": sphere.pairwise_cosine_distance}
    return {"embed": sphere.expmap0, "ball": None, "distances": distances}


GEOMETRIES: dict[str, Callable[[float], dict[str, Any]]] = {
    "poincare": _poincare,
    "lorentz": _lorentz,
    "euclidean": _euclidean,
    "sphere": _sphere,
}


def _radius(output: ModelOutput, *, ball: Callable | None, embed: Callable, c: float, r: float) -> jax.Array:
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


class LossPart(NamedTuple):
    """A loss, the settings it takes by name, and whether it takes the uncertainty after the labels."""

    function: Callable[..., jax.Array]
    settings: tuple[str, ...]
    aware: bool = False


LOSSES: dict[str, LossPart] = {
    "pairwise_cross_entropy": LossPart(losses.pairwise_cross_entropy, ("temperature", "samples_per_class")),
    "triplet": LossPart(losses.triplet, ("margin",)),
    "margin": LossPart(losses.margin, ("margin", "beta")),
    "uncertainty_contrastive": LossPart(
        losses.uncertainty_contrastive, ("temperature", "strength", "center", "samples_per_class"), aware=True
    ),
    "uncertainty_margin": LossPart(losses.uncertainty_margin, ("margin", "strength"), aware=True),
}


def choose(table: Mapping[str, Any], name: str, setting: str) -> Any:
    """Looks a part up by name.

    Raises:
      UsageError: there is none of that name; says which exist.
    """
    if name not in table:
        raise UsageError(f"{setting} {name!r} is unknown; there are: {', '.join(table)}")
    return table[name]


def create_space(geometry: str, *, c: float, distance: str, uncertainty: str, clip_radius: float) -> Space:
    """Resolves geometry, distance and uncertainty by name.

    Args:
      geometry: a key of `GEOMETRIES`.
      c: curvature parameter, positive; euclidean and sphere ignore it.
      distance: `geodesic`, or `cosine` on the sphere.
      uncertainty: a key of `UNCERTAINTIES`.
      clip_radius: of the head, the length at which `distance` uncertainty is 0.

    Returns:
      The space.

    Raises:
      UsageError: an unknown name, a curvature that is not positive.
    """
    if not c > 0:
        raise UsageError(f"curvature must be positive (the space has curvature -c), not {c}")
    parts = choose(GEOMETRIES, geometry, "geometry")(c)
    measure = choose(UNCERTAINTIES, uncertainty, "uncertainty")
    return Space(
        embed=parts["embed"],
        distance=choose(parts["distances"], distance, f"distance of geometry {geometry}:"),
        uncertainty=partial(measure, ball=parts["ball"], embed=parts["embed"], c=c, r=clip_radius),
        ball=parts["ball"],
        curvature=c if parts["ball"] is not None else None,
    )


def create_objective(
    space: Space,
    loss: str,
    *,
    samples_per_class: int,
    settings: Mapping[str, float],
    failure_weight: float = 1.0,
) -> Objective:
    """Binds a loss by name to a space.

    Args:
      space: where the embeddings live.
      loss: a key of `LOSSES`.
      samples_per_class: images of each class in a class-major batch, at least 2.
      settings: temperature, strength, center, margin, beta.
      failure_weight: of the loss that teaches the model's doubt, where it has one.

    Returns:
      The objective.

    Raises:
      UsageError: an unknown loss, or fewer than two images of a class.
    """
    if samples_per_class < 2:
        raise UsageError(f"batch.samples_per_class must be at least 2 to form pairs, not {samples_per_class}")
    part = choose(LOSSES, loss, "loss")
    available = {**settings, "samples_per_class": samples_per_class}
    chosen = {name: available[name] for name in part.settings}

    def bound(points: jax.Array, labels: jax.Array, uncertainty: jax.Array) -> jax.Array:
        arguments = (points, labels, uncertainty) if part.aware else (points, labels)
        return part.function(*arguments, distance=space.distance, **chosen)

    return Objective(space, bound, failure_weight)
