"""Draws `evidence/README.md`'s pictures from the figures in evidence/results: `python evidence/plots.py [NAME ...]`.

A dot is the mean over seeds, a bar their standard deviation (n − 1).
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from hypjax.show.plots import style

HERE = Path(__file__).parent
BALL, FLAT, SPHERE, GRAY = style.COLORS[0], style.COLORS[1], style.COLORS[2], style.OTHER


def results(name: str) -> dict[str, dict[str, np.ndarray]]:
    """The figures of a sweep: run → figure → its value with each seed."""
    runs = json.loads((HERE / "results" / f"{name}.json").read_text())["runs"]
    return {run: {key: np.array(v, float) for key, v in held["figures"].items()} for run, held in runs.items()}


def dot(axes: Axes, x: Any, y: Any, **options: Any) -> None:
    """A point at `x` and `y`; of one that is an array over seeds, the mean and its bar."""
    places = [value.mean() if isinstance(value, np.ndarray) else value for value in (x, y)]
    xerr, yerr = (value.std(ddof=1) if isinstance(value, np.ndarray) else None for value in (x, y))
    options = {"marker": "o", "markersize": 4.5, "capsize": 2, "linestyle": "none", "elinewidth": 1} | options
    axes.errorbar(*places, xerr=xerr, yerr=yerr, **options)


def geometries() -> Figure:
    """Recall over the temperature in units of the largest distance that a setting allows."""
    figure, (axes,) = style.panels(None, 1, (6.4, 3.8))
    axes.set_title("Three geometries over their temperature (validation, frozen)")
    seen = set()
    for run, figures in results("geometries").items():
        space, temperature, size = re.fullmatch(r"(\w+?)_t([\d.]+)_(.+)", run).groups()
        if space == "ball":  # the tangent clip at 2.3 is 4.6 from the origin, whatever c
            reach, color = 9.2, BALL
        elif space == "flat":
            reach, color = 2 * float(size[1:]), FLAT
        else:
            reach, color = {"geodesic": np.pi, "cosine": 2.0}[size], SPHERE
        label, marker = "" if space in seen else space, {"0.3": "^", "0.03": "v"}.get(size[1:], "o")
        dot(axes, float(temperature) / reach, figures["recall@1"], color=color, label=label, marker=marker)
        seen.add(space)
    axes.set_xscale("log")
    axes.set_xlabel("temperature : largest distance; curvature of the ball ▾ 0.03, ● 0.1, ▴ 0.3")
    axes.set_ylabel("Recall@1")
    axes.legend()
    return figure


def clips() -> Figure:
    """How far the geometry's nearest neighbor is the cosine's, and the recall of both rankings."""
    runs = results("clips")
    figure, (left, right) = style.panels(None, 2, (8.4, 4.2), sharey=True)
    left.set_title("Recall@1")
    right.set_title("Nearest neighbor is the cosine's")
    for row, figures in enumerate(runs.values()):
        for values, color, shift, label in (
            (figures["recall@1"], BALL, -0.1, "by distance"),
            (figures["direction_recall@1"], GRAY, 0.1, "by angle alone"),
        ):
            dot(left, values, row + shift, color=color, label="" if row else label)
        dot(right, figures["direction_agreement"], row, color=BALL)
    left.set_yticks(range(len(runs)), list(runs))
    left.invert_yaxis()
    left.legend()
    return figure


def by_run(name: str, height: float) -> Figure:
    """Recall and what the uncertainty foretells, run by run; a faint dot for each seed."""
    runs = results(name)
    figure, panels = style.panels(None, 2, (8.4, height), sharey=True)
    figures = {"recall@1": "Recall@1", "uncertainty_auroc": "AUROC of u"}
    for axes, (key, title) in zip(panels, figures.items(), strict=True):
        axes.set_title(title)
        for row, values in enumerate(run[key] for run in runs.values()):
            dot(axes, values, row, color=BALL)
            axes.scatter(values, np.full(len(values), row + 0.3), s=8, color=BALL, alpha=0.5, linewidth=0)
    panels[0].set_yticks(range(len(runs)), list(runs))
    panels[0].invert_yaxis()
    return figure


def uncertainty() -> Figure:
    """The parts of Hyp-UML, put in or taken out, on the validation classes."""
    return by_run("uncertainty", 4.4)


def class_collapse() -> Figure:
    """All positives against easy ones: a line from the one to the other."""
    rows = json.loads((HERE / "results" / "class_collapse.json").read_text())["rows"]
    figure, (axes,) = style.panels(None, 1, (6.4, 3.8))
    axes.set_title("Trained on parity, asked for the digit")
    for row, entry in enumerate(rows):
        every, easy = (np.array(entry["figures"][miner]["digit"]) for miner in ("all positives", "easy positives"))
        axes.plot([every.mean(), easy.mean()], [row, row], color=style.FAINT, linewidth=3, zorder=1)
        for values, color, label in ((every, GRAY, "all positives"), (easy, BALL, "easy positives")):
            dot(axes, values, row, color=color, label="" if row else label)
    axes.set_yticks(range(len(rows)), [f"{entry['space']}, {entry['loss'].replace('_', '-')}" for entry in rows])
    axes.invert_yaxis()
    axes.set_xlabel("Recall@1 on held-out images")
    figure.legend(loc="outside lower center", ncols=2)
    return figure


def hierarchy() -> Figure:
    """Recall and agreement of the tree over HIER's weight."""
    runs = results("hierarchy")
    figure, panels = style.panels(None, 2, (8.4, 3.4))
    figures = {"recall@1": "Recall@1", "minimax_tree_triplets@subgroup": "triplets of subgroups right in the tree"}
    for axes, (key, title) in zip(panels, figures.items(), strict=True):
        axes.set_title(title)
        for loss, color in (("pairwise_cross_entropy", BALL), ("multi_similarity", FLAT)):
            for rate, marker in ((5, "v"), (20, "^")):
                for place, weight in enumerate(("0.1", "0.5", "2"), start=1):
                    shift = 0.12 if rate == 20 else -0.12
                    dot(axes, place + shift, runs[f"{loss}_w{weight}_m{rate}"][key], color=color, marker=marker)
            dot(axes, 0, runs[loss][key], color=color, label=loss.replace("_", " "))
        axes.set_xticks(range(4), ["without", "0.1", "0.5", "2"])
        axes.set_xlabel("weight of HIER; ▾ proxies' learning rate × 5, ▴ × 20")
    panels[0].legend()
    return figure


def hybrid() -> Figure:
    """Recall over α^(1/p), the factor that is left on the geodesic."""
    figure, (axes,) = style.panels(None, 1, (6.4, 3.6))
    axes.set_title("GHM: only α^(1/p) matters (validation, frozen)")
    for run, figures in results("hybrid").items():
        space, alpha, order = re.fullmatch(r"(\w+?)_a([\d.]+?)(?:_p(\d))?", run).groups()
        factor = float(alpha) ** (1 / int(order or 1))
        color = BALL if space == "poincare" else FLAT
        label = {"poincare_a1": "ball", "euclidean_a1": "flat space"}.get(run, "")
        dot(axes, factor, figures["recall@1"], color=color, marker={"2": "s", "4": "D"}.get(order, "o"), label=label)
    axes.set_xlabel("α^(1/p); ● p = 1, ■ p = 2, ◆ p = 4")
    axes.set_ylabel("Recall@1")
    axes.legend()
    return figure


def final() -> Figure:
    """The test classes, once."""
    return by_run("final", 4.8)


PLOTS: Mapping[str, Callable[[], Figure]] = {
    plot.__name__: plot for plot in (geometries, clips, uncertainty, class_collapse, hierarchy, hybrid, final)
}


def main() -> None:
    """Draws what is named, or all."""
    names = sys.argv[1:] or list(PLOTS)
    if not set(names) <= set(PLOTS):
        print(__doc__, "\nNAME is one of", ", ".join(PLOTS))
        return
    with matplotlib.rc_context(style.RC):
        for name in names:
            style.save(PLOTS[name](), HERE / f"{name}.png")


if __name__ == "__main__":
    main()
