"""What waits is answered together: one thread takes all questions there are, up to a number, and answers them."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from queue import Empty, SimpleQueue
from typing import Generic, TypeVar

Q = TypeVar("Q")
R = TypeVar("R")


class Full(RuntimeError):
    """So many wait already that one more would wait too long."""


class Batcher(Generic[Q, R]):
    """Gathers questions that are asked at the same time.

    Args:
      answer: to so many questions as many answers, in order; an exception among them is raised where it was asked.
      most: questions at once.
      waiting: questions that may wait.
      seen: hears of how many were answered at once.
    """

    def __init__(
        self,
        answer: Callable[[list[Q]], Sequence[R | Exception]],
        *,
        most: int,
        waiting: int,
        seen: Callable[[int], None] = lambda count: None,
    ) -> None:
        self._answer, self._most, self._most_waiting, self._seen = answer, most, waiting, seen
        self._queue: SimpleQueue[tuple[Q, Future[R]] | None] = SimpleQueue()
        self._thread = threading.Thread(target=self._work, name="answering", daemon=True)
        self._thread.start()

    @property
    def waiting(self) -> int:
        """Questions that nobody has begun to answer."""
        return self._queue.qsize()

    async def ask(self, question: Q) -> R:
        """The answer to a question.

        Raises:
          Full: too many wait.
        """
        if self.waiting >= self._most_waiting:
            raise Full(f"{self._most_waiting} questions wait already; ask again in a while")
        promised: Future[R] = Future()
        self._queue.put((question, promised))
        return await asyncio.wrap_future(promised)

    def close(self) -> None:
        """Answers what waits, and no more."""
        self._queue.put(None)
        self._thread.join()

    def _work(self) -> None:
        while taken := self._take():
            asked = [(question, promised) for question, promised in taken if promised.set_running_or_notify_cancel()]
            if not asked:
                continue
            self._seen(len(asked))
            try:
                answers = self._answer([question for question, _ in asked])
            except Exception as error:  # whoever asked is told; the next are answered
                answers = [error] * len(asked)
            for (_, promised), answer in zip(asked, answers, strict=True):
                if isinstance(answer, Exception):
                    promised.set_exception(answer)
                else:
                    promised.set_result(answer)

    def _take(self) -> list[tuple[Q, Future[R]]]:
        """All that wait, one at least, up to the most; none once it is closed."""
        first = self._queue.get()
        taken = [] if first is None else [first]
        while taken and len(taken) < self._most:
            try:
                more = self._queue.get_nowait()
            except Empty:
                break
            if more is None:
                self._queue.put(None)
                break
            taken.append(more)
        return taken
