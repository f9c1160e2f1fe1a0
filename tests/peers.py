"""Processes that work as one, each a thread of this one."""

import threading

from hypjax.data.errors import UsageError
from hypjax.run import meeting


def met(count):
    """Processes of which each is a thread here."""
    listening = meeting.listen(0)
    port = listening.getsockname()[1]
    found = [None] * count

    def come(index):
        found[index] = meeting.join(["nowhere.invalid", "localhost"], port, index, count, 20)

    threads = [threading.Thread(target=come, args=(index,)) for index in range(1, count)]
    for thread in threads:
        thread.start()
    found[0] = meeting.welcome(listening, count, 20)
    for thread in threads:
        thread.join()
    return found


def all_do(peers, what):
    """What each of them gets from the same call, made by all at once."""
    got = [None] * len(peers)

    def do(index):
        try:
            got[index] = what(peers[index])
        except UsageError as error:
            got[index] = str(error)

    threads = [threading.Thread(target=do, args=(index,)) for index in range(len(peers))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return got
