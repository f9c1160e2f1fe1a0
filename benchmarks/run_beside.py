"""What runs beside a run that is broken, or around it, for `benchmarks/faults.py`.

python benchmarks/run_beside.py read WORKDIR            # opens a run every half second, until stdin closes
python benchmarks/run_beside.py clock WORD ...          # hypjax.train under a clock that jumps
"""

from __future__ import annotations

import datetime
import os
import runpy
import sys
import threading
import time
from pathlib import Path

from hypjax.data.errors import UsageError
from hypjax.run.run import Run
from hypjax.training import sharding


def read(workdir: Path) -> None:
    """Opens a run every half second and reads all it has, until stdin closes; prints a line on each time and fault."""
    threading.Thread(target=lambda: (sys.stdin.read(), os._exit(0)), daemon=True).start()
    mesh = sharding.data_mesh()
    while True:
        try:
            run = Run.open(workdir)
            told = [len(run.metrics), len(run.results or ()), len(run.manifest), len(run.pictures), run.steps]
            for which in ("last", "best"):
                told += [run.restore(mesh, which)[1]]
            print("read", *told, flush=True)
        except UsageError as error:
            early = "holds no trained model" in str(error) or "holds no run" in str(error)
            print("early" if early else f"fault: {error}", flush=True)
        except Exception as error:
            print(f"fault: {type(error).__name__}: {error}", flush=True)
        time.sleep(0.5)


def jump() -> None:
    """Has the clock of this process jump, a day back and a day forth, every 0.7 seconds."""
    clock, real = time.time, datetime.datetime

    def offset() -> float:
        return (0, -86400, 86400)[int(time.monotonic() / 0.7) % 3]

    class Jumping(real):
        @classmethod
        def now(cls, tz: datetime.tzinfo | None = None) -> datetime.datetime:
            return real.fromtimestamp(time.time(), tz)

    time.time = lambda: clock() + offset()
    datetime.datetime = Jumping


if __name__ == "__main__":
    if sys.argv[1] == "read":
        read(Path(sys.argv[2]))
    jump()
    sys.argv[1:] = sys.argv[2:]
    runpy.run_module("hypjax.train", run_name="__main__", alter_sys=True)
