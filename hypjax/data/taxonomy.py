"""A tree of classes from a file: lines of a child and its parent, up to the topmost."""

from collections.abc import Sequence

import numpy as np

from hypjax.data.errors import DataError
from hypjax.data.labeling import warn_of_depths
from hypjax.data.listing import read_columns
from hypjax.data.places import Place
from hypjax.data.source import Hierarchy, Source, Subset, hierarchy, subset


def in_tree(source: Source, path: Place) -> Subset:
    """View a source as one whose classes have the ancestors that a file names.

    Args:
      source: any source; what it says of its hierarchy itself is replaced.
      path: see `read_tree`.

    Raises:
      DataError: the file is missing or damaged, its lines are no tree, or it lacks a class.
    """
    whole = subset(source, np.arange(len(source)))
    whole.level_names, whole.ancestor_names, whole.ancestors = read_tree(path, whole.class_names)
    return whole


def read_tree(path: Place, class_names: Sequence[str]) -> Hierarchy:
    """The ancestors of classes, from a CSV or JSON listing with the columns `child` and `parent`.

    Whoever is no child is topmost. There are as many levels as the shallowest class has ancestors, counted from the
    top, where `level 1` is, the first on which not all classes meet; nodes of one name are one node. Where classes
    differ in depth a warning names the shallowest.

    Args:
      path: of the file.
      class_names: which it must have among its children.

    Raises:
      DataError: the file is missing or damaged, a child has two parents or is its own ancestor, or a class is no child.
    """
    columns = read_columns(path, "child", "parent", images="line")
    parents: dict[str, str] = {}
    for child, parent in zip(*(columns[name].array().tolist() for name in ("child", "parent")), strict=True):
        child, parent = str(child).strip(), str(parent).strip()
        if parents.setdefault(child, parent) != parent:
            raise DataError(f"{path}: {child!r} has two parents, {parents[child]!r} and {parent!r}; leave one out")
    chains = [_ancestors(path, name, parents) for name in class_names]
    while len({chain[-1] for chain in chains if chain}) == 1 and all(chains):
        chains = [chain[:-1] for chain in chains]
    warn_of_depths(str(path), {name: len(chain) for name, chain in zip(class_names, chains, strict=True)})
    depth = min(map(len, chains))
    levels = [(f"level {level}", [chain[-level] for chain in chains]) for level in range(depth, 0, -1)]
    return hierarchy(len(class_names), levels)


def _ancestors(path: Place, name: str, parents: dict[str, str]) -> list[str]:
    """Those of a class, nearest first."""
    if name not in parents:
        raise DataError(f"{path}: class {name!r} is no child of anything; give each class a line with its parent")
    chain: list[str] = []
    node = name
    while node in parents:
        node = parents[node]
        if node == name or node in chain:
            raise DataError(f"{path}: {node!r} is an ancestor of its own; the lines must form a tree")
        chain.append(node)
    return chain
