"""What each figure of a run is, in a sentence, and whether more of it is better."""

from __future__ import annotations

import math
import re
from typing import NamedTuple


class Meaning(NamedTuple):
    """Of a figure.

    Attributes:
      title: its name for people.
      better: `higher`, `lower`, or "" where neither is.
      text: what it is.
    """

    title: str
    better: str
    text: str


HIGHER, LOWER = "higher", "lower"

# Pattern of the name, title, which is better, what it is. The first pattern that matches counts, and \1 is what its
# first group matched.
TABLE = r"""
recall@1 | Recall@1 | higher | Share of queries whose nearest image is of their class.
recall@(\d+) | Recall@\1 | higher | Share of queries with an image of their class among the \1 nearest.
body_recall@(\d+) | Recall@\1, bare features | higher | Recall by the encoder's features and cosine, without the head.
body_map@r | MAP@R, bare features | higher | The same.
body_before_recall@(\d+) | Recall@\1, bare before training | higher | The same with the encoder as it came.
body_before_map@r | MAP@R, bare before training | higher | The same.
direction_recall@(\d+) | Recall@\1, by angle alone | higher | Recall by the tangent vectors' angle, without the radius.
direction_map@r | MAP@R, by angle alone | higher | The same.
direction_agreement | Same nearest by angle | – | Share of queries whose nearest image is the same by angle alone.
map@r | MAP@R | higher | Mean average precision among as many neighbors as the query's class has other images.
r_precision | R-precision | higher | Share of the query's class among as many neighbors as it has other images.
nmi | NMI | higher | Agreement of k-means clusters, in the embeddings' geometry, with the classes, in [0, 1].
agreement@class | Agreement, class | higher | Share of the five nearest that are of the query's class.
agreement@(.+) | Agreement, \1 | higher | Share of the five nearest that share the query's \1 in the hierarchy.
recall@1@(.+) | Recall@1, \1 | higher | Share of queries whose nearest image shares their \1 in the hierarchy.
lca_height | LCA height | lower | Levels to climb until query and neighbor meet in the hierarchy; 0 is the same class.
nearest_lca_height | LCA height, nearest | lower | The same for the nearest image alone.
radius_order@(.+) | Radius orders \1 | higher | Share of classes farther from the origin than the midpoint of their \1.
radius_order_of_images@(.+) | Radius orders images, \1 | higher | The same for images and their \1.
radius_order_of_groups@(.+) | Radius orders groups, \1 | higher | The same for the groups one level below.
radius_order_by_chance@(.+) | Radius orders \1, by chance | – | The same where classes are handed out at random.
uncertainty_auroc | AUROC of u | higher | How well u, the uncertainty, foretells a wrong nearest image; 0.5 is chance.
uncertainty_auroc_nearest_distance | AUROC of the distance | higher | The same for the distance to the nearest neighbor.
uncertainty_auroc_distance_ratio | AUROC of nearest : second | higher | The same for the ratio of nearest to second.
uncertainty_aurc | AURC of u | lower | Mean error rate when only the most certain share is answered, over all shares.
uncertainty_aurc_nearest_distance | AURC of the distance | lower | The same, ranked by the distance to the nearest.
uncertainty_aurc_distance_ratio | AURC of nearest : second | lower | The same, ranked by the ratio of the two smallest.
uncertainty_aurc_ideal | AURC, ideal | – | The least there can be: all failures ranked most uncertain.
uncertainty_aurc_random | AURC, random | – | The error rate of all queries.
(\w+)_rank_correlation | u against \1 | higher | Rank correlation of u with the level of \1; 0 is no answer to it.
(\w+)_recall@1 | Recall@1 under \1 | higher | Of queries damaged by \1, among clean images.
(\w+)_uncertainty_auroc | AUROC of u under \1 | higher | How well u foretells failures among queries damaged by \1.
(\w+)_uncertainty_auroc_nearest_distance | AUROC of the distance under \1 | higher | The same for the nearest distance.
(\w+)_uncertainty_auroc_distance_ratio | AUROC of nearest : second under \1 | higher | The same for that ratio.
radius_mean | Radius | – | Mean length of the tangent vectors at the origin.
radius_std | Spread of the radius | – | Its standard deviation; without any, radius and u say nothing.
saturated_share | Saturated share | lower | Share of embeddings at the clip radius, where u is a constant.
uncertainty_mean | Mean of u | – | The mean uncertainty, in [0, 1].
uncertainty_std | Spread of u | – | Its standard deviation.
(\w+)_tree_triplets@(.+) | Triplets, \1 tree, \2 | higher | Triples whose two of one \2 meet first; 0.5 is chance.
(\w+)_tree_purity@(.+) | Purity, \1 tree, \2 | higher | Share of one \2 below the node where two of its classes meet.
(\w+)_tree_purity_by_chance@(.+) | Purity by chance, \1 tree, \2 | – | The same with classes handed out at random.
calibration_error | Calibration error | lower | How far the chance of being wrong, as told, lies from what comes out.
calibration_error_before_search | Calibration error before a search | lower | The same, told from u alone.
answer_auroc | AUROC of the answers | higher | How well u, distances and neighbors' classes foretell a wrong answer.
nothing_like_auroc | AUROC of nothing like it | higher | How well queries are told whose class the gallery lacks.
nothing_like_fpr | Nothing like it, mistaken | lower | Share of others taken for such where 95 % of them are noticed.
nothing_like_auroc_nearest_distance | AUROC of nothing like it, distance | higher | By the distance alone.
nothing_like_fpr_nearest_distance | Nothing like it, mistaken, distance | lower | By the distance alone.
coverage_by_class@(.+) | Answered, errors ≤ \1, new classes | higher | Share of queries answered; for new classes.
error_by_class@(.+) | Wrong of these, ≤ \1, new classes | – | Share of wrong ones, classes weighing alike.
coverage_by_image@(.+) | Answered, errors ≤ \1, images | higher | The same for images of the classes that calibrate.
error_by_image@(.+) | Wrong of these, ≤ \1, images | – | Share of wrong ones among these answers.
answers_needed@(.+) | Answers needed, misses ≤ \1 | lower | For the right class to be among them, in the mean.
answers_hold@(.+) | Right among them, misses ≤ \1 | higher | Share of queries whose right class is among these answers.
coverage_at_best@(.+) | Answered at best, errors ≤ \1 | – | By the threshold of one who knows the answers.
level_coverage_by_(\w+)@(.+) | Answered at some level, errors ≤ \2, \1 | higher | Or with a group above the class.
level_error_by_(\w+)@(.+) | Wrong of these, ≤ \2, \1 | – | Share of wrong ones among these answers.
level_share_(.+)@(.+) | Answered with \1, errors ≤ \2 | – | Share of queries whose deepest sure answer is a \1.
level_error_(.+)@(.+) | Wrong of these, \1, ≤ \2 | – | Share of wrong ones among these answers.
queries_without_match | Queries without match | – | Images that are alone in their class; they are not counted.
queries | Queries | – | How many images asked.
"""
MEANINGS = tuple(
    (pattern, Meaning(title, better.strip("–"), text))
    for pattern, title, better, text in (line.split(" | ", maxsplit=3) for line in TABLE.strip().splitlines())
)

HEADLINE = (
    "recall@1",
    "recall@2",
    "recall@4",
    "recall@8",
    "direction_recall@1",
    "body_recall@1",
    "body_before_recall@1",
    "map@r",
    "r_precision",
    "nmi",
    "uncertainty_auroc",
    "uncertainty_auroc_nearest_distance",
    "uncertainty_auroc_distance_ratio",
    "uncertainty_aurc",
    "answer_auroc",
    "calibration_error",
    "blur_rank_correlation",
    "noise_rank_correlation",
    "occlusion_rank_correlation",
    "saturated_share",
)
TILES = ("recall@1", "body_recall@1", "map@r", "answer_auroc", "calibration_error")


def meaning(name: str) -> Meaning:
    """What a figure is.

    Examples:
      >>> meaning("recall@8").title, meaning("agreement@group").better, meaning("something new").text
      ('Recall@8', 'higher', '')
    """
    for pattern, found in MEANINGS:
        if match := re.fullmatch(pattern, name):
            return Meaning(_filled(found.title, match), found.better, _filled(found.text, match))
    return Meaning(name, "", "")


def _filled(words: str, match: re.Match[str]) -> str:
    for i, group in enumerate(match.groups(), 1):  # as it is: the name of a level may look like a pattern
        words = words.replace(f"\\{i}", group)
    return words


def number(name: str, value: float | None) -> str:
    """A figure for people: counts whole, others to three digits; a dash where there is none.

    Examples:
      >>> number("recall@1", -0.54612), number("nmi", None), number("queries", 4282.0)
      ('−0.546', '–', '4,282')
    """
    if value is None or not math.isfinite(value):
        return "–"
    return (f"{value:,.0f}" if name.startswith("queries") else f"{value:.3f}").replace("-", "−")
