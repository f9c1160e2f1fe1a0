"""Where the embeddings live: geometry, distance and uncertainty, resolved by name at a curvature.

The curvature may be traced, so a space can be made inside the train step from a curvature that is learned. It is a leaf
of the manifold: what is compiled for one curvature serves the next.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, NamedTuple

import jax
from jax.tree_util import Partial
from jax.typing import ArrayLike

from hypjax import losses
from hypjax.data.errors import UsageError
from hypjax.encoders.model import ModelOutput
from hypjax.geometry import Manifold, Product, Sphere, named, sphere
from hypjax.geometry.manifold import HYPERBOLIC
from hypjax.retrieval.scan import as_argument

Distance = Callable[[jax.Array, jax.Array], jax.Array]


class Space(NamedTuple):
    """Where the embeddings live, and how they are compared.

    Attributes:
      manifold: of the points.
      distance: points [n, .] and [m, .] to their distances [n, m].
      similarity: points likewise to what similarity losses take [n, m], at most 1: the cosine on the sphere,
        exp(−distance) elsewhere, as HIER's relation has it. Both bind traced arrays as `as_argument` has them.
      uncertainty: the model's output to a value in [0, 1] per image [n].
      components: of a product, the weight and the space of each component, in which losses are taken; else empty.
    """

    manifold: Manifold
    distance: Distance
    similarity: Distance
    uncertainty: Callable[[ModelOutput], jax.Array]
    components: tuple[tuple[ArrayLike, Space], ...] = ()

    @property
    def curvature(self) -> ArrayLike | None:
        """C of hyperbolic space, or of what is hyperbolic of a product; or None."""
        manifold = self.manifold
        return getattr(
            manifold.manifolds[manifold.radial_index] if isinstance(manifold, Product) else manifold, "c", None
        )


def _exponential(distance: Distance, x: jax.Array, y: jax.Array) -> jax.Array:
    return jax.numpy.exp(-distance(x, y))


def cosine(x: jax.Array, y: jax.Array) -> jax.Array:
    """The cosines of [n, d] and [m, d], of any length."""
    return 1 - sphere.pairwise_cosine_distance(x, y)


def _hybrid(distance: Distance, *, divergence: str = "hellinger", temperature: float = 1.0, **how: Any) -> Distance:
    return Partial(_hybridized(divergence, temperature, tuple(sorted(how.items()))), distance)


@functools.cache
def _hybridized(kind: str, temperature: float, how: tuple[tuple[str, float], ...]) -> Callable[..., jax.Array]:
    """One function for equal settings, so that what is compiled for one space serves the next."""
    return lambda distance, x, y: losses.hybrid(
        distance(x, y), losses.divergence(x, y, kind=kind, temperature=temperature), **dict(how)
    )


def _radius(output: ModelOutput, manifold: Manifold, r: float) -> jax.Array:
    if isinstance(manifold, HYPERBOLIC):
        return losses.radial_uncertainty(manifold.to_poincare(manifold.embed(output.tangent)), c=manifold.c)
    # Without a ball the length of the tangent vector says how far from the origin, and from the clip, it is.
    return losses.distance_uncertainty(output.tangent, clip_radius=r)


def _distance(output: ModelOutput, manifold: Manifold, r: float) -> jax.Array:
    return losses.distance_uncertainty(output.tangent, clip_radius=r)


def _learned(output: ModelOutput, manifold: Manifold, r: float) -> jax.Array:
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

    In a product of several spaces points are compared by the sum of the distances, d(x, y) = Σ_k w_k d_k(x_k, y_k)
    [ours]; a loss is taken in each of its `components`. The uncertainty `radius` reads the first hyperbolic component.

    Args:
      geometry: `poincare`, `lorentz`, `euclidean` or `sphere`; or several with their dimensions, see `geometry.named`.
      c: curvature parameter, positive, possibly traced; euclidean and sphere ignore it.
      distance: `geodesic`; `cosine` on the sphere; or `hybrid`, of the geodesic and a divergence.
      uncertainty: a key of `UNCERTAINTIES`.
      clip_radius: of the head, the length at which `distance` uncertainty is 0.
      hybrid: α and order of `losses.hybrid`, divergence and temperature of `losses.divergence`, for that distance.

    Returns:
      The space.

    Raises:
      UsageError: an unknown name, a curvature that is not positive, or for a product another distance than the
        geodesic one, or uncertainty `radius` where nothing of it is hyperbolic.
    """
    try:
        manifold = named(geometry, c)
    except ValueError as error:
        raise UsageError(str(error)) from error
    measure = choose(UNCERTAINTIES, uncertainty, "uncertainty")
    geodesic: Distance = as_argument(manifold.pairwise_dist)
    if isinstance(manifold, Product):
        choose({"geodesic": None}, distance, f"distance of geometry {geometry}:")
        return _of_several(manifold, geodesic, partial(measure, r=clip_radius), geometry, uncertainty)
    distances: dict[str, Distance] = {
        "geodesic": geodesic,
        "hybrid": _hybrid(geodesic, **(hybrid or {"alpha": 0.5})),
    }
    if isinstance(manifold, Sphere):
        distances["cosine"] = sphere.pairwise_cosine_distance
    chosen = choose(distances, distance, f"distance of geometry {geometry}:")
    return _space(manifold, chosen, partial(measure, r=clip_radius), angular=distance != "hybrid")


def _space(manifold: Manifold, distance: Distance, measure: Callable[..., jax.Array], *, angular: bool = True) -> Space:
    return Space(
        manifold=manifold,
        distance=distance,
        similarity=cosine if angular and isinstance(manifold, Sphere) else Partial(_exponential, distance),
        uncertainty=lambda output: measure(output, manifold),
    )


def _of_several(
    product: Product, geodesic: Distance, measure: Callable[..., jax.Array], geometry: str, uncertainty: str
) -> Space:
    read = product.radial_index
    if uncertainty == "radius" and not isinstance(product.manifolds[read], HYPERBOLIC):
        raise UsageError(
            f"uncertainty 'radius' is of hyperbolic space, and nothing of geometry {geometry} is hyperbolic: "
            "uncertainty=distance or learned, or poincare among the spaces"
        )
    weights = product.weights or (1.0,) * len(product.manifolds)
    parts = [_space(manifold, as_argument(manifold.pairwise_dist), measure) for manifold in product.manifolds]
    return Space(
        product,
        geodesic,
        Partial(_exponential, geodesic),
        lambda output: measure(
            output._replace(tangent=product.split_tangent(output.tangent)[read]), product.manifolds[read]
        ),
        tuple(zip(weights, parts, strict=True)),
    )
