"""How processes find each other: each comes to a port of process 0, which waits for all of them, but not for ever."""

from __future__ import annotations

import socket
import time
from collections.abc import Sequence
from multiprocessing.connection import Connection
from typing import Any

from hypjax.data.errors import UsageError
from hypjax.run.peers import Peers, over, receive, send

RETRIED = 0.2  # seconds
GREETED = 5.0  # seconds in which who has come is to say who it is
TOLD = 10.0  # seconds of waiting after which it is said for whom


def listen(port: int) -> socket.socket:
    """Opens a port of this host, 0 for any, on all of its addresses.

    Raises:
      UsageError: it is taken.
    """
    both = socket.has_dualstack_ipv6()
    family = socket.AF_INET6 if both else socket.AF_INET
    try:
        return socket.create_server(("", port), family=family, dualstack_ipv6=both, backlog=4096)
    except OSError as error:
        raise UsageError(f"port {port} of this host cannot be had ({error.strerror}); name another") from error


def addresses() -> list[str]:
    """By which other hosts may reach this one."""
    found = [socket.gethostname(), socket.getfqdn()]
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))  # sends nothing, and tells by which address it would
            found.insert(0, probe.getsockname()[0])
        except OSError:  # a host without a network
            pass
    return list(dict.fromkeys(found))


def welcome(listening: socket.socket, count: int, seconds: float) -> Peers:
    """On process 0: waits until the others have come by `join`.

    Args:
      listening: from `listen`; closed in the end.
      count: of the processes.
      seconds: how long to wait.

    Raises:
      UsageError: some did not come, or one that is not expected did; those that came are told.
    """
    came: dict[int, Connection] = {}
    hosts = {0: socket.gethostname()}
    until, tell = time.monotonic() + seconds, time.monotonic() + TOLD
    with listening:
        while missing := [index for index in range(count) if index not in hosts]:
            listening.settimeout(max(0.001, min(until, tell) - time.monotonic()))
            try:
                connection = over(listening.accept()[0])
            except TimeoutError:
                if time.monotonic() < until:
                    print(f"process 0 waits for {told(missing)} of {count}, {seconds:g} s at most", flush=True)
                    tell = until
                    continue
                words = f"of {count} processes {told(missing)} did not come within {seconds:g} s"
                raise _refused([*came.values()], words) from None
            said = receive(connection) if connection.poll(GREETED) else None
            if said is None or not {"index", "count", "host"} <= said.keys():
                continue  # whoever that is, it is none of ours
            if said["count"] != count or said["index"] not in missing:
                words = (
                    f"{said['host']} comes as process {said['index']} of {said['count']}, where process 0 waits for "
                )
                raise _refused([*came.values(), connection], f"{words}{told(missing)} of {count}")
            came[said["index"]], hosts[said["index"]] = connection, said["host"]
    names = tuple(hosts[index] for index in range(count))
    for connection in came.values():
        send(connection, {"hosts": names})
    return Peers(0, names, came)


def _refused(connections: list[Connection], words: str) -> UsageError:
    for connection in connections:
        send(connection, {"refused": words})
    return UsageError(words)


def told(indices: Sequence[int]) -> str:
    """Some processes in words.

    Examples:
      >>> told([3]), told([1, 2]), told(range(1, 9))
      ('process 3', 'processes 1 and 2', 'processes 1, 2, 3, 4 and 4 more')
    """
    if len(indices) == 1:
        return f"process {indices[0]}"
    shown = list(map(str, indices[:4] if len(indices) > 5 else indices[:-1]))
    last = f"{len(indices) - 4} more" if len(indices) > 5 else str(indices[-1])
    return f"processes {', '.join(shown)} and {last}"


def join(hosts: Sequence[str], port: int, index: int, count: int, seconds: float) -> Peers:
    """On another process than 0: comes to a port of process 0, and waits for those that come later.

    Args:
      hosts: names or addresses of process 0's host, of which one will do.
      port: of it.
      index: of this process.
      count: of the processes.
      seconds: how long to try.

    Raises:
      UsageError: nobody answers there, or process 0 refuses.
    """
    until, tell, why = time.monotonic() + seconds, time.monotonic() + TOLD, ""
    where = " or ".join(f"{host}:{port}" for host in hosts)
    while True:
        for host in hosts:
            try:
                connection = over(socket.create_connection((host, port), timeout=GREETED))
            except OSError as error:
                why = error.strerror or str(error)
                continue
            answer = _ask(connection, {"index": index, "count": count, "host": socket.gethostname()}, until)
            if "refused" in answer:
                raise UsageError(answer["refused"])
            if "hosts" in answer:
                return Peers(index, tuple(answer["hosts"]), {0: connection})
        if time.monotonic() > until:
            raise UsageError(
                f"process 0 did not answer at {where} within {seconds:g} s ({why}): start it there, and see that this "
                "host can reach it"
            )
        if time.monotonic() > tell:
            print(f"process {index} waits for process 0 at {where} ({why}), {seconds:g} s at most", flush=True)
            tell = until
        time.sleep(RETRIED)


def _ask(connection: Connection, greeting: dict[str, Any], until: float) -> dict[str, Any]:
    send(connection, greeting)
    # It answers once all have come, and says so to those that did where some have not.
    return (receive(connection) if connection.poll(max(0.0, until - time.monotonic()) + GREETED) else None) or {}
