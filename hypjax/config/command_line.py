"""The command lines of all programs: flags, a config file and the settings that are changed in it."""

from __future__ import annotations

import difflib
import re
import sys
from collections.abc import Sequence
from pathlib import Path

from absl import flags
from ml_collections import ConfigDict, config_flags

from hypjax.config.settings import ACCUMULATED, ENCODER_SIZES, default_settings, refuse_accumulation
from hypjax.data.errors import UsageError

# Settings that bring others with them, by the words behind the colon that do so.
LEADING = {"data.name": "data", "encoder.name": "encoder", "encoder.weights": "weights"}


def parse_flags(argv: Sequence[str], values: flags.FlagValues) -> None:
    """Parses the command line, and reads the config file that it names.

    Raises:
      UsageError: an unknown flag, setting or value, or a config file that can't be read.
    """
    show_help(argv, values, takes_settings="config" in values)
    argv = [argv[0], *with_packaged(argv[1:])]
    # ml_collections looks for overrides in sys.argv, whatever it is given to parse.
    real, sys.argv = sys.argv, list(argv)
    try:
        rest = values(list(argv))
        if "config" in values:
            config = values["config"].value
            if config is None:
                raise UsageError("no config given: --config hyp_uml (or another; or a file, configs/hyp_uml.py)")
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


def with_packaged(words: Sequence[str]) -> list[str]:
    """A command line on which `--config hyp_uml` names the file of that name that comes with hypjax.

    Raises:
      UsageError: there is none.
    """
    found, follows = [], False
    for word in words:
        flag, equals, value = word.partition("=")
        if follows:
            word = packaged(word)
        elif equals and flag in ("--config", "-config"):
            word = f"{flag}={packaged(value)}"
        follows = word in ("--config", "-config")
        found.append(word)
    return found


def packaged(spec: str) -> str:
    """`NAME[:WORDS]` with the path of the packaged config of that name; what names a file of its own is left as it is.

    Raises:
      UsageError: there is none of that name.
    """
    name, colon, words = spec.partition(":")
    if not re.fullmatch(r"\w+", name) or Path(name).exists():
        return spec
    package = Path(__file__).parent.parent
    for folder in (package / "configs", package.parent / "configs"):  # installed, and in a clone
        known = {path.stem: path for path in sorted(folder.glob("[!_]*.py"))}
        if name in known:
            return f"{known[name]}{colon}{words}"
        if known:
            raise UsageError(f"no config {name!r} comes with hypjax; there are: {', '.join(known)}, or give a FILE.py")
    return spec


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
    print("  --traceback: show where an error arose, not only its one line")
    print("  --version: say which versions run")
    if takes_settings:
        print("\nEvery setting of a config is a flag too, --config.KEY=VALUE; hypjax/config/settings.py lists them.")
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
    text = lines[-1].removeprefix("hypjax.data.errors.UsageError: ") if lines else type(error).__name__
    return text if isinstance(error, flags.Error) or not path else f"config file {path!r}: {text}"


def _unknown_setting(argv: Sequence[str]) -> str:
    """Names the first overridden setting that does not exist, and those that stand beside it."""
    for word in argv:
        if not word.startswith("--config."):
            continue
        path, node = word.removeprefix("--config.").partition("=")[0], default_settings()
        if ACCUMULATED in path:
            return refuse_accumulation(path)
        for part in path.split("."):
            if not isinstance(node, ConfigDict) or part not in node:
                if node is not None and path.startswith("encoder.sizes."):
                    return f"encoder.sizes, which has no {part!r} yet, is set as a whole: {ENCODER_SIZES}"
                beside = list(node) if isinstance(node, ConfigDict) else []
                close = difflib.get_close_matches(part, beside, n=1)
                meant = f"did you mean {close[0]}? " if close else ""
                return f"unknown setting {path!r}; {meant}there are: {', '.join(beside) or 'none below it'}"
            node = node[part]
    return ""


def define_config(values: flags.FlagValues) -> None:
    """Adds `--config NAME[:KEY=VALUE,...]`, a name or a FILE.py, and `--config.KEY=VALUE`."""
    config_flags.DEFINE_config_file("config", None, "NAME or FILE.py, with [:KEY=VALUE,...]", flag_values=values)
