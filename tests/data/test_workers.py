import gc
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from PIL import Image

from hypjax.data.errors import DataError, UsageError
from hypjax.data.folder import ImageFolder
from hypjax.data.pipeline import evaluation_batches, train_batches
from hypjax.data.sampling import ClassBalanced
from hypjax.data.source import coarsened, subset
from hypjax.data.transforms import EvaluationTransform, RandomDegradation, TrainTransform
from hypjax.data.unlabeled import Files
from hypjax.data.workers import Processes, Threads
from tests.data.toy import Toy

# Starts workers as a program does, says which, and waits to be killed.
PARENT = """
import sys, time
import numpy as np
from hypjax.data.folder import ImageFolder
from hypjax.data.transforms import EvaluationTransform
from hypjax.data.workers import Processes, Views

workers = Processes(2)
fill = workers.open(Views(ImageFolder(sys.argv[1]), EvaluationTransform(8)), keep=False).fill
fill([(0, 0)], [0], np.zeros((1, 8, 8, 3), np.uint8))
print(*(each.process.pid for each in workers.crew), flush=True)
time.sleep(60)
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    root, rng = tmp_path_factory.mktemp("photos"), np.random.default_rng(0)
    for label in "abc":
        for part in ("x", "y"):
            (root / label / part).mkdir(parents=True)
            for number in range(3):
                Image.fromarray(rng.integers(0, 256, (20, 30, 3), np.uint8)).save(root / label / part / f"{number}.png")
    return root


def batches(source, workers, steps=9):
    sampler = ClassBalanced(source.labels, classes_per_batch=3, samples_per_class=3, seed=1)
    made = train_batches(
        source, sampler, TrainTransform(8), seed=3, degradation=RandomDegradation(0.5), workers=workers
    )
    taken = [next(made) for _ in range(steps)]
    made.set_state({"next_index": 2})
    return [*taken, next(made)]


def require_equal_batches(found, expected):
    for one, other in zip(found, expected, strict=True):
        for key in other:
            np.testing.assert_array_equal(one[key], other[key])


@pytest.mark.slow
def test_processes_make_what_threads_make_and_end_with_their_parent(folder, tmp_path):
    with subprocess.Popen([sys.executable, "-c", PARENT, str(folder)], stdout=subprocess.PIPE, text=True) as parent:
        workers, source = Processes(2, cache_bytes=2 * 20 * 30 * 3 * 5), ImageFolder(folder)
        views = subset(coarsened(source, "folder 1"), np.arange(18)[::-1])
        for given in (views, source, Toy()):  # the last one is sent whole
            require_equal_batches(batches(given, workers), batches(given, Threads(1)))
        seen = [list(evaluation_batches(views, 5, EvaluationTransform(8), workers=each)) for each in (workers, None)]
        require_equal_batches(*seen)
        (tmp_path / "a").mkdir()
        (tmp_path / "a" / "1.png").write_bytes(b"rubbish")
        with pytest.raises(DataError, match=r"a/1.png: cannot decode this image \(not an image Pillow knows\)"):
            list(evaluation_batches(ImageFolder(tmp_path), 5, EvaluationTransform(8), workers=workers))
        reasons = Files([tmp_path / "a" / "1.png"])  # which are remembered where they are asked for
        assert len(list(evaluation_batches(reasons, 5, EvaluationTransform(8), workers=workers))) == 1
        assert list(reasons.reasons) == [0]

        for each in workers.crew:  # as a cluster tells every process
            os.kill(each.process.pid, signal.SIGTERM)
        require_equal_batches(batches(source, workers), batches(source, Threads(1)))
        workers.crew[0].process.kill()
        with pytest.raises(UsageError, match="a process that decodes images was killed by SIGKILL, as where memory"):
            batches(source, workers)
        gc.collect()  # what the error leaves is complained about here, and not in a later test
        workers.close()
        assert all(each.process.returncode is not None for each in workers.crew)

        pids = [int(pid) for pid in parent.stdout.readline().split()]
        assert len(pids) == 2
        parent.kill()
        deadline = time.monotonic() + 30
        while any(is_alive(pid) for pid in pids):
            assert time.monotonic() < deadline
            time.sleep(0.02)


def is_alive(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def test_a_view_that_is_too_large_is_refused():
    with pytest.raises(UsageError, match=r"views of 5000 pixels are too large .*workers=0"):
        evaluation_batches(Toy(), 5, EvaluationTransform(5000), workers=Processes(2))
