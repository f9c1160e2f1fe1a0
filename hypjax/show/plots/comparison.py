"""Several runs side by side: mean and spread of each figure over the seeds, and every seed as a dot."""

import re
from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from hypjax.show.plots import style

LANE = 0.27  # how far below its mean the dots of a run's seeds lie, in rows


def comparison(
    figures: Mapping[str, Mapping[str, Sequence[float]]],
    *,
    baseline: str | None = None,
    title: str = "Mean ± standard deviation over seeds",
    axes: Sequence[Axes] | np.ndarray | None = None,
) -> Figure:
    """Draw one panel for each figure, one row for each run: a dot with an error bar, small dots for the seeds.

    The bar is the standard deviation (n − 1) of the seeds, not an interval of the mean. A dashed line marks the
    baseline's mean.

    Args:
        figures: Title of the panel → run → its value with each seed, in [n]; a run may lack a figure.
        baseline: The run that the others are compared with.
        title: Title of a new figure.
        axes: Where the panels go, one for each figure with a finite value; those of a new figure by default.

    Raises:
        ValueError: there is nothing to draw, or there are fewer axes than panels.
    """
    shown = {name: finite for name, runs in figures.items() if (finite := _finite(runs))}
    if not shown:
        raise ValueError(f"no finite value among the {len(figures)} figures {list(figures)}: nothing to draw")
    runs = list(dict.fromkeys(run for finite in shown.values() for run in finite))
    columns = len(shown) if axes is not None else min(len(shown), 4)
    lines = -(-len(shown) // columns)
    names = [style.shorten(run, 40) + (" (baseline)" if run == baseline else "") for run in runs]
    label_width = 0.35 + 0.072 * max(map(len, names))
    size = label_width + 2.5 * columns, lines * (0.75 + 0.4 * len(runs)) + 0.5
    figure, places = style.panels(axes, len(shown), size, title, columns=columns, sharey=True)
    for i, (place, (name, finite)) in enumerate(zip(places, shown.items(), strict=True)):
        place.set_title(_broken(name), loc="left", parse_math=False)
        _draw(place, finite, runs, baseline)
        place.set(ylim=(len(runs) - 0.4, -0.6))
        place.set_yticks(range(len(runs)), names, color=style.ink(), parse_math=False)
        place.tick_params(labelleft=i % columns == 0)
    return figure


def _broken(name, width=28):
    """A long title in several lines, broken behind underscores."""
    lines = [""]
    for word in re.split("(?<=_)", name):
        if lines[-1] and len(lines[-1]) + len(word) > width:
            lines.append("")
        lines[-1] += word
    return "\n".join(lines)


def _finite(runs):
    held = {run: np.asarray(values, float) for run, values in runs.items()}
    return {run: values[np.isfinite(values)] for run, values in held.items() if np.isfinite(values).any()}


def _draw(axes: Axes, finite: Mapping[str, np.ndarray], runs: Sequence[str], baseline: str | None) -> None:
    if baseline is not None and baseline in finite:
        mean = finite[baseline].mean()
        axes.axvline(mean, color=style.ink(0.65), linestyle=(0, (4, 3)), linewidth=1, zorder=1)
    for row, run in enumerate(runs):
        if run not in finite:
            continue
        values, color = finite[run], style.OTHER if run == baseline else style.COLORS[row % len(style.COLORS)]
        spread = values.std(ddof=1) if len(values) > 1 else None
        axes.errorbar(values.mean(), row, xerr=spread, color=color, marker="o", markersize=5.5, capsize=3, zorder=3)
        if len(values) > 1:
            axes.scatter(values, np.full(len(values), row + LANE), s=11, color=color, alpha=0.55, linewidth=0, zorder=2)
    axes.grid(axis="y", visible=False)
    axes.tick_params(axis="y", length=0)
    axes.spines[["left", "top", "right"]].set_visible(False)
    axes.margins(x=0.12)
    axes.locator_params(axis="x", nbins=4)
