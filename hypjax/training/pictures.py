"""The pictures of a run, drawn from an evaluation into its workdir."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np

from hypjax import plots
from hypjax.data.source import Source, own_features
from hypjax.geometry import Lorentz, Poincare
from hypjax.retrieval import restrict, risk_coverage
from hypjax.training.evaluation import Evaluation

MOST_POINTS = 20_000  # in the disk, evenly spaced: more only hide one another


def draw(workdir: Path, source: Source, evaluation: Evaluation, rows: Sequence[Mapping[str, Any]]) -> None:
    """Draws curves, disk, gallery, layers of the radius, tree, risk against coverage, and the response to degradation.

    What shows images is left out where the source has none, and the response where nothing was degraded.

    Args:
      workdir: where the PNG files go.
      source: the images evaluated.
      evaluation: of them.
      rows: of `metrics.jsonl`.
    """
    if any("loss" in row for row in rows):
        plots.training_curves(workdir / "curves.png", rows)
    draw_disk(workdir / "disk.png", source, evaluation)
    if own_features(source) is None:
        draw_gallery(workdir / "gallery.png", source, evaluation)
        draw_layers(workdir / "layers.png", source, evaluation)
    draw_tree(workdir / "tree.png", source, evaluation)
    draw_risk(workdir / "risk_coverage.png", evaluation)
    if responses := evaluation.responses:
        plots.degradation_response(
            workdir / "degradation.png",
            next(iter(responses.values())).levels,
            {kind: response.uncertainty.mean(axis=1) for kind, response in responses.items()},
            recall_by_kind={kind: 1 - response.wrong.mean(axis=1) for kind, response in responses.items()},
        )


def draw_disk(path: Path, source: Source, evaluation: Evaluation) -> None:
    """Embeddings at their radius, colored by the topmost level of the hierarchy."""
    space, count = evaluation.space, len(source)
    shown = np.unique(np.linspace(0, count - 1, min(count, MOST_POINTS)).astype(int))
    points = evaluation.embedded.points[shown]
    if isinstance(space.manifold, Poincare | Lorentz):
        points = np.asarray(jax.jit(space.manifold.to_poincare)(points))
    if source.level_names:
        groups, names = source.ancestors[source.labels, -1], source.ancestor_names[-1]
    else:
        groups, names = source.labels, source.class_names
    plots.disk(path, points, groups[shown], names, evaluation.embedded.uncertainty[shown], c=space.curvature)


def draw_gallery(path: Path, source: Source, evaluation: Evaluation) -> None:
    """Queries with what they find, the most and the least certain ones."""
    asking, answering, retrieved = evaluation.asking, evaluation.answering, evaluation.retrieved
    plots.gallery(
        path,
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


def draw_layers(path: Path, source: Source, evaluation: Evaluation) -> None:
    """Queries from the origin outward, and how many of each layer find their class."""
    asking = evaluation.asking[evaluation.retrieved.valid]
    plots.layers(
        path,
        lambda i: source.image(int(asking[i])),
        evaluation.embedded.radius[asking],
        wrong=evaluation.retrieved.wrong[evaluation.retrieved.valid],
        title="From the origin outward, by the length of the tangent vector",
    )


def draw_tree(path: Path, source: Source, evaluation: Evaluation) -> None:
    """The tree over the classes, of HIER's proxies where there are any; an image of each class, if any, at its leaf."""
    trees, classes = evaluation.trees, evaluation.trees.classes
    groups = source.ancestors[classes]
    tree, kind = (trees.minimax, "minimax") if trees.learned else (trees.linkage, "linkage")
    if groups.shape[1]:
        leaves, top, names = plots.choose_leaves(groups), groups[:, -1], source.ancestor_names[-1]
    else:
        leaves, top, names = plots.choose_leaves(groups), np.zeros(len(groups), int), ["classes"]
    example = np.unique(source.labels, return_index=True)[1][classes]
    figures, bare = evaluation.figures, own_features(source) is not None
    scores = [f"{level} {figures[f'{kind}_tree_triplets@{level}']:.2f}" for level in source.level_names]
    plots.tree(
        path,
        restrict(tree, leaves).parent,
        None if bare else lambda i: source.image(int(example[leaves[i]])),
        top[leaves],
        names,
        leaf_names=[source.class_names[classes[leaf]] for leaf in leaves],
        title="The proxies' tree" if trees.learned else "The embeddings' tree (average linkage)",
        caption=f"right triplets (0.5 by chance): {', '.join(scores)}" if scores else "",
    )


def draw_risk(path: Path, evaluation: Evaluation) -> None:
    """Errors among the queries the model is most certain of, beside what plain distances say."""
    retrieved, valid = evaluation.retrieved, evaluation.retrieved.valid
    wrong, first, second = (
        values[valid] for values in (retrieved.wrong, retrieved.distances[:, 0], retrieved.distances[:, 1])
    )
    scores = {
        "uncertainty": evaluation.embedded.uncertainty[evaluation.asking][valid],
        "distance to the nearest": first,
        "nearest : second": np.where(second > 0, first / np.where(second > 0, second, 1), 1.0),
    }
    curves = {name: risk_coverage(score, wrong) for name, score in scores.items()}
    plots.risk_coverage_curve(path, curves, ideal=risk_coverage(wrong, wrong))
