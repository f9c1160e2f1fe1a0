"""Manifolds by the names that settings and files call them by, a product of several by theirs joined by +."""

import re
from typing import NamedTuple

import numpy as np
from jax.typing import ArrayLike

from hypjax.geometry.manifold import HYPERBOLIC, NAMED, Manifold
from hypjax.geometry.product import Product

_FACTOR = re.compile(r"(?P<kind>\w+)(:(?P<dimensions>[1-9]\d*))?(@(?P<weight>\d*\.?\d+(e-\d+)?))?")


class Factor(NamedTuple):
    """One component of a named product.

    Attributes:
        kind: a key of `NAMED`.
        dimensions: d_k > 0; None where they are not said.
        weight: w_k > 0.
    """

    kind: str
    dimensions: int | None
    weight: float


def named(name: str, c: ArrayLike | None = None) -> Manifold:
    """A manifold by the name that settings and files call it by.

    Args:
        name: `poincare`, `lorentz`, `euclidean` or `sphere`; or two or more of them joined by +, each with the
            dimensions of its share of a tangent vector and, where it is not 1, its weight: `poincare:128+sphere:64@0.5`
            is the `Product` that sums their distances.
        c: curvature parameter of the first two, positive; the others ignore it.

    Raises:
        ValueError: An unknown name, one of several spaces without dimensions, or a hyperbolic space without a
            curvature, or with one that is not positive.

    Example:
        >>> named("poincare", 0.1), named("sphere")
        (Poincare(c=0.1), Sphere())
        >>> named("poincare:2+sphere:3", 0.1).dimensions
        (2, 3)
    """
    parts = factors(name)
    if len(parts) == 1:
        return _single(parts[0].kind, c)
    if any(part.dimensions is None for part in parts):
        raise ValueError(
            f"geometry {name!r} leaves open how many dimensions each space has; say poincare:128+sphere:64"
        )
    weights = tuple(part.weight for part in parts)
    return Product(
        tuple(_single(part.kind, c) for part in parts),
        tuple(part.dimensions or 0 for part in parts),
        weights if set(weights) != {1.0} else None,
        combine="sum",
    )


def name_of(manifold: Manifold) -> str:
    """The name that `named` makes a manifold of again, with its curvature.

    Raises:
        ValueError: It has none: of another class, a product within a product, or one that adds squares.

    Example:
        >>> name_of(named("poincare:128+sphere:64@0.5", 0.1))
        'poincare:128+sphere:64@0.5'
    """
    kinds = {kind: name for name, kind in NAMED.items()}
    if type(manifold) in kinds:
        return kinds[type(manifold)]
    if (
        not isinstance(manifold, Product)
        or manifold.combine != "sum"
        or not {*map(type, manifold.manifolds)} <= {*kinds}
    ):
        raise ValueError(f"{manifold} has no name")
    weights = (
        [1.0] * len(manifold.dimensions)
        if manifold.weights is None
        else [float(np.asarray(w)) for w in manifold.weights]
    )
    each = zip(manifold.manifolds, manifold.dimensions, weights, strict=True)
    return "+".join(f"{kinds[type(m)]}:{d}{'' if w == 1 else f'@{w!r}'}" for m, d, w in each)


def divided(name: str, dimensions: int) -> str:
    """The name of several spaces with the dimensions of each; the name of a single space stays as it is.

    Args:
        name: as in `named`; spaces whose dimensions it leaves open share what is left equally.
        dimensions: of all together.

    Raises:
        ValueError: As `named`, the dimensions cannot be shared equally, or those said do not add up to these.

    Example:
        >>> divided("poincare+sphere@0.5", 256), divided("sphere", 256)
        ('poincare:128+sphere:128@0.5', 'sphere')
    """
    parts = factors(name)
    if len(parts) == 1:
        return name
    said = [part.dimensions for part in parts if part.dimensions is not None]
    open_ones = len(parts) - len(said)
    each, rest = divmod(dimensions - sum(said), open_ones or 1)
    if rest or (each < 1 if open_ones else each):
        raise ValueError(
            f"geometry {name!r} cannot share {dimensions} dimensions (head.dim) out: say how many each space has, "
            "poincare:192+sphere:64"
        )
    words = name.split("+")
    return "+".join(
        word if part.dimensions else word.replace(part.kind, f"{part.kind}:{each}", 1)
        for word, part in zip(words, parts, strict=True)
    )


def factors(name: str) -> list[Factor]:
    """The components that a name lists, in order; of a single manifold itself.

    Raises:
        ValueError: One is unknown, or dimensions or a weight of a single one.
    """
    found = []
    for word in name.split("+"):
        read = _FACTOR.fullmatch(word)
        if read is None or read["kind"] not in NAMED or float(read["weight"] or 1) == 0:
            raise ValueError(
                f"geometry {name!r} is unknown; there are: {', '.join(NAMED)}, and several joined by +, each with its "
                "dimensions and weight, if any: poincare:192+sphere:64@0.5"
            )
        dimensions = int(read["dimensions"]) if read["dimensions"] else None
        found.append(Factor(read["kind"], dimensions, float(read["weight"] or 1)))
    if len(found) == 1 and name not in NAMED:
        raise ValueError(f"geometry {name!r} is a single space, which has all dimensions: {found[0].kind}")
    return found


def _single(kind: str, c: ArrayLike | None) -> Manifold:
    chosen = NAMED[kind]
    if not issubclass(chosen, HYPERBOLIC):
        return chosen()
    if c is None:
        raise ValueError(f"geometry {kind!r} needs a curvature parameter c > 0")
    return chosen(c)
