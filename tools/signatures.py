"""Writes docs/signatures.md: every manifold, miner and loss with what it takes and gives, from the code itself.

    python tools/signatures.py

tests/tools/test_signatures.py holds the page against the code.
"""

from __future__ import annotations

import inspect
import typing
from collections.abc import Callable
from pathlib import Path
from typing import Any

from hypjax import geometry, losses, mining
from hypjax.geometry.manifold import Manifold

PAGE = Path(__file__).parent.parent / "docs" / "signatures.md"
HEAD = """# Signatures

Written by `python tools/signatures.py` from the code. Shapes: n anchors, m references, b images of a batch, p proxies,
d dimensions, e coordinates of a point. A setting that says `[n]` takes one value, or one for each anchor.

    objective = loss( distance( embeddings ), pairs( labels ), uncertainty )  +  regularizer
"""


def shape(annotation: Any) -> str:
    """What an annotation says of an array, as ` [n, m]`; nothing of what is none."""
    for one in (annotation, *typing.get_args(annotation)):
        if dims := getattr(one, "dim_str", None):
            return f" [{', '.join(dims.split())}]" if str(dims) != "2" else ""  # a random key
    return ""


def signature(function: Callable[..., Any]) -> str:
    """`(distances [n, m], pairs, *, margin=0.2)`."""
    words, keyword = [], False
    for name, parameter in inspect.signature(function).parameters.items():
        if name == "self":
            continue
        if parameter.kind is parameter.KEYWORD_ONLY and not keyword:
            words, keyword = [*words, "*"], True
        chosen = parameter.default
        default = "" if chosen is parameter.empty else f"={getattr(chosen, '__name__', repr(chosen))}"
        words.append(f"{name}{default}{shape(parameter.annotation)}")
    return f"({', '.join(words)})"


def row(prefix: str, name: str, function: Callable[..., Any]) -> str:
    """A line of a table: name, signature, first sentence."""
    sentence = (inspect.getdoc(function) or "").partition("\n")[0].replace("|", "\\|")
    return f"| `{prefix}{name}` | `{signature(function)}` | {sentence} |"


def page() -> str:
    """The whole page."""
    methods = [(name, method) for name, method in vars(Manifold).items() if name[0] != "_" and callable(method)]
    kinds = ("Poincare", "Lorentz", "Euclidean", "Sphere", "Product")
    lines = [HEAD, "## Manifolds", ""]
    lines += [
        "| manifold | takes | is |",
        "|---|---|---|",
        *(row("geometry.", k, getattr(geometry, k)) for k in kinds),
    ]
    lines += ["", "Every one of them has these methods:", "", "| method | takes | is |", "|---|---|---|"]
    lines += [row(".", name, method) for name, method in methods]
    for title, prefix, module in (("Miners", "mining.", mining), ("Losses and what they read", "losses.", losses)):
        lines += ["", f"## {title}", "", "| function | takes | is |", "|---|---|---|"]
        lines += [row(prefix, name, value) for name, value in sorted(vars(module).items()) if inspect.isfunction(value)]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
