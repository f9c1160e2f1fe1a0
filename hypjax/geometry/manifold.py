"""Manifolds as objects: what binds a geometry's parameters to the functions of its module.

    space = geometry.Poincare(c=0.1)  # or Lorentz(c), Euclidean(), Sphere(), Product(...)
    d = space.pairwise_dist(z, z)

Each is a frozen dataclass and a pytree whose leaf is c, so that it goes through `jit`, `vmap` and `grad` as an argument
like any array; and each has the same methods, so that swapping one for another changes one word. Methods are compiled.
"""

import dataclasses
from types import FunctionType, ModuleType
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike, DTypeLike
from jaxtyping import Array, Float

from hypjax.geometry import euclidean, lorentz, numerics, poincare, sphere

UNCOMPILED = ("origin", "split", "split_tangent")  # methods of shapes rather than of points


def compiled(cls: Any) -> Any:
    """Compiles the methods that a class defines, so that each is one program where it is called by itself too."""
    for name, function in list(vars(cls).items()):
        if isinstance(function, FunctionType) and not name.startswith("_") and name not in UNCOMPILED:
            setattr(cls, name, jax.jit(function))
    return cls


@compiled
class Manifold:
    """The methods that every manifold has; points x, y [..., d] and tangent vectors u, v [..., d] at x.

    Points of the Lorentz model, and its tangent vectors, have one coordinate more than the space has dimensions.
    """

    functions: ClassVar[ModuleType]

    def _bound(self) -> dict[str, Any]:
        return {}

    def embed(self, tangent: Float[Array, "... d"]) -> Float[Array, "... e"]:
        """The point that a network's output stands for: one tangent vector is one point, whatever the model.

        exp0 of the ball, of which the Lorentz model takes the same point, the vector itself in flat space, and its
        direction on the sphere.
        """
        return self.functions.expmap0(tangent, **self._bound())

    def logmap0(self, x: Float[Array, "... e"]) -> Float[Array, "... d"]:
        """The tangent vector that `embed` takes to x; on the sphere, which keeps no length, the unit vector."""
        return self.functions.logmap0(x, **self._bound())

    def origin(self, dimensions: int, dtype: DTypeLike = jnp.float32) -> Float[Array, " e"]:
        """The point that `embed` makes of the zero vector; on the sphere, by convention, the first unit vector."""
        return self.embed(jnp.zeros(dimensions, dtype))

    def project(self, x: Float[Array, "... e"]) -> Float[Array, "... e"]:
        """The point of the manifold at or beside x."""
        return self.functions.project(x, **self._bound())

    def dist(self, x: Float[Array, "... e"], y: Float[Array, "... e"]) -> Float[Array, "..."]:
        """The geodesic distance, with derivative 0 at x = y."""
        return self.functions.dist(x, y, **self._bound())

    def sqdist(self, x: Float[Array, "... e"], y: Float[Array, "... e"]) -> Float[Array, "..."]:
        """The squared distance, smooth at x = y too."""
        return self.functions.sqdist(x, y, **self._bound())

    def dist0(self, x: Float[Array, "... e"]) -> Float[Array, "..."]:
        """The distance to the origin."""
        return self.functions.dist0(x, **self._bound())

    def pairwise_dist(self, x: Float[Array, "n e"], y: Float[Array, "m e"]) -> Float[Array, "n m"]:
        """All distances d(x_i, y_j), with no n×m×d buffer in value or gradient."""
        return self.functions.pairwise_dist(x, y, **self._bound())

    def expmap(self, x: Float[Array, "... e"], u: Float[Array, "... e"]) -> Float[Array, "... e"]:
        """The end of the geodesic that leaves x with velocity u."""
        return self.functions.expmap(x, u, **self._bound())

    def retract(self, x: Float[Array, "... e"], u: Float[Array, "... e"]) -> Float[Array, "... e"]:
        """A point that agrees with `expmap` to first order in u, and is cheaper."""
        return self.functions.retract(x, u, **self._bound())

    def logmap(self, x: Float[Array, "... e"], y: Float[Array, "... e"]) -> Float[Array, "... e"]:
        """The velocity at x of the geodesic that reaches y at time 1."""
        return self.functions.logmap(x, y, **self._bound())

    def geodesic(self, t: ArrayLike, x: Float[Array, "... e"], y: Float[Array, "... e"]) -> Float[Array, "... e"]:
        """The point at time t of the geodesic with γ(0) = x and γ(1) = y; t a scalar or [...]."""
        return self.functions.geodesic(t, x, y, **self._bound())

    def transport(
        self, x: Float[Array, "... e"], y: Float[Array, "... e"], v: Float[Array, "... e"]
    ) -> Float[Array, "... e"]:
        """The tangent vector v at x carried along the geodesic to y; it keeps lengths and angles."""
        return self.functions.parallel_transport(x, y, v, **self._bound())

    def inner(
        self, x: Float[Array, "... e"], u: Float[Array, "... e"], v: Float[Array, "... e"]
    ) -> Float[Array, "..."]:
        """The Riemannian inner product of tangent vectors at x."""
        return self.functions.inner(x, u, v, **self._bound())

    def norm(self, x: Float[Array, "... e"], u: Float[Array, "... e"]) -> Float[Array, "..."]:
        """The Riemannian length √⟨u, u⟩_x, with derivative 0 at u = 0."""
        return numerics.safe_sqrt(self.inner(x, u, u))

    def project_tangent(self, x: Float[Array, "... e"], u: Float[Array, "... e"]) -> Float[Array, "... e"]:
        """A tangent vector at x from a vector of the surrounding space; tangent vectors stay as they are."""
        return u

    def egrad2rgrad(self, x: Float[Array, "... e"], g: Float[Array, "... e"]) -> Float[Array, "... e"]:
        """The Riemannian gradient of a Euclidean gradient g."""
        return self.functions.egrad2rgrad(x, g, **self._bound())

    def midpoint(
        self, x: Float[Array, "... n e"], weights: Float[Array, "... n"] | None = None
    ) -> Float[Array, "... e"]:
        """The weighted midpoint over the second-last axis, in closed form; see the module's `weighted_midpoint`."""
        return self.functions.weighted_midpoint(x, weights, **self._bound())

    def frechet_mean(
        self, x: Float[Array, "... n e"], weights: Float[Array, "... n"] | None = None
    ) -> Float[Array, "... e"]:
        """The point of least weighted squared distance over the second-last axis; see the module's function."""
        return self.functions.frechet_mean(x, weights, **self._bound())


@compiled
@dataclasses.dataclass(frozen=True)
class _Curved(Manifold):
    """A hyperbolic space of curvature −c.

    Attributes:
        c: > 0, a number or a scalar array, which may be learned.

    Raises:
        ValueError: c is a number that is not positive.
    """

    c: ArrayLike = 1.0

    def __post_init__(self) -> None:
        """Checks what can be checked: not a tracer, nor what stands for a leaf while a tree is built."""
        numerics.require_positive(self.c, "c", "the curvature is −c, and flat space is Euclidean()")

    def _bound(self) -> dict[str, Any]:
        return {"c": self.c}

    def to_poincare(self, x: Float[Array, "... e"]) -> Float[Array, "... d"]:
        """The point of the Poincaré ball that stands for x, to be drawn for example."""
        return x


@compiled
@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Poincare(_Curved):
    """The Poincaré ball of curvature −c, points [..., d] with √c‖x‖ < 1.

    Example:
        >>> space = Poincare(c=1.0)
        >>> z = space.embed(jnp.array([[0.5, 0.0], [-0.5, 0.0]]))
        >>> print(jnp.array_str(space.pairwise_dist(z, z), precision=3))
        [[0. 2.]
         [2. 0.]]
    """

    functions: ClassVar[ModuleType] = poincare


@compiled
@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Lorentz(_Curved):
    """The Lorentz model of curvature −c, points [..., d+1], time first.

    A tangent vector of the ball is twice as long as its Euclidean norm says (λ_0 = 2): `embed` and `logmap0` put that
    factor in, so that both models embed one vector at one point.

    Example:
        >>> space = Lorentz(c=1.0)
        >>> x = space.embed(jnp.array([0.5, 0.0]))
        >>> print(x.shape, space.dist0(x).round(3))
        (3,) 1.0
    """

    functions: ClassVar[ModuleType] = lorentz

    def embed(self, tangent: Float[Array, "... d"]) -> Float[Array, "... e"]:
        """The point of the sheet over the one that the ball has."""
        return lorentz.expmap0(2 * tangent, c=self.c)

    def logmap0(self, x: Float[Array, "... e"]) -> Float[Array, "... d"]:
        """The tangent vector that `embed` takes to x."""
        return lorentz.logmap0(x, c=self.c) / 2

    def to_poincare(self, x: Float[Array, "... e"]) -> Float[Array, "... d"]:
        """The point of the ball under x."""
        return lorentz.to_poincare(x, c=self.c)

    def inner(
        self, x: Float[Array, "... e"], u: Float[Array, "... e"], v: Float[Array, "... e"]
    ) -> Float[Array, "..."]:
        """⟨u, v⟩_L, whose squares stay positive far out."""
        return lorentz.tangent_inner(x, u, v, c=self.c)

    def project_tangent(self, x: Float[Array, "... e"], u: Float[Array, "... e"]) -> Float[Array, "... e"]:
        """The tangent vector with the spatial coordinates of u."""
        return lorentz.project_tangent(x, u, c=self.c)


@compiled
@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Euclidean(Manifold):
    """Flat space.

    Example:
        >>> print(Euclidean().dist(jnp.zeros(2), jnp.array([3.0, 4.0])))
        5.0
    """

    functions: ClassVar[ModuleType] = euclidean

    def retract(self, x: Float[Array, "... e"], u: Float[Array, "... e"]) -> Float[Array, "... e"]:
        """The geodesic itself costs nothing."""
        return euclidean.expmap(x, u)


@compiled
@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Sphere(Manifold):
    """The unit sphere, points as unit vectors, distances as angles.

    Example:
        >>> x = Sphere().embed(jnp.array([[2.0, 0.0], [0.0, 3.0]]))
        >>> print(round(float(Sphere().dist(x[0], x[1])), 4))
        1.5708
    """

    functions: ClassVar[ModuleType] = sphere

    def logmap0(self, x: Float[Array, "... e"]) -> Float[Array, "... d"]:
        """The unit vector x: `embed` keeps the direction alone."""
        return x

    def origin(self, dimensions: int, dtype: DTypeLike = jnp.float32) -> Float[Array, " e"]:
        """The first unit vector, by convention: directions have no origin."""
        return jnp.zeros(dimensions, dtype).at[0].set(1)

    def dist0(self, x: Float[Array, "... e"]) -> Float[Array, "..."]:
        """The angle to the first unit vector."""
        return sphere.dist(jnp.broadcast_to(self.origin(x.shape[-1], x.dtype), x.shape), x)

    def inner(
        self, x: Float[Array, "... e"], u: Float[Array, "... e"], v: Float[Array, "... e"]
    ) -> Float[Array, "..."]:
        """⟨u, v⟩, that of the surrounding space."""
        return euclidean.inner(x, u, v)

    def project_tangent(self, x: Float[Array, "... e"], u: Float[Array, "... e"]) -> Float[Array, "... e"]:
        """The part of u that is orthogonal to x."""
        return sphere.project_tangent(x, u)


HYPERBOLIC = (Poincare, Lorentz)
NAMED: dict[str, type[Manifold]] = {"poincare": Poincare, "lorentz": Lorentz, "euclidean": Euclidean, "sphere": Sphere}
