"""The pictures of a run, drawn from an evaluation into its workdir."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import matplotlib
import numpy as np
from matplotlib.figure import Figure

from hypjax.data import atomic
from hypjax.data.places import as_path
from hypjax.data.source import Source, own_features
from hypjax.geometry import Lorentz, Poincare
from hypjax.geometry.manifold import NAMED
from hypjax.retrieval import reliability, restrict, risk_coverage
from hypjax.show import explore, plots
from hypjax.show.plots import style
from hypjax.training.evaluation import Evaluation

MOST_POINTS = 20_000  # in the disk, evenly spaced: more only hide one another


@matplotlib.rc_context(style.RC)
def draw(
    workdir: Path,
    source: Source,
    evaluation: Evaluation,
    rows: Sequence[Mapping[str, Any]],
    told: tuple[np.ndarray, np.ndarray] | None = None,
) -> None:
    """Draws curves, disk, gallery, layers of the radius, tree, risk against coverage, and the response to degradation.

    What shows images is left out where the source has none, and the response where nothing was degraded.

    Args:
      workdir: where the PNG files go.
      source: the images evaluated.
      evaluation: of them.
      rows: of `metrics.jsonl`.
      told: the chance of being wrong that answers are told, and whether they are; None draws nothing of it.
    """
    drawn = {"disk": disk, "gallery": gallery, "layers": layers, "tree": tree, "risk_coverage": risk}
    if own_features(source) is not None:
        del drawn["gallery"], drawn["layers"]
    if evaluation.responses:
        drawn["degradation"] = degradation
    if any("loss" in row for row in rows):
        style.save(plots.training_curves(rows), workdir / "curves.png")
    if told is not None:
        style.save(plots.reliability_diagram(reliability(*told, bins=10)), workdir / "reliability.png")
    for name, picture in drawn.items():
        style.save(picture(source, evaluation), workdir / f"{name}.png")
    atomic.write_text(as_path(workdir) / explore.KEPT, json.dumps(walkable(source, evaluation), separators=(",", ":")))


def disk(source: Source, evaluation: Evaluation) -> Figure:
    """Embeddings at their radius, colored by the topmost level of the hierarchy."""
    space, count = evaluation.space, len(source)
    shown = explore.evenly(count, MOST_POINTS)
    points = evaluation.embedded.points[shown]
    if isinstance(space.manifold, Poincare | Lorentz):
        points = np.asarray(jax.jit(space.manifold.to_poincare)(points))
    if source.level_names:
        groups, names = source.ancestors[source.labels, -1], source.ancestor_names[-1]
    else:
        groups, names = source.labels, source.class_names
    return plots.disk(points, groups[shown], names, evaluation.embedded.uncertainty[shown], c=space.curvature)


def walkable(source: Source, evaluation: Evaluation) -> dict[str, Any]:
    """The disk to walk in: every level of the hierarchy, the nearest five of each image, some thumbnails."""
    space, count = evaluation.space, len(source)
    geometry = next((name for name, of in NAMED.items() if isinstance(space.manifold, of)), "flat")
    levels = [("class", np.array(source.class_names, object)[source.labels])]
    for level, name in enumerate(source.level_names):
        levels.append((name, np.array(source.ancestor_names[level], object)[source.ancestors[source.labels, level]]))
    names = [source.name(i) for i in range(count)]
    points, uncertainty, curvature = evaluation.embedded.points, evaluation.embedded.uncertainty, space.curvature
    curvature = None if curvature is None else float(np.asarray(curvature))
    world = explore.world(points, names, uncertainty, geometry=geometry, curvature=curvature, levels=levels,
                          limit=MOST_POINTS)  # fmt: skip
    shown = explore.evenly(count, MOST_POINTS)
    place = np.full(count, -1)
    place[shown] = np.arange(len(shown))
    near = np.full((count, 5), -1)
    found = evaluation.retrieved.neighbors[:, :5]
    near[evaluation.asking, : found.shape[1]] = place[evaluation.answering[found]]
    world["neighbors"] = [[i for i in row if i >= 0] for row in near[shown].tolist()]
    if own_features(source) is None:
        world["thumbnails"] = explore.thumbnails(lambda i: source.image(int(shown[i])), len(shown))
    return world


def gallery(source: Source, evaluation: Evaluation) -> Figure:
    """Queries with what they find, the most and the least certain ones."""
    asking, answering, retrieved = evaluation.asking, evaluation.answering, evaluation.retrieved
    return plots.gallery(
        lambda i: source.image(int(asking[i])),
        retrieved.neighbors[:, :5],
        retrieved.distances[:, :5],
        source.labels[asking],
        evaluation.embedded.uncertainty[asking],
        class_names=source.class_names,
        gallery_image=lambda i: source.image(int(answering[i])),
        gallery_labels=source.labels[answering],
        valid=retrieved.valid,
    )


def layers(source: Source, evaluation: Evaluation) -> Figure:
    """Queries from the origin outward, and how many of each layer find their class."""
    asking = evaluation.asking[evaluation.retrieved.valid]
    return plots.layers(
        lambda i: source.image(int(asking[i])),
        evaluation.embedded.radius[asking],
        wrong=evaluation.retrieved.wrong[evaluation.retrieved.valid],
        title="From the origin outward, by tangent length",
    )


def tree(source: Source, evaluation: Evaluation) -> Figure:
    """The tree over the classes, of HIER's proxies where there are any; an image of each class, if any, at its leaf."""
    trees = evaluation.trees
    if trees is None:
        raise ValueError("an evaluation without clusters has no tree")
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
    wrong, (first, second) = retrieved.wrong[valid], retrieved.distances[valid, :2].T
    scores = {
        "uncertainty": evaluation.embedded.uncertainty[evaluation.asking][valid],
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
