"""The tree that the training classes stand in, as arrays: what teaches an objective more than the classes do."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Array, Float, Int

from hypjax.data.errors import UsageError


@dataclasses.dataclass(frozen=True, eq=False)
class Levels:
    """Classes and their ancestors as nodes of a tree, numbered level after level, classes first.

    Attributes:
      sizes: nodes of each level, the classes' first.
      paths: place within its level of each node and of its ancestors; −1 on levels below its own [nodes, levels].
    """

    sizes: tuple[int, ...]
    paths: Int[np.ndarray, "nodes levels"]

    def slice(self, level: int) -> slice:
        """Which nodes are those of a level, 0 for the classes."""
        start = sum(self.sizes[:level])
        return slice(start, start + self.sizes[level])

    def labels(self, classes: ArrayLike, level: int) -> Int[Array, " n"]:
        """The places within a level of the ancestors of classes [n]; −1, nobody, stays −1."""
        classes = jnp.asarray(classes)
        if not level:
            return classes
        return jnp.where(classes < 0, -1, jnp.asarray(self.paths[:, level])[jnp.maximum(classes, 0)])

    def order(self, radii: Float[Array, " nodes"]) -> Float[Array, ""]:
        """The share of pairs of an ancestor and a descendant in which the ancestor lies nearer the origin."""
        pairs, ordered = 0, jnp.zeros((), int)
        for level in range(1, len(self.sizes)):
            part = self.slice(level)
            above = radii[part][jnp.asarray(self.paths[: part.start, level])]
            ordered = ordered + jnp.sum(above < radii[: part.start])
            pairs += part.start
        return ordered / pairs

    def start(self, key: jax.Array, dim: int, length: float) -> Float[Array, "nodes d"]:
        """Tangent vectors at which the nodes may begin: each its parent's and a step of its own, N(0, 1/d) [ours].

        So ancestors lie nearer the origin, in the middle of what they stand for. The classes' have a mean square of
        `length`².
        """
        steps = length / (dim * len(self.sizes)) ** 0.5 * jax.random.normal(key, (len(self.paths), dim))
        starts = np.cumsum((0, *self.sizes[:-1]))
        above = np.where(self.paths < 0, len(self.paths), self.paths + starts)  # one past the end adds nothing
        return steps.at[above].get(mode="fill", fill_value=0).sum(axis=1)


def flat(classes: int) -> Levels:
    """Classes without ancestors."""
    return Levels((classes,), np.arange(classes, dtype=np.int32)[:, None])


def create_levels(ancestors: Int[np.ndarray, "classes levels"], names: Sequence[str]) -> Levels:
    """The tree of a source.

    Example:
      >>> tree = create_levels(np.array([[0, 0], [1, 0], [1, 0]]), ["kind", "all"])
      >>> tree.sizes, tree.paths[2:].tolist()
      ((3, 2, 1), [[2, 1, 0], [-1, 0, 0], [-1, 1, 0], [-1, -1, 0]])

    Args:
      ancestors: of each class, nearest first, dense in each level.
      names: of the levels.

    Raises:
      UsageError: a node has two parents.
    """
    ancestors = np.asarray(ancestors)
    sizes = (len(ancestors), *(int(column.max()) + 1 for column in ancestors.T))
    paths = [np.concatenate([np.arange(len(ancestors))[:, None], ancestors], axis=1)]
    for level in range(1, len(sizes)):
        rows = np.full((sizes[level], len(sizes)), -1)
        rows[ancestors[:, level - 1], level:] = ancestors[:, level - 1 :]
        torn = np.flatnonzero((rows[ancestors[:, level - 1], level:] != ancestors[:, level - 1 :]).any(axis=1))
        if torn.size:
            raise UsageError(
                f"levels {', '.join(names)} are no tree: what is one on {names[level - 1]!r} is several further up"
            )
        paths.append(rows)
    return Levels(sizes, np.concatenate(paths).astype(np.int32))
