"""Points of which trees are made, and the way up such a tree."""

import numpy as np


def distance(x, y):
    """Any distance will do: this one is computed in float64."""
    x, y = np.asarray(x, np.float64), np.asarray(y, np.float64)
    return np.sqrt(np.sum((x[:, None] - y[None]) ** 2, axis=2))


def cloud(n, d=3, seed=0):
    return np.random.default_rng(seed).normal(size=(n, d)).astype(np.float32)


def nested(groups, seed=0):
    """Points in clusters within clusters, as many to each group of the nearest level as `groups` says."""
    rng = np.random.default_rng(seed)
    nearest = np.repeat(np.arange(len(groups)), groups)
    top = nearest // 2
    points = 100 * np.eye(8)[top] + 10 * np.eye(8)[nearest % 2] + rng.uniform(-1, 1, (len(top), 8))
    return points.astype(np.float32), np.stack([nearest, top], axis=1)


def path(tree, node):
    """The node and all above it."""
    return [node] if tree.parent[node] < 0 else [node, *path(tree, int(tree.parent[node]))]
