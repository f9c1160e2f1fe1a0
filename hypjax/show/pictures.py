"""The pictures of a run, drawn from an evaluation into its workdir."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import jax
import matplotlib
import numpy as np
from matplotlib.figure import Figure

from hypjax.data import atomic
from hypjax.data.places import as_path
from hypjax.data.source import Source, own_features
from hypjax.geometry import name_of, radial
from hypjax.geometry.manifold import HYPERBOLIC
from hypjax.retrieval import reliability, restrict, risk_coverage
from hypjax.show import explore, plots
from hypjax.show.plots import style
from hypjax.training.evaluated import Evaluation, Shown


@matplotlib.rc_context(style.RC)
def draw(
    workdir: Path,
    source: Source,
    evaluation: Evaluation,
    shown: Shown,
    rows: Sequence[Mapping[str, Any]],
    told: tuple[np.ndarray, np.ndarray] | None = None,
    k: float = 0.1,
) -> None:
    """Draws curves, disk, gallery, layers of the radius, tree, risk against coverage, and the response to degradation.

    What shows images is left out where the source has none, the tree and the response where there are none. In
    hyperbolic space a known tree is drawn in the disk.

    Args:
      workdir: where the PNG files go.
      source: the images evaluated.
      evaluation: of them.
      shown: some of them.
      rows: of `metrics.jsonl`.
      told: the chance of being wrong that answers are told, and whether they are; None draws nothing of it.
      k: of entailment cones.
    """
    drawn: dict[str, Callable[..., Figure]] = {"layers": layers, "tree": tree, "risk_coverage": risk}
    of_some: dict[str, Callable[..., Figure]] = {"disk": disk, "gallery": gallery}
    if own_features(source) is not None:
        del of_some["gallery"], drawn["layers"]
    if source.level_names and isinstance(radial(evaluation.space.manifold, shown.points)[0], HYPERBOLIC):
        of_some["ancestors"] = partial(ancestors, k=k)
    if evaluation.trees is None:
        del drawn["tree"]
    if evaluation.responses:
        drawn["degradation"] = degradation
    if any("loss" in row for row in rows):
        style.save(plots.training_curves(rows), workdir / "curves.png")
    if told is not None:
        style.save(plots.reliability_diagram(reliability(*told, bins=10)), workdir / "reliability.png")
    for name, picture in of_some.items():
        style.save(picture(source, evaluation, shown), workdir / f"{name}.png")
    for name, picture in drawn.items():
        style.save(picture(source, evaluation), workdir / f"{name}.png")
    world = walkable(source, evaluation, shown)
    atomic.write_text(as_path(workdir) / explore.KEPT, json.dumps(world, separators=(",", ":")))


def disk(source: Source, evaluation: Evaluation, shown: Shown) -> Figure:
    """Embeddings at their radius, colored by the topmost level of the hierarchy."""
    manifold, points = _in_the_disk(evaluation, shown)
    if source.level_names:
        groups, names = source.ancestors[source.labels, -1], source.ancestor_names[-1]
    else:
        groups, names = source.labels, source.class_names
    uncertainty = evaluation.uncertainty[shown.images]
    part = "" if manifold is evaluation.space.manifold else f", the {name_of(manifold)} part"
    return plots.disk(
        points,
        groups[shown.images],
        names,
        uncertainty,
        c=getattr(manifold, "c", None),
        title=f"Embeddings{part}",
    )


def ancestors(source: Source, evaluation: Evaluation, shown: Shown, k: float) -> Figure:
    """Embeddings with their classes and all levels of the known hierarchy, in the disk, with cones of width K."""
    manifold, points = _in_the_disk(evaluation, shown)
    labels = source.labels[shown.images]
    return plots.ancestors(
        points,
        np.concatenate([labels[:, None], source.ancestors[labels]], axis=1),
        ["class", *source.level_names],
        source.ancestor_names[-1],
        c=manifold.c,
        k=k,
    )


def _in_the_disk(evaluation: Evaluation, shown: Shown) -> tuple[Any, np.ndarray]:
    """Where radii are read off, and the points there, of hyperbolic space those of the ball."""
    manifold, points = radial(evaluation.space.manifold, shown.points)
    if isinstance(manifold, HYPERBOLIC):
        points = np.asarray(jax.jit(manifold.to_poincare)(points))
    return manifold, points


def walkable(source: Source, evaluation: Evaluation, shown: Shown) -> dict[str, Any]:
    """The disk to walk in: every level of the hierarchy, the nearest five of each image, some thumbnails."""
    space, images = evaluation.space, shown.images
    labels = source.labels[images]
    levels = [("class", np.array(source.class_names, object)[labels])]
    for level, name in enumerate(source.level_names):
        levels.append((name, np.array(source.ancestor_names[level], object)[source.ancestors[labels, level]]))
    names = [source.name(i) for i in images.tolist()]
    curvature = None if space.curvature is None else float(np.asarray(space.curvature))
    uncertainty = evaluation.uncertainty[images]
    geometry = name_of(space.manifold)
    world = explore.world(shown.points, names, uncertainty, geometry=geometry, curvature=curvature, levels=levels,
                          limit=len(images))  # fmt: skip
    place = np.full(len(source), -1)
    place[images] = np.arange(len(images))
    world["neighbors"] = [[] for _ in names]
    near = place[evaluation.answering[shown.neighbors]]
    for image, row in zip(place[evaluation.asking[shown.queries]].tolist(), near.tolist(), strict=True):
        if image >= 0:
            world["neighbors"][image] = [i for i in row if i >= 0]
    if own_features(source) is None:
        world["thumbnails"] = explore.thumbnails(lambda i: source.image(int(images[i])), len(images))
    return world


def gallery(source: Source, evaluation: Evaluation, shown: Shown) -> Figure:
    """Queries with what they find, the most and the least certain ones."""
    asking, answering = evaluation.asking[shown.queries], evaluation.answering
    return plots.gallery(
        lambda i: source.image(int(asking[i])),
        shown.neighbors,
        shown.distances,
        source.labels[asking],
        evaluation.uncertainty[asking],
        class_names=source.class_names,
        gallery_image=lambda i: source.image(int(answering[i])),
        gallery_labels=source.labels[answering],
        valid=evaluation.retrieved.valid[shown.queries],
    )


def layers(source: Source, evaluation: Evaluation) -> Figure:
    """Queries from the origin outward, and how many of each layer find their class."""
    asking = evaluation.asking[evaluation.retrieved.valid]
    return plots.layers(
        lambda i: source.image(int(asking[i])),
        evaluation.radius[asking],
        wrong=evaluation.retrieved.wrong[evaluation.retrieved.valid],
        title="From the origin outward, by tangent length",
    )


def tree(source: Source, evaluation: Evaluation) -> Figure:
    """The tree over the classes, of HIER's proxies where there are any; an image of each class, if any, at its leaf."""
    trees = evaluation.trees
    assert trees is not None  # else it is not drawn
    classes = trees.classes
    groups = source.ancestors[classes]
    whole, kind = (trees.minimax, "minimax") if trees.learned else (trees.linkage, "linkage")
    leaves, known = plots.choose_leaves(groups), groups.shape[1] > 0
    top, names = (groups[:, -1], source.ancestor_names[-1]) if known else (np.zeros(len(groups), int), ["classes"])
    example = np.unique(source.labels, return_index=True)[1][classes]
    figures, bare = evaluation.figures, own_features(source) is not None
    scores = [f"{level} {figures[f'{kind}_tree_triplets@{level}']:.2f}" for level in source.level_names]
    return plots.tree(
        restrict(whole, leaves).parent,
        None if bare else lambda i: source.image(int(example[leaves[i]])),
        top[leaves],
        names,
        leaf_names=[source.class_names[classes[leaf]] for leaf in leaves],
        title="The proxies' tree" if trees.learned else "The embeddings' tree (average linkage)",
        caption=f"right triplets (0.5 by chance): {', '.join(scores)}" if scores else "",
    )


def risk(source: Source, evaluation: Evaluation) -> Figure:
    """Errors among the queries the model is most certain of, beside what plain distances say."""
    retrieved, valid = evaluation.retrieved, evaluation.retrieved.valid
    wrong, (first, second) = retrieved.wrong[valid], retrieved.nearest[valid].T
    scores = {
        "uncertainty": evaluation.uncertainty[evaluation.asking][valid],
        "distance to the nearest": first,
        "nearest : second": np.where(second > 0, first / np.where(second > 0, second, 1), 1.0),
    }
    curves = {name: risk_coverage(score, wrong) for name, score in scores.items()}
    return plots.risk_coverage_curve(curves, ideal=risk_coverage(wrong, wrong))


def degradation(source: Source, evaluation: Evaluation) -> Figure:
    """Mean uncertainty and recall of the degraded queries, level by level."""
    responses = evaluation.responses
    return plots.degradation_response(
        next(iter(responses.values())).levels,
        {kind: response.uncertainty.mean(axis=1) for kind, response in responses.items()},
        recall_by_kind={kind: 1 - response.wrong.mean(axis=1) for kind, response in responses.items()},
    )
