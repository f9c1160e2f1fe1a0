"""A comparison as text for the console, as Markdown and as JSON."""

from __future__ import annotations

import math
import re
import shutil
from collections.abc import Iterator, Sequence
from typing import Any

from hypjax.run.comparison.figures import Cell, Comparison
from hypjax.run.metrics import as_json
from hypjax.show.pages.figures import LOWER, meaning

LEVEL = 0.05  # of significance, after Holm's correction
TESTED = ("figure", "run", "difference", "95 % interval", "p", "p (Holm)", "seeds")


def as_text(comparison: Comparison, width: int | None = None) -> str:
    """The comparison for a console `width` characters wide."""
    width = width or shutil.get_terminal_size((100, 24)).columns
    first, *columns = _columns(comparison)
    seeds, *columns = columns
    lines = [_title(comparison)]
    for block in _fit(columns, width - _width([first, seeds])):
        lines += ["", *_aligned([first, seeds, *block])]
    if tests := list(_tests(comparison)):
        lines += ["", _tests_title(comparison), "", *_aligned(list(zip(TESTED, *tests, strict=True)))]
    return "\n".join([*lines, "", *_legend(comparison)]).rstrip()


def as_markdown(comparison: Comparison) -> str:
    """The comparison as a page of Markdown."""
    table = list(zip(*_columns(comparison), strict=True))
    lines = ["# Comparison", "", f"{_title(comparison)}.", "", *_markdown_table(table, left=1)]
    if tests := list(_tests(comparison)):
        lines += ["", f"{_tests_title(comparison)}.", "", *_markdown_table([TESTED, *tests], left=2)]
    legend = [f"- {_escaped(line)}" for line in _legend(comparison)]
    return "\n".join([*lines, "", *legend]).rstrip() + "\n"


def as_record(comparison: Comparison) -> dict[str, Any]:
    """The comparison for JSON: every value, mean, deviation, difference and p-value."""
    runs = {}
    for name, row in comparison.rows.items():
        figures = {
            metric: {
                "values": cell.values,
                **cell.summary._asdict(),
                "difference": cell.difference and {**cell.difference._asdict(), "p_holm": cell.p_holm},
            }
            for metric, cell in row.items()
        }
        runs[name] = {"seeds": comparison.seeds[name], "figures": figures}
    shared = {"split": comparison.split, "baseline": comparison.baseline, "metrics": comparison.metrics}
    return as_json({**shared, "runs": runs, "notes": comparison.notes})


def heading(metric: str) -> str:
    """A metric's name with an arrow where smaller is better."""
    return f"{metric} ↓" if meaning(metric).better == LOWER else metric


def _title(comparison: Comparison) -> str:
    return f"Figures of the {comparison.split} classes, mean ± standard deviation over seeds"


def _tests_title(comparison: Comparison) -> str:
    return f"Differences from {comparison.baseline}, paired by seed"


def _legend(comparison: Comparison) -> list[str]:
    cells = [cell for row in comparison.rows.values() for cell in row.values()]
    lines = []
    if any("↓" in heading(metric) for metric in comparison.metrics):
        lines.append("↓ smaller is better")
    if any(cell.difference for cell in cells):
        lines.append(
            "p: paired t-test; p (Holm): corrected for the number of runs that are compared with the baseline; "
            f"* below {LEVEL}"
        )
    return lines + list(comparison.notes)


def _columns(comparison: Comparison) -> list[list[str]]:
    """Names, numbers of seeds, then a column for each metric, headings first."""
    counts = {name: len(seeds) for name, seeds in comparison.seeds.items()}
    names = [f"{name} (baseline)" if name == comparison.baseline else name for name in comparison.rows]
    columns = [["run", *names], ["seeds", *map(str, counts.values())]]
    for metric in comparison.metrics:
        columns.append([heading(metric), *(_cell(row[metric], counts[n]) for n, row in comparison.rows.items())])
    return columns


def _cell(cell: Cell, runs: int) -> str:
    mean, std, n = cell.summary
    if not n:
        return "–"
    spread = "" if math.isnan(std) else f" ± {std:.3f}"
    return f"{mean:.3f}{spread}{' *' if cell.p_holm < LEVEL else ''}{f' (n={n})' if n < runs else ''}"


def _tests(comparison: Comparison) -> Iterator[tuple[str, ...]]:
    for metric in comparison.metrics:
        for name, row in comparison.rows.items():
            if (difference := row[metric].difference) is not None:
                interval = f"[{difference.low:+.3f}, {difference.high:+.3f}]"
                p_values = _p(difference.p), _p(row[metric].p_holm)
                yield heading(metric), name, f"{difference.mean:+.3f}", interval, *p_values, str(difference.n)


def _p(value: float) -> str:
    if math.isnan(value):
        return "–"
    text = "<0.001" if value < 0.001 else f"{value:.3f}"
    return f"{text} *" if value < LEVEL else text


def _width(columns: Sequence[Sequence[str]]) -> int:
    return sum(max(map(len, column)) + 2 for column in columns)


def _fit(columns: Sequence[list[str]], width: int) -> list[list[list[str]]]:
    """Groups columns into blocks of at most a width, at least one column to each."""
    blocks: list[list[list[str]]] = []
    for column in columns:
        if not blocks or _width([*blocks[-1], column]) > width:
            blocks.append([])
        blocks[-1].append(column)
    return blocks


def _aligned(columns: Sequence[Sequence[str]]) -> list[str]:
    widths = [max(map(len, column)) for column in columns]
    padded = ("  ".join(f"{c:<{w}}" for c, w in zip(row, widths, strict=True)) for row in zip(*columns, strict=True))
    return [line.rstrip() for line in padded]


def _markdown_table(rows: Sequence[Sequence[str]], left: int) -> list[str]:
    """A table whose columns but the first `left` are aligned to the right."""
    rule = ["---" if i < left else "---:" for i in range(len(rows[0]))]
    heads, *body = ([_escaped(cell) for cell in row] for row in rows)
    return [f"| {' | '.join(row)} |" for row in (heads, rule, *body)]


def _escaped(text: str) -> str:
    """What Markdown would read as markup, as it stands."""
    return re.sub(r"([|*<])", r"\\\1", text)
