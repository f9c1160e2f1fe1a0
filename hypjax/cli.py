"""What all programs share: reading flags, and ending with a status and one clear line."""

from __future__ import annotations

import errno
import json
import os
import sys
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from absl import flags, logging
from ml_collections import ConfigDict, config_flags

from hypjax.data.errors import DataError
from hypjax.errors import DivergedError, Stopped, UsageError
from hypjax.settings import default_settings

# Settings that bring others with them, by the words behind the colon that do so.
LEADING = {"data.name": "data", "encoder.name": "encoder", "encoder.weights": "weights"}
# Settings whose default is not what runs from before them did.
BEFORE: dict[str, Any] = {"data": {"shorter_side": 0}}


def run(program: Callable[[Sequence[str]], None]) -> None:
    """Runs a program on the command line and exits with a status and, if it is not 0, one line.

    0 done; 1 stopped by what it met: a loss that is not finite, a full disk; 2 bad usage or bad data; 128 + n stopped
    by signal n, SIGTERM or Ctrl-C, after saving.
    """
    logging.set_verbosity(logging.ERROR)  # libraries' notices would drown the progress line
    # Orbax leaves a coroutine behind when it meets a damaged file, which is reported here in better words.
    warnings.filterwarnings("ignore", message=r"coroutine '.*_background_load' was never awaited")
    try:
        program(sys.argv)
    except (UsageError, DataError) as error:
        sys.stdout.flush()
        print(f"error: {_one_line(error)}", file=sys.stderr)
        sys.exit(2)
    except OSError as error:
        sys.stdout.flush()
        full = error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
        what = "stopped: no space left; make room, and the same command resumes" if full else "error"
        print(f"{what}: {_one_line(error)}", file=sys.stderr)
        sys.exit(1 if full else 2)
    except Stopped as stopped:
        print(f"\n{stopped}; the same command resumes", file=sys.stderr)
        sys.exit(128 + stopped.signal)
    except DivergedError as error:
        sys.stdout.flush()
        print(f"stopped: {_one_line(error)}", file=sys.stderr)
        sys.exit(1)
    except KeyboardInterrupt:
        print("\ninterrupted; the same command resumes from the last checkpoint", file=sys.stderr)
        sys.exit(130)


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split())


def parse_flags(argv: Sequence[str], values: flags.FlagValues) -> None:
    """Parses the command line, and reads the config file that it names.

    Raises:
      UsageError: an unknown flag, setting or value, or a config file that can't be read.
    """
    show_help(argv, values, takes_settings="config" in values)
    # ml_collections looks for overrides in sys.argv, whatever it is given to parse.
    real, sys.argv = sys.argv, list(argv)
    try:
        rest = values(list(argv))
        if "config" in values:
            config = values["config"].value
            if config is None:
                raise UsageError("no config given: --config configs/hyp_uml.py (or another file of configs/)")
            config.to_dict()  # a file that could not be read shows itself when it is used
            _refuse_late(argv)
    except UsageError:
        raise
    except SystemExit:
        raise
    except Exception as error:  # absl and ml_collections raise many kinds, a config file any
        raise UsageError(_explain(error, argv)) from error
    finally:
        sys.argv = real
    if len(rest) > 1:
        known = "settings are --config.KEY=VALUE" if "config" in values else "flags are --NAME=VALUE; --help lists them"
        raise UsageError(f"unexpected word {rest[1]!r} on the command line; {known}")


def show_help(argv: Sequence[str], values: flags.FlagValues, *, takes_settings: bool = True) -> None:
    """Prints what the program does and its flags, and exits, if that is asked for."""
    if not {"--help", "-help", "-h", "-?"} & set(argv[1:]):
        return
    about = sys.modules["__main__"].__doc__ or ""
    print(f"{about.strip()}\n\nFlags:")
    for name in values:
        flag = values[name]
        default = "" if flag.default in (None, "", []) else f" (default: {flag.default})"
        print(f"  --{name}: {flag.help}{default}")
    if takes_settings:
        print("\nEvery setting of a config is a flag too, --config.KEY=VALUE; hypjax/settings.py lists them.")
    sys.exit(0)


def _refuse_late(argv: Sequence[str]) -> None:
    for word in argv:
        key, _, value = word.lstrip("-").removeprefix("config.").partition("=")
        if word.startswith(("--config.", "-config.")) and key in LEADING:
            raise UsageError(
                f"--config.{key} comes too late to bring the settings that go with it; say it behind the colon, "
                f"--config FILE.py:{LEADING[key]}={value or '...'}"
            )


def _explain(error: Exception, argv: Sequence[str]) -> str:
    """The last thing that went wrong, without the traceback that ml_collections quotes."""
    path = next(
        (
            word.partition("=")[2] or following
            for word, following in zip(argv, [*argv[1:], ""], strict=True)
            if word.startswith("--config") and not word.startswith("--config.")
        ),
        "",
    ).partition(":")[0]
    if path and not Path(path).exists():
        return f"config file {path!r} does not exist"
    unknown = _unknown_setting(argv)
    if unknown:
        return unknown
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    text = lines[-1].removeprefix("hypjax.errors.UsageError: ") if lines else type(error).__name__
    return text if isinstance(error, flags.Error) or not path else f"config file {path!r}: {text}"


def _unknown_setting(argv: Sequence[str]) -> str:
    """Names the first overridden setting that does not exist, and those that stand beside it."""
    for word in argv:
        if not word.startswith("--config."):
            continue
        path, node = word.removeprefix("--config.").partition("=")[0], default_settings()
        for part in path.split("."):
            if not isinstance(node, ConfigDict) or part not in node:
                beside = ", ".join(node) if isinstance(node, ConfigDict) else "none below it"
                return f"unknown setting {path!r}; there are: {beside}"
            node = node[part]
    return ""


def define_config(values: flags.FlagValues) -> None:
    """Adds `--config FILE.py[:KEY=VALUE,...]` and `--config.KEY=VALUE`."""
    config_flags.DEFINE_config_file("config", None, "configs/NAME.py[:KEY=VALUE,...]", flag_values=values)


def printable(text: str) -> str:
    r"""A text as any console takes it: bytes of a file name that are no UTF-8 become question marks.

    Examples:
      >>> printable("caf\udce9.png")
      'caf?.png'
    """
    return text.encode("utf-8", "replace").decode()


def write_json(path: Path, content: Any) -> None:
    """Writes a JSON file that is either whole or not there, whatever kills the process."""
    write_text(path, json.dumps(content, indent=2) + "\n")


def write_text(path: Path, text: str) -> None:
    """Writes a text file that is either whole or as it was, whatever kills the process and however full the disk is."""
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        beside.write_text(text)
        beside.replace(path)
    except OSError:
        beside.unlink(missing_ok=True)
        raise


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
        return ConfigDict(completed(completed(held, BEFORE), default_settings().to_dict()))
    except (json.JSONDecodeError, TypeError) as error:
        raise UsageError(f"{path} is damaged ({_one_line(error)}); delete {workdir} to start anew") from error


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
