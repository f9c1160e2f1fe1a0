"""How the uncertainty of images answers when they are blurred, noised or occluded."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float

from hypjax.retrieval import auroc, distance_ratio, spearman


class Response(NamedTuple):
    """How uncertainty answers to one kind of degradation.

    Attributes:
      levels: levels in [0, 1], ascending, 0 the clean image.
      uncertainty: [levels, n].
      wrong: whether the nearest clean neighbor is wrong [levels, n].
      distances: to the two nearest clean neighbors [levels, n, 2].
    """

    levels: tuple[float, ...]
    uncertainty: Float[np.ndarray, "levels n"]
    wrong: Bool[np.ndarray, "levels n"]
    distances: Float[np.ndarray, "levels n 2"]

    def figures(self, kind: str) -> dict[str, float]:
        """Rank correlation of u with the level; recall and AUROC, of u and of what a search tells, when degraded."""
        level_of_each = np.repeat(np.asarray(self.levels, np.float32), self.uncertainty.shape[1])
        degraded = np.asarray(self.levels) > 0
        wrong, distances = self.wrong[degraded].ravel(), self.distances[degraded].reshape(-1, 2)
        doubts = {"": self.uncertainty[degraded].ravel(), "_nearest_distance": distances[:, 0]}
        doubts["_distance_ratio"] = distance_ratio(distances)
        return {
            f"{kind}_rank_correlation": float(spearman(level_of_each, self.uncertainty.ravel())),
            f"{kind}_recall@1": float(1 - wrong.mean()),
        } | {f"{kind}_uncertainty_auroc{name}": float(auroc(doubt, wrong)) for name, doubt in doubts.items()}
