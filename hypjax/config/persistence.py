"""Settings as a run keeps them: read again, completed where they are older than a setting, and compared."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

from hypjax.config.settings import default_settings
from hypjax.data.errors import UsageError

# Settings that make no other run of it: where it is logged, where features are kept, who decodes, how its step is
# compiled.
ELSEWHERE = ("log.", "features.dir:", "data.workers:", "data.cache_gib:", "encoder.blocks:", "batch.slices:")
# Settings whose default is not what runs from before them did.
BEFORE: dict[str, Any] = {"data": {"shorter_side": 0}}
# Settings that are no more, and made no other run of it.
GONE = {"data": ("threads",)}


def load_config(workdir: Path) -> ConfigDict:
    """Reads the settings that a run was started with; one from before a setting was made gets it as it was then.

    Raises:
      UsageError: the folder holds no run, or a damaged one.
    """
    path = workdir / "config.json"
    if not path.exists():
        raise UsageError(f"{workdir} holds no run (no config.json)")
    try:
        held = json.loads(path.read_text())
        if not isinstance(held, dict):
            raise TypeError("no mapping of settings")
        for group, names in GONE.items():
            held[group] = {name: value for name, value in held.get(group, {}).items() if name not in names}
        return ConfigDict(completed(completed(held, BEFORE), default_settings().to_dict()))
    except (ValueError, TypeError, AttributeError) as error:
        raise UsageError(
            f"{path} is damaged ({' '.join(str(error).split())}); bring it back, or choose another --workdir"
        ) from error


def shared(settings: dict[str, Any]) -> dict[str, Any]:
    """Settings without those that may be others on each host of a run: where its data are, who reads them, its logs.

    Examples:
      >>> shared({"log": {"every": 1}, "data": {"dir": "a", "workers": 4, "seed": 0}, "features": {"dir": "b"}})
      {'data': {'seed': 0}, 'features': {}}
    """
    kept = {name: dict(value) if isinstance(value, dict) else value for name, value in settings.items()}
    kept.pop("log", None)
    for group, names in {"data": ("dir", "workers", "cache_gib"), "features": ("dir",)}.items():
        for name in names:
            kept.get(group, {}).pop(name, None)
    return kept


def completed(settings: dict[str, Any], defaults: dict[str, Any]) -> dict[str, Any]:
    """Settings with what is missing in them taken from others.

    Examples:
      >>> completed({"a": 1, "b": {"c": 2}}, {"a": 9, "b": {"c": 9, "d": 3}, "e": 4})
      {'a': 1, 'b': {'c': 2, 'd': 3}, 'e': 4}
    """
    filled = dict(settings)
    for key, value in defaults.items():
        if isinstance(value, dict) and isinstance(settings.get(key), dict):
            filled[key] = completed(settings[key], value)
        else:
            filled.setdefault(key, value)
    return filled


def differences(old: dict[str, Any], new: dict[str, Any], prefix: str = "") -> list[str]:
    """Names the settings in which two runs differ, as `key: old -> new`.

    Examples:
      >>> differences({"a": 1, "b": {"c": 2}}, {"a": 1, "b": {"c": 3}})
      ['b.c: 2 -> 3']
    """
    found = []
    for key in sorted({*old, *new}):
        before, after = old.get(key), new.get(key)
        if isinstance(before, dict) and isinstance(after, dict):
            found += differences(before, after, f"{prefix}{key}.")
        elif before != after:
            found.append(f"{prefix}{key}: {before} -> {after}")
    return found
