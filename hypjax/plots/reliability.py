"""Whether uncertainty can be relied on: errors among the certain, and the response to degraded images."""

from collections.abc import Mapping, Sequence
from os import PathLike

import matplotlib
import numpy as np
from jaxtyping import Array, Float, Real
from matplotlib.ticker import PercentFormatter

from hypjax.plots import style

MARKERS = ("o", "s", "^", "D", "v", "P")


@matplotlib.rc_context(style.RC)
def risk_coverage_curve(
    path: str | PathLike[str],
    curves: Mapping[str, tuple[Float[Array | np.ndarray, "n"], Float[Array | np.ndarray, "n"]]],
    *,
    ideal: tuple[Float[Array | np.ndarray, "n"], Float[Array | np.ndarray, "n"]] | None = None,
    title: str = "Errors among the queries it is most certain of",
) -> None:
    """Draw the error rate of the most certain queries against the share of queries answered.

    Below the dashed line, the error rate of all, an uncertainty is worth something; the ideal one, with all
    failures most uncertain, bounds what is possible.

    Args:
        path: Where the PNG goes.
        curves: For each score its coverage and risk, as from `hypjax.retrieval.risk_coverage`; the first is
            drawn strongest.
        ideal: The same for an uncertainty that is 1 exactly where the answer is wrong.
        title: Title of the picture.

    Raises:
        ValueError: no curve is given.
    """
    if not curves:
        raise ValueError("no risk–coverage curve to draw")
    picture = style.figure(6.6, 5.0)
    axes = picture.subplots()
    for i, (name, (coverage, risk)) in enumerate(curves.items()):
        coverage, risk = np.asarray(coverage), np.asarray(risk)
        label = f"{name}  (area {risk.mean():.3f})"
        axes.plot(coverage, risk, color=style.COLORS[i], linewidth=2.4 if i == 0 else 1.3, label=label, zorder=3 - i)
    error_rate = float(np.asarray(next(iter(curves.values()))[1])[-1])
    axes.axhline(
        error_rate,
        color=style.MUTED,
        linestyle=(0, (4, 3)),
        linewidth=1,
        label=f"chance  (area {error_rate:.3f})",
    )
    if ideal is not None:
        coverage, risk = np.asarray(ideal[0]), np.asarray(ideal[1])
        axes.fill_between(coverage, 0, risk, color=style.FAINT, alpha=0.6, linewidth=0, zorder=0)
        axes.plot(coverage, risk, color=style.OTHER, linewidth=1, label=f"ideal  (area {risk.mean():.3f})", zorder=1)
    axes.set(xlim=(0, 1), xlabel="coverage: share of queries answered, most certain first", ylabel="share wrong")
    axes.set_ylim(bottom=0)
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter(PercentFormatter(1, decimals=0))
    axes.set_title(title, parse_math=False, pad=10)
    picture.legend(loc="outside lower center", ncols=2)
    style.save(picture, path)


@matplotlib.rc_context(style.RC)
def degradation_response(
    path: str | PathLike[str],
    levels: Sequence[float | int],
    uncertainty_by_kind: Mapping[str, Real[Array | np.ndarray, "levels"] | Sequence[float]],
    *,
    recall_by_kind: Mapping[str, Real[Array | np.ndarray, "levels"] | Sequence[float]] | None = None,
    title: str = "When queries degrade",
) -> None:
    """Draw mean uncertainty against the level of degradation, and recall beside it.

    Uncertainty that tells the truth rises where recall falls.

    Args:
        path: Where the PNG goes.
        levels: Levels of degradation, 0 for clean images.
        uncertainty_by_kind: For each kind (blur, noise, occlusion) the mean uncertainty at each level.
        recall_by_kind: The same for Recall@1; its panel is left out by default.
        title: Title of the picture.

    Raises:
        ValueError: nothing to draw, or a kind whose values are not one a level.
    """
    panels = {"Mean uncertainty": uncertainty_by_kind}
    if recall_by_kind is not None:
        panels["Recall@1"] = recall_by_kind
    for series in panels.values():
        wrong = {kind: np.shape(values) for kind, values in series.items() if np.shape(values) != (len(levels),)}
        if wrong or not series:
            raise ValueError(
                f"each kind needs one value for each of the {len(levels)} levels, got {wrong or 'no kind'}"
            )
    picture = style.figure(4.6 * len(panels) + 0.4, 3.7)
    picture.suptitle(title, x=0.01, ha="left", fontsize=13, fontweight="bold", parse_math=False)
    for axes, (name, series) in zip(picture.subplots(1, len(panels), squeeze=False)[0], panels.items(), strict=True):
        for i, (kind, values) in enumerate(series.items()):
            axes.plot(
                levels,
                np.asarray(values),
                color=style.COLORS[i],
                marker=MARKERS[i % len(MARKERS)],
                label=kind,
            )
        axes.set_title(name)
        axes.set_xticks(levels)
        axes.set_xlabel("level of degradation (0: clean)")
        axes.margins(y=0.15)
        axes.legend(loc="best")
    style.save(picture, path)
