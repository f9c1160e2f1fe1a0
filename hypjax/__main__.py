"""All programs under one name: `hypjax train|evaluate|compare|embed|calibrate|search|serve`, each with its flags."""

from __future__ import annotations

import os
import sys
from importlib import import_module

import hypjax

PROGRAMS = ("train", "evaluate", "compare", "embed", "calibrate", "search", "serve")


def main() -> None:
    """Runs the program that the first word names, as `python -m hypjax.NAME` does."""
    hypjax.end_at_signals()
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # see hypjax/__init__.py
    name = sys.argv[1] if len(sys.argv) > 1 else "--help"
    if name in ("--help", "-h", "help"):
        lines = {name: (import_module(f"hypjax.{name}").__doc__ or "").partition(":")[0] for name in PROGRAMS}
        print("hypjax PROGRAM [FLAGS]\n")
        for program, line in lines.items():
            print(f"  {program:<10}{line}")
        print("\nhypjax PROGRAM --help tells more; hypjax --version says which versions run.")
        return
    from hypjax.run import status

    if name == "--version":
        print(status.version())
    elif name not in PROGRAMS:
        print(f"error: unknown program {name!r}; there are: {', '.join(PROGRAMS)}", file=sys.stderr)
        sys.exit(2)
    else:
        module = import_module(f"hypjax.{name}")
        sys.modules["__main__"].__doc__ = module.__doc__  # which --help prints
        sys.argv = [module.__file__ or name, *sys.argv[2:]]
        status.run(module.main)


if __name__ == "__main__":
    main()
