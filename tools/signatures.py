"""Writes docs/signatures.md: every manifold, miner and loss with what it takes and is, from the code itself.

    python tools/signatures.py

tests/tools/test_signatures.py holds the page against the code.
"""

from __future__ import annotations

import inspect
import typing
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

from hypjax import geometry, losses, mining, optim
from hypjax.geometry.manifold import Manifold

PAGE = Path(__file__).parent.parent / "docs" / "signatures.md"
MODULES = {
    "Miners": mining,
    "Losses and what they read": losses,
    "Entailment cones": geometry.cones,
    "Layers": geometry.layers,
    "Wrapped normal distribution": geometry.wrapped_normal,
    "Hyperbolicity": geometry.hyperbolicity,
    "Optimizers and learned curvature": optim,
}
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


def functions(module: ModuleType) -> list[tuple[str, Callable[..., Any]]]:
    """The public functions of a module, or what a package exports."""
    own = module.__name__ if not hasattr(module, "__path__") else "hypjax."
    found = {name: inspect.unwrap(value) for name, value in vars(module).items() if name[0] != "_" and callable(value)}
    return sorted((n, f) for n, f in found.items() if inspect.isfunction(f) and f.__module__.startswith(own))


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
    lines += ["", "Some have more, and so have pairs:", "", "| method | takes | is |", "|---|---|---|"]
    lines += [row("Lorentz.", "to_poincare", geometry.Lorentz.to_poincare)]
    lines += [row("Product.", name, getattr(geometry.Product, name)) for name in ("split", "split_tangent")]
    lines += [row("Pairs.", name, getattr(losses.Pairs, name)) for name in ("weigh", "choose")]
    for title, module in MODULES.items():
        name = module.__name__.removeprefix("hypjax.")
        lines += ["", f"## {title}", "", "| function | takes | is |", "|---|---|---|"]
        lines += [row(f"{name}.", *each) for each in functions(module)]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
