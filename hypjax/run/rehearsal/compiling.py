"""A step compiled as far as one asks: until its memory is laid out, or to its machine code.

A compiler for TPUs lays out memory within seconds and takes many times as long for machine code, of which a rehearsal
needs no more than how many cycles it takes. It can't be told to stop in between, so that it goes on in a thread while
what it wrote down is read, and the process ends without it (`status.leave`).
"""

from __future__ import annotations

import re
import tempfile
import threading
import time
from pathlib import Path
from typing import Any, NamedTuple

import jax

from hypjax.run.compiled import NAME

Options = dict[str, Any] | None

_WAIT = 0.1  # seconds between two looks at what the compiler wrote
_TOTAL = re.compile(r"Memory Space: default.*\nTotal bytes: (\d+)")


class Compiled(NamedTuple):
    """What a compiler says of a program.

    Attributes:
      text: its instructions.
      buffers: bytes of arguments, results and temporaries on each device; None where the compiler doesn't say.
      code: bytes of its machine code; 0 where it was not waited for.
      seconds: until then.
    """

    text: str
    buffers: int | None
    code: int
    seconds: float


def compiled(lowered: jax.stages.Lowered, options: Options = None, *, ahead: bool = False) -> Compiled:
    """Compiles a program.

    Args:
      lowered: the program.
      options: of the compiler.
      ahead: whether to return as soon as memory is laid out, where the compiler writes that down.

    Raises:
      JaxRuntimeError: what the compiler complains of.
    """
    start = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="hypjax-", ignore_cleanup_errors=True) as folder:
        work = _Work(lowered, {**(options or {}), "xla_dump_to": folder} if ahead else options)
        work.start()
        while work.is_alive():
            work.join(_WAIT)
            if ahead and (read := laid_out(Path(folder))):
                return Compiled(*read, 0, time.monotonic() - start)
    if work.made is None:
        raise work.error or RuntimeError("nothing was compiled")
    said = work.made.memory_analysis()
    fresh = said.output_size_in_bytes - said.alias_size_in_bytes if said else 0
    buffers = said.argument_size_in_bytes + fresh + said.temp_size_in_bytes if said else None
    code = said.generated_code_size_in_bytes if said else 0
    return Compiled(work.made.as_text() or "", buffers, code, time.monotonic() - start)


class _Work(threading.Thread):
    """Compiles beside the process, which may end without it."""

    def __init__(self, lowered: jax.stages.Lowered, options: Options) -> None:
        super().__init__(name=NAME, daemon=True)
        self._lowered, self._options = lowered, options
        self.made: jax.stages.Compiled | None = None
        self.error: BaseException | None = None

    def run(self) -> None:
        try:
            self.made = self._lowered.compile(self._options)
        except BaseException as error:
            self.error = error


def laid_out(folder: Path) -> tuple[str, int] | None:
    """The program and the bytes of its buffers by what the compiler wrote down, once it went on from there."""
    for after in folder.glob("*.after_optimizations_after_buffer_assignment.txt"):
        program = after.with_name(after.name.replace("_after_buffer_assignment", ""))
        report = after.with_name(after.name.replace("_after_buffer_assignment", "-memory-usage-report"))
        if program.exists() and report.exists() and (total := _TOTAL.search(report.read_text())):
            return program.read_text(), int(total[1])
    return None
