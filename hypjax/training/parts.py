"""The parts an objective is made of, by name: a new method is a new line in one of these tables."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, NamedTuple

import jax

from hypjax import losses, mining
from hypjax.data.errors import UsageError
from hypjax.losses import Pairs, Terms
from hypjax.training.space import choose


class ByAnchor(NamedTuple):
    """What an uncertainty makes of a loss's setting.

    Attributes:
      setting: the setting that is given for each anchor.
      function: the anchors' uncertainty and the setting to the setting of each anchor.
      settings: what else the function takes, by name.
    """

    setting: str
    function: Callable[..., jax.Array]
    settings: tuple[str, ...]


class LossPart(NamedTuple):
    """A loss and what it takes.

    Attributes:
      function: of `hypjax.losses`: distances, or similarities where it is `similar`, to proxies where it has any;
        pairs; and its settings.
      settings: which settings it takes, by name.
      aware: what the uncertainty decides, or None.
      proxies: the shape of its class proxies before the last axis, such as `("classes",)`; None for a loss of pairs.
      similar: whether it takes a similarity in place of a distance.
      boundary: whether its `beta` is the margin loss's boundary between near and far, which may be learned.
    """

    function: Callable[..., Terms]
    settings: tuple[str, ...]
    aware: ByAnchor | None = None
    proxies: tuple[str, ...] | None = None
    similar: bool = False
    boundary: bool = False

    def names(self) -> tuple[str, ...]:
        """All settings that have to be known."""
        return (*self.settings, *(self.aware.settings if self.aware else ()))

    def at(self, settings: Mapping[str, Any], uncertainty: jax.Array) -> dict[str, Any]:
        """The function's settings for anchors of these uncertainties."""
        chosen = {name: settings[name] for name in self.settings}
        if self.aware is not None:
            own = {name: settings[name] for name in self.aware.settings}
            chosen[self.aware.setting] = self.aware.function(uncertainty, chosen[self.aware.setting], **own)
        return chosen


def _with_margin(distances: jax.Array, pairs: Pairs, *, form: str, margin: jax.Array, beta: jax.Array) -> Terms:
    if form == "triplet":
        return losses.triplet(distances, pairs, margin=margin)
    return losses.margin(distances, pairs, margin=margin, beta=beta)


FORMS = ("triplet", "margin")
PROXIES_AS = ("directions", "points")
TEMPERATURE = ByAnchor("temperature", losses.anchor_temperature, ("strength", "center"))
MARGIN = ByAnchor("margin", losses.anchor_margin, ("strength",))
LOSSES: dict[str, LossPart] = {
    "pairwise_cross_entropy": LossPart(losses.pairwise_cross_entropy, ("temperature",)),
    "nt_xent": LossPart(losses.nt_xent, ("temperature",)),
    "supcon": LossPart(losses.supcon, ("temperature",)),
    "contrastive": LossPart(losses.contrastive, ("pos_margin", "neg_margin")),
    "triplet": LossPart(losses.triplet, ("margin",)),
    "margin": LossPart(losses.margin, ("margin", "beta"), boundary=True),
    "multi_similarity": LossPart(losses.multi_similarity, ("alpha", "beta", "base"), similar=True),
    "uncertainty_contrastive": LossPart(losses.pairwise_cross_entropy, ("temperature",), aware=TEMPERATURE),
    "uncertainty_margin": LossPart(_with_margin, ("margin", "form", "beta"), aware=MARGIN, boundary=True),
    "proxy_softmax": LossPart(losses.supcon, ("temperature",), proxies=("classes",)),
    "proxy_anchor": LossPart(losses.proxy_anchor, ("margin", "alpha"), proxies=("classes",), similar=True),
    "proxy_nca": LossPart(losses.proxy_nca, ("scale",), proxies=("classes",), similar=True),
    "soft_triple": LossPart(
        losses.soft_triple, ("scale", "gamma", "margin"), proxies=("classes", "centers"), similar=True
    ),
}

MINERS: dict[str, Callable[..., Pairs]] = {
    "easy_positive": mining.easy_positive,
    "hard_positive": mining.hard_positive,
    "semihard_negative": mining.semihard_negative,
    "hard_negative": mining.hard_negative,
    "distance_weighted_negative": mining.distance_weighted_negative,
    "multi_similarity": mining.multi_similarity_pairs,
}


class Miner(NamedTuple):
    """Miners one after the other.

    Attributes:
      steps: of `hypjax.mining`, bound to their settings but the scale.
      measures: whether one of them takes the scale of the whole batch.
    """

    steps: tuple[Callable[..., Pairs], ...] = ()
    measures: bool = False

    def __call__(self, distances: jax.Array, pairs: Pairs, scale: jax.Array | None = None) -> Pairs:
        """The pairs that all of them leave."""
        for step in self.steps:
            pairs = step(distances, pairs, scale=scale) if _measures(step) else step(distances, pairs)
        return pairs


def _measures(step: Callable[..., Pairs]) -> bool:
    return getattr(step, "func", step) is mining.distance_weighted_negative


def create_miner(name: str, *, dimension: int, margin: float) -> Miner:
    """Miners by name: `all`, one of `MINERS`, or two joined by `+`, positives by the first, negatives by the second.

    Args:
      name: what to look up.
      dimension: of the embeddings, for distance weighting.
      margin: for semi-hard negatives.

    Raises:
      UsageError: an unknown name, or a pair whose sides are exchanged.
    """
    if name == "all":
        return Miner()
    table = {"all": None, **MINERS}
    words = name.split("+")
    steps = [choose(table, word, "miner") for word in words]
    sides = [word.rpartition("_")[2] for word in words]
    if len(steps) > 2 or (len(steps) == 2 and (sides[0] != "positive" or sides[1] not in ("negative", "similarity"))):
        raise UsageError(f"miner {name!r}: join one for positives and one for negatives, easy_positive+hard_negative")
    options: dict[str, dict[str, Any]] = {
        "distance_weighted_negative": {"dimension": dimension},
        "semihard_negative": {"margin": margin},
    }
    bound = tuple(partial(step, **options.get(word, {})) for word, step in zip(words, steps, strict=True))
    return Miner(bound, any(map(_measures, bound)))
