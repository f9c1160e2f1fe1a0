import os
import signal
import subprocess
import sys
from contextlib import suppress

import pytest

from hypjax.run.status import Stopped
from hypjax.run.stopping import Stopping


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_is_noted_until_there_is_nothing_to_save(number):
    before = signal.getsignal(number)
    with Stopping() as stopping:
        assert stopping.asked is None
        os.kill(os.getpid(), number)
        assert stopping.asked == number  # and the step goes on
        with pytest.raises(Stopped, match=f"stopped by {number.name}") as caught, stopping.nothing_to_save():
            raise AssertionError("the run goes on")
    assert caught.value.signal == number
    assert signal.getsignal(number) is before


def test_a_signal_ends_what_needs_no_saving_where_it_stands():
    evaluated = False
    with Stopping() as stopping:
        with suppress(Stopped), stopping.nothing_to_save():
            os.kill(os.getpid(), signal.SIGTERM)
            evaluated = True
        assert stopping.asked == signal.SIGTERM
    assert not evaluated


def test_a_second_signal_ends_the_process_at_once():
    code = "import os, signal; from hypjax.run.stopping import Stopping\nwith Stopping():\n"
    code += "    for _ in range(2): os.kill(os.getpid(), signal.SIGTERM)\n    print('goes on')"
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (ended.returncode, ended.stdout) == (143, "")


def test_among_several_processes_a_signal_ends_each_as_ever(monkeypatch):
    monkeypatch.setattr("jax.process_count", lambda: 2)
    before = signal.getsignal(signal.SIGTERM)
    with Stopping():
        assert signal.getsignal(signal.SIGTERM) is before
