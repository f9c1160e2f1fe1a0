"""An evaluation in a few lines for the console, and what a person should be warned of."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping

CONSTANT = 1e-5  # standard deviation of u, below which it differs by rounding alone
WORSE = 0.01  # of Recall@1, by which an embedding may stay behind its encoder's bare features without a warning


def summary(title: str, figures: Mapping[str, float]) -> Iterator[str]:
    """An evaluation for the console: its figures, and on a line of their own recall of the plain things beside them."""
    shown = {
        "recall@1": "recall@1",
        "map@r": "map@r",
        "uncertainty_auroc": "auroc of u",
        "radius_mean": "radius",
        "saturated_share": "saturated",
    }
    words = [f"{word} {figures[key]:.3f}" for key, word in shown.items() if not math.isnan(figures.get(key, math.nan))]
    yield f"  {title}: " + "  ".join(words)
    beside = {
        "direction_recall@1": "by angle alone",
        "body_recall@1": "the encoder's bare features",
        "body_before_recall@1": "before training",
    }
    words = [f"{word} {figures[key]:.3f}" for key, word in beside.items() if key in figures]
    if words:
        yield "    recall@1 of plainer searches: " + "  ".join(words)


def warnings(figures: Mapping[str, float], *, refits: bool = True) -> Iterator[str]:
    """What a person should know of an evaluation that went wrong in a known way.

    Args:
      figures: of the evaluation.
      refits: whether the head may be fitted to the embeddings in closed form.
    """
    share = figures["saturated_share"]
    if share > 0.5:
        yield (
            f"  warning: {share:.0%} of the embeddings lie at the clip radius, where uncertainty is a constant and "
            "the ranking that of cosine; try a larger head.clip_radius, a smaller head.start_radius or fewer steps"
        )
    elif figures.get("uncertainty_std", 1.0) < CONSTANT:
        yield (
            "  warning: the uncertainty is one and the same for all images, and tells nothing; it has not been trained "
            "for long enough, or head.radius_range leaves it no room"
        )
    found = figures["recall@1"]
    bare = figures.get("body_recall@1", found)
    before = figures.get("body_before_recall@1", found)
    if max(found, bare) < before - WORSE:
        yield (
            f"  warning: the encoder's bare features found more by cosine before it was trained ({before:.3f} against "
            f"{found:.3f}): it had too little to learn from; `frozen` behind the colon leaves it as it is, and a "
            "larger head.dim shows more of it"
        )
    if found < bare - WORSE:
        fitted = " or, where it is not set, head=discriminant behind the colon" if refits else ""
        yield (
            f"  warning: the embedding finds less than the encoder's bare features by cosine ({found:.3f} against "
            f"{bare:.3f}); try a larger head.dim{fitted}"
        )
