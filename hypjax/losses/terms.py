"""What a loss is made of before it is averaged: for each anchor a sum and what it counts, and the means over them."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.sharding import PartitionSpec
from jax.typing import ArrayLike
from jaxtyping import Array, Bool, Float, Num


class Term(NamedTuple):
    """One ratio of a loss, row by anchor (by proxy where a loss says so).

    Attributes:
      total: [n] the sum over the anchor's pairs, triplets or whatever the loss adds up; 0 where it has none.
      counted: [n] ≥ 0, how many those are, by weight; 0 where it has none.
    """

    total: Float[Array, " n"]
    counted: Float[Array, " n"]


Terms = tuple[Term, ...]
"""A loss: the ratios that `mean` adds up. Most losses have one; a loss that adds two means has two."""


def mean(terms: Terms, weights: Float[Array, " n"] | None = None) -> Float[Array, ""]:
    r"""The loss of a batch: Σ_t Σ_i w_i total_ti / Σ_i w_i counted_ti over terms t and anchors i.

    Args:
        terms: of a loss.
        weights: [n] w ≥ 0 of the anchors, or None for 1 each. An anchor of weight 0 may hold anything finite. Terms by
            proxy, as those of `proxy_anchor`, have proxies in the anchors' place.

    Returns:
        A scalar; a term that counts nothing is 0, with zero gradient, and a NaN stays one.

    Raises:
        ValueError: when there is not one weight for each anchor.

    Example:
        >>> terms = (Term(jnp.array([1.0, 0.0, 5.0]), jnp.array([2.0, 0.0, 1.0])),)
        >>> print(mean(terms), mean(terms, jnp.array([1.0, 1.0, 0.0])))
        2.0 0.5
    """
    if weights is None:
        return sum_of([safe_ratio(total.sum(), count.sum()) for total, count in terms])
    for total, _ in terms:
        if weights.shape != total.shape:
            raise ValueError(f"weights of shape {weights.shape} for anchors of shape {total.shape}; give one for each")
    return sum_of([safe_ratio((weights * total).sum(), (weights * count).sum()) for total, count in terms])


def per_anchor(terms: Terms) -> Float[Array, " n"]:
    """What each anchor alone would lose: its totals over its counts, added up; 0 where it counts nothing.

    Args:
        terms: of a loss, all over the same anchors.

    Returns:
        [n].

    Raises:
        ValueError: when its terms are over different things, as those of `hier`.

    Example:
        >>> print(per_anchor((Term(jnp.array([1.0, 0.0, 5.0]), jnp.array([2.0, 0.0, 1.0])),)))
        [0.5 0.  5. ]
    """
    shapes = [total.shape for total, _ in terms]
    if len(set(shapes)) > 1:
        raise ValueError(f"terms of shapes {shapes} are not over the same anchors; `mean` is of them all")
    return sum_of([safe_ratio(total, count) for total, count in terms])


def in_blocks(function: Callable[[Any], Any], anchors: Any, *, size: int) -> Any:
    """Calls a function of anchors for a block of them at a time, and again for the gradient.

    For a loss of n anchors among m references no array of n·m numbers is made, only those of size·m that one block
    needs, if the function computes distances, pairs and terms from the anchors it is given. Their ranks and which of
    the references they are themselves come by `ids`::

        def rows(block):
            distances = space.pairwise_dist(block["points"], points)
            chosen = losses.pairs(block["labels"], labels, ids=block["ids"], reference_ids=ids)
            return losses.triplet(distances, mining.easy_positive(distances, chosen))

        loss = losses.mean(losses.in_blocks(rows, {"points": points, "labels": labels, "ids": ids}, size=1024))

    A block takes every (n / size)-th anchor. So anchors that are shared out over devices stay where they are, and each
    device has its share of every block. Where a mesh is set (`jax.set_mesh`, or `jax.sharding.use_abstract_mesh` while
    a step is traced) the compiler is told to share blocks out so, also those of anchors that every device holds.

    A loss by proxy (`proxy_anchor`) has one row for each proxy, not for each anchor, and cannot be cut into blocks.

    Args:
        function: a block of anchors to a tree of arrays with one row for each; it may close over arrays, and gets
            every anchor once (copies of the last fill up the last block, and are dropped).
        anchors: a tree of arrays [n, ...].
        size: the most anchors in a block.

    Returns:
        The function's tree for all n anchors, in their order.

    Raises:
        ValueError: when size is below 1, there is no anchor, the arrays have different numbers of rows, or the function
            returns something that has not one row for each anchor of its block.

    Example:
        >>> x = jnp.arange(5.0)
        >>> print(in_blocks(lambda rows: (rows[:, None] * x[None]).sum(1), x, size=2))
        [ 0. 10. 20. 30. 40.]
    """
    leaves = jax.tree.leaves(anchors)
    if size < 1 or not leaves or not leaves[0].shape[0]:
        raise ValueError(f"size={size} of {len(leaves)} arrays: give at least one anchor, and a size of at least 1")
    n = leaves[0].shape[0]
    if any(leaf.shape[0] != n for leaf in leaves):
        raise ValueError(f"anchors of {[leaf.shape[0] for leaf in leaves]} rows; give one row for each anchor")
    turns = -(-n // size)
    if turns == 1:
        return function(anchors)
    rows = -(-n // turns)

    def checked(block: Any) -> Any:
        made = function(block)
        for leaf in jax.tree.leaves(made):
            if leaf.shape[:1] != (rows,):
                raise ValueError(f"an array of shape {leaf.shape} of {rows} anchors; give one row for each of them")
        return made

    axes = jax.sharding.get_abstract_mesh().auto_axes
    shared = PartitionSpec(None, axes)

    def split(x: Array) -> Array:
        blocks = jnp.moveaxis(_filled_up(x, rows * turns).reshape(rows, turns, *x.shape[1:]), 1, 0)
        # Where a mesh is set each device gets its share, also of anchors that lie whole on every one of them.
        return jax.lax.with_sharding_constraint(blocks, shared) if axes else blocks

    def joined(x: Array) -> Array:
        return jnp.moveaxis(x, 0, 1).reshape(rows * turns, *x.shape[2:])[:n]

    return jax.tree.map(joined, jax.lax.map(jax.checkpoint(checked), jax.tree.map(split, anchors)))


def on_shares(function: Callable[[Any, Any], Any], anchors: Any, references: Any) -> Any:
    """Calls a function of anchors and references on every device for its own share of the anchors.

    Nothing crosses the network while it runs. Each device has all references before, and their gradient is summed
    over devices once after. So a loop over blocks of anchors that looks references up by index doesn't ask other
    devices for them in every turn. Where no mesh is set the function is called once, for all anchors.

    Args:
        function: a share of the anchors, and the references, to a tree of arrays with one row for each anchor of the
            share (the last are filled up with copies of the last anchor, and dropped).
        anchors: a tree of arrays [n, ...].
        references: a tree of arrays that each device needs whole; the function may not close over traced arrays.

    Returns:
        The function's tree for all n anchors, in their order.

    Example:
        >>> x = jnp.arange(4.0)
        >>> print(on_shares(lambda place, x: x[place], jnp.array([3, 1, 0]), x))
        [3. 1. 0.]
    """
    mesh = jax.sharding.get_abstract_mesh()
    if not mesh.auto_axes:
        return function(anchors, references)
    n, whole, share = len(jax.tree.leaves(anchors)[0]), PartitionSpec(), PartitionSpec(mesh.axis_names)
    mapped = jax.shard_map(function, in_specs=(share, whole), out_specs=share, check_vma=False)
    filled = jax.tree.map(lambda x: _filled_up(x, -(-n // mesh.size) * mesh.size), anchors)
    return jax.tree.map(lambda x: x[:n], mapped(filled, references))


def _filled_up(x: Array, rows: int) -> Array:
    """X with copies of its last row behind it, up to a number of rows."""
    missing = rows - len(x)
    return jnp.concatenate([x, jnp.repeat(x[-1:], missing, axis=0)]) if missing else x


def sum_of(values: list[Array]) -> Array:
    """Their sum, without a 0 to start from."""
    return sum(values[1:], start=values[0])


def safe_ratio(total: Num[Array, "*shape"], count: Num[Array, "*shape"]) -> Float[Array, "*shape"]:
    r"""A sum over a count, 0 when nothing was counted.

    Only the divisor is replaced, never the result. A sum of nothing is 0 already, so an empty batch gives
    0/1 = 0, with zero gradient; a NaN that reached the sum still reaches the loss, whatever the count.
    Replacing the *result* where the count is 0 would turn a diverged batch, whose NaN hinges count as "not
    above zero", into a perfect one.

    Args:
        total: the sum.
        count: how many terms (or how much weight) it has.

    Returns:
        The mean.
    """
    return total / jnp.where(count > 0, count, 1)


def masked_mean(values: Float[Array, "*shape"], mask: Bool[Array, "*shape"]) -> Float[Array, ""]:
    """Mean of the values under a mask; 0 with zero gradient when it is empty, NaN when one of them is NaN.

    Args:
        values: what to average. Values outside the mask may be anything, but a *gradient* that is NaN there
            stays NaN (0 · NaN), so they must be differentiable; the geometries' distances are.
        mask: which of them count.

    Returns:
        The mean, see `safe_ratio` for the empty one.
    """
    return safe_ratio(jnp.where(mask, values, 0).sum(), mask.sum())


def masked_logsumexp(values: Float[Array, "*shape"], mask: Bool[Array, "*shape"], *, axis: int) -> Float[Array, "..."]:
    """Log of the sum of exponentials under a mask along an axis; −inf, with zero gradient, where it is empty.

    Args:
        values: the exponents.
        mask: which of them count.
        axis: the axis to reduce.

    Returns:
        The reduced array. Adding it to something finite by `jnp.logaddexp` is safe in value and gradient.
    """
    largest = jax.lax.stop_gradient(jnp.where(mask, values, -jnp.inf).max(axis, keepdims=True))
    largest = jnp.where(largest == -jnp.inf, 0, largest)
    total = jnp.exp(jnp.where(mask, values - largest, -jnp.inf)).sum(axis)
    return safe_log(total) + jnp.squeeze(largest, axis)


def safe_log(x: Array) -> Array:
    """Log x, −inf with derivative 0 at 0: there log's own derivative is inf, and inf times a zero cotangent NaN."""
    return jnp.where(x == 0, -jnp.inf, jnp.log(jnp.where(x == 0, 1, x)))


def hinge(x: Array) -> Array:
    """The hinge [x]_+ with derivative 0 at the tie; NaN stays NaN, where asking x > 0 would call it fulfilled."""
    return jnp.where(x <= 0, 0, x)


def anchor_column(value: ArrayLike, anchors: int, name: str) -> Array:
    """A setting for each anchor as a column [n, 1], from one value for all or an array [n].

    Args:
        value: a scalar or [n].
        anchors: n.
        name: what to call it in the error.

    Returns:
        [1, 1] or [n, 1].

    Raises:
        ValueError: for any other shape.
    """
    value = jnp.asarray(value)
    if value.shape not in ((), (anchors,)):
        raise ValueError(f"{name} has shape {value.shape}; give one value, or one for each of the {anchors} anchors")
    return value.reshape(-1, 1)
