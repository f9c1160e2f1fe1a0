"""Which pairs of anchors and references count, and how much: the data that miners map and losses read."""

from dataclasses import dataclass, field, replace

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike, DTypeLike
from jaxtyping import Array, Bool, Float, Int

from hypjax.geometry.numerics import concrete


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Pairs:
    """Positives and negatives of n anchors among m references; a pytree of arrays, made by `pairs`.

    Attributes:
      positive: [n, m] weights of the anchors' classmates, as booleans while each of them weighs 1.
      negative: [n, m] weights of images of other classes, likewise.
      rank: [n] the place of each anchor within its class, from 0.
      reference_rank: [m] that of each reference.
      somebody: [n] which anchors count at all; others have neither positives nor negatives.
      one_positive: whether a miner has chosen one positive at most for each anchor, so that a loss needs no sort.
      one_negative: likewise one negative.
    """

    positive: Bool[Array, "n m"] | Float[Array, "n m"]
    negative: Bool[Array, "n m"] | Float[Array, "n m"]
    rank: Int[Array, " n"]
    reference_rank: Int[Array, " m"]
    somebody: Bool[Array, " n"]
    one_positive: bool = field(default=False, metadata={"static": True})
    one_negative: bool = field(default=False, metadata={"static": True})

    @property
    def is_positive(self) -> Bool[Array, "n m"]:
        """Which pairs are positives of any weight."""
        return self.positive > 0

    @property
    def is_negative(self) -> Bool[Array, "n m"]:
        """Which pairs are negatives of any weight."""
        return self.negative > 0

    def weigh(
        self,
        positive: Bool[Array, "n m"] | Float[Array, "n m"] | None = None,
        negative: Bool[Array, "n m"] | Float[Array, "n m"] | None = None,
    ) -> "Pairs":
        """These pairs with other weights; what was no pair of that side stays none.

        Args:
            positive: [n, m] ≥ 0, booleans where each that stays weighs 1, or None to leave that side as it is.
            negative: likewise.

        Returns:
            The pairs. Weights pass a gradient on; the miners of `hypjax.mining` stop it.

        Example:
            >>> print(pairs(jnp.array([0, 0, 1])).weigh(positive=jnp.full((3, 3), 0.5)).positive)
            [[0.  0.5 0. ]
             [0.5 0.  0. ]
             [0.  0.  0. ]]
        """
        weighed = self
        if positive is not None:
            weighed = replace(weighed, positive=jnp.where(self.is_positive, positive, False))
        if negative is not None:
            weighed = replace(weighed, negative=jnp.where(self.is_negative, negative, False))
        return weighed

    def choose(self, positive: Int[Array, " n"] | None = None, negative: Int[Array, " n"] | None = None) -> "Pairs":
        """These pairs with one reference a side for each anchor, of weight 1.

        Args:
            positive: [n] the column chosen for each anchor, none where that is no positive; None leaves the side as it
                is.
            negative: likewise.

        Returns:
            The pairs.

        Example:
            >>> print(pairs(jnp.array([0, 0, 0, 1])).choose(positive=jnp.array([2, 3, 0, 0])).positive.astype(int))
            [[0 0 1 0]
             [0 0 0 0]
             [1 0 0 0]
             [0 0 0 0]]
        """
        column = jnp.arange(self.positive.shape[1])[None, :]
        chosen = self
        if positive is not None:
            chosen = replace(chosen, positive=self.is_positive & (column == positive[:, None]), one_positive=True)
        if negative is not None:
            chosen = replace(chosen, negative=self.is_negative & (column == negative[:, None]), one_negative=True)
        return chosen


def pairs(
    labels: ArrayLike,
    references: ArrayLike | None = None,
    *,
    where: ArrayLike | None = None,
    reference_where: ArrayLike | None = None,
    ids: ArrayLike | None = None,
    reference_ids: ArrayLike | None = None,
) -> Pairs:
    r"""Which references are positives and which are negatives of each anchor, by their labels.

    Without references the anchors are their own, and none is paired with itself. An image of label −1, or where a mask
    says False, is nobody: neither anchor nor positive nor negative, whatever finite numbers stand in its row. Two of
    the same id are one image and no pair, so that anchors may stand among the references: rows of a batch against all
    of it, a batch against itself and a memory.

    The rank of a reference is its place among the references of its class, in their order; that of an anchor is the
    same where the references hold it, by its id, and its place among the anchors elsewhere.

    Args:
        labels: [n] classes of the anchors, integers of any kind.
        references: [m] classes of what they are compared with; None for the anchors.
        where: [n] which anchors are somebody, or None for all.
        reference_where: [m] which references are.
        ids: [n] integers, by which an image is known among the references.
        reference_ids: [m] likewise.

    Returns:
        The pairs, [n, m], each of weight 1.

    Raises:
        ValueError: labels or ids that are no vectors of integers or do not fit 32 bits (traced ones cannot be checked);
            masks or ids of another length; ids of one side only; `reference_where` or `reference_ids` without
            references.

    Example:
        >>> both = pairs(jnp.array([0, 0, 1, -1]))
        >>> print(both.positive.astype(int), both.negative.astype(int), both.rank[:3], sep="\n")
        [[0 1 0 0]
         [1 0 0 0]
         [0 0 0 0]
         [0 0 0 0]]
        [[0 0 1 0]
         [0 0 1 0]
         [1 1 0 0]
         [0 0 0 0]]
        [0 1 0]
    """
    anchors = integers(labels, "labels", np.int32)
    somebody = _mask(where, anchors, "where")
    own: Array | None = None if ids is None else _fitting(integers(ids, "ids"), anchors, "ids")
    theirs: Array | None
    if references is None:
        if reference_where is not None or reference_ids is not None:
            raise ValueError("reference_where and reference_ids belong to references; give those, too")
        others, known = anchors, somebody
        own = theirs = jnp.arange(anchors.shape[0]) if own is None else own
    else:
        if (ids is None) != (reference_ids is None):
            raise ValueError("ids say which anchor is which reference: give both ids and reference_ids, or neither")
        others = integers(references, "references", np.int32)
        known = _mask(reference_where, others, "reference_where")
        if reference_ids is None:
            theirs = None
        else:
            theirs = _fitting(integers(reference_ids, "reference_ids"), others, "reference_ids")
    candidate = somebody[:, None] & known[None, :]
    reference_rank = _rank(others, known)
    rank = reference_rank if references is None else _rank(anchors, somebody)
    if own is not None and theirs is not None:
        candidate &= own[:, None] != theirs[None, :]
        if references is not None:
            rank = _looked_up(own, theirs, known, reference_rank, rank)
    same = anchors[:, None] == others[None, :]
    return Pairs(candidate & same, candidate & ~same, rank, reference_rank, somebody)


def check_pairs(distances: Array, pairs: Pairs, what: str = "distances") -> None:
    """Says what is wrong when pairs do not belong to distances.

    Raises:
        ValueError: unless both are [n, m].
    """
    if distances.shape[:2] != pairs.positive.shape:
        raise ValueError(
            f"{what} of shape {distances.shape} and pairs of shape {pairs.positive.shape} do not go together"
        )


def _rank(labels: Array, somebody: Array) -> Int[Array, " n"]:
    """How many images of its class stand before each; a stable sort lays each class out as a run."""
    n = labels.shape[0]
    labels = jnp.where(somebody, labels, -1)
    order = jnp.argsort(labels, stable=True)
    in_runs = labels[order]
    place = jnp.arange(n) - jnp.searchsorted(in_runs, in_runs)
    return jnp.zeros(n, jnp.int32).at[order].set(place.astype(jnp.int32), unique_indices=True)


def _looked_up(ids: Array, reference_ids: Array, known: Array, reference_rank: Array, otherwise: Array) -> Array:
    """The rank of the reference of each id; something else where no reference that is somebody has it."""
    order = jnp.lexsort((~known, reference_ids))
    in_order = reference_ids[order]
    found = jnp.minimum(jnp.searchsorted(in_order, ids), reference_ids.shape[0] - 1)
    held = (in_order[found] == ids) & known[order[found]]
    return jnp.where(held, reference_rank[order[found]], otherwise)


def integers(values: ArrayLike, name: str, dtype: DTypeLike | None = None) -> Int[Array, " n"]:
    """A vector of integers of a type, by default of their own.

    Raises:
        ValueError: they are something else, or do not fit; traced ones cannot be checked.
    """
    given = values if isinstance(values, jax.Array) else np.asarray(values)
    if given.ndim != 1 or not jnp.issubdtype(given.dtype, jnp.integer):
        raise ValueError(f"{name} of shape {given.shape} and type {given.dtype}: give a vector of integers")
    kept = np.dtype(dtype or jax.dtypes.canonicalize_dtype(given.dtype))
    known = None if not given.size or np.can_cast(given.dtype, kept) else concrete(given)
    if known is not None:
        least, most = int(known.min()), int(known.max())
        if least < np.iinfo(kept).min or most > np.iinfo(kept).max:
            raise ValueError(f"{name} from {least} to {most} do not fit {8 * kept.itemsize} bits; number them from 0")
    return jnp.asarray(given).astype(kept)


def _mask(where: ArrayLike | None, labels: Array, name: str) -> Bool[Array, " n"]:
    known = labels >= 0
    return known if where is None else known & _fitting(where, labels, name).astype(bool)


def _fitting(values: ArrayLike, labels: Array, name: str) -> Array:
    values = jnp.asarray(values)
    if values.shape != labels.shape:
        raise ValueError(f"{name} has shape {values.shape} and its labels {labels.shape}; give one for each image")
    return values
