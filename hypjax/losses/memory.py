"""Cross-batch memory: points of earlier batches as further positives and negatives for the images of this one."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike, DTypeLike
from jaxtyping import Array, Float, Int

from hypjax.losses.pairs import integers


class CrossBatchMemory(NamedTuple):
    """A ring buffer of points and their labels; a pytree of arrays.

    Attributes:
      points: [size, d]; 0 where empty, a point of every geometry.
      labels: [size], and −1, nobody, where empty.
      cursor: [] the slot that is written next, in [0, size).
    """

    points: Float[Array, "size d"]
    labels: Int[Array, " size"]
    cursor: Int[Array, ""]


class References(NamedTuple):
    """What the images of a batch are compared with: the batch, then the memory.

    Attributes:
      points: [b + size, d]; those of the memory carry no gradient.
      labels: [b + size].
      ids: [b + size], of which the first b are those of the batch as anchors.
    """

    points: Float[Array, "m d"]
    labels: Int[Array, " m"]
    ids: Int[Array, " m"]


def create_cross_batch_memory(size: int, d: int, dtype: DTypeLike = jnp.float32) -> CrossBatchMemory:
    """An empty memory.

    Args:
        size: how many images it holds, at least one batch of them.
        d: coordinates of a point (one more than dimensions on the Lorentz sheet).
        dtype: of the points.

    Returns:
        The memory.

    Raises:
        ValueError: when size or d is below 1.

    Example:
        >>> print(create_cross_batch_memory(4, 2).labels)
        [-1 -1 -1 -1]
    """
    if size < 1 or d < 1:
        raise ValueError(f"a memory of {size} points of {d} coordinates: both must be at least 1")
    return CrossBatchMemory(jnp.zeros((size, d), dtype), jnp.full(size, -1, jnp.int32), jnp.zeros((), jnp.int32))


def remember(
    memory: CrossBatchMemory,
    points: Float[Array, "b d"],
    labels: ArrayLike,
    *,
    where: ArrayLike | None = None,
) -> CrossBatchMemory:
    """Puts a batch in, in place of the oldest points where the memory is full.

    Args:
        memory: before the batch.
        points: [b, d], with b ≤ size; b need not divide the size. They carry no gradient from here on.
        labels: [b], integers of any kind; −1 is nobody.
        where: [b] which images are somebody, or None for all.

    Returns:
        The memory after it.

    Raises:
        ValueError: when shapes do not agree, labels are no integers or do not fit 32 bits, or the batch is larger than
            the memory.

    Example:
        >>> memory = create_cross_batch_memory(3, 1)
        >>> for labels in (jnp.array([7, 8]), jnp.array([9, 10])):
        ...     memory = remember(memory, jnp.ones((2, 1)), labels)
        >>> print(memory.labels, memory.cursor)
        [10  8  9] 1
    """
    labels = _somebody(labels, where)
    _check(memory, points, labels)
    size, batch = memory.labels.shape[0], labels.shape[0]
    if batch > size:
        raise ValueError(f"a batch of {batch} does not fit a memory of {size}; make the memory at least as large")
    slots = (memory.cursor + jnp.arange(batch, dtype=memory.cursor.dtype)) % size
    points = jax.lax.stop_gradient(points).astype(memory.points.dtype)
    return CrossBatchMemory(
        memory.points.at[slots].set(points, unique_indices=True),
        memory.labels.at[slots].set(labels, unique_indices=True),
        (memory.cursor + batch) % size,
    )


def references(
    memory: CrossBatchMemory,
    points: Float[Array, "b d"],
    labels: ArrayLike,
    *,
    where: ArrayLike | None = None,
) -> References:
    """What a batch is compared with, itself and the memory, in b × (b + size) distances.

    Empty slots are nobody, so that an empty memory changes no loss. Call this before `remember`: afterwards the batch
    is in the memory, and each image would be its own positive at distance 0. An older copy of an image, if the memory
    outlasts an epoch, is a positive like any other.

    Args:
        memory: of earlier batches.
        points: [b, d] of this one.
        labels: [b], integers of any kind; −1 is nobody.
        where: [b] which images of the batch are somebody, or None for all; the others get the label −1.

    Returns:
        The references.

    Raises:
        ValueError: when shapes do not agree, or labels are no integers or do not fit 32 bits.

    Example:
        >>> from hypjax import losses
        >>> memory = remember(create_cross_batch_memory(3, 1), jnp.array([[0.5], [3.0]]), jnp.array([0, 1]))
        >>> x, y = jnp.array([[0.0], [0.6]]), jnp.array([0, 1])
        >>> known = references(memory, x, y)
        >>> both = losses.pairs(y, known.labels, ids=known.ids[:2], reference_ids=known.ids)
        >>> print(f"{losses.mean(losses.triplet(jnp.abs(x - known.points.T), both, margin=0.2)):.4f}")
        1.5333

    References:
        Wang et al., Cross-Batch Memory for Embedding Learning, CVPR 2020.
    """
    labels = _somebody(labels, where)
    _check(memory, points, labels)
    remembered = jax.lax.stop_gradient(memory.points).astype(points.dtype)
    return References(
        jnp.concatenate([points, remembered]),
        jnp.concatenate([labels, memory.labels]),
        jnp.arange(points.shape[0] + remembered.shape[0]),
    )


def _somebody(labels: ArrayLike, where: ArrayLike | None) -> Int[Array, " b"]:
    labels = integers(labels, "labels", jnp.int32)
    return labels if where is None else jnp.where(jnp.asarray(where), labels, -1)


def _check(memory: CrossBatchMemory, points: Array, labels: Array) -> None:
    if points.ndim != 2 or labels.shape != points.shape[:1]:
        raise ValueError(
            f"points of shape {points.shape} and labels of shape {labels.shape} do not go together; give [b, d] and [b]"
        )
    if memory.points.shape[1] != points.shape[1]:
        raise ValueError(
            f"points of {points.shape[1]} coordinates do not go with a memory of {memory.points.shape[1]}; "
            "create it for the points that are compared, one coordinate more on the Lorentz sheet"
        )
