"""Several processes as threads of one: what they tell each other goes through a list."""

import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from hypjax.retrieval import Shares


class Meeting:
    """An allgather of so many threads; of arrays [n, d] it knows, by d, the most rows that were sent at a time."""

    def __init__(self, processes):
        self.processes, self.rows = processes, {}
        self._barrier, self._sent = threading.Barrier(processes, timeout=120), [None] * processes

    def of(self, process):
        """The allgather of one of them."""

        def allgather(own):
            self._sent[process] = np.array(own)
            self._barrier.wait()
            parts = np.stack(self._sent)
            if own.ndim == 2:
                width = own.shape[1]
                self.rows[width] = max(self.rows.get(width, 0), len(own) * self.processes)
            self._barrier.wait()  # nobody sends anew before all have read
            return parts

        return allgather

    def run(self, work):
        """What `work(process)` gives in each of them."""

        def alone(process):
            try:
                return work(process)
            except BaseException:
                self._barrier.abort()  # the others do not wait for one that failed
                raise

        with ThreadPoolExecutor(self.processes) as pool:
            return [task.result() for task in [pool.submit(alone, process) for process in range(self.processes)]]


def together(holder, work, processes=None):
    """What `work(shares)` gives in each process, for rows that are held so."""
    meeting = Meeting(processes or int(np.max(holder)) + 1)
    return meeting.run(lambda process: work(Shares(np.asarray(holder), process, meeting.of(process))))
