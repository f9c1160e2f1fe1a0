"""The report of a run: figures, pictures, settings and what it was made with, on one page."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from os import PathLike
from pathlib import Path
from typing import Any

from hypjax.data import atomic
from hypjax.data.places import as_path
from hypjax.show import explore, html
from hypjax.show.pages.figures import HEADLINE, HIGHER, LOWER, TILES, meaning, number

# File, title, what to see in it.
PICTURES = (
    ("curves.png", "Training", "Loss, and the figures of the validation classes, against the step."),
    (
        "disk.png",
        "The embeddings in the disk",
        "Each dot is a test image at its distance from the center, colored by the topmost level of the hierarchy; "
        "the farther out, the more certain.",
    ),
    (
        "gallery.png",
        "What is found",
        "Queries with their five nearest images: the most certain ones on the left, the least certain on the right. "
        "Blue frames are of the query's class, orange ones of another.",
    ),
    (
        "layers.png",
        "From the origin outward",
        "Each row is a layer of the radius, the innermost on top, with the share of its images that find their class. "
        "What lies near the origin should be what is hard to find.",
    ),
    ("tree.png", "The tree over the classes", "Classes that meet low in the tree are near each other."),
    (
        "ancestors.png",
        "The known tree in the disk",
        "Images, and their classes and ancestors at the midpoints of what belongs to them, joined by geodesics, with "
        "the entailment cones of the topmost ones. What is more general should lie nearer the center.",
    ),
    (
        "risk_coverage.png",
        "Risk against coverage",
        "The error rate among the queries that are left without the most uncertain ones; lower is better.",
    ),
    (
        "reliability.png",
        "What answers are told",
        "The chance of being wrong that the first answer to a query is told, against the share that is wrong. On the "
        "diagonal the chance can be taken at its word. The bars are the shares of queries that are told so.",
    ),
    (
        "degradation.png",
        "Answer to damage",
        "What blur, noise and occlusion do to the uncertainty, which should rise, and to recall, which will fall.",
    ),
)
ARROWS = {HIGHER: "↑\u00a0higher", LOWER: "↓\u00a0lower", "": ""}


def report(
    path: str | PathLike[str],
    figures: Mapping[str, float | None],
    config: Mapping[str, Any],
    *,
    pictures: str | PathLike[str],
    title: str,
    status: str,
    defaults: Mapping[str, Any] | None = None,
    made_with: Mapping[str, Any] | None = None,
    split: str = "test",
    note: str = "",
    promise: str = "",
) -> None:
    """Writes the page.

    Args:
      path: where it goes.
      figures: by name, as in `results.json`.
      config: the settings, nested.
      pictures: the folder of the PNG files, and of the disk to walk in; those that are missing are left out.
      title: of the page.
      status: how far the run got, a short phrase.
      defaults: settings as they are without a config, to tell which were changed.
      made_with: from `hypjax.run.manifest`; without it the page says that nothing was recorded.
      split: whose figures these are, `test` or `validation`.
      note: a sentence to stand above the figures.
      promise: sentences on how sure it is that answers are as good as is promised, and from what that was learned.
    """
    flat, kept = flatten(config), as_path(pictures) / explore.KEPT
    disk = explore.part(json.loads(kept.read_text(encoding="utf-8"))) if kept.is_file() else None
    body = [
        f"<h1>{html.text(title)}</h1>",
        f'<p class="lead">{html.text(summary(flat, status))}</p>',
        *promises(figures, promise),
        tiles(figures),
        *headline(figures, split, note),
        *shown(as_path(pictures)),
        *([] if disk is None else walk(disk)),
        "<h2>How it was made</h2>",
        *making(made_with or {}),
        *settings(flat, None if defaults is None else flatten(defaults)),
    ]
    style, script = ("", "") if disk is None else (disk.style, disk.script)
    atomic.write_text(as_path(path), html.document(f"{title} – hypjax", body, style=style, script=script))


def summary(flat: Mapping[str, Any], status: str) -> str:
    """One line on what was trained."""
    geometry = flat.get("geometry", "")
    if any(kind in geometry for kind in ("poincare", "lorentz")) and "curvature" in flat:
        geometry = f"{geometry}, c = {flat['curvature']:g}"
    words = [
        status,
        f"data {flat.get('data.name', '?')}",
        f"encoder {flat.get('encoder.name', '?')}",
        str(geometry),
        f"loss {flat.get('loss.name', '?')}",
        f"seed {flat.get('seed', '?')}",
    ]
    return " · ".join(words)


def promises(figures: Mapping[str, float | None], promise: str) -> Iterator[str]:
    """How many queries can be answered with few errors, and whether the promise was kept: what the rest comes to."""
    risks = [name.partition("@")[2] for name in figures if name.startswith("coverage_by_class@")]
    if not risks:
        return
    rows = []
    for risk in risks:
        cells = [f"at most {float(risk):.0%}"]
        for name in ("by_class", "by_image"):
            for kind in ("", "level_"):
                given, wrong = (figures.get(f"{kind}{what}_{name}@{risk}") for what in ("coverage", "error"))
                if given is not None and wrong is not None:
                    cells.append(f"{given:.0%}, wrong {wrong:.1%}" if given else "none is proven")
        rows.append(tuple(cells))
    forms = ("new classes", "images of known classes")
    levels = (", by class", ", by class or a group above") if len(rows[0]) > 3 else ("",)
    yield "<h2>How far answers can be relied on</h2>"
    yield (
        "<p>Not every query has to be answered. Among the answers that are given, the share of wrong ones is to stay "
        f"below what is named. {html.text(promise)} How many queries of other test classes are answered, and how many "
        "of these answers are wrong:</p>"
    )
    yield html.table(("Wrong answers", *(f"For {form}{level}" for form in forms for level in levels)), rows)


def tiles(figures: Mapping[str, float | None]) -> str:
    """The few figures to look at first, large."""
    cells = [
        f'<div class="tile"><b>{number(name, figures[name])}</b><span>{html.text(meaning(name).title)}</span></div>'
        for name in TILES
        if figures.get(name) is not None
    ]
    return f'<div class="tiles">{"".join(cells)}</div>' if cells else ""


def headline(figures: Mapping[str, float | None], split: str, note: str = "") -> Iterator[str]:
    """The figures that matter, each explained; all others folded up below."""

    def rows(names: Sequence[str]) -> list[tuple[str, str, str, str]]:
        found = [(meaning(name), number(name, figures[name])) for name in names]
        return [(told.title, value, ARROWS[told.better], told.text) for told, value in found]

    headings = ("Figure", "Value", "Better", "What it is")
    first = [name for name in HEADLINE if name in figures]
    rest = [name for name in figures if name not in first]
    yield "<h2>Figures</h2>"
    yield f"<p>Of the {html.text(split)} classes, none of which was seen in training. {html.text(note)}</p>"
    if not any(isinstance(value, float) and math.isfinite(value) for value in figures.values()):
        yield "<p>There are none.</p>"
    if first:
        yield html.table(headings, rows(first), numbers=[1])
    if rest:
        yield html.details(f"{len(rest)} more figures", html.table(headings, rows(rest), numbers=[1]))


def shown(folder: Path) -> Iterator[str]:
    """The pictures there are, each written into the page."""
    for name, title, caption in PICTURES:
        if not (folder / name).is_file():
            continue
        address = html.image_data((folder / name).read_bytes(), "png")
        yield f"<h2>{html.text(title)}</h2>"
        yield f'<figure><img src="{address}" alt="{html.text(title)}">'
        yield f"<figcaption>{html.text(caption)}</figcaption></figure>"


def walk(disk: explore.Part) -> Iterator[str]:
    """The disk that one can walk in."""
    yield "<h2>Walk in the disk</h2>"
    yield (
        "<p>Drag, and the whole plane moves so that what you hold stays under your hand; distances stay what they are. "
        "A click on a point joins it to its nearest images. Large dots are certain, small and pale ones are not. "
        "Where points stand in a narrow ring, distances from the origin are drawn apart in their order, until the true "
        "radius is asked for.</p>"
    )
    yield disk.body


def making(made_with: Mapping[str, Any]) -> Iterator[str]:
    """The command, the time it took, versions and devices."""
    if not made_with:
        yield "<p>The command and the versions were not recorded; the settings below are those of the run.</p>"
        return
    if command := made_with.get("command"):
        yield f"<pre>{html.text(command)}</pre>"
    untold = ("command", "seconds", "resumed_at", "digest", "began")
    rows = [(name, value or "not known") for name, value in made_with.items() if name not in untold]
    if (seconds := made_with.get("seconds")) is not None:
        since = f", since it went on from step {at}" if (at := made_with.get("resumed_at")) else ""
        rows.insert(0, ("wall time", f"{duration(seconds)}{since}"))
    yield html.table(("", ""), rows)


def settings(flat: Mapping[str, Any], defaults: Mapping[str, Any] | None) -> Iterator[str]:
    """The settings: those that were changed, then all, folded up."""
    yield "<h2>Settings</h2>"
    if defaults is not None:
        changed = [
            (name, shortly(value), shortly(defaults.get(name, "–")))
            for name, value in flat.items()
            if name not in defaults or plain(defaults[name]) != plain(value)
        ]
        if changed:
            yield html.table(("Changed from the defaults", "Here", "Default"), changed)
    every = html.table(("Setting", "Value"), [(name, shortly(value)) for name, value in flat.items()])
    yield html.details(f"All {len(flat)} settings", every)


def flatten(nested: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested settings by their dotted names.

    Examples:
      >>> flatten({"a": {"b": 1}, "c": (2, 3)})
      {'a.b': 1, 'c': (2, 3)}
    """
    flat: dict[str, Any] = {}
    for name, value in nested.items():
        flat |= flatten(value, f"{prefix}{name}.") if isinstance(value, Mapping) else {f"{prefix}{name}": value}
    return flat


def plain(value: Any) -> Any:
    """A setting as JSON would hold it."""
    return [plain(item) for item in value] if isinstance(value, (list, tuple)) else value


def shortly(value: Any) -> str:
    """A setting as it is written."""
    if isinstance(value, (list, tuple)):
        return f"({', '.join(map(shortly, value))})"
    return f"{value:g}" if isinstance(value, float) else str(value)


def duration(seconds: float) -> str:
    """A span of time for people.

    Examples:
      >>> duration(45.2), duration(433), duration(7325)
      ('45 s', '7 min 13 s', '2 h 02 min')
    """
    minutes, rest = divmod(round(seconds), 60)
    if minutes >= 60:
        return f"{minutes // 60} h {minutes % 60:02d} min"
    return f"{minutes} min {rest:02d} s" if minutes else f"{rest} s"
