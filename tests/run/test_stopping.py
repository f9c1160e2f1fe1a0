import os
import signal
import subprocess
import sys
import time
from contextlib import suppress

import pytest

import hypjax
from hypjax.run.peers import Peers
from hypjax.run.status import Stopped
from hypjax.run.stopping import Stopping


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_is_noted_until_there_is_nothing_to_save(number):
    before = signal.getsignal(number)
    with Stopping() as stopping:
        assert stopping.asked is None
        os.kill(os.getpid(), number)
        assert stopping.asked == number  # and the step goes on
        with pytest.raises(Stopped, match=hypjax.ended_by(number)) as caught, stopping.nothing_to_save():
            raise AssertionError("the run goes on")
    assert caught.value.signal == number
    assert signal.getsignal(number) is before


def test_other_signals_that_python_hears_of_ask_for_nothing():
    """The descriptor that wakes the watcher tells of all that have a handler, a host's SIGUSR1 among them."""
    heard = []
    before = signal.signal(signal.SIGUSR1, lambda number, frame: heard.append(number))
    try:
        with Stopping() as stopping:
            os.kill(os.getpid(), signal.SIGUSR1)
            assert stopping.asked is None
        assert heard == [signal.SIGUSR1]
    finally:
        signal.signal(signal.SIGUSR1, before)
    alone = Stopping()  # without the watcher, which would read what is written here
    alone._reader, alone._writer = os.pipe()
    os.write(alone._writer, bytes([signal.SIGUSR1]))
    assert alone._next(0.1) is None
    os.write(alone._writer, bytes([signal.SIGUSR1, signal.SIGTERM]))
    assert alone._next(60.0) == bytes([signal.SIGTERM])
    os.close(alone._writer)
    assert alone._next(60.0) == b""
    os.close(alone._reader)


CUT_SHORT = """
import os, signal, threading
from concurrent.futures import ThreadPoolExecutor
from hypjax.run import status
from hypjax.run.stopping import ending

status.LEFT, pool, start = 0.5, ThreadPoolExecutor(1), threading.Thread.start

def starting(thread):
    start(thread)
    if thread.name.startswith("ThreadPool"):
        os.kill(os.getpid(), signal.SIGTERM)

def program(argv):
    with ending():
        threading.Thread.start = starting
        pool.submit(int)

status.run(program)
"""


@pytest.mark.slow
def test_a_signal_while_a_pool_starts_a_thread_ends_the_process_too():
    """The pool does not know of a thread that it had no time to note, and Python waits for it."""
    ended = subprocess.run([sys.executable, "-c", CUT_SHORT], capture_output=True, text=True, check=False, timeout=60)
    assert (ended.returncode, ended.stderr.strip()) == (143, "stopped by SIGTERM")


def test_a_signal_ends_what_needs_no_saving_where_it_stands():
    evaluated = False
    with Stopping() as stopping:
        with suppress(Stopped), stopping.nothing_to_save():
            os.kill(os.getpid(), signal.SIGTERM)
            evaluated = True
        assert stopping.asked == signal.SIGTERM
    assert not evaluated


@pytest.mark.slow
def test_a_second_signal_ends_the_process_at_once():
    code = "import os, signal; from hypjax.run.stopping import Stopping\nwith Stopping():\n"
    code += "    for _ in range(2): os.kill(os.getpid(), signal.SIGTERM)\n    print('goes on')"
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (ended.returncode, ended.stdout) == (143, "")


COMPILING = """
import signal, sys, threading, time
from hypjax.run import status, stopping
stopping.PATIENCE, stopping.SECONDS = 0.2, 1.5
made = []

def compile():  # as XLA does it, Python cannot hear of a signal meanwhile
    signal.pthread_sigmask(signal.SIG_BLOCK, stopping.SIGNALS)  # the main thread alone
    print("compiling", flush=True)
    time.sleep(60)

def train(argv):
    with stopping.Stopping() as stop:
        stop.settle = lambda: (time.sleep(0.3), print("written"))
        {context}
            compile()

threading.Thread(target=lambda: time.sleep(60), daemon=True).start()  # one that a signal may reach
status.run(train)
"""


@pytest.mark.slow
@pytest.mark.parametrize(("context", "least"), [("with stop.nothing_to_save():", 0.2), ("if True:", 1.5)])
def test_a_signal_is_heard_while_the_main_thread_compiles(context, least):
    """At once where there is nothing to save, else by the deadline; what is being written is waited for."""
    process = subprocess.Popen(
        [sys.executable, "-c", COMPILING.format(context=context)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout.readline() == "compiling\n"
    time.sleep(0.5)
    began = time.monotonic()
    process.send_signal(signal.SIGTERM)
    out, err = process.communicate(timeout=30)
    assert least <= time.monotonic() - began < least + 5
    assert process.returncode == 143
    assert err.strip() == "stopped by SIGTERM; the same command resumes"
    assert out == ("written\n" if least < 1 else "")


@pytest.mark.slow
def test_a_second_signal_ends_a_compilation_at_once():
    process = subprocess.Popen(
        [sys.executable, "-c", COMPILING.format(context="if True:").replace("0.2, 1.5", "0.2, 50.0")],
        stdout=subprocess.PIPE,
        text=True,
        stderr=subprocess.PIPE,
    )
    assert process.stdout.readline() == "compiling\n"
    time.sleep(0.5)
    process.send_signal(signal.SIGINT)
    time.sleep(0.6)
    assert process.poll() is None
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=10)
    assert process.returncode == 130


COLLECTING = """
import gc, os, signal, time
from hypjax.run import status, stopping
stopping.PATIENCE = 0.2

def train(argv):
    with stopping.Stopping() as stop, stop.nothing_to_save():
        gc.callbacks.append(lambda *_: gc.callbacks.clear() or os.kill(os.getpid(), signal.SIGTERM))
        gc.collect()
        print("goes on", flush=True)
        time.sleep(60)

status.run(train)
"""


@pytest.mark.slow
def test_a_signal_during_a_garbage_collection_is_not_lost():
    """What is raised within one goes nowhere."""
    began = time.monotonic()
    ended = subprocess.run([sys.executable, "-c", COLLECTING], capture_output=True, text=True, check=False, timeout=50)
    assert (ended.returncode, ended.stdout) == (143, "goes on\n")
    assert ended.stderr.splitlines() == ["", "stopped by SIGTERM; the same command resumes"]
    assert time.monotonic() - began < 40


def test_a_signal_that_another_process_got_counts_as_the_same_one(monkeypatch):
    """A launcher sends it to all: that of process 0 itself comes a moment later, and is no second one."""
    ended = []
    monkeypatch.setattr(os, "_exit", ended.append)
    with Stopping(among=(peers := Peers())) as stopping:
        peers.asked(signal.SIGTERM)
        peers.asked(signal.SIGTERM)
        os.kill(os.getpid(), signal.SIGTERM)
        assert (stopping.asked, ended) == (signal.SIGTERM, [])
        os.kill(os.getpid(), signal.SIGTERM)
        assert ended == [143]


def test_another_process_than_the_first_leaves_it_to_that_one_to_stop(monkeypatch):
    asked = []
    monkeypatch.setattr(peers := Peers(1, ("a", "b")), "ask", asked.append)
    with Stopping(among=peers) as stopping, stopping.nothing_to_save():
        os.kill(os.getpid(), signal.SIGINT)
        while not asked:
            time.sleep(0.01)
    assert (stopping.asked, asked) == (None, [signal.SIGINT])
