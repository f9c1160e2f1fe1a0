import os
import signal
from contextlib import suppress

import pytest

from hypjax.errors import Stopped
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
