"""What is compared: configs by file, arguments and name, and their seeds."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from absl import flags
from ml_collections import ConfigDict

from hypjax.config import command_line, persistence
from hypjax.data.errors import UsageError
from hypjax.run.metrics import as_json

_CONFIG = re.compile(r"(?:(?P<name>[^/:=]*)=)?(?P<path>[^:]*)(?::(?P<arguments>.*))?", re.DOTALL)
_NAME = re.compile(r"\w[\w.,=+-]*")


class Entry(NamedTuple):
    """One side of the comparison.

    Attributes:
      name: of its folder and its row.
      config: its settings, whatever the seed.
    """

    name: str
    config: ConfigDict


def read_seeds(text: str) -> list[int]:
    """Reads `0,1,2`.

    Raises:
      UsageError: anything but different whole numbers.
    """
    words = [word.strip() for word in text.split(",")]
    if not all(word.isascii() and word.isdigit() for word in words) or len({*map(int, words)}) < len(words):
        raise UsageError(f"--seeds must be different whole numbers such as 0,1,2, not {text!r}")
    return [int(word) for word in words]


def read_entry(word: str, overrides: Sequence[str]) -> Entry:
    """Loads `[NAME=]FILE.py[:ARGUMENTS]`, its name else made of file and arguments, as `--config` of train would.

    Raises:
      UsageError: a bad name, file, argument or setting.
    """
    parts = _CONFIG.fullmatch(word)
    name, path, arguments = parts.group("name", "path", "arguments") if parts else (None, word, None)
    if name is None:
        name = re.sub(r"[^\w.,=+-]+", "-", "-".join(filter(None, [Path(path).stem, arguments]))).strip("-.")
    if not _NAME.fullmatch(name):
        raise UsageError(f"{name!r} cannot name a folder: letters, digits and _.,=+- as in NAME=configs/hyp_uml.py")
    values = flags.FlagValues()
    command_line.define_config(values)
    spec = path if arguments is None else f"{path}:{arguments}"
    command_line.parse_flags(["compare", f"--config={spec}", *overrides], values)
    return Entry(name, values.config)


def find_entries(workdir: Path) -> tuple[list[Entry], list[int]]:
    """The runs that a workdir holds, where no config says which, and their seeds.

    Raises:
      UsageError: it holds none.
    """
    folders = sorted(path.parent for path in workdir.glob("*/seed-*/config.json"))
    named = {folder.parent.name: folder for folder in reversed(folders)}
    if not named:
        raise UsageError(f"{workdir} holds no runs (no NAME/seed-S/config.json)")
    seeds = sorted({int(seed) for folder in folders if (seed := folder.name.removeprefix("seed-")).isdigit()})
    return [Entry(name, persistence.load_config(named[name])) for name in sorted(named)], seeds


def check(entries: Sequence[Entry], baseline: str | None) -> None:
    """Refuses what cannot be compared.

    Raises:
      UsageError: no configs, two of one name or with the same settings, or an unknown baseline.
    """
    if not entries:
        raise UsageError("no configs given: configs/hyp_uml.py configs/hyp_vit.py (or others of configs/)")
    names = [entry.name for entry in entries]
    for i, entry in enumerate(entries):
        if entry.name in names[:i]:
            raise UsageError(f"two configs are named {entry.name!r}; name one of them: NAME=configs/...")
        for other in entries[:i]:
            if not differing(other.config, entry.config, ("name", "seed")):
                raise UsageError(f"{other.name!r} and {entry.name!r} have the same settings; drop one")
    if baseline is not None and baseline not in names:
        raise UsageError(f"baseline {baseline!r} is unknown; there are: {', '.join(names)}")


def differing(old: ConfigDict, new: ConfigDict, ignored: Sequence[str]) -> list[str]:
    """In what settings two configs differ."""
    found = persistence.differences(as_json(old.to_dict()), as_json(new.to_dict()))
    return [line for line in found if line.partition(":")[0] not in ignored]
