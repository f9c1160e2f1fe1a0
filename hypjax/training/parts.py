"""The parts an objective is made of, by name: a new method is a new line in one of these tables."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax

from hypjax import losses, mining
from hypjax.errors import UsageError
from hypjax.losses.pairs import Miner
from hypjax.training.space import choose


class LossPart(NamedTuple):
    """A loss and what it takes.

    Attributes:
      function: of `hypjax.losses`.
      settings: which settings it takes, by name.
      aware: whether it takes the uncertainty after the labels.
      mined: whether it takes a miner.
      grouped: whether it needs a class-major batch, which a memory's images are not part of.
      proxies: the shape of its class proxies before the last axis, such as `("classes",)`; None for a loss of pairs.
      similar: whether it takes a similarity in place of a distance.
      boundary: whether its `beta` is the margin loss's boundary between near and far, which may be learned.
    """

    function: Callable[..., jax.Array]
    settings: tuple[str, ...]
    aware: bool = False
    mined: bool = True
    grouped: bool = False
    proxies: tuple[str, ...] | None = None
    similar: bool = False
    boundary: bool = False


PAIRWISE = ("temperature", "samples_per_class")
LOSSES: dict[str, LossPart] = {
    "pairwise_cross_entropy": LossPart(losses.pairwise_cross_entropy, PAIRWISE, grouped=True),
    "nt_xent": LossPart(losses.nt_xent, ("temperature",)),
    "supcon": LossPart(losses.supcon, ("temperature",)),
    "contrastive": LossPart(losses.contrastive, ("pos_margin", "neg_margin")),
    "triplet": LossPart(losses.triplet, ("margin",)),
    "margin": LossPart(losses.margin, ("margin", "beta"), boundary=True),
    "multi_similarity": LossPart(losses.multi_similarity, ("alpha", "beta", "base"), similar=True),
    "uncertainty_contrastive": LossPart(
        losses.uncertainty_contrastive, (*PAIRWISE, "strength", "center"), aware=True, grouped=True
    ),
    "uncertainty_margin": LossPart(
        losses.uncertainty_margin, ("margin", "strength", "form", "beta"), aware=True, boundary=True
    ),
    "proxy_anchor": LossPart(losses.proxy_anchor, ("margin", "alpha"), mined=False, proxies=("classes",)),
    "proxy_nca": LossPart(losses.proxy_nca, ("scale",), mined=False, proxies=("classes",)),
    "soft_triple": LossPart(
        losses.soft_triple, ("scale", "gamma", "margin"), mined=False, proxies=("classes", "centers")
    ),
}

MINERS: dict[str, Callable[..., tuple[jax.Array, jax.Array]]] = {
    "easy_positive": mining.easy_positive,
    "hard_positive": mining.hard_positive,
    "semihard_negative": mining.semihard_negative,
    "hard_negative": mining.hard_negative,
    "distance_weighted_negative": mining.distance_weighted_negative,
    "multi_similarity": mining.multi_similarity_pairs,
}

REGULARIZERS = ("none", "hier")


def create_miner(name: str, *, dimension: int, margin: float) -> Miner | None:
    """A miner by name: `all`, one of `MINERS`, or two joined by `+`, positives by the first, negatives by the second.

    Args:
      name: what to look up.
      dimension: of the embeddings, for distance weighting.
      margin: for semi-hard negatives.

    Raises:
      UsageError: an unknown name, or a pair whose sides are exchanged.
    """
    if name == "all":
        return None
    table = {"all": None, **MINERS}
    parts = [(word, choose(table, word, "miner")) for word in name.split("+")]
    options: dict[str, dict[str, Any]] = {
        "distance_weighted_negative": {"dimension": dimension, "scale": None},  # hyperbolic distances have no unit
        "semihard_negative": {"margin": margin},
    }
    bound = [partial(miner, **options[word]) if word in options else miner for word, miner in parts]
    if len(bound) == 1:
        return bound[0]
    sides = [word.rpartition("_")[2] for word, _ in parts]
    if len(bound) != 2 or sides[0] != "positive" or sides[1] not in ("negative", "similarity"):
        raise UsageError(f"miner {name!r}: join one for positives and one for negatives, easy_positive+hard_negative")
    return mining.pair(*bound)
