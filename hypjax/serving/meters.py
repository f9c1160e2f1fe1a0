"""What a server counts, as the text that Prometheus reads."""

from __future__ import annotations

import resource
import sys
import threading
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

SECONDS = (0.005, 0.01, 0.02, 0.04, 0.06, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0)
IMAGES = (1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0)


class Histogram:
    """Counts of values up to each of some bounds.

    Args:
      bounds: ascending.
    """

    def __init__(self, bounds: Sequence[float]) -> None:
        self._bounds, self._counts, self._sum = bounds, [0] * (len(bounds) + 1), 0.0

    def add(self, value: float) -> None:
        """Counts a value."""
        self._counts[next((i for i, bound in enumerate(self._bounds) if value <= bound), -1)] += 1
        self._sum += value

    def lines(self, name: str, labels: str = "") -> Iterator[str]:
        """The counts as Prometheus has them: of all values up to each bound."""
        total, before = 0, f"{labels}," if labels else ""
        for bound, count in zip([*self._bounds, "+Inf"], self._counts, strict=True):
            total += count
            yield f'{name}_bucket{{{before}le="{bound}"}} {total}'
        around = f"{{{labels}}}" if labels else ""
        yield f"{name}_sum{around} {self._sum:.6f}"
        yield f"{name}_count{around} {total}"


class Meters:
    """All that is counted; from any thread.

    Args:
      paths: that are told apart; others count as `other`, so that no stranger makes the list longer.
    """

    def __init__(self, paths: Sequence[str]) -> None:
        self._paths, self._lock = frozenset(paths), threading.Lock()
        self._requests: Counter[tuple[str, int]] = Counter()
        self._seconds: dict[str, Histogram] = {}
        self._batches = Histogram(IMAGES)

    def answered(self, path: str, status: int, seconds: float) -> None:
        """Counts a request.

        Args:
          path: that was asked for.
          status: of the answer; 499 where who asked was gone before it came.
          seconds: that it took.
        """
        path = path if path in self._paths else "other"
        with self._lock:
            self._requests[path, status] += 1
            self._seconds.setdefault(path, Histogram(SECONDS)).add(seconds)

    def batch(self, images: int) -> None:
        """Counts questions that were answered together."""
        with self._lock:
            self._batches.add(images)

    def text(self, gauges: Mapping[str, tuple[str, float]]) -> str:
        """The page.

        Args:
          gauges: what is measured at this moment, by name: what it is, and its value.
        """
        lines = ["# HELP hypjax_requests_total Answered requests.", "# TYPE hypjax_requests_total counter"]
        with self._lock:
            for (path, status), count in sorted(self._requests.items()):
                lines.append(f'hypjax_requests_total{{path="{path}",status="{status}"}} {count}')
            lines += [
                "# HELP hypjax_request_seconds From the head of a request to the end of its answer.",
                "# TYPE hypjax_request_seconds histogram",
            ]
            for path, seconds in sorted(self._seconds.items()):
                lines += seconds.lines("hypjax_request_seconds", f'path="{path}"')
            lines += [
                "# HELP hypjax_batch_size Questions that were answered together.",
                "# TYPE hypjax_batch_size histogram",
                *self._batches.lines("hypjax_batch_size"),
            ]
        for name, (told, value) in gauges.items():
            lines += [f"# HELP {name} {told}", f"# TYPE {name} gauge", f"{name} {value:g}"]
        return "\n".join([*lines, ""])


def resident_bytes() -> int:
    """Memory of this process in bytes; where the system does not tell, the most that it had."""
    try:
        return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()
    except OSError:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
