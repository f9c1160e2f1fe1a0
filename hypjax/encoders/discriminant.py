"""The discriminant directions of labelled features: where classes lie apart and the images of one class together."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from jaxtyping import Float, Integer


class Scatter:
    """Sums over labelled features, from which scatters follow; features are shown in parts, and none is kept.

    Example:
        >>> scatter = Scatter(classes=2, features=1)
        >>> scatter.add(np.array([[0.0], [2.0]], np.float32), np.array([0, 0]))
        >>> scatter.add(np.array([[5.0], [7.0]], np.float32), np.array([1, 1]))
        >>> scatter.mean.tolist(), scatter.within().round(6).tolist(), scatter.total().round(6).tolist()
        ([3.5], [[1.0]], [[7.25]])

    Args:
        classes: how many there are.
        features: f, the width of a row.
    """

    def __init__(self, classes: int, features: int) -> None:
        self._counts = np.zeros(classes)
        self._sums = np.zeros((classes, features))
        self._products = np.zeros((features, features))

    def add(self, features: Float[np.ndarray, "n f"], labels: Integer[np.ndarray, " n"]) -> None:
        """Takes some rows in, in float64."""
        rows = np.asarray(features, np.float64)
        np.add.at(self._counts, labels, 1)
        np.add.at(self._sums, labels, rows)
        self._products += rows.T @ rows

    def sum_up(self, total: Callable[[np.ndarray], np.ndarray]) -> None:
        """Takes in what others have seen, by a function that adds up an array of each."""
        self._counts, self._sums, self._products = map(total, (self._counts, self._sums, self._products))

    @property
    def count(self) -> int:
        """n, the rows seen."""
        return int(self._counts.sum())

    @property
    def mean(self) -> Float[np.ndarray, " f"]:
        """The mean row."""
        return self._sums.sum(axis=0) / self.count

    def total(self) -> Float[np.ndarray, "f f"]:
        """Σ (x − mean)(x − mean)ᵀ / n."""
        return self._products / self.count - np.outer(self.mean, self.mean)

    def within(self) -> Float[np.ndarray, "f f"]:
        """Σ (x − mean of its class)(x − mean of its class)ᵀ / n."""
        seen = self._counts > 0
        means = self._sums[seen] / np.sqrt(self._counts[seen])[:, None]
        return (self._products - means.T @ means) / self.count


def discriminant_directions(scatter: Scatter, dim: int, *, shrinkage: float) -> Float[np.ndarray, "f dim"]:
    """Directions in which classes are told apart, the most telling first.

    Features are whitened by the scatter within classes, shrunk towards a multiple of the identity; the directions are
    the principal ones of what comes out::

        W = (S_w + λ tr(S_w)/f · I)^(−1/2),    K = W · [first `dim` eigenvectors of W S_t W]

    What varies among the images of a class (a drawing's style, a photograph's light) is told from what varies between
    classes, and classes never seen vary in the same ways: that is why it serves them too.

    Args:
        scatter: of labelled features.
        dim: how many, at most f.
        shrinkage: λ > 0. Small values trust the scatter of few images; large ones leave principal directions alone.

    Returns:
        K, float64; inner products of x K are those of W x cut to its first directions.

    Raises:
        ValueError: more dimensions than features, a shrinkage that is not positive, or no class with rows that differ.

    Source: linear discriminant analysis (Fisher 1936) with the scatter shrunk (Friedman, JASA 1989); whitening by the
    pairs of a class as in Mikolajczyk and Matas, ICCV 2007.
    """
    within, total = scatter.within(), scatter.total()
    features = len(within)
    if dim > features:
        raise ValueError(f"there are at most {features} directions, one a feature; dim is {dim}")
    if not shrinkage > 0:
        raise ValueError(f"shrinkage must be positive, got {shrinkage}")
    level = np.trace(within) / features
    if not level > 1e-12 * np.trace(total) / features:
        raise ValueError("no class has two images that differ, so that nothing is known of what varies within classes")
    values, vectors = np.linalg.eigh(within)
    whitening = (vectors / np.sqrt(np.maximum(values, 0) + shrinkage * level)) @ vectors.T
    _, directions = np.linalg.eigh(whitening @ total @ whitening)
    return whitening @ directions[:, ::-1][:, :dim]
