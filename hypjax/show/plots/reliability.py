"""Whether uncertainty can be relied on: errors among the certain, and the response to degraded images."""

from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Array, Float, Real
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from hypjax.retrieval import Reliability
from hypjax.show.plots import style

MARKERS = ("o", "s", "^", "D", "v", "P")


def risk_coverage_curve(
    curves: Mapping[str, tuple[Float[Array | np.ndarray, "n"], Float[Array | np.ndarray, "n"]]],
    *,
    ideal: tuple[Float[Array | np.ndarray, "n"], Float[Array | np.ndarray, "n"]] | None = None,
    title: str = "Errors among the queries it is most certain of",
    ax: Axes | None = None,
) -> Figure:
    """Draw the error rate of the most certain queries against the share of queries answered.

    Below the dashed line, the error rate of all, an uncertainty is worth something; the ideal one, with all
    failures most uncertain, bounds what is possible.

    Args:
        curves: For each score its coverage and risk, as from `hypjax.retrieval.risk_coverage`; the first is
            drawn strongest.
        ideal: The same for an uncertainty that is 1 exactly where the answer is wrong.
        title: Title of the plot.
        ax: Where to draw; in a new figure by default.

    Raises:
        ValueError: no curve is given.
    """
    if not curves:
        raise ValueError("no risk–coverage curve to draw")
    own, (figure, (ax,)) = ax is None, style.panels(ax, 1, (6.6, 5.0))
    for i, (name, (coverage, risk)) in enumerate(curves.items()):
        label = f"{name}  (area {np.mean(risk):.3f})"
        ax.plot(coverage, risk, color=style.COLORS[i], linewidth=2.4 if i == 0 else 1.3, label=label, zorder=3 - i)
    error_rate = float(np.asarray(next(iter(curves.values()))[1])[-1])
    chance = f"chance  (area {error_rate:.3f})"
    ax.axhline(error_rate, color=style.ink(0.65), linestyle=(0, (4, 3)), linewidth=1, label=chance)
    if ideal is not None:
        coverage, risk = ideal
        ax.fill_between(coverage, 0, risk, color=style.ink(0.15), alpha=0.6, linewidth=0, zorder=0)
        ax.plot(coverage, risk, color=style.OTHER, linewidth=1, label=f"ideal  (area {np.mean(risk):.3f})", zorder=1)
    ax.set(xlim=(0, 1), xlabel="coverage: share of queries answered, most certain first", ylabel="share wrong")
    ax.set_ylim(bottom=0)
    for axis in (ax.xaxis, ax.yaxis):
        axis.set_major_formatter(PercentFormatter(1, decimals=0))
    ax.set_title(title, parse_math=False, pad=10)
    if own:
        figure.legend(loc="outside lower center", ncols=2)
    else:
        ax.legend(loc="best")
    return figure


def reliability_diagram(
    found: Reliability, *, title: str = "What answers are told, and what comes out", ax: Axes | None = None
) -> Figure:
    """Draw the share of wrong answers against the chance of being wrong that they were told, and how many were told so.

    On the diagonal what is told is what comes out; the width of the bars is that of the bins.

    Args:
        found: From `hypjax.retrieval.reliability`.
        title: Title of the plot.
        ax: Where to draw; in a new figure by default.
    """
    figure, (ax,) = style.panels(ax, 1, (6.6, 5.0))
    bins = len(found.counts)
    left = np.arange(bins) / bins
    share = found.counts / max(1, found.counts.sum())
    ax.bar(left, share, 1 / bins, align="edge", color=style.ink(0.15), label="share of the queries that are told so")
    ax.plot([0, 1], [0, 1], color=style.ink(0.65), linestyle=(0, (4, 3)), linewidth=1, label="as told")
    filled = found.counts > 0
    ax.plot(found.told[filled], found.seen[filled], color=style.COLORS[0], marker="o", linewidth=2, label="share wrong")
    ax.set(xlim=(0, 1), ylim=(0, 1), xlabel="chance of being wrong, as told", ylabel="share of the queries")
    for axis in (ax.xaxis, ax.yaxis):
        axis.set_major_formatter(PercentFormatter(1, decimals=0))
    ax.set_title(title, parse_math=False, pad=10)
    ax.legend(loc="upper left")
    return figure


def degradation_response(
    levels: Sequence[float | int],
    uncertainty_by_kind: Mapping[str, Real[Array | np.ndarray, "levels"] | Sequence[float]],
    *,
    recall_by_kind: Mapping[str, Real[Array | np.ndarray, "levels"] | Sequence[float]] | None = None,
    title: str = "When queries degrade",
    axes: Axes | Sequence[Axes] | np.ndarray | None = None,
) -> Figure:
    """Draw mean uncertainty against the level of degradation, and recall beside it.

    Uncertainty that tells the truth rises where recall falls.

    Args:
        levels: Levels of degradation, 0 for clean images.
        uncertainty_by_kind: For each kind (blur, noise, occlusion) the mean uncertainty at each level.
        recall_by_kind: The same for Recall@1; its panel is left out by default.
        title: Title of a new figure.
        axes: Where the panels go, for uncertainty and, where it is given, for recall; those of a new figure by default.

    Raises:
        ValueError: nothing to draw, a kind whose values are not one a level, or fewer axes than panels.
    """
    panels = {"Mean uncertainty": uncertainty_by_kind}
    if recall_by_kind is not None:
        panels["Recall@1"] = recall_by_kind
    for series in panels.values():
        wrong = {kind: np.shape(values) for kind, values in series.items() if np.shape(values) != (len(levels),)}
        if wrong or not series:
            raise ValueError(f"each kind needs one value for each of {len(levels)} levels, got {wrong or 'no kind'}")
    figure, places = style.panels(axes, len(panels), (4.6 * len(panels) + 0.4, 3.7), title)
    for ax, (name, series) in zip(places, panels.items(), strict=True):
        for i, (kind, values) in enumerate(series.items()):
            marker = MARKERS[i % len(MARKERS)]
            ax.plot(levels, np.asarray(values), color=style.COLORS[i], marker=marker, label=kind)
        ax.set(title=name, xticks=levels, xlabel="level of degradation (0: clean)")
        ax.margins(y=0.15)
        ax.legend(loc="best")
    return figure
