"""A run with the counts of Stanford Online Products on this machine's processes: memory of each, time of evaluation.

    python benchmarks/sop_run.py --processes 4

59,551 training images of 11,318 classes and 60,502 test images of 11,316 classes in 12 groups, made up as they are
read (16 pixels, one pattern a class, noise), a transformer of one block, 128 dimensions, Recall@1 to 1,000 and every
other figure. The processes are started as on a cluster, all on this machine; they are killed as a second checkpoint is
begun, started again, resume and score the test classes. Then one process scores them with the same state. A row each:
the peak of memory of the largest process, the seconds of the evaluation without embedding, the processor time that it
takes in all processes, and the seconds of embedding. The last line names the figure that differs most.
"""

import argparse
import contextlib
import json
import os
import resource
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from unittest import mock

import numpy as np

from hypjax.config.counted import Counted

SIZE, GROUPS = 16, 12
COUNTS = {"train": (11_318, 59_551), "test": (11_316, 60_502)}
WORDS = (
    "--config=configs/hyp_uml.py:data=sop,encoder=vit_ti8",
    "--config.encoder.sizes={'width': 32, 'depth': 1, 'heads': 2}",
    *(f"--config.data.{key}={SIZE}" for key in ("image_size", "eval_image_size", "eval_resize")),
    "--config.batch.most_classes=60",
    "--config.batch.samples_per_class=4",
    "--config.steps=60",
    "--config.checkpoint.every=20",
    "--config.checkpoint.best=",
    "--config.evaluation.batch=512",
)


class Patterns(Counted):
    """Images of one random pattern a class, those of a group alike, and noise."""

    def __init__(self, classes: int, images: int, seed: int) -> None:
        super().__init__(classes, images, groups=GROUPS)
        self._seed = seed

    def image(self, index: int) -> np.ndarray:
        """A pattern of 8 x 8 fields, its class's and its group's, and noise."""
        label = int(self.labels[index])
        shape, parts = (8, 8, 3), [(1, label % GROUPS), (self._seed, label), (self._seed, label, index)]
        group, own, noise = (np.random.default_rng(part).integers(0, 256, shape) for part in parts)
        fields = (0.3 * group + 0.5 * own + 0.2 * noise).astype(np.uint8)
        return fields.repeat(SIZE // 8, axis=0).repeat(SIZE // 8, axis=1)


def work(words: list[str]) -> None:
    """One process of the run, which prints what it took in the end."""
    from hypjax import evaluate, train
    from hypjax.data import catalog
    from hypjax.data.split import Splits
    from hypjax.run import results, status
    from hypjax.training import evaluation

    spent = {"embedding": np.zeros(2), "scoring": np.zeros(2)}

    @contextlib.contextmanager
    def spending(on: str) -> Iterator[None]:
        before = clocks()
        yield
        spent[on] += clocks() - before

    def timed(function, on):
        def run(*args, **more):
            with spending(on):
                return function(*args, **more)

        return run

    def program(argv: list[str]) -> None:
        (train if argv[1].startswith("--config") else evaluate).main(argv)
        seconds, processor = spent["scoring"] - spent["embedding"]
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
        embedding = spent["embedding"][0]
        print("took", json.dumps({"seconds": seconds, "processor": processor, "peak": peak, "embedding": embedding}))

    made = {name: Patterns(*counts, seed=2 + i) for i, (name, counts) in enumerate(COUNTS.items())}
    splits = Splits(made["train"], Patterns(0, 0, 0), made["test"])
    with (
        mock.patch.object(sys, "argv", ["", *words]),
        mock.patch.object(catalog, "load", return_value=splits),
        mock.patch.object(results, "score", timed(results.score, "scoring")),
        mock.patch.object(evaluate, "score", timed(evaluate.score, "scoring")),
        mock.patch.object(evaluation, "embed_all", timed(evaluation.embed_all, "embedding")),
    ):
        status.run(program)


def clocks() -> np.ndarray:
    """Seconds by the clock, and of this process on all cores."""
    return np.array([time.perf_counter(), time.process_time()])


def start(processes: int, folder: Path) -> list[subprocess.Popen]:
    """Starts the processes of a run, or goes on with it."""
    with socket.socket() as free:
        free.bind(("localhost", 0))
        address = f"localhost:{free.getsockname()[1]}"
    flags = [f"--coordinator={address}", f"--num_processes={processes}"] if processes > 1 else []
    started = []
    for process in range(processes):
        own = [*flags, f"--process_id={process}"] if flags else []
        command = [sys.executable, __file__, "--work", *WORDS, f"--workdir={folder / 'run'}", *own]
        log = (folder / f"process-{process}.txt").open("a")
        started.append(
            subprocess.Popen(command, env=environment(folder), stdout=log, stderr=subprocess.STDOUT, text=True)
        )
    return started


def environment(folder: Path) -> dict[str, str]:
    """Of processes of which the first keeps what it compiles, like any run's, and finds nothing of earlier ones."""
    return os.environ | {"JAX_PLATFORMS": "cpu", "XDG_CACHE_HOME": str(folder / "cache")}


def trained(processes: int, folder: Path) -> list[str]:
    """What each process of a run says that was killed and resumed."""
    begun = start(processes, folder)
    while len(list((folder / "run" / "checkpoints").glob("[0-9]*"))) < 2:  # then the first is whole
        if any(one.poll() is not None for one in begun):
            break
        time.sleep(0.2)
    for one in begun:
        one.kill()
        one.wait()
    ended = [one.wait() for one in start(processes, folder)]
    told = [(folder / f"process-{i}.txt").read_text() for i in range(processes)]
    if any(ended) or "resuming after step" not in told[0]:
        sys.exit(told[ended.index(max(ended, key=abs))][-4000:])
    return told


def row(told: list[str]) -> str:
    """What processes took that evaluated together."""
    took = [json.loads(text.rpartition("took ")[2]) for text in told]
    peak, seconds, embedding = (max(one[key] for one in took) for key in ("peak", "seconds", "embedding"))
    used = sum(one["processor"] for one in took)
    return f"| {len(told)} | {peak:.2f} | {seconds:.0f} | {used:.0f} | {embedding:.0f} |"


def main() -> None:
    """Runs and prints a table."""
    if sys.argv[1:2] == ["--work"]:
        work(sys.argv[2:])
        return
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--processes", type=int, default=4)
    processes = parser.parse_args().processes
    print("| processes | peak GiB | evaluation, s | processor time, s | embedding, s |\n|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as name:
        run, results = Path(name) / "run", Path(name) / "run" / "results.json"
        print(row(trained(processes, Path(name))), flush=True)
        together = json.loads(results.read_text())
        again = [sys.executable, __file__, "--work", f"--workdir={run}"]
        alone = subprocess.run(again, env=environment(Path(name) / "alone"), check=True, text=True, capture_output=True)
        print(row([alone.stdout]))
        found = json.loads(results.read_text())
    apart = {key: abs(together[key] - value) for key, value in found.items() if value is not None}
    furthest = max(apart, key=lambda key: apart[key])
    print(f"\n{len(apart)} figures, the furthest apart {furthest}, by {apart[furthest]:.1e}")


if __name__ == "__main__":
    main()
