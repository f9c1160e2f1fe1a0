"""Benchmarks of which neither pictures nor labels are at hand: their published counts stand in for them."""

from __future__ import annotations

import numpy as np
from ml_collections import ConfigDict

from hypjax.config import recipes
from hypjax.data.archives import ORIGINALS
from hypjax.data.split import Splits


class Counted:
    """A source of which only the counts are known: images shared out evenly over classes, none to be seen."""

    def __init__(self, classes: int, images: int, *, groups: int = 0) -> None:
        self.labels = np.sort(np.arange(images, dtype=np.int32) % max(1, classes))
        self.class_names = [str(label) for label in range(classes)]
        self.ancestors = (
            (np.arange(classes, dtype=np.int32) % groups)[:, None] if groups else np.zeros((classes, 0), np.int32)
        )
        self.level_names = ["group"] if groups else []
        self.ancestor_names = [[f"group {group}" for group in range(groups)]] if groups else []

    def __len__(self) -> int:
        return len(self.labels)

    def image(self, index: int) -> np.ndarray:
        """There is none."""
        raise TypeError("a rehearsal reads no images")

    def name(self, index: int) -> str:
        """The index."""
        return str(index)


def splits_of(config: ConfigDict) -> Splits | None:
    """The published counts of a benchmark, validation classes taken out; None for data that has to be looked at."""
    name = recipes.benchmark(config.data.name)
    if not name:
        return None
    benchmark = ORIGINALS[name].benchmark
    train, test, groups = benchmark.train, benchmark.test, benchmark.groups
    share = config.data.validation
    held = max(2, round(share * train.classes)) if share else 0
    images = round(train.images * held / train.classes)
    return Splits(
        Counted(train.classes - held, train.images - images, groups=groups),
        Counted(held, images, groups=groups),
        Counted(test.classes, test.images, groups=groups),
    )
