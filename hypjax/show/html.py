"""The frame of every page: one file, nothing loaded from elsewhere, no script but its own, light and dark."""

from __future__ import annotations

import base64
import hashlib
import html
from collections.abc import Iterable, Sequence
from importlib import resources

# Nothing may be fetched, whatever a name that was not escaped would try.
POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"

STYLE = resources.files("hypjax.show").joinpath("page.css").read_text(encoding="utf-8")


def text(value: object) -> str:
    """A value as text of a page, nothing in it taken for a tag.

    Examples:
      >>> text("<b>Müller & Söhne</b>")
      '&lt;b&gt;Müller &amp; Söhne&lt;/b&gt;'
    """
    return html.escape(str(value), quote=True)


def document(title: str, body: Iterable[str], *, style: str = "", script: str = "") -> str:
    """A whole page.

    Args:
      title: of the window, plain text.
      body: parts of the page, as HTML.
      style: more of it, beside that of every page.
      script: what runs in the end; nothing else may.
    """
    return "\n".join(
        [
            "<!DOCTYPE html>",
            '<html lang="en">',
            "<head>",
            '<meta charset="utf-8">',
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            f'<meta http-equiv="Content-Security-Policy" content="{policy(script)}">',
            f"<title>{text(title)}</title>",
            f"<style>{STYLE}{style}</style>",
            "</head>",
            "<body>",
            "<main>",
            *body,
            "</main>",
            *([f"<script>{script}</script>"] if script else []),
            "</body>",
            "</html>",
            "",
        ]
    )


def policy(script: str) -> str:
    """What the page may load and run: itself, and of scripts this one by its digest."""
    if not script:
        return POLICY
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    return f"{POLICY}; script-src 'sha256-{digest}'"


def table(headings: Sequence[str], rows: Iterable[Sequence[object]], *, numbers: Sequence[int] = ()) -> str:
    """A table of plain values.

    Args:
      headings: of the columns.
      rows: their cells, plain text; the first is the row's name.
      numbers: columns to be set flush right.

    Examples:
      >>> table(["a", "b"], [["x", 1]], numbers=[1]).count("</tr>")
      2
    """

    def line(tag: str, cells: Sequence[object]) -> str:
        kinds = ["number" if i in numbers else "name" if i == 0 and tag == "td" else "" for i in range(len(cells))]
        words = [f' class="{kind}"' if kind else "" for kind in kinds]
        parts = [f"<{tag}{word}>{text(cell)}</{tag}>" for word, cell in zip(words, cells, strict=True)]
        return f"<tr>{''.join(parts)}</tr>"

    lines = "\n".join([line("th", headings), *(line("td", row) for row in rows)])
    return f'<div class="scroll"><table>\n{lines}\n</table></div>'


def image_data(data: bytes, kind: str) -> str:
    """The address of an image that is written into the page itself.

    Args:
      data: the encoded image.
      kind: `png`, `jpeg`, …
    """
    return f"data:image/{kind};base64,{base64.b64encode(data).decode('ascii')}"


def details(summary: str, content: str) -> str:
    """A part of the page that is folded up at first."""
    return f"<details>\n<summary>{text(summary)}</summary>\n{content}\n</details>"
