"""Curves of a training run, drawn from the rows of its metrics."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullLocator

from hypjax.show.plots import style


class Panel(NamedTuple):
    """One small picture: which figures it shows, under which short names.

    Attributes:
        title: What the panel shows.
        series: Key in the rows → name in the legend.
        scale: Scale of the y axis, `linear` or `log`.
        reference: A value to mark, with its name.
        unit: Whether the figures are shares, so that the axis need not leave [0, 1].
        smooth: Whether to draw a running mean over a series of many noisy values.
        spread: Key in the rows → key of its standard deviation, drawn as a band around it.
    """

    title: str
    series: Mapping[str, str]
    scale: str = "linear"
    reference: tuple[float, str] | None = None
    unit: bool = False
    smooth: bool = False
    spread: Mapping[str, str] = {}


PANELS = (
    Panel("Training loss", {"loss": "loss"}, smooth=True),
    Panel("Recall on validation classes", {f"validation/recall@{k}": f"R@{k}" for k in (1, 2, 4, 8)}, unit=True),
    Panel(
        "AUROC: is the nearest one wrong?",
        {
            "validation/uncertainty_auroc": "uncertainty",
            "validation/uncertainty_auroc_nearest_distance": "nearest distance",
            "validation/uncertainty_auroc_distance_ratio": "distance ratio",
        },
        reference=(0.5, "chance"),
        unit=True,
    ),
    Panel(
        "Other retrieval figures",
        {"validation/map@r": "MAP@R", "validation/r_precision": "R-precision", "validation/nmi": "NMI"},
        unit=True,
    ),
    Panel(
        "Length of the tangent vectors (radius)",
        {"validation/radius_mean": "mean ± standard deviation"},
        spread={"validation/radius_mean": "validation/radius_std"},
    ),
    Panel(
        "Saturation, spread of uncertainty",
        {"validation/saturated_share": "saturated share", "validation/uncertainty_std": "standard deviation of u"},
        unit=True,
    ),
    Panel("Gradient norm", {"grad_norm": "gradient norm"}, scale="log", smooth=True),
    Panel("Learning rate", {"learning_rate": "learning rate"}),
)


def training_curves(
    rows: Sequence[Mapping[str, Any]],
    *,
    panels: Sequence[Panel] = PANELS,
    title: str = "Training",
    axes: Sequence[Axes] | np.ndarray | None = None,
) -> Figure:
    """Draw the figures of a run against its steps, one small panel for each question.

    Args:
        rows: Rows of `metrics.jsonl`, each with `step`; a row need not hold every figure, and None is a gap.
        panels: What to draw; panels without any figure in the rows are left out.
        title: Title of a new figure.
        axes: Where the panels go, one for each that is not left out; those of a new figure by default.

    Raises:
        ValueError: no row holds any of the figures, or there are fewer axes than panels.
    """
    shown = [(panel, drawn) for panel in panels if (drawn := _series_of(panel, rows))]
    if not shown:
        known = sorted({key for panel in panels for key in panel.series})
        raise ValueError(f"none of {len(rows)} rows holds a figure to draw: needs step and one of {known}")
    columns = len(shown) if axes is not None else min(len(shown), 4 if len(shown) > 6 else 3)
    size = 3.5 * columns, 2.6 * -(-len(shown) // columns) + 0.4
    figure, places = style.panels(axes, len(shown), size, title, columns=columns, sharex=True)
    for i, (place, (panel, drawn)) in enumerate(zip(places, shown, strict=True)):
        _draw(place, panel, drawn)
        if i + columns >= len(shown):
            place.set_xlabel("step")
            place.tick_params(labelbottom=True)
    return figure


def _series_of(panel, rows):
    drawn = {}
    for key, name in panel.series.items():
        spread = panel.spread.get(key)
        held = [(row["step"], row[key], row.get(spread) or 0) for row in rows if row.get(key) is not None]
        values = np.array(held, float).reshape(-1, 3)
        values = values[np.isfinite(values).all(axis=1) & ((values[:, 1] > 0) | (panel.scale != "log"))]
        if len(values):
            drawn[name] = values
    return drawn


def _draw(axes: Axes, panel: Panel, drawn: Mapping[str, np.ndarray]) -> None:
    axes.set_title(panel.title)
    if panel.scale == "log":
        axes.set_yscale("log")
        axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.yaxis.set_major_formatter("{x:g}")
        axes.yaxis.set_minor_locator(NullLocator())
    for color, (name, values) in zip(style.COLORS, drawn.items(), strict=False):
        steps, heights, spread = values.T
        if spread.any():
            axes.fill_between(steps, heights - spread, heights + spread, color=color, alpha=0.18, linewidth=0)
        if panel.smooth and len(steps) > 60:
            axes.plot(steps, heights, color=color, alpha=0.25, linewidth=0.8)
            heights = _running_mean(heights, len(steps) // 30)
        marker = "o" if len(steps) <= 25 else None
        axes.plot(steps, heights, color=color, marker=marker, markersize=3.5, label=name)
    if panel.reference is not None:
        height, name = panel.reference
        axes.axhline(height, color=style.ink(0.65), linestyle=(0, (4, 3)), linewidth=1, label=name)
    if len(drawn) > 1 or panel.reference is not None or panel.spread:
        axes.legend(loc="best", handlelength=1.4)
    if panel.scale == "linear":
        axes.margins(y=0.12)
    if panel.unit:
        low, high = axes.get_ylim()
        axes.set_ylim(max(low, -0.02), min(high, 1.02))


def _running_mean(values, width):
    """Mean of the values around each, of fewer at the ends."""
    sums = np.concatenate([[0.0], np.cumsum(values)])
    place = np.arange(len(values))
    start, stop = np.maximum(place - width, 0), np.minimum(place + width + 1, len(values))
    return (sums[stop] - sums[start]) / (stop - start)
