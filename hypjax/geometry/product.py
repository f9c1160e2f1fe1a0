"""The product of manifolds: a point is one point of each, its coordinates standing one after the other."""

import dataclasses
import itertools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike, DTypeLike
from jaxtyping import Array, Float

from hypjax.geometry import numerics
from hypjax.geometry.manifold import HYPERBOLIC, Lorentz, Manifold, Sphere, compiled

COMBINATIONS = ("squares", "sum")


@compiled
@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Product(Manifold):
    """The product of manifolds M_k of d_k dimensions each, points [..., Σ e_k].

        squares: d(x, y) = √Σ_k w_k d_k(x_k, y_k)²      sum: d(x, y) = Σ_k w_k d_k(x_k, y_k)

    The root of squares is the distance of the Riemannian product with metric Σ w_k g_k. The sum is a distance too, and
    what comes of adding objectives, but no Riemannian one: `sqdist` is its square, while geodesics, maps, transport and
    inner product stay those of the product, which have all of its shortest paths among them.

    Attributes:
        manifolds: the components.
        dimensions: d_k, of each as `embed` takes it: a Lorentz component has e_k = d_k + 1 coordinates, others d_k.
        weights: w_k > 0; 1 each where None.
        combine: "squares" or "sum".

    Raises:
        ValueError: no component, as many dimensions or weights as there are not components, a weight that is not
            positive, or an unknown combination.

    Example:
        >>> from hypjax.geometry import Euclidean, Poincare
        >>> space = Product((Poincare(1.0), Euclidean()), (2, 1))
        >>> x, y = space.embed(jnp.array([[0.0, 0.0, 0.0], [1.5, 0.0, 4.0]]))
        >>> print(space.dist(x, y).round(3))
        5.0
    """

    manifolds: tuple[Manifold, ...]
    dimensions: tuple[int, ...] = dataclasses.field(metadata={"static": True})
    weights: tuple[ArrayLike, ...] | None = None
    combine: str = dataclasses.field(default="squares", metadata={"static": True})

    def __post_init__(self) -> None:
        """Checks that the parts belong together."""
        if not self.dimensions or len(self.manifolds) != len(self.dimensions):
            raise ValueError(
                f"{len(self.manifolds)} manifolds with {len(self.dimensions)} dimensions: give one for each"
            )
        if self.weights is not None and len(self.weights) != len(self.dimensions):
            raise ValueError(f"{len(self.weights)} weights for {len(self.dimensions)} manifolds: give one for each")
        for weight in self.weights or ():
            numerics.require_positive(weight, "a weight", "leave a manifold out that is not to count")
        if self.combine not in COMBINATIONS:
            raise ValueError(f"combine must be one of {', '.join(COMBINATIONS)}, got {self.combine!r}")

    @property
    def sizes(self) -> tuple[int, ...]:
        """e_k, the coordinates of a point of each component."""
        pairs = zip(self.manifolds, self.dimensions, strict=True)
        return tuple(_coordinates(manifold, dimension) for manifold, dimension in pairs)

    def split(self, x: Float[Array, "... e"]) -> list[Array]:
        """The point of each component."""
        return _split(x, self.sizes)

    def split_tangent(self, tangent: Float[Array, "... d"]) -> list[Array]:
        """The share of each component in a vector that `embed` takes."""
        return _split(tangent, self.dimensions)

    @property
    def radial_index(self) -> int:
        """Which component has the origin that a radius is from: the first hyperbolic one, or flat one, or the first."""
        for kind in (HYPERBOLIC, (Manifold,)):
            for k, manifold in enumerate(self.manifolds):
                if isinstance(manifold, kind) and not isinstance(manifold, Sphere):
                    return k
        return 0

    def embed(self, tangent: Float[Array, "... d"]) -> Float[Array, "... e"]:
        """The point of each component that its share of the vector stands for."""
        parts = self.split_tangent(tangent)
        return jnp.concatenate([m.embed(part) for m, part in zip(self.manifolds, parts, strict=True)], axis=-1)

    def origin(self, dimensions: int | None = None, dtype: DTypeLike = jnp.float32) -> Float[Array, " e"]:
        """The origin of each component; `dimensions`, where given, must be their sum."""
        if dimensions not in (None, sum(self.dimensions)):
            raise ValueError(f"this product has {sum(self.dimensions)} dimensions, not {dimensions}")
        return jnp.concatenate([m.origin(d, dtype) for m, d in zip(self.manifolds, self.dimensions, strict=True)])

    def dist(self, x: Float[Array, "... e"], y: Float[Array, "... e"]) -> Float[Array, "..."]:
        """The components' distances, combined."""
        if self.combine == "sum":
            return self._weighted([m.dist(a, b) for m, a, b in self._parts(x, y)])
        return numerics.safe_sqrt(self.sqdist(x, y))

    def sqdist(self, x: Float[Array, "... e"], y: Float[Array, "... e"]) -> Float[Array, "..."]:
        """The squared distance: by squares smooth at x = y too.

        (Σ w_k d_k)², by sum, is smooth there in each component alone; two at a time have a kink, with derivative 0.
        """
        squares = [m.sqdist(a, b) for m, a, b in self._parts(x, y)]
        if self.combine != "sum":
            return self._weighted(squares)
        weighted = [w * w * s for w, s in zip(self._weights(), squares, strict=True)]
        roots = [numerics.safe_sqrt(s) for s in weighted]
        return jnp.sum(jnp.stack(weighted + [2 * a * b for a, b in itertools.combinations(roots, 2)]), axis=0)

    def dist0(self, x: Float[Array, "... e"]) -> Float[Array, "..."]:
        """The distance to the origin."""
        return self._combined([m.dist0(a) for m, a in self._parts(x)])

    def pairwise_dist(self, x: Float[Array, "n e"], y: Float[Array, "m e"]) -> Float[Array, "n m"]:
        """All distances."""
        return self._combined([m.pairwise_dist(a, b) for m, a, b in self._parts(x, y)])

    def inner(
        self, x: Float[Array, "... e"], u: Float[Array, "... e"], v: Float[Array, "... e"]
    ) -> Float[Array, "..."]:
        """Σ w_k ⟨u_k, v_k⟩ at x_k."""
        return self._weighted([m.inner(*parts) for m, *parts in self._parts(x, u, v)])

    def egrad2rgrad(self, x: Float[Array, "... e"], g: Float[Array, "... e"]) -> Float[Array, "... e"]:
        """The components' gradients over their weights, since the metric has them."""
        parts = [m.egrad2rgrad(a, b) / w for (m, a, b), w in zip(self._parts(x, g), self._weights(), strict=True)]
        return jnp.concatenate(parts, axis=-1)

    def logmap0(self, x: Float[Array, "... e"]) -> Float[Array, "... d"]:
        """The tangent vector that `embed` takes to x."""
        return self._each(lambda m, a: m.logmap0(a), x)

    def project(self, x: Float[Array, "... e"]) -> Float[Array, "... e"]:
        """The point at or beside x."""
        return self._each(lambda m, a: m.project(a), x)

    def expmap(self, x: Float[Array, "... e"], u: Float[Array, "... e"]) -> Float[Array, "... e"]:
        """The end of the geodesic that leaves x with velocity u."""
        return self._each(lambda m, a, b: m.expmap(a, b), x, u)

    def retract(self, x: Float[Array, "... e"], u: Float[Array, "... e"]) -> Float[Array, "... e"]:
        """A point that agrees with `expmap` to first order in u."""
        return self._each(lambda m, a, b: m.retract(a, b), x, u)

    def logmap(self, x: Float[Array, "... e"], y: Float[Array, "... e"]) -> Float[Array, "... e"]:
        """The velocity at x of the geodesic that reaches y at time 1."""
        return self._each(lambda m, a, b: m.logmap(a, b), x, y)

    def geodesic(self, t: ArrayLike, x: Float[Array, "... e"], y: Float[Array, "... e"]) -> Float[Array, "... e"]:
        """The geodesics of the components at time t."""
        return self._each(lambda m, a, b: m.geodesic(t, a, b), x, y)

    def transport(
        self, x: Float[Array, "... e"], y: Float[Array, "... e"], v: Float[Array, "... e"]
    ) -> Float[Array, "... e"]:
        """The tangent vector v at x carried to y."""
        return self._each(lambda m, a, b, c: m.transport(a, b, c), x, y, v)

    def project_tangent(self, x: Float[Array, "... e"], u: Float[Array, "... e"]) -> Float[Array, "... e"]:
        """A tangent vector at x."""
        return self._each(lambda m, a, b: m.project_tangent(a, b), x, u)

    def midpoint(
        self, x: Float[Array, "... n e"], weights: Float[Array, "... n"] | None = None
    ) -> Float[Array, "... e"]:
        """The midpoint of each component."""
        return self._each(lambda m, a: m.midpoint(a, weights), x)

    def frechet_mean(
        self, x: Float[Array, "... n e"], weights: Float[Array, "... n"] | None = None
    ) -> Float[Array, "... e"]:
        """The mean of each component, whose squared distances the product's metric adds up."""
        return self._each(lambda m, a: m.frechet_mean(a, weights), x)

    def _weights(self) -> tuple[ArrayLike, ...]:
        return self.weights if self.weights is not None else (1.0,) * len(self.dimensions)

    def _parts(self, *arrays: Array) -> list[tuple[Any, ...]]:
        return list(zip(self.manifolds, *(self.split(array) for array in arrays), strict=True))

    def _each(self, function: Callable[..., Array], *arrays: Array) -> Array:
        return jnp.concatenate([function(*parts) for parts in self._parts(*arrays)], axis=-1)

    def _weighted(self, values: Sequence[Array]) -> Array:
        return jnp.sum(jnp.stack([w * value for w, value in zip(self._weights(), values, strict=True)]), axis=0)

    def _combined(self, distances: Sequence[Array]) -> Array:
        if self.combine == "sum":
            return self._weighted(distances)
        return numerics.safe_sqrt(self._weighted([jnp.square(d) for d in distances]))


def radial(manifold: Manifold, x: Any) -> tuple[Manifold, Any]:
    """The component of a product whose radius is looked at, and its coordinates.

    A manifold that is no product is its own only component.

    Args:
        manifold: a product or not.
        x: its points [..., e], of JAX or NumPy.

    Example:
        >>> from hypjax.geometry import Poincare, Sphere
        >>> radial(Product((Sphere(), Poincare(1.0)), (2, 1)), jnp.array([0.0, 1.0, 0.5]))
        (Poincare(c=1.0), Array([0.5], dtype=float32))
    """
    if not isinstance(manifold, Product):
        return manifold, x
    k, sizes = manifold.radial_index, manifold.sizes
    return manifold.manifolds[k], x[..., sum(sizes[:k]) : sum(sizes[: k + 1])]


def _coordinates(manifold: Manifold, dimension: int) -> int:
    """How many coordinates a point has that is embedded from so many dimensions."""
    if isinstance(manifold, Product):
        return sum(manifold.sizes)
    return dimension + 1 if isinstance(manifold, Lorentz) else dimension


def _split(x: Array, sizes: Sequence[int]) -> list[Array]:
    if x.shape[-1] != sum(sizes):
        raise ValueError(f"vectors of {x.shape[-1]} coordinates do not divide into {tuple(sizes)}")
    edges = [sum(sizes[:k]) for k in range(1, len(sizes))]
    return jnp.split(x, edges, axis=-1)
