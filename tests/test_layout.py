"""The house as one sees it: only programs in the root, imports that point one way, files and functions one can hold."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent / "hypjax"
FILES = sorted(ROOT.rglob("*.py"))
PROGRAMS = {"__init__", "__main__", "train", "evaluate", "compare", "embed", "calibrate", "search", "serve"}
# A folder imports from those of a lower floor, and from those beside it that stand in its line.
FLOORS = [
    {"geometry": set()},
    {"losses": set(), "optim": set(), "retrieval": set(), "mining": {"losses"}},
    {
        "data": set(),
        "encoders": set(),
        "training": {"data", "encoders"},
        "config": {"data", "encoders", "training"},
        "show": {"data", "training"},
    },
    {"run": set()},
    {"stores": set()},
    {"serving": set()},
]


def allowed():
    """Each folder with all that it may import from."""
    below, found = set(), {}
    for floor in FLOORS:
        found |= {name: below | beside for name, beside in floor.items()}
        below |= set(floor)
    return found | dict.fromkeys(PROGRAMS, below | PROGRAMS)


def imported(tree):
    """Every module of the package that a file imports, wherever in it."""
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module:
            names = [node.module] if node.module != "hypjax" else [f"hypjax.{name.name}" for name in node.names]
        elif isinstance(node, ast.Import):
            names = [name.name for name in node.names]
        else:
            continue
        yield from (name.split(".")[1] for name in names if name.startswith("hypjax."))


def test_only_programs_stand_in_the_root():
    assert {path.stem for path in ROOT.glob("*.py")} <= PROGRAMS
    folders = {path.name for path in ROOT.iterdir() if path.is_dir() and path.name != "__pycache__"}
    assert folders == {name for floor in FLOORS for name in floor}


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_file_imports_downwards(path):
    tree = ast.parse(path.read_text())
    place = path.relative_to(ROOT).parts[0].removesuffix(".py")
    assert set(imported(tree)) - {"__version__"} <= allowed()[place] | {place}


@pytest.mark.parametrize("place", ["hypjax", "configs", "tests", "benchmarks", "evidence", "tools"])
def test_a_file_can_be_held(place):
    for path in (ROOT.parent / place).rglob("*.py"):
        text = path.read_text()
        functions = [node for node in ast.walk(ast.parse(text)) if isinstance(node, ast.FunctionDef)]
        assert len(text.splitlines()) <= 300, path
        assert not {node.name: length(node) for node in functions if length(node) > 60}, path


def length(function):
    """Lines of a function without its docstring."""
    first = function.body[0]
    told = isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant)
    return function.end_lineno - function.lineno + 1 - (first.end_lineno - first.lineno + 1 if told else 0)
