"""One comparison, and what many of them share: configs to start from, and figures by what they tell."""

from __future__ import annotations

from typing import NamedTuple

VIT, UML = "configs/hyp_vit.py:frozen,head=trained", "configs/hyp_uml.py:frozen,head=trained"
# Fine-tuned in two minutes instead of five: smaller pictures, fewer steps.
SMALL = "steps=300,data.image_size=32,data.eval_image_size=48,evaluation.every=300,evaluation.degraded_queries=32"
RADIUS = ["direction_agreement", "direction_recall@1", "radius_mean", "radius_std", "saturated_share"]
DOUBT = ["uncertainty_auroc", "uncertainty_auroc_nearest_distance", "uncertainty_auroc_distance_ratio"]
TREES = [f"{tree}_tree_triplets@subgroup" for tree in ("linkage", "minimax")]
PLAIN = ["recall@1", "map@r", "body_recall@1", "direction_recall@1", "direction_agreement", "saturated_share"]


class Sweep(NamedTuple):
    """One comparison.

    Attributes:
      entries: name to config.
      metrics: columns of the table.
      seeds: as `hypjax.compare` takes them.
      split: whose figures.
    """

    entries: dict[str, str]
    metrics: list[str]
    seeds: str = "0,1,2,3,4"
    split: str = "validation"
