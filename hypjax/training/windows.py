"""Searching many images in windows of one size, each class whole in one of them."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int

from hypjax.data.sampling import permutation
from hypjax.geometry import sphere
from hypjax.retrieval import Shares, knn

MOST_TOGETHER = 2**14  # images that search each other


def nearest_wrong(
    tangent: Float[np.ndarray, "own d"], labels: Int[np.ndarray, " n"], shares: Shares
) -> Bool[np.ndarray, " n"]:
    """Whether the nearest other image of each image, by the angle of its tangent vector, is of another class.

    Of more than `MOST_TOGETHER` images each searches as many, its whole class among them. Each process asks for a part
    of every window.

    Args:
      tangent: of the images that this process holds.
      labels: of all, dense.
      shares: which process holds which.
    """
    asker, wrong = np.zeros(len(labels), np.int32), np.zeros(len(labels), bool)
    for rows, whole in windows(labels, MOST_TOGETHER):
        vectors = shares.take(tangent, rows)
        parts = np.array_split(np.arange(len(rows)), shares.processes)
        for process, part in enumerate(parts):
            asker[rows[part][whole[part]]] = process
        if shares.process < len(parts) and len(own := parts[shares.process]):
            nearest, _ = knn(vectors[own], vectors, k=1, distance=sphere.pairwise_cosine_distance, exclude=own)
            missed = labels[rows[np.asarray(nearest)[:, 0]]] != labels[rows[own]]
            wrong[rows[own][whole[own]]] = missed[whole[own]]
    asked = dataclasses.replace(shares, holder=asker)
    return asked.gather(wrong[asked.own])


class Window(NamedTuple):
    """Some images.

    Attributes:
      rows: their indices [size].
      whole: which of them are answered for here, as their whole class is in the window [size].
    """

    rows: Int[np.ndarray, " size"]
    whole: Bool[np.ndarray, " size"]


def windows(labels: Int[np.ndarray, " n"], size: int) -> Iterator[Window]:
    """Windows of `size` images, in which every image is answered for once [ours].

    Classes are laid end to end in an order shuffled alike each time, so that neighbors in a file are not only asked to
    be told apart from each other. A window begins with a class; the last one reaches back. A class larger than a window
    is answered for in pieces.

    >>> [(window.rows.tolist(), window.whole.tolist()) for window in windows(np.array([0, 0, 1, 1]), 4)]
    [([0, 1, 2, 3], [True, True, True, True])]

    Args:
      labels: class of each image, dense.
      size: of a window; where there are no more images, one window holds all of them in order.
    """
    n = len(labels)
    if n <= size:
        yield Window(np.arange(n), np.ones(n, bool))
        return
    place = np.argsort(permutation(int(labels.max()) + 1, 0))[labels]
    order = np.argsort(place, kind="stable")
    starts = np.flatnonzero(np.diff(place[order], prepend=-1))  # of each class in this order
    done = 0
    while done < n:
        first = min(done, n - size)
        before = starts[(starts > done) & (starts <= first + size)]
        end = n if first + size == n else int(before[-1]) if len(before) else first + size
        at = np.arange(first, first + size)
        yield Window(order[at], (at >= done) & (at < end))
        done = end
