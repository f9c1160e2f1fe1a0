import asyncio
import threading

import pytest

from hypjax.serving.batching import Batcher, Full


def gather(batcher, questions):
    async def ask():
        return await asyncio.gather(*(batcher.ask(question) for question in questions), return_exceptions=True)

    try:
        return asyncio.run(ask())
    finally:
        batcher.close()


def test_what_waits_is_answered_together_each_its_own():
    batches, seen, begun, ready = [], [], threading.Event(), threading.Event()

    def answer(questions):
        begun.set()
        ready.wait(60)
        batches.append(len(questions))
        return [10 * question for question in questions]

    async def ask(batcher):
        asked = [await taken(batcher, 0, begun), *(asyncio.create_task(batcher.ask(number)) for number in range(1, 11))]
        while batcher.waiting < 10:
            await asyncio.sleep(0.001)
        ready.set()
        return await asyncio.gather(*asked)

    batcher = Batcher(answer, most=4, waiting=100, seen=seen.append)
    assert asyncio.run(ask(batcher)) == [10 * question for question in range(11)]
    batcher.close()
    assert batches == seen == [1, 4, 4, 2]


async def taken(batcher, question, begun):
    """Asks, and goes on once that is being answered: whoever asks sooner may be answered with it."""
    asked = asyncio.create_task(batcher.ask(question))
    while not begun.is_set():
        await asyncio.sleep(0.001)
    return asked


def test_an_error_reaches_who_asked_and_the_next_are_answered():
    def answer(questions):
        if "all" in questions:
            raise OSError("of all")
        return [ValueError("of one") if question == "one" else question for question in questions]

    batcher = Batcher(answer, most=1, waiting=100)
    found = gather(batcher, ["a", "one", "all", "b"])
    assert [found[0], found[3]] == ["a", "b"]
    assert [(type(error), str(error)) for error in found[1:3]] == [(ValueError, "of one"), (OSError, "of all")]


def test_where_too_many_wait_one_more_is_refused():
    begun, ready = threading.Event(), threading.Event()

    def answer(questions):
        begun.set()
        ready.wait(60)
        return questions

    async def ask(batcher):
        asked = [await taken(batcher, 0, begun), *(asyncio.create_task(batcher.ask(number)) for number in range(1, 4))]
        while batcher.waiting < 3:
            await asyncio.sleep(0.001)
        with pytest.raises(Full, match="3 questions wait already"):
            await batcher.ask(4)
        ready.set()
        return await asyncio.gather(*asked)

    batcher = Batcher(answer, most=1, waiting=3)
    assert asyncio.run(ask(batcher)) == [0, 1, 2, 3]
    batcher.close()


def test_who_no_longer_waits_is_not_answered():
    begun, ready, answered = threading.Event(), threading.Event(), []

    def answer(questions):
        begun.set()
        ready.wait(60)
        answered.extend(questions)
        return questions

    async def ask(batcher):
        first = await taken(batcher, "first", begun)
        gone = asyncio.create_task(batcher.ask("gone"))
        await asyncio.sleep(0.01)
        gone.cancel()
        await asyncio.wait([gone])
        ready.set()
        return await first, await batcher.ask("last")

    batcher = Batcher(answer, most=2, waiting=9)
    assert asyncio.run(ask(batcher)) == ("first", "last")
    batcher.close()
    assert answered == ["first", "last"]
